"""Record episodes from a vectorised Procgen environment.

A split is recorded in shards. Each shard is one `ProcgenGym3Env` with a seed and levels of its own, so the
same episodes come out whatever the number of workers that share the shards, and a worker that was stopped
starts again at the first shard that is not done.
"""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
from procgen import ProcgenGym3Env
from procgen.env import ENV_NAMES
from tqdm import tqdm

from genie_tf.config import RecordConfig
from genie_tf.episodes.agents import POLICY, make_agent
from genie_tf.episodes.format import EpisodeWriter
from genie_tf.errors import UserError
from genie_tf.files import UNFINISHED, claimed, read_json, write_json

SPLITS = ("train", "validation", "test")
SHARDS = 8
ENVIRONMENTS = 16  # a shard
MODES = {  # beside easy and hard, which every game has
    "extreme": ("chaser", "dodgeball", "leaper", "starpilot"),
    "memory": ("caveflyer", "dodgeball", "heist", "jumper", "maze", "miner"),
}


def level_range(config: RecordConfig, split: str) -> tuple[int, int]:
    """First level and number of levels of a split; no two splits share a level."""
    first = sum(getattr(config, f"{earlier}_levels") for earlier in SPLITS[: SPLITS.index(split)])
    return first, getattr(config, f"{split}_levels")


def shard_levels(config: RecordConfig, split: str, shard: int) -> tuple[int, int]:
    """First level and number of levels of one shard; no two shards of any split share a level."""
    first, count = level_range(config, split)
    start, stop = shard * count // SHARDS, (shard + 1) * count // SHARDS
    return first + start, stop - start


def make_game(config: RecordConfig, levels: tuple[int, int], environments: int, seed: int, threads: int = 0):
    """The game itself.

    Args:
        levels: First level and number of levels. Procgen ignores the first if there are 0, so give 1 or more.
        environments: How many are played at once.
        seed: Of the order of levels.
        threads: Of its own; with 0 it plays in the caller's, which is fastest for a worker with one core.
    """
    start_level, num_levels = levels
    return ProcgenGym3Env(
        num=environments,
        env_name=config.game,
        num_levels=num_levels,
        start_level=start_level,
        distribution_mode=config.distribution_mode,
        use_backgrounds=config.use_backgrounds,
        restrict_themes=config.restrict_themes,
        paint_vel_info=config.paint_vel_info,
        rand_seed=seed,
        num_threads=threads,
    )


def shard_game(config: RecordConfig, split: str, shard: int, threads: int = 0):
    """The game on the levels of one shard, as it is recorded."""
    seed = config.seed * 1000 + SPLITS.index(split) * SHARDS + shard + 1
    return make_game(config, shard_levels(config, split, shard), ENVIRONMENTS, seed, threads)


