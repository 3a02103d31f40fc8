"""Record episodes of a game.

A split is recorded in shards. Each shard is one vectorised game with its own seed and levels. The episodes therefore do not depend
on the number of workers. An interrupted worker starts again at its first unfinished shard.
"""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genie_tf.config import RecordSettings
from genie_tf.episodes.agents import POLICY, make_agent
from genie_tf.episodes.controls import Controls
from genie_tf.episodes.format import EpisodeWriter
from genie_tf.errors import UserError
from genie_tf.files import UNFINISHED, checksum, claimed, read_json, write_json
from genie_tf.kinds import class_of

SPLITS = ("train", "validation", "test")
OWN_PLAY = "human.json"  # counts the episodes that a person has played, and has their checksums
SHARDS = 8
ENVIRONMENTS = 16  # per shard
STEP = 8  # height and width are multiples of it
ALL_ACTIONS = ("uniform", "original", "trained")  # agents that do not keep to the controls
# Settings that recordings of earlier versions of this program do not name.
LATER = ("source", "height", "width", "controls", "size", "every")


def level_range(config: RecordSettings, split: str) -> tuple[int, int]:
    """First level and number of levels of a split. No two splits share a level."""
    first = sum(getattr(config, f"{earlier}_levels") for earlier in SPLITS[: SPLITS.index(split)])
    return first, getattr(config, f"{split}_levels")


def shard_levels(config: RecordSettings, split: str, shard: int) -> tuple[int, int]:
    """First level and number of levels of one shard. No two shards share a level, in any split."""
    first, count = level_range(config, split)
    start, stop = shard * count // SHARDS, (shard + 1) * count // SHARDS
    return first + start, stop - start


def make_game(settings: RecordSettings, levels: tuple[int, int], environments: int, seed: int, threads: int = 0):
    """Make a game of the source `record.source`: see `genie_tf.episodes`."""
    return class_of("record", settings.source)(settings, levels, environments, seed, threads)


def controls_of(settings: RecordSettings) -> Controls:
    """The controls of the settings, or those of their game.

    Raises:
        UserError: the controls of the settings are invalid.
    """
    return Controls(settings.controls or class_of("record", settings.source).default_controls(settings))


def colours_of(settings: RecordSettings) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Things of the game that a player has to see, with the lowest and the highest colour (red, green, blue) of each."""
    return class_of("record", settings.source).colours(settings)


def shard_game(config: RecordSettings, split: str, shard: int, threads: int = 0):
    """Make the game on the levels of one shard, with the shard's seed."""
    seed = config.seed * 1000 + SPLITS.index(split) * SHARDS + shard + 1
    return make_game(config, shard_levels(config, split, shard), ENVIRONMENTS, seed, threads)


