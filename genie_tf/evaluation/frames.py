"""Figures that compare frames with frames: image quality, and stability of long rollouts."""

import numpy as np
from tqdm import tqdm

from genie_tf.config import RecordSettings
from genie_tf.evaluation import features
from genie_tf.evaluation.features import block_statistics
from genie_tf.evaluation.game import look_different
from genie_tf.evaluation.metrics import (
    distance_figure,
    frechet_distance,
    jackknife_figure,
    mean_figure,
    paired_distance,
    psnr,
    share_figure,
    ssim,
)
from genie_tf.evaluation.report import ROWS
from genie_tf.evaluation.rollouts import HORIZON, PROMPT, PROMPTS, Moments

DELTA_AT = 4  # the predicted frame at which papers report delta PSNR
SPAN = 10  # change, freezing and controllability at a step of a long rollout are measured over the last SPAN frames


def frame_figures(group: str, row: str, frames: np.ndarray, truth: np.ndarray) -> tuple[dict, np.ndarray]:
    """PSNR and SSIM at each of H steps, and the Fréchet distance between all frames and all true frames.

    Args:
        group: First part of the figures' names, such as "dynamics".
        row: Last part of the metrics' names: "" for the rollout, "_copy" and so on for the baselines and upper bounds.
        frames: uint8 (M, T, H, W, 3).
        truth: uint8 (M, T, H, W, 3).

    Returns:
        The figures, and PSNR (M, H).
    """
    sharp, alike = psnr(frames, truth), ssim(frames, truth)
    figures = {f"{group}.psnr{row}.{t + 1}": mean_figure(sharp[:, t]) for t in range(truth.shape[1])}
    figures |= {f"{group}.ssim{row}.{t + 1}": mean_figure(alike[:, t]) for t in range(truth.shape[1])}
    return figures | {f"{group}.frechet_blocks{row}": distance_figure(frames, truth, block_statistics)}, sharp


def lasting_figures(films: np.ndarray, recorded: np.ndarray, steps: tuple[int, ...]) -> dict:
    """Measure whether long rollouts freeze or drift, over the frames before each of `steps`.

    Args:
        films: uint8 (M, 1 + T, H, W, 3): the last frame of the prompt, and T predicted frames.
        recorded: uint8 (R, L, H, W, 3), films of the same recording, for comparison.
        steps: Steps of the rollouts.

    Returns:
        Figures `lasting.change.<step>`, mean absolute change from frame to frame, of 255; `lasting.frozen.<step>`, share of the
        rollouts in which no frame looks different from the previous one; `lasting.frechet_blocks.<step>`, distance of the frames
        to recorded frames. Names that end in `_recorded` are the same figures for recorded films.
    """
    half = len(recorded) // 2
    reference, other = (block_statistics(x.reshape(-1, *x.shape[2:])) for x in (recorded[:half], recorded[half:]))

    def distance(features) -> dict:
        n = features.shape[0] * features.shape[1]
        return jackknife_figure(lambda some: frechet_distance(np.concatenate(some), reference), list(features), n)

    def movement(part: np.ndarray) -> tuple[dict, dict]:
        change = np.abs(part[:, 1:].astype(np.int16) - part[:, :-1]).mean(axis=(1, 2, 3, 4))
        return mean_figure(change), share_figure(~look_different(part[:, 1:], part[:, :-1]).any(axis=1))

    figures = {}
    figures["lasting.change_recorded"], figures["lasting.frozen_recorded"] = movement(recorded[:, : SPAN + 1])
    figures["lasting.frechet_blocks_recorded"] = distance(other.reshape(len(recorded) - half, recorded.shape[1], -1))
    for step in steps:
        part = films[:, max(step - SPAN, 0) : step + 1]
        figures[f"lasting.change.{step}"], figures[f"lasting.frozen.{step}"] = movement(part)
        if step >= SPAN:  # the distance depends on the number of frames, and earlier steps have fewer than SPAN
            features = block_statistics(part[:, 1:].reshape(-1, *part.shape[2:])).reshape(len(part), SPAN, -1)
            figures[f"lasting.frechet_blocks.{step}"] = distance(features)
    return figures


