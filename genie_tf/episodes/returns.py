"""How well an agent plays: the rewards of its episodes in levels that nobody was trained on."""

import gym3
import numpy as np
from tqdm import tqdm

from genie_tf.config import RecordConfig
from genie_tf.episodes.recorder import level_range, make_game


def held_out_returns(config: RecordConfig, agent, count: int) -> np.ndarray:
    """Let an agent play one episode in each of the first `count` test levels, all at once.

    Args:
        config: The game, and for how long an action is held.
        agent: Anything with `act`, as `RandomAgent`; all its environments are always due.
        count: L, number of levels; at most as many as there are.

    Returns:
        Sums of rewards, float (L,).
    """
    first_level, there_are = level_range(config, "test")
    levels = range(first_level, first_level + min(count, there_are))
    env = gym3.ConcatEnv([make_game(config, (level, 1), 1, config.seed, 0) for level in levels])
    total, over, left = np.zeros(len(levels)), np.zeros(len(levels), bool), 0
    frames, action = env.observe()[1]["rgb"], np.zeros(len(levels), np.int32)
    with tqdm(total=len(levels), desc="held-out levels", unit=" levels", leave=False) as progress:
        while not over.all():
            if left == 0:
                action, left = agent.act(frames, np.arange(len(levels))), config.hold
            env.act(action)
            reward, observation, first = env.observe()
            total += reward * ~over
            progress.update(int((first & ~over).sum()))
            over |= first
            frames, left = observation["rgb"], left - 1
    return total