def record_shard(config: RecordSettings, split: str, shard: int, folder: Path, policy: Path, threads: int, progress: tqdm) -> dict:
    """Let the agent play one shard, and write each episode when it ends.

    Every environment records the same number of frames. The recording cuts the last episode there and keeps it. A fixed number of
    episodes would instead favour short episodes.

    Returns:
        Statistics: `episodes`; `cut`, those cut by the end of the recording; `frames`; `reward`, the sum of rewards; `checksums` of
        the episodes' files, by name.
    """
    env = shard_game(config, split, shard, threads)
    agent = make_agent(config, controls_of(config), policy, ENVIRONMENTS, [config.seed, SPLITS.index(split), shard])
    frames_each = -(-getattr(config, f"{split}_frames") // (SHARDS * ENVIRONMENTS))
    stats: dict = {"episodes": 0, "cut": 0, "frames": 0, "reward": 0.0, "checksums": {}}
    running: dict[int, EpisodeWriter] = {}  # the episode of each environment
    filmed = np.zeros(ENVIRONMENTS, int)  # recorded frames of each environment, in all its episodes
    begun = np.zeros(ENVIRONMENTS, int)  # number of episodes that each environment has begun
    action = np.zeros(ENVIRONMENTS, np.int32)
    level = np.zeros(ENVIRONMENTS, np.int32)
    left = np.zeros(ENVIRONMENTS, int)  # game steps for which the action is still held
    every = config.steps_per_frame

    def finish(i: int, cut: bool) -> None:
        if i in running:
            episode = running.pop(i)
            episode.close()
            stats["episodes"] += 1
            stats["cut"] += cut
            stats["frames"] += episode.length
            stats["checksums"][episode.path.name] = checksum(episode.path)

    try:
        while running or (filmed < frames_each).any():
            seen = env.observe()
            reward, first = seen["reward"], seen["first"]
            for i in np.flatnonzero(reward):
                if i in running:
                    running[i].earn(reward[i])
                    stats["reward"] += float(reward[i])
            if first.any():  # this comes before recording, because these frames begin new episodes
                now = env.levels()
                for i in np.flatnonzero(first):
                    finish(i, cut=False)
                    level[i] = now[i]
                left[first] = 0
            filming = np.flatnonzero(left % every == 0)
            if len(filming):
                frames = env.frames()
                due = filming[left[filming] == 0]
                if len(due):
                    action[due] = agent.act(frames, due)
                    left[due] = config.hold
                for i in filming:
                    if filmed[i] == frames_each:
                        finish(i, cut=True)
                        continue
                    if i not in running:
                        name = f"shard{shard:02d}_env{i:02d}_{begun[i]:04d}.{config.format}"
                        running[i] = EpisodeWriter(folder / name, (config.height, config.width))
                        begun[i] += 1
                    running[i].append(frames[i], action[i], level[i])
                    filmed[i] += 1
                    progress.update()
            env.act(action)
            left -= 1
    except BaseException:
        for episode in running.values():
            episode.abandon()
        raise
    finally:
        env.close()
    return stats


def check_size(height: int, width: int) -> None:
    """Check the size of the frames.

    Raises:
        UserError: it is no multiple of 8.
    """
    for side, value in (("height", height), ("width", width)):
        if value % STEP or value < STEP * 2:
            raise UserError(f"record.{side} {value}: give a multiple of {STEP}, {STEP * 2} or more")


def check(config: RecordSettings) -> None:
    """Check settings that would be misinterpreted. For example, a shard without levels would draw from all levels.

    Raises:
        UserError: a setting is invalid.
    """
    problems = {
        f"record.hold {config.hold}: hold an action for 1 step or more": config.hold < 1,
        f"record.every {config.every}: it must divide record.hold {config.hold}": config.every < 0
        or (config.every > 0 and config.hold % config.every > 0),
        f"record.keep {config.keep}: a probability, from 0 to less than 1": not 0 <= config.keep < 1,
    }
    for split in SPLITS:
        for what, least in (("levels", SHARDS), ("frames", 1)):
            value = getattr(config, f"{split}_{what}")
            problems[f"record.{split}_{what} {value}: give {least} or more"] = value < least
    for problem, found in problems.items():
        if found:
            raise UserError(problem)
    check_size(config.height, config.width)
    source = class_of("record", config.source)
    source.check(config)
    count, controls = source.count_actions(config), controls_of(config)
    if controls.count > count:
        raise UserError(f"record.controls name the action {controls.count - 1}, and {config.game} has the actions 0 to {count - 1}")
    unnamed = set(range(count)) - {action for actions in controls.values() for action in actions}
    if unnamed and config.agent in ALL_ACTIONS:
        raise UserError(
            f"record.controls leave out the action {min(unnamed)}, which --record.agent {config.agent} plays: "
            "name all actions, or take --record.agent controls"
        )


def claim(folder: Path, name: str):
    """Lock the recording `name` in `folder` for this process: see `claimed`."""
    busy = f"another run is recording {folder}/{name}: wait for it, or name another --world"
    return claimed(folder, name, busy, f"{name}_*{UNFINISHED}")


def facts_of(config: RecordSettings) -> dict:
    """The settings as they are written beside the episodes, with the controls of the game."""
    return json.loads(json.dumps(dataclasses.asdict(config) | {"controls": controls_of(config).lists}))


def recorded(facts: Path, wanted: dict) -> dict | None:
    """Read the statistics of a finished shard or video.

    Args:
        facts: The `.json` file of the shard or video. It contains the settings from the start, and the statistics from the end on.
        wanted: The current settings, as read from JSON.

    Returns:
        The statistics, or None if the shard or video is not finished or its file is damaged. It is then recorded again.

    Raises:
        UserError: it was begun with other settings. The message names them.
    """
    if not facts.exists():
        return None
    try:
        stats = read_json(facts, "it is made anew", config=dict)
        if len(stats) > 1:  # it is finished
            read_json(facts, "it is made anew", episodes=int, frames=int)
    except UserError as error:
        tqdm.write(str(error))
        return None
    was = stats.pop("config")
    was = {name: value for name, value in wanted.items() if name in LATER} | was
    if was != wanted:
        changed = ", ".join(f"{key} {was.get(key)} -> {wanted[key]}" for key in wanted if was.get(key) != wanted[key])
        raise UserError(f"{facts.parent} was recorded with other settings ({changed[:500]}): delete it, or name another --world")
    return stats or None


def record(config: RecordSettings, world: str, worker: int = 0, workers: int = 1) -> None:
    """Record this worker's shards of every split to `record/<world>/{train,validation,test}/`.

    Finished shards are not recorded again. After an interruption, the unfinished shard is recorded again from its start. The same
    seed gives the same episodes.

    Args:
        config: Section `record`.
        world: Name of the world.
        worker: Number of this worker, from 0.
        workers: Number of workers that share the shards.

    Raises:
        UserError: a setting is invalid, or the folder contains a recording with other settings.
    """
    check(config)
    wanted = facts_of(config)
    config = dataclasses.replace(config, controls=wanted["controls"])  # found once, not for every shard
    policy = Path(config.policy or Path("model") / world / POLICY)
    if any((Path("record") / world).glob("video*.json")):
        raise UserError(f"record/{world} holds videos: name another --world")
    todo = []
    for split in SPLITS:
        folder = Path("record") / world / split
        folder.mkdir(parents=True, exist_ok=True)
        for shard in range(worker, SHARDS, workers):
            facts = folder / f"shard{shard:02d}.json"
            # A worker that was killed may leave the lock of a finished shard. `claim` deletes it.
            if recorded(facts, wanted) is None or any(folder.glob(f"{facts.stem}*{UNFINISHED}")):
                todo.append((split, shard, folder, facts))
    if todo:
        # The errors of the agent are raised before the recording begins.
        make_agent(config, controls_of(config), policy, ENVIRONMENTS, [config.seed])
    threads = (os.cpu_count() or 1) // workers
    frames = sum(getattr(config, f"{split}_frames") // SHARDS for split, *_ in todo)
    with tqdm(total=frames, desc=f"record, worker {worker}", unit=" frames", position=worker, disable=not todo) as progress:
        for split, shard, folder, facts in todo:
            with claim(folder, facts.stem):
                if recorded(facts, wanted) is None:
                    write_json(facts, {"config": wanted})
                    stats = record_shard(config, split, shard, folder, policy, threads if threads > 1 else 0, progress)
                    write_json(facts, {"config": wanted, **stats})
