"""Which held-out moments are dreamt on, and how."""

import numpy as np
from tqdm import tqdm

from genie_tf.episodes.dataset import Episodes
from genie_tf.errors import UserError
from genie_tf.world import World

BATCH = 32  # dreams at once


def evaluation_windows(episodes: Episodes, length: int, count: int, seed: int) -> np.ndarray:
    """First rows of at most `count` windows, one an episode, so that they are independent.

    Raises:
        UserError: fewer than two episodes are that long.
    """
    rng = np.random.default_rng(seed)
    starts = rng.permutation(episodes.windows(length)[:])
    _, first_of_episode = np.unique(episodes.locate(starts)[0], return_index=True)
    chosen = rng.permutation(starts[first_of_episode])[:count]
    if len(chosen) < 2:
        raise UserError(f"{episodes.folder} has fewer than 2 episodes of {length} frames: record more test frames")
    return np.sort(chosen)


def another(actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each of int (...) a different one of those that occur among them."""
    some = np.unique(actions)
    place = np.searchsorted(some, actions)
    return some[(place + rng.integers(1, max(len(some), 2), actions.shape)) % len(some)]


def rollout(
    world: World,
    prompt: np.ndarray,
    prompt_actions: np.ndarray,
    actions: np.ndarray,
    progress: tqdm,
    instead: np.ndarray | None = None,
    truth: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Dream on from a prompt.

    Every rollout begins with the world's chance as it was found, and leaves it so: two of them differ by their actions alone, not
    by what was drawn.

    Args:
        prompt: uint8 (M, P, 64, 64, 3).
        prompt_actions: int (M, P - 1).
        actions: int (M, H).
        progress: Counts dreamt frames.
        instead: int (M, H), another last action: what would have come at t had `instead[:, t]` been taken there, after the same
            actions before.
        truth: uint8 (M, H, 64, 64, 3), put in place of each dreamt frame once it is there (teacher forcing).

    Returns:
        A dict: `dream` uint8 (M, H, 64, 64, 3) and, where `instead` is given, `instead`, of the same shape.
    """
    begin, out = world.state, []
    for first in range(0, len(prompt), BATCH):
        part = np.minimum(np.arange(first, first + BATCH), len(prompt) - 1)  # one shape, one compiled function
        world.restore(begin)
        world.reset(prompt[part], prompt_actions[part])
        dream, other = [], []
        for t in range(actions.shape[1]):
            before = world.state
            if instead is not None:
                other.append(world.step(instead[part, t]))
                world.restore(before)
            dream.append(world.step(actions[part, t]))
            if truth is not None:
                world.restore(before | {"chance": world.state["chance"]})
                world.observe(truth[part, t], actions[part, t])
            progress.update(len(np.unique(part)) * (1 if instead is None else 2))
        out.append({"dream": np.stack(dream, axis=1)} | ({"instead": np.stack(other, axis=1)} if other else {}))
    world.restore(begin)
    return {name: np.concatenate([each[name] for each in out])[: len(prompt)] for name in out[0]}
