"""Play a trained world with the keys of its game: in CoinRun, w jumps, a and d walk. r starts a new rollout, q quits.

--actions plays given keys without a display and writes a GIF, an MP4 or a folder of PNGs. In the keys, "." stands for no key,
"[wd]" for two keys at once, "[space]" for a key with a name. Each key is held as long as in the recording.
Example: python dream_play_tf.py --actions "dddwwdaa" --out dream.gif

A recording from videos has no keys. --calibrate shows each latent action until you press the key that it looks like.
"""

from genie_tf.cli import parse, run
from genie_tf.quiet import quiet


def main() -> None:
    options: dict[str, dict] = {
        "actions": {
            "type": str,
            "default": "",
            "help": "keys to play without a window: letters, . for none, [wd] for both, [space]",
        },
        "out": {"type": str, "default": "dream.gif", "help": "where --actions writes: .gif, .mp4, or a folder for PNGs"},
        "calibrate": {"action": "store_true", "help": "name the latent actions by eye, in the window"},
    }
    config, own = parse(__doc__, options, sections=("dynamics", "play"))
    with quiet():
        from genie_tf.play.session import calibrate, play_keys, play_window

    if own["actions"]:
        play_keys(config, own["actions"], own["out"])
    elif own["calibrate"]:
        calibrate(config)
    else:
        play_window(config)


if __name__ == "__main__":
    run(main)
