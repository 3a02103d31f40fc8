"""Returns of an agent on held-out levels."""

import gym3
import numpy as np
from tqdm import tqdm

from genie_tf.config import RecordConfig
from genie_tf.episodes.recorder import level_range, make_game


def held_out_returns(config: RecordConfig, agent, count: int) -> np.ndarray:
    """Let an agent play one episode in each of the first `count` test levels, all in parallel.

    Args:
        config: The game and the number of steps that an action is held.
        agent: An object with the method `act` of `RandomAgent`. It always acts in all environments.
        count: L, number of levels, limited to the number of test levels.

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
