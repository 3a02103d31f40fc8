"""Long memory: whether a world still knows a place when the player comes back to it."""

import numpy as np
from tqdm import tqdm

from genie_tf.config import RecordSettings
from genie_tf.evaluation.game import play_on
from genie_tf.evaluation.metrics import mean_figure, psnr
from genie_tf.evaluation.rollouts import PROMPT, Moments, rollout
from genie_tf.world import World

AWAY = (4, 8, 16)  # actions to the right, and as many back


def memory_figures(world: World, moments: Moments, count: int, codes: np.ndarray, game: RecordSettings) -> dict:
    """Walk right for n actions and left for n actions, and compare the last frame with the last frame of the prompt.

    Args:
        world: The trained world.
        moments: The held-out windows.
        count: M, number of moments, the first of the windows.
        codes: int (K,), the world's action for every control.
        game: Settings of the recording.

    Returns:
        For each n in `AWAY`, PSNR in dB with the last frame of the prompt: `memory.psnr.<n>` of the rollout, `memory.psnr_game.<n>`
        of the game, where its episode has not ended, and `memory.chance` of the prompts of other moments.
    """
    controls = moments.controls
    assert controls is not None
    right, left = (int(np.flatnonzero(controls.directions == way)[0]) for way in (2, 0))
    begin = moments.frames[:count, PROMPT - 1]
    figures = {"memory.chance": mean_figure(psnr(np.roll(begin, 1, axis=0), begin))}
    every = moments.episodes.every
    with tqdm(total=2 * sum(AWAY) * count * every, desc="there and back", unit=" frames") as progress:
        for n in AWAY:
            path = np.tile(np.repeat([right, left], n), (count, 1))
            plan: dict = moments.prompt(PROMPT, count) | {"actions": codes[path], "batch": moments.batch, "every": every}
            shown = rollout(world, **plan, progress=progress)
            figures[f"memory.psnr.{n}"] = mean_figure(psnr(shown["dream"][:, -1], begin))
            rows = moments.rows[:count] + PROMPT - 1
            played = play_on(game, moments.episodes, rows, controls.first[path][:, None], f"{n} there and back in the game")
            came, alive = played["frames"][:, 0, -1], played["alive"][:, 0, -1]
            if alive.sum() > 1:
                figures[f"memory.psnr_game.{n}"] = mean_figure(psnr(came[alive], begin[alive]))
    return figures
