"""The protocol of GenieRedux, for comparison with its table: one prompt frame, ten predicted frames, true or latent actions."""

import numpy as np
from tqdm import tqdm

from genie_tf.config import Config, world_model
from genie_tf.evaluation import features
from genie_tf.evaluation.evaluate import load_world
from genie_tf.evaluation.frames import DELTA_AT
from genie_tf.evaluation.metrics import mean_figure, paired_distance, psnr, ssim
from genie_tf.evaluation.rollouts import BATCH, PROMPT, Moments, another, load_moments, reconstructed, rollout
from genie_tf.files import alone, write_json
from genie_tf.training.checkpoints import latest_checkpoint
from genie_tf.world import World

PAPER: dict[str, dict[str, tuple]] = {  # FID, PSNR, SSIM, delta PSNR; arXiv 2409.06445, 2504.02515
    "random play": {
        "tokenizer": (18.14, 38.25, 0.96, None),
        "dynamics, latent actions": (21.88, 25.51, 0.77, None),
        "dynamics, true actions": (18.88, 33.41, 0.92, None),
        "the same, trained on an agent's play": (13.01, 32.09, 0.94, None),
    },
    "play of a trained agent": {
        "tokenizer, trained on it": (11.63, 40.62, 0.97, None),
        "dynamics, latent actions, trained on it": (12.57, 31.97, 0.90, None),
        "dynamics, true actions": (19.51, 31.66, None, 0.70),
        "the same, trained on an agent's play": (12.40, 34.44, 0.92, 1.89),
    },
}
ROWS = {
    "tokenizer": "tokenizer",
    "latent": "dynamics, latent actions",
    "guided": "dynamics, true actions",
    "copy": "the prompt's frame, repeated",
}


def rows_of_world(world: World, moments: Moments, name: str, actions: np.ndarray, seed: int, fid) -> dict:
    """Figures `genieredux.<name>.…` of one dynamics model. PSNR and SSIM are means over all ten frames of each window."""
    rng = np.random.default_rng(seed)
    other = another(actions, rng)
    with tqdm(total=2 * actions.size, desc=f"dreaming, {name}", unit=" frames") as progress:
        plan: dict = moments.prompt(1) | {"actions": actions, "instead": other, "every": moments.episodes.every}
        dreams = rollout(world, **plan, progress=progress, batch=BATCH)
    truth, at = moments.truth, DELTA_AT - 1
    loss = psnr(dreams["dream"][:, at], truth[:, at]) - psnr(dreams["instead"][:, at], truth[:, at])
    return {
        f"genieredux.{name}.psnr": mean_figure(psnr(dreams["dream"], truth).mean(axis=1)),
        f"genieredux.{name}.ssim": mean_figure(ssim(dreams["dream"], truth).mean(axis=1)),
        f"genieredux.{name}.delta_psnr": mean_figure(loss),
    } | fid(name, dreams["dream"], truth)


@alone
def evaluate_genieredux(config: Config, inception_weights: str | None = None) -> dict:
    """Evaluate `model/<world>` by the protocol of GenieRedux. Prints the figures with its table and writes `genieredux.json`.

    It evaluates the tokenizer, the dynamics on latent actions and, if trained, the dynamics on true actions, beside the prompt's
    frame repeated. The paper has two test sets, and its ΔPSNR for one of them. Its row for the latent action model alone is
    omitted, because that model predicts frames of half the size.

    Args:
        config: The world.
        inception_weights: File of InceptionV3's weights, for FID; by default Keras downloads it.

    Returns:
        The content of genieredux.json: a dict from names to `value`, `low`, `high` (95 %), `n`.
    """
    inception = features.load_inception(inception_weights)
    seed = config.play.seed

    def fid(name: str, films: np.ndarray, truth: np.ndarray) -> dict:
        if inception is None:
            return {}
        with tqdm(total=2 * -(-truth[..., 0, 0, 0].size // features.BATCH), desc="Inception features", unit=" batches") as progress:
            pair = [features.inception_features(inception, x.reshape(-1, *x.shape[2:]), progress) for x in (films, truth)]
        return {f"genieredux.{name}.fid": paired_distance(*(x.reshape(*truth.shape[:2], -1) for x in pair))}

    guided_only = config.dynamics.actions == "true"
    figures: dict = {}
    if not guided_only:
        world = load_world(config, False)
        moments = load_moments(config, world, False)
        figures |= rows_of_world(world, moments, "latent", moments.actions[:, PROMPT - 1 :], seed, fid)
    if guided_only or latest_checkpoint(config.model_folder, world_model(True)) is not None:
        world = load_world(config, True)
        moments = load_moments(config, world, True)
        figures |= rows_of_world(world, moments, "guided", moments.actions[:, PROMPT - 1 :], seed, fid)
    truth = moments.truth
    shown = {
        "tokenizer": reconstructed(world, moments)["pictures"][:, PROMPT:],
        "copy": np.repeat(moments.frames[:, PROMPT - 1 : PROMPT], truth.shape[1], axis=1),
    }
    for name, pictures in shown.items():
        figures[f"genieredux.{name}.psnr"] = mean_figure(psnr(pictures, truth).mean(axis=1))
        figures[f"genieredux.{name}.ssim"] = mean_figure(ssim(pictures, truth).mean(axis=1))
    figures |= fid("tokenizer", shown["tokenizer"], truth)

    def line(words: str, *cells: str) -> None:
        print(f"{words:42} " + " ".join(f"{cell:>{width}}" for cell, width in zip(cells, (8, 16, 18, 16))))

    line("", "FID", "PSNR", "SSIM", "ΔPSNR")
    for name, words in ROWS.items():
        cells = [figures.get(f"genieredux.{name}.{metric}") for metric in ("fid", "psnr", "ssim", "delta_psnr")]
        texts = [f"{c['value']:.2f} ± {(c['high'] - c['low']) / 2:.2f}" if c else "" for c in cells]
        if any(texts):
            line(words, *texts)
    for played, rows in PAPER.items():
        print(f"GenieRedux, {played}:")
        for words, row in rows.items():
            line(f"  {words}", *("" if value is None else str(value) for value in row))
    if inception is None:
        print(features.HOW_TO_GET_FID)
    write_json(config.model_folder / "genieredux.json", figures)
    print(f"wrote {config.model_folder}/genieredux.json")
    return figures
