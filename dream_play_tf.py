"""Play a trained world with the keys of its game: in CoinRun, w jumps, a and d walk. h shows all keys, q quits.

--prompt starts the rollouts from your own picture, or from several, which show the velocity.
--browser serves a page to play in, for a remote machine, a class or phones.
--actions plays given keys without a display and writes a GIF, an MP4 or a folder of PNGs. In the keys, "." stands for no key,
"[wd]" for two keys at once, "[space]" for a key with a name. Each key is held as long as in the recording.
--policy recorded plays the actions of a recorded moment, and shows the recording and, to its right, the dream.
Example: python dream_play_tf.py --actions "dddwwdaa" --out dream.gif

A recording from videos has no keys. --calibrate shows each latent action until you press the key that it looks like.
"""

from genie_tf.cli import parse, run
from genie_tf.quiet import quiet

OPTIONS: dict[str, dict] = {
    "prompt": {"type": str, "nargs": "+", "default": [], "help": "start from this picture, or from several, the first one first"},
    "actions": {"type": str, "default": "", "help": "keys to play without a window: letters, . for none, [wd] for both, [space]"},
    "policy": {"type": str, "default": "", "help": "who plays without a window: random, a file of agent_training.py, or recorded"},
    "steps": {"type": int, "default": 100, "help": "actions that --policy plays"},
    "replay": {"type": str, "default": "", "help": "a recording of the window: show it again, or write it to --out"},
    "out": {"type": str, "default": "", "help": "film to write: .gif, .mp4, or a folder for PNGs (dream.gif)"},
    "browser": {"action": "store_true", "help": "serve a page to play in, and print its address"},
    "host": {"type": str, "default": "127.0.0.1", "help": "address at which --browser listens; 0.0.0.0 lets other machines play"},
    "port": {"type": int, "default": 8765, "help": "port of --browser; 0 for any that is free"},
    "calibrate": {"action": "store_true", "help": "name the latent actions by eye, in the window"},
}


def main() -> None:
    config, own = parse(__doc__, OPTIONS, sections=("dynamics", "play"))
    with quiet():
        from genie_tf.play.start import start

    start(config, **own)


if __name__ == "__main__":
    run(main)
