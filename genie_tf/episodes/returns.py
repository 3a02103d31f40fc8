"""Returns of an agent on held-out levels."""

import numpy as np
from tqdm import tqdm

from genie_tf.config import RecordSettings
from genie_tf.episodes.recorder import level_range, make_game


def held_out_returns(config: RecordSettings, agent, count: int) -> np.ndarray:
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
    games = [make_game(config, (level, 1), 1, config.seed, 0) for level in levels]
    total, over, left = np.zeros(len(levels)), np.zeros(len(levels), bool), 0
    action = np.zeros(len(levels), np.int32)

    def of_all(read) -> np.ndarray:
        return np.concatenate([read(game) for game in games])

    for game in games:
        game.observe()
    with tqdm(total=len(levels), desc="held-out levels", unit=" levels", leave=False) as progress:
        while not over.all():
            if left == 0:
                action, left = agent.act(of_all(lambda game: game.frames()), np.arange(len(levels))), config.hold
            for i, game in enumerate(games):
                game.act(action[i : i + 1])
            seen = [game.observe() for game in games]
            first = np.concatenate([one["first"] for one in seen])
            total += np.concatenate([one["reward"] for one in seen]) * ~over
            progress.update(int((first & ~over).sum()))
            over |= first
            left -= 1
    for game in games:
        game.close()
    return total