def delta_figures(group: str, sharp: np.ndarray, random: np.ndarray, instead: np.ndarray, truth: np.ndarray) -> dict:
    """ΔPSNR: PSNR under the actions minus PSNR under random actions (Genie) or under a different last action (GenieRedux)."""
    genie, last = sharp - psnr(random, truth), sharp - psnr(instead, truth)
    figures: dict = {}
    for name, delta in (("genie", genie), ("last", last)):
        figures |= {f"{group}.delta_psnr_{name}.{t + 1}": mean_figure(delta[:, t]) for t in range(delta.shape[1])}
        figures[f"{group}.delta_psnr_{name}"] = mean_figure(delta[:, DELTA_AT - 1])
    return figures


def dream_figures(moments: Moments, dreams: dict, pictures: np.ndarray) -> tuple[dict, np.ndarray]:
    """Compare the frames of every short rollout with the true frames.

    The upper bound is the reconstruction by the tokenizer, `pictures`. The baseline is the last frame of the prompt, repeated.

    Returns:
        The figures, and the PSNR (M, 10) of the rollout from four frames.
    """
    truth, sharps = moments.truth, {}
    figures: dict = {}
    for length, group in PROMPTS.items():
        rows = {row: dreams[length, row] for row in ROWS if (length, row) in dreams}
        rows["_copy"] = np.repeat(moments.frames[:, PROMPT - 1 : PROMPT], HORIZON, axis=1)
        rows["_tokenizer"] = pictures[:, PROMPT:]
        for row, frames in rows.items():
            of_row, sharp = frame_figures(group, row, frames, truth)
            figures |= of_row
            if row == "":
                sharps[length] = sharp
                figures |= delta_figures(group, sharp, rows["_random"], dreams[length, "instead"], truth)
    return figures, sharps[PROMPT]


IN_GAME_TIME = ("obey.direction_f1", "obey.key_f1", "counterfactual.match", "lasting.frechet_blocks")


def game_time_figures(figures: dict, film: np.ndarray, moments: Moments, game: RecordSettings) -> dict:
    """Figures by the number of game steps after the prompt. So worlds can be compared whose frames are other times apart.

    Args:
        figures: All figures by the number of actions after the prompt.
        film: uint8 (M, 10 E, H, W, 3), all frames of the rollouts.
        moments: The held-out windows.
        game: Settings of the recording.

    Returns:
        `dynamics.psnr_after.<steps>` of every frame, and `<name>_after.<steps>` of the figures in `IN_GAME_TIME`.
    """
    sharp = psnr(film, moments.future)
    after = {f"dynamics.psnr_after.{(t + 1) * game.steps_per_frame}": mean_figure(sharp[:, t]) for t in range(film.shape[1])}
    held = game.steps_per_frame * moments.episodes.every
    for name in IN_GAME_TIME:
        for step in (key.removeprefix(f"{name}.") for key in figures if key.startswith(f"{name}.")):
            if step.isdigit():
                after[f"{name}_after.{int(step) * held}"] = figures[f"{name}.{step}"]
    return after


def far_off_figures(moments: Moments, dreams: dict, pictures: np.ndarray, inception, video_features) -> dict:
    """FID and FVD, as far as their networks are available."""
    films = {group: dreams[length, ""] for length, group in PROMPTS.items()} | {"tokenizer": pictures[:, PROMPT:]}
    figures: dict = {}
    if inception is not None:
        batches = -(-moments.truth[..., 0, 0, 0].size // features.BATCH)
        with tqdm(total=batches * (len(films) + 1), desc="Inception features", unit=" batches") as progress:

            def of(x):
                return features.inception_features(inception, x.reshape(-1, *x.shape[2:]), progress).reshape(*x.shape[:2], -1)

            truth = of(moments.truth)
            figures |= {f"{group}.fid": paired_distance(of(film), truth) for group, film in films.items()}
    if video_features is not None:
        truth = np.asarray(video_features(moments.truth))[:, None]
        figures |= {
            f"{group}.fvd": paired_distance(np.asarray(video_features(film))[:, None], truth) for group, film in films.items()
        }
    return figures
