"""Record your own play of the real game as episodes."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from genie_tf.config import Config
from genie_tf.episodes.format import EpisodeWriter
from genie_tf.episodes.recorder import SPLITS, check, claim, level_range, make_game, recorded
from genie_tf.files import read_json, write_json
from genie_tf.play.window import Window

STEPS_PER_SECOND = 15  # the speed of Procgen
ORDER = (*SPLITS, *["train"] * 7)  # splits of ten episodes; after three episodes, every split has one
BUTTONS = {  # Procgen's names of the keys
    "w": "UP", "a": "LEFT", "s": "DOWN", "d": "RIGHT", "up": "UP", "left": "LEFT", "down": "DOWN", "right": "RIGHT", "space": "D",
}  # fmt: skip


def record_human(config: Config) -> None:
    """Open the game in a window and record one level after another until q is pressed.

    The episodes are added to `record/<world>/`. Each episode plays a level of its split. As with the other agents, one frame is
    recorded every `record.hold` game steps. The keys r and q end an episode early; its recorded part is kept.

    Raises:
        UserError: there is no display, or a setting is invalid.
    """
    check(config.record)
    root = Path("record") / config.world
    summary = root / "human.json"
    wanted = json.loads(json.dumps(dataclasses.asdict(config.record)))
    if summary.exists():  # it counts the episodes; a new file would start at 0 and overwrite them
        read_json(summary, f"move {root} away, or name another --world", "config", "episodes")
    stats = recorded(summary, wanted) or {"episodes": 0, "cut": 0, "frames": 0, "reward": 0.0}
    instead = "let an agent play instead, --record.agent original"
    with claim(root, "human"), Window(f"recording {config.world}", 64 * config.play.scale, instead) as window:
        playing = True
        while playing:
            playing = record_level(config, root, stats, window)
            write_json(summary, {"config": wanted, **stats})
    print(f"{summary}: {stats['episodes']} episodes, {stats['frames']} frames")


def record_level(config: Config, root: Path, stats: dict, window: Window) -> bool:
    """Record one level and add its episode to `stats`. Returns whether to continue."""
    number = stats["episodes"]
    split = ORDER[number % len(ORDER)]
    first_level, count = level_range(config.record, split)
    level = first_level + int(np.random.default_rng([config.record.seed, number]).integers(count))
    (root / split).mkdir(exist_ok=True)
    env = make_game(config.record, (level, 1), 1, config.record.seed)
    episode = EpisodeWriter(root / split / f"human_{number:05d}.{config.record.format}")
    left, over = 0, False  # game steps for which the action is still held; whether the level is over
    left_by: set[str] = set()
    try:
        frame, action = env.observe()[1]["rgb"][0], np.array([4], np.int32)
        while not over and not left_by:
            keys = window.keys()
            left_by = keys.tapped & {"r", "q"}
            if left == 0:
                pressed = [BUTTONS[key] for key in keys.down & BUTTONS.keys()]
                action = env.keys_to_act([pressed])[0].astype(np.int32)
                episode.append(frame, action[0], level)
                left = config.record.hold
            env.act(action)
            reward, observation, first = env.observe()
            episode.earn(reward[0])
            frame, left, over = observation["rgb"][0], left - 1, bool(first[0])
            text = f"{split}, level {level}   {stats['frames'] + episode.length} frames   w a s d space   r next  q keep and quit"
            window.show(frame, text, STEPS_PER_SECOND)
            stats["reward"] += float(reward[0])
    except BaseException:
        episode.abandon()
        raise
    finally:
        env.close()
    episode.close()
    stats["episodes"], stats["cut"] = number + 1, stats["cut"] + (not over)
    stats["frames"] += episode.length
    return "q" not in left_by