def record_shard(config: RecordConfig, split: str, shard: int, folder: Path, policy: Path, threads: int, progress: tqdm) -> dict:
    """Let the agent play one shard and write its episodes as they end.

    Every environment records the same number of frames, and an episode that is still running then is kept as
    far as it came: stopping at a number of episodes instead would favour short ones.

    Returns:
        Statistics: episodes, of which cut by the end of the recording, frames, and the sum of rewards.
    """
    env = shard_game(config, split, shard, threads)
    agent = make_agent(config, policy, ENVIRONMENTS, [config.seed, SPLITS.index(split), shard])
    frames_each = -(-getattr(config, f"{split}_frames") // (SHARDS * ENVIRONMENTS))
    stats = {"episodes": 0, "cut": 0, "frames": 0, "reward": 0.0}
    running: dict[int, EpisodeWriter] = {}  # the episode of each environment
    filmed = np.zeros(ENVIRONMENTS, int)  # frames of each environment, all episodes together
    begun = np.zeros(ENVIRONMENTS, int)  # episodes
    action = np.zeros(ENVIRONMENTS, np.int32)
    level = np.zeros(ENVIRONMENTS, np.int32)
    left = np.zeros(ENVIRONMENTS, int)  # game steps for which the action is still held

    def finish(i: int, cut: bool) -> None:
        if i in running:
            episode = running.pop(i)
            episode.close()
            stats["episodes"] += 1
            stats["cut"] += cut
            stats["frames"] += episode.length

    try:
        while running or (filmed < frames_each).any():
            reward, observation, first = env.observe()
            frames = observation["rgb"]
            for i in np.flatnonzero(reward):
                if i in running:
                    running[i].earn(reward[i])
                    stats["reward"] += float(reward[i])
            if first.any():  # before anything is kept: these frames begin other episodes
                info = env.get_info()
                for i in np.flatnonzero(first):
                    finish(i, cut=False)
                    level[i] = info[i]["level_seed"]
                left[first] = 0
            due = np.flatnonzero(left == 0)
            if len(due):
                action[due] = agent.act(frames, due)
                left[due] = config.hold
                for i in due:
                    if filmed[i] == frames_each:
                        finish(i, cut=True)
                        continue
                    if i not in running:
                        name = f"shard{shard:02d}_env{i:02d}_{begun[i]:04d}.{config.format}"
                        running[i] = EpisodeWriter(folder / name)
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


def check(config: RecordConfig) -> None:
    """Refuse what Procgen would misread: without levels of its own, for one, a shard would draw from all there are.

    Raises:
        UserError: what is wrong, and what to do.
    """
    mode, games = config.distribution_mode, MODES.get(config.distribution_mode, ENV_NAMES)
    problems = {
        f"record.game {config.game}: choose one of {', '.join(ENV_NAMES)}": config.game not in ENV_NAMES,
        f"record.distribution_mode {mode}: only {', '.join(games)} have it; choose easy or hard": config.game not in games,
        f"record.hold {config.hold}: hold an action for 1 step or more": config.hold < 1,
        f"record.keep {config.keep}: a probability, from 0 to less than 1": not 0 <= config.keep < 1,
    }
    for split in SPLITS:
        for what, least in (("levels", SHARDS), ("frames", 1)):
            value = getattr(config, f"{split}_{what}")
            problems[f"record.{split}_{what} {value}: give {least} or more"] = value < least
    for problem, found in problems.items():
        if found:
            raise UserError(problem)


def claim(folder: Path, name: str):
    """Hold what is recorded under `name` in `folder` for this process alone: see `claimed`."""
    busy = f"another run is recording {folder}/{name}: wait for it, or name another --world"
    return claimed(folder, name, busy, f"{name}_*{UNFINISHED}")


def recorded(facts: Path, wanted: dict) -> dict | None:
    """Statistics of what is done, None of what is still to do. What is begun already counts as recorded with its settings; where
    the file is damaged, nobody knows, and it is done anew.

    Args:
        facts: The `.json` file of a shard or a video: its settings from the beginning, its statistics from the end on.
        wanted: Settings as JSON holds them.

    Raises:
        UserError: it was recorded with other settings; the message names them.
    """
    if not facts.exists():
        return None
    try:
        stats = read_json(facts, "it is made anew", "config")
    except UserError as error:
        tqdm.write(str(error))
        return None
    was = stats.pop("config")
    if was != wanted:
        changed = ", ".join(f"{key} {was.get(key)} -> {wanted[key]}" for key in wanted if was.get(key) != wanted[key])
        raise UserError(f"{facts.parent} was recorded with other settings ({changed}): delete it, or name another --world")
    return stats or None


def record(config: RecordConfig, world: str, worker: int = 0, workers: int = 1) -> None:
    """Record this worker's shards of every split into `record/<world>/{train,validation,test}/`.

    Shards that are already there are left alone. Interrupted, it keeps every finished episode, and records the shard it was at
    anew: the same seed gives the same episodes.

    Raises:
        UserError: a setting that can't be, or the folder holds a recording made with other settings.
    """
    check(config)
    wanted = json.loads(json.dumps(dataclasses.asdict(config)))
    policy = Path(config.policy or Path("model") / world / POLICY)
    if any((Path("record") / world).glob("video*.json")):
        raise UserError(f"record/{world} holds videos: name another --world")
    todo = []
    for split in SPLITS:
        folder = Path("record") / world / split
        folder.mkdir(parents=True, exist_ok=True)
        for shard in range(worker, SHARDS, workers):
            facts = folder / f"shard{shard:02d}.json"
            if recorded(facts, wanted) is None:
                todo.append((split, shard, folder, facts))
    if todo:
        make_agent(config, policy, ENVIRONMENTS, [config.seed])  # what is wrong with its policy comes out before anything is begun
    threads = (os.cpu_count() or 1) // workers
    frames = sum(getattr(config, f"{split}_frames") // SHARDS for split, *_ in todo)
    with tqdm(total=frames, desc=f"record, worker {worker}", unit=" frames", position=worker, disable=not todo) as progress:
        for split, shard, folder, facts in todo:
            with claim(folder, facts.stem):
                if recorded(facts, wanted) is None:
                    write_json(facts, {"config": wanted})
                    stats = record_shard(config, split, shard, folder, policy, threads if threads > 1 else 0, progress)
                    write_json(facts, {"config": wanted, **stats})
