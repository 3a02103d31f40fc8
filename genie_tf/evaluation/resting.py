"""Rest: whether the picture stays as it is in the game while no key is pressed."""

import numpy as np
from tqdm import tqdm

from genie_tf.config import RecordSettings
from genie_tf.episodes.controls import NONE
from genie_tf.evaluation.game import play_on
from genie_tf.evaluation.metrics import mean_figure, psnr
from genie_tf.evaluation.rollouts import PROMPT, Moments, rollout
from genie_tf.world import World

REST = (10, 50)  # actions without a key


def resting_figures(world: World, moments: Moments, count: int, codes: np.ndarray, game: RecordSettings) -> dict:
    """Press no key for some time, in the world and in the game.

    Args:
        world: The trained world.
        moments: The held-out windows.
        count: M, number of moments, the first of the windows.
        codes: int (K,), the world's action for every control.
        game: Settings of the recording.

    Returns:
        For each n in `REST`, PSNR in dB with the game after n actions, where its episode has not ended: `resting.psnr.<n>` of the
        rollout, `resting.psnr_copy.<n>` of the last frame of the prompt.
    """
    controls = moments.controls
    assert controls is not None
    none, every = list(controls).index(NONE), moments.episodes.every
    actions = np.full((count, max(REST)), codes[none])
    plan: dict = moments.prompt(PROMPT, count) | {"actions": actions, "batch": moments.batch, "every": every}
    with tqdm(total=actions.size * every, desc="no key", unit=" frames") as progress:
        dream = rollout(world, **plan, progress=progress)["dream"]
    rows, begin = moments.rows[:count] + PROMPT - 1, moments.frames[:count, PROMPT - 1]
    played = play_on(game, moments.episodes, rows, np.full((count, 1, max(REST)), controls.first[none]), "no key in the game")
    figures: dict = {}
    for n in REST:
        real, alive = played["frames"][:, 0, n - 1], played["alive"][:, 0, n - 1]
        if alive.sum() > 1:
            figures[f"resting.psnr.{n}"] = mean_figure(psnr(dream[alive, n - 1], real[alive]))
            figures[f"resting.psnr_copy.{n}"] = mean_figure(psnr(begin[alive], real[alive]))
    return figures
