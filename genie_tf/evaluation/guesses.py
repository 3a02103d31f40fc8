"""Does the model know when it guesses? Whether improbable tokens foretell a wrong picture."""

import numpy as np

from genie_tf.evaluation.metrics import bootstrap_figure, share_figure

WRONG = 20.0  # a picture below this PSNR is wrong, in dB


def guess_figures(probability: np.ndarray, sharp: np.ndarray) -> dict:
    """Foretell wrong pictures from the probability of their tokens.

    A picture is foretold to be wrong if the mean probability of its tokens is below a threshold. The threshold is chosen on every
    second window, and judged on the others.

    Args:
        probability: (M, H), mean probability of the tokens of each predicted picture.
        sharp: (M, H), its PSNR in dB.

    Returns:
        `guess.wrong`, share of wrong pictures; `guess.auroc`, how often a wrong picture has less probable tokens than a right one,
        over all steps together; `guess.auroc_same_step`, the same for pictures of the same step; `guess.threshold`;
        `guess.found`, share of the wrong pictures that are foretold; `guess.false_alarm`, share of the right pictures that are
        foretold to be wrong. Without right pictures, or without wrong ones, there is only `guess.wrong`.
    """
    wrong = sharp < WRONG
    figures = {"guess.wrong": share_figure(wrong.ravel())}
    chosen, judged = slice(0, None, 2), slice(1, None, 2)
    if any(wrong[part].all() or not wrong[part].any() for part in (chosen, judged)):
        return figures
    pairs = list(zip(probability, wrong))
    figures["guess.auroc"] = bootstrap_figure(lambda some: _auroc(*map(np.concatenate, zip(*some))), pairs, wrong.size)

    def same_step(some) -> float:
        p, bad = (np.stack(each) for each in zip(*some))
        mixed = bad.any(axis=0) & ~bad.all(axis=0)
        return float(np.mean([_auroc(p[:, t], bad[:, t]) for t in np.flatnonzero(mixed)])) if mixed.any() else 0.5

    figures["guess.auroc_same_step"] = bootstrap_figure(same_step, pairs, wrong.size)

    def best(some) -> float:
        p, bad = map(np.concatenate, zip(*some))
        thresholds = np.quantile(p, np.linspace(0, 1, 201))
        below = p < thresholds[:, None]
        gain = (below & bad).sum(axis=1) / max(bad.sum(), 1) - (below & ~bad).sum(axis=1) / max((~bad).sum(), 1)
        return float(thresholds[gain.argmax()])  # Youden's index

    figures["guess.threshold"] = bootstrap_figure(best, pairs[chosen], wrong[chosen].size)
    foretold, bad = probability[judged] < figures["guess.threshold"]["value"], wrong[judged]
    return figures | {"guess.found": share_figure(foretold[bad]), "guess.false_alarm": share_figure(foretold[~bad])}


def _auroc(probability: np.ndarray, wrong: np.ndarray) -> float:
    """Area under the ROC curve of low probability as a sign of a wrong picture: 0.5 for chance. 0.5 if one kind is missing."""
    bad, good = np.sort(probability[wrong]), probability[~wrong]
    if not len(bad) or not len(good):
        return 0.5
    below = np.searchsorted(bad, good, side="left") + np.searchsorted(bad, good, side="right")
    return float(below.mean() / (2 * len(bad)))
