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
from genie_tf.episodes.format import EPISODE_DTYPE, UNFINISHED, save_array, write_json
from genie_tf.errors import UserError

SPLITS = ("train", "validation", "test")
SHARDS = 8
ENVIRONMENTS = 16  # a shard


def level_range(config: RecordConfig, split: str, shard: int) -> tuple[int, int]:
    """First level and number of levels of one shard; no two shards of any split share a level."""
    first = sum(getattr(config, f"{earlier}_levels") for earlier in SPLITS[: SPLITS.index(split)])
    count = getattr(config, f"{split}_levels")
    start, stop = shard * count // SHARDS, (shard + 1) * count // SHARDS
    return first + start, stop - start


def make_environment(config: RecordConfig, split: str, shard: int, threads: int = 1):
    """The game itself, on the levels of one shard.

    Procgen ignores `start_level` when `num_levels` is 0, which `level_range` never gives.
    """
    start_level, num_levels = level_range(config, split, shard)
    return ProcgenGym3Env(
        num=ENVIRONMENTS,
        env_name=config.game,
        num_levels=num_levels,
        start_level=start_level,
        distribution_mode=config.distribution_mode,
        use_backgrounds=config.use_backgrounds,
        restrict_themes=config.restrict_themes,
        rand_seed=config.seed * 1000 + SPLITS.index(split) * SHARDS + shard + 1,
        num_threads=threads,
    )


def record_shard(config: RecordConfig, split: str, shard: int, folder: Path, threads: int, progress: tqdm) -> dict:
    """Play the random agent in one shard and write its episodes as they end.

    Every environment records the same number of frames, and an episode that is still running then is kept as
    far as it came: stopping at a number of episodes instead would favour short ones.

    Returns:
        Statistics: episodes, frames, and the sum of rewards.
    """
    env = make_environment(config, split, shard, threads)
    rng = np.random.default_rng([config.seed, SPLITS.index(split), shard])
    frames_each = -(-getattr(config, f"{split}_frames") // (SHARDS * ENVIRONMENTS))
    stats = {"episodes": 0, "frames": 0, "reward": 0.0}

    running: list[list] = [[] for _ in range(ENVIRONMENTS)]  # rows of each environment's episode so far
    recorded = np.zeros(ENVIRONMENTS, int)  # frames of each environment, all episodes together
    episode = np.full(ENVIRONMENTS, -1)
    action = np.zeros(ENVIRONMENTS, np.int32)
    level = np.zeros(ENVIRONMENTS, np.int32)
    left = np.zeros(ENVIRONMENTS, int)  # game steps for which the action is still held
    acted = left > 0  # whether the last game step belongs to a recorded action

    def finish(i: int) -> None:
        if running[i]:
            rows = np.array([tuple(row) for row in running[i]], EPISODE_DTYPE)
            save_array(folder / f"shard{shard:02d}_env{i:02d}_{episode[i]:04d}.npy", rows)
            stats["episodes"] += 1
            stats["frames"] += len(rows)
            stats["reward"] += float(rows["reward"].sum())
        running[i] = []
        episode[i] += 1

    while (recorded < frames_each).any() or acted.any():
        reward, observation, first = env.observe()
        for i in np.flatnonzero(acted):
            running[i][-1][2] += reward[i]
        if first.any():  # before anything is kept: these frames begin other episodes
            info = env.get_info()
            for i in np.flatnonzero(first):
                finish(i)
                left[i] = 0
                level[i] = info[i]["level_seed"]
        for i in np.flatnonzero((left == 0) & (recorded < frames_each)):
            action[i] = rng.choice(config.actions)
            running[i].append([observation["rgb"][i].copy(), action[i], 0.0, not running[i], level[i]])
            recorded[i] += 1
            left[i] = config.hold
            progress.update()
        env.act(action)
        acted = left > 0
        left -= acted
    for i in range(ENVIRONMENTS):
        finish(i)
    env.close()
    return stats


def check(config: RecordConfig, worker: int, workers: int) -> None:
    """Refuse what Procgen would misread: without levels of its own, for one, a shard would draw from all there are."""
    problems = {
        f"record.game {config.game}: choose one of {', '.join(ENV_NAMES)}": config.game not in ENV_NAMES,
        f"record.hold {config.hold}: hold an action for 1 step or more": config.hold < 1,
        f"record.actions {config.actions}: name actions from 0 to 14": not config.actions
        or not set(config.actions) <= set(range(15)),
        f"worker {worker} of {workers}: count workers from 0": not 0 <= worker < workers,
    }
    for split in SPLITS:
        for what, least in (("levels", SHARDS), ("frames", 1)):
            value = getattr(config, f"{split}_{what}")
            problems[f"record.{split}_{what} {value}: give {least} or more"] = value < least
    for problem, found in problems.items():
        if found:
            raise UserError(problem)


def record(config: RecordConfig, world: str, worker: int = 0, workers: int = 1) -> None:
    """Record this worker's shards of every split into `record/<world>/{train,validation,test}/`.

    Shards that are already there are left alone. Interrupted, it loses the shard it was at and nothing else.

    Raises:
        UserError: a setting that can't be, or the folder holds a recording made with other settings.
    """
    check(config, worker, workers)
    wanted = json.loads(json.dumps(dataclasses.asdict(config)))
    todo = []
    for split in SPLITS:
        folder = Path("record") / world / split
        folder.mkdir(parents=True, exist_ok=True)
        for shard in range(worker, SHARDS, workers):
            done = folder / f"shard{shard:02d}.json"
            if not done.exists():
                todo.append((split, shard, folder, done))
            elif (was := json.loads(done.read_text())["config"]) != wanted:
                changed = ", ".join(f"{key} {was.get(key)} -> {wanted[key]}" for key in wanted if was.get(key) != wanted[key])
                raise UserError(
                    f"{folder} was recorded with other settings ({changed}): delete record/{world} or name another --world"
                )
    for _, shard, folder, _ in todo:
        for leftover in folder.glob(f"shard{shard:02d}*{UNFINISHED}"):
            leftover.unlink()
    threads = max(1, (os.cpu_count() or 1) // workers)
    frames = sum(getattr(config, f"{split}_frames") // SHARDS for split, *_ in todo)
    with tqdm(total=frames, desc=f"record, worker {worker}", unit=" frames", position=worker, disable=not todo) as progress:
        for split, shard, folder, done in todo:
            stats = record_shard(config, split, shard, folder, threads, progress)
            write_json(done, {"config": wanted, **stats})
