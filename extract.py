"""Record episodes of a game with one worker, or import your own videos. `./data_collect.bash` starts several workers.

Writes one file per episode to record/<world>/{train,validation,test}/. It records 46,000 game steps a second on 2 cores. Examples:
python extract.py --record.agent sticky --record.hold 4
python extract.py --record.agent human
python extract.py --config configs/pong.yaml
python extract.py --video 'clips/*.mp4' --name mygame --fps 15
python extract.py --video 'clips/*.mp4' --name mygame --ray auto
python extract.py --world coinrun_plain --export mp4
python extract.py --describe record/coinrun_plain
python extract.py --verify record/coinrun_plain
"""

from genie_tf.cli import parse, run
from genie_tf.quiet import quiet

OPTIONS = {
    "worker": {"type": int, "default": 0, "help": "number of this worker, from 0"},
    "workers": {"type": int, "default": 1, "help": "how many workers share the work"},
    "ray": {"type": str, "help": "address of a Ray cluster that does the work of all workers; auto: this machine's"},
    "video": {"type": str, "help": "video files to import, a pattern such as 'clips/*.mp4'; their actions are unknown"},
    "name": {"type": str, "help": "the world's name, as --world"},
    "fps": {"type": float, "help": "--video: frames to keep per second (default: play.frames_per_second)"},
    "crop": {"type": int, "nargs": 4, "help": "--video: left top width height (default: the largest middle part that fits)"},
    "cut": {"type": float, "default": 0.5, "help": "--video: cut where more of the picture changes colour, 0 to 1; 0: never"},
    "export": {"type": str, "choices": ["mp4"], "help": "write the recorded episodes as videos, actions beside them as .npy"},
    "crf": {"type": int, "default": 0, "help": "--export: 0 is lossless; above, H.264's rate factor, 18 good, 51 smallest"},
    "describe": {"type": str, "help": "folder of a recording: print what is in it, and write a contact sheet"},
    "verify": {"type": str, "help": "folder of a recording: compare its files with their checksums, and name those that differ"},
}


def main() -> None:
    config, own = parse(__doc__, OPTIONS, sections=("record", "play"))
    with quiet():
        from genie_tf.recording import extract

    extract(config, **own)


if __name__ == "__main__":
    run(main)
