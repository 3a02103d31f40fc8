"""Record episodes: one worker over a vectorised game. `./data_collect.bash` starts several.

Writes record/<world>/{train,validation,test}/*.npy, one file an episode. About 5,000 frames a second on one core at hold 4.
Example: python extract.py --worker 0 --workers 2 --record.hold 4
"""

from genie_tf.cli import parse, quiet, run


def main() -> None:
    options = {
        "worker": {"type": int, "default": 0, "help": "number of this worker, from 0"},
        "workers": {"type": int, "default": 1, "help": "how many workers share the work"},
    }
    config, own = parse(__doc__, options)
    with quiet():
        from genie_tf.episodes.recorder import record

    record(config.record, config.world, own["worker"], own["workers"])


if __name__ == "__main__":
    run(main)
