"""Record your own play of the real game as episodes."""

from pathlib import Path

import numpy as np

from genie_tf.config import Config
from genie_tf.episodes.controls import NONE, Controls, control_of
from genie_tf.episodes.format import EpisodeWriter
from genie_tf.episodes.recorder import OWN_PLAY, SPLITS, check, claim, controls_of, facts_of, level_range, make_game, recorded
from genie_tf.files import checksum, read_json, write_json
from genie_tf.play.window import Window

ORDER = (*SPLITS, *["train"] * 7)  # splits of ten episodes; after three episodes, every split has one


def record_human(config: Config) -> None:
    """Open the game in a window and record one level after another until q is pressed.

    The episodes are added to `record/<world>/`. Each episode plays a level of its split. As with the other agents, one frame is
    recorded every `record.every` game steps, and the keys are read every `record.hold`. The keys r and q end an episode early; its
    recorded part is kept.

    Raises:
        UserError: there is no display, or a setting is invalid.
    """
    check(config.record)
    root = Path("record") / config.world
    summary = root / OWN_PLAY
    wanted, controls = facts_of(config.record), controls_of(config.record)
    if summary.exists():  # it counts the episodes; a new file would start at 0 and overwrite them
        read_json(summary, f"move {root} away, or name another --world", config=dict, episodes=int)
    stats = recorded(summary, wanted) or {"episodes": 0, "cut": 0, "frames": 0, "reward": 0.0}
    stats.setdefault("checksums", {})
    instead = "let an agent play instead, --record.agent controls"
    size, scale = (config.record.height, config.record.width), config.play.scale
    with claim(root, "human"), Window(f"recording {config.world}", size, scale, controls, instead) as window:
        playing = True
        while playing:
            playing = record_level(config, controls, root, stats, window)
            write_json(summary, {"config": wanted, **stats})
    print(f"{summary}: {stats['episodes']} episodes, {stats['frames']} frames")


def record_level(config: Config, controls: Controls, root: Path, stats: dict, window: Window) -> bool:
    """Record one level and add its episode to `stats`. Returns whether to continue."""
    number = stats["episodes"]
    split = ORDER[number % len(ORDER)]
    first_level, count = level_range(config.record, split)
    level = first_level + int(np.random.default_rng([config.record.seed, number]).integers(count))
    (root / split).mkdir(exist_ok=True)
    env = make_game(config.record, (level, 1), 1, config.record.seed)
    episode = EpisodeWriter(
        root / split / f"human_{number:05d}.{config.record.format}", (config.record.height, config.record.width)
    )
    left, over = 0, False  # game steps for which the action is still held; whether the level is over
    left_by: set[str] = set()
    tapped: set[str] = set()  # since the last action was chosen
    named = "  ".join(name for name in controls if name != NONE)
    try:
        env.observe()
        frame, control = env.frames()[0], None
        while not over and not left_by:
            keys = window.keys()
            left_by = keys.tapped & {"r", "q"}
            tapped |= keys.tapped
            if left == 0:
                control, tapped = control_of((tapped | keys.down) & window.watched, controls), set()
                left = config.record.hold if control is not None else 0
            if control is not None and left % config.record.steps_per_frame == 0:
                episode.append(frame, controls[control][0], level)
            if control is not None:  # a game without a control for no key waits for one
                env.act(np.array([controls[control][0]]))
                seen = env.observe()
                episode.earn(seen["reward"][0])
                frame, left, over = env.frames()[0], left - 1, bool(seen["first"][0])
                stats["reward"] += float(seen["reward"][0])
            text = f"{split}, level {level}   {stats['frames'] + episode.length} frames   {named}   r next  q keep and quit"
            window.show(frame, text, env.steps_per_second)
    except BaseException:
        episode.abandon()
        raise
    finally:
        env.close()
    if not episode.length:  # left before the first step
        episode.abandon()
        return "q" not in left_by
    episode.close()
    stats["episodes"], stats["cut"] = number + 1, stats["cut"] + (not over)
    stats["frames"] += episode.length
    stats["checksums"][f"{split}/{episode.path.name}"] = checksum(episode.path)
    return "q" not in left_by
