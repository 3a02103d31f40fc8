"""Figures with confidence intervals, and the metrics."""

from functools import cache

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

LEVEL = 0.95


def figure(value: float, low: float, high: float, n: int) -> dict:
    return {"value": float(value), "low": float(low), "high": float(high), "n": int(n)}


@cache
def student_reach(n: int) -> float:
    """Half width of the confidence interval of a mean of `n` samples, in standard errors."""
    return float(tfp.distributions.StudentT(n - 1.0, 0.0, 1.0).quantile((1 + LEVEL) / 2))


@tf.function
def beta_interval(a, b):
    """Bounds float64 (2,) that hold the middle `LEVEL` of the Beta distribution of the scalars `a` and `b`."""
    return tfp.distributions.Beta(a, b).quantile([(1 - LEVEL) / 2, (1 + LEVEL) / 2])


def mean_figure(samples: np.ndarray) -> dict:
    """Mean of independent samples (n,), n ≥ 2, with Student's confidence interval."""
    n = len(samples)
    mean, error = np.mean(samples), np.std(samples, ddof=1) / np.sqrt(n)
    reach = student_reach(n) * error
    return figure(mean, mean - reach, mean + reach, n)


def share_figure(hits: np.ndarray) -> dict:
    """Share of true values in bool (n,), with Jeffreys' interval. If all values are equal, the interval ends at 0 or 1.

    Reference:
        Brown, Cai and DasGupta 2001, Interval estimation for a binomial proportion, section 3.1.
    """
    n, k = len(hits), np.sum(hits)
    low, high = beta_interval(np.float64(k + 0.5), np.float64(n - k + 0.5)).numpy()
    return figure(k / n, low if k > 0 else 0.0, high if k < n else 1.0, n)


def bootstrap_figure(statistic, groups: list, n: int, rounds: int = 200, seed: int = 0) -> dict:
    """A statistic of pooled data, with a bootstrap interval over independent groups (episodes).

    Args:
        statistic: Function from a list of groups to a number.
        groups: The data, one group per episode.
        n: Total number of observations. It is only reported.
        rounds: Number of bootstrap samples.
        seed: Seed of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    drawn = [statistic([groups[i] for i in rng.integers(0, len(groups), len(groups))]) for _ in range(rounds)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = statistic(groups)
    return figure(value, min(low, value), max(high, value), n)


def jackknife_figure(statistic, groups: list, n: int, folds: int = 10) -> dict:
    """A statistic with a jackknife interval, for statistics that are biased by the repeated data of a bootstrap.

    Args:
        statistic, groups, n: As in `bootstrap_figure`.
        folds: Number of parts of the groups. Each part is left out once.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 11.
    """
    folds = min(folds, len(groups))
    parts = np.array_split(np.random.default_rng(0).permutation(len(groups)), folds)
    values = np.array([statistic([groups[i] for i in np.setdiff1d(np.arange(len(groups)), part)]) for part in parts])
    error = np.sqrt((folds - 1) * np.mean(np.square(values - values.mean())))
    reach = student_reach(folds) * error
    value = statistic(groups)
    return figure(value, value - reach, value + reach, n)


def psnr(frames: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of each frame of uint8 (..., H, W, C): (...).

    For equal frames, one value is assumed to differ by one level, so the result is finite.
    """

    def of_batch(x, y):
        return np.square(x.astype(np.float64) - y.astype(np.float64)).mean(axis=(-3, -2, -1))

    least = 1.0 / np.prod(truth.shape[-3:])
    return 10 * np.log10(255.0**2 / np.maximum(_of_frames(of_batch, frames, truth), least))


def _of_frames(of_batch, frames: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """`of_batch` of frames uint8 (..., H, W, C): (...). It takes 16 frames at a time, because it converts them to floats."""
    x, y = (z.reshape(-1, *truth.shape[-3:]) for z in (frames, truth))
    values = [of_batch(x[i : i + 16], y[i : i + 16]) for i in range(0, len(x), 16)]
    return np.concatenate(values).reshape(truth.shape[:-3])


def ssim(frames: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Structural similarity of each frame of uint8 (..., H, W, C), H and W ≥ 11: (...), 1 for equal frames.

    The Gaussian windows have 11 x 11 pixels and a standard deviation of 1.5, and lie within the frame. The result is the mean over
    windows and channels.

    Reference:
        Wang et al. 2004, Image quality assessment: from error visibility to structural similarity, section III.
    """
    tap = np.exp(-np.square(np.arange(11) - 5) / (2 * 1.5**2))

    def blur(side: int) -> np.ndarray:
        columns = np.zeros((side, side - 10), np.float32)
        for i in range(side - 10):
            columns[i : i + 11, i] = tap / tap.sum()
        return columns

    down, across = blur(truth.shape[-3]), blur(truth.shape[-2])

    def blurred(x, columns):  # along the last axis, as one fast product of two large matrices
        return (x.reshape(-1, x.shape[-1]) @ columns).reshape(*x.shape[:-1], -1)

    def of_batch(x, y):
        x, y = (np.moveaxis(z, -1, 0).astype(np.float32, order="C") for z in (x, y))
        rows = blurred(np.stack([x, y, x * x, y * y, x * y]), across)
        mean_x, mean_y, square_x, square_y, product = blurred(rows.swapaxes(-1, -2), down)
        variance_x, variance_y, covariance = square_x - mean_x**2, square_y - mean_y**2, product - mean_x * mean_y
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        return np.mean(above / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)), axis=(0, -1, -2))

    return _of_frames(of_batch, frames, truth)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance between normal distributions fitted to two sets of feature vectors (n, D) and (m, D), n and m ≥ 2.

    Reference:
        Heusel et al. 2017, GANs trained by a two time-scale update rule, arXiv 1706.08500, section 4 and equation 6.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    # The trace of the square root of the product of the covariances is the sum of the singular values of the product of the
    # centred data. This needs no matrix square root and also works with fewer vectors than dimensions.
    centred_a, centred_b = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (a, b))
    if len(a) > a.shape[1]:
        centred_a, centred_b = (np.linalg.qr(x, mode="r") for x in (centred_a, centred_b))
    shared = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum()
    spread = np.square(centred_a).sum() + np.square(centred_b).sum()
    return float(np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + spread - 2 * shared)


def counts(a: np.ndarray, b: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Counts of each pair of labels of two labellings int (n,): an array of shape `shape`."""
    table = np.zeros(shape)
    np.add.at(table, (a, b), 1)
    return table


def entropy(p: np.ndarray) -> float:
    """Entropy in bits of counts or probabilities, of any shape."""
    p = p[p > 0] / p.sum()
    return float(-(p * np.log2(p)).sum())


def perplexity(labels: np.ndarray) -> float:
    """Effective number of labels in use: two to the power of the entropy of int (n,)."""
    return 2 ** entropy(np.bincount(labels))


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information of two labellings (n,), in bits."""
    table = counts(a, b, (int(a.max()) + 1, int(b.max()) + 1))
    return entropy(table.sum(axis=1)) + entropy(table.sum(axis=0)) - entropy(table)


def normalized_mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information of two labellings (n,) divided by the mean of their entropies, 0 to 1."""
    marginals = entropy(np.bincount(a)) + entropy(np.bincount(b))
    return 2 * mutual_information(a, b) / marginals if marginals > 0 else 0.0


def macro_f1(labels: np.ndarray, truth: np.ndarray) -> float:
    """Harmonic mean of precision and recall of each class, averaged over the classes of `truth` int (n,)."""
    scores = []
    for one in np.unique(truth):
        right, said, is_one = np.sum((labels == one) & (truth == one)), np.sum(labels == one), np.sum(truth == one)
        scores.append(2 * right / (said + is_one))
    return float(np.mean(scores))


def probe(codes: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The most frequent label of each code: int (count,). An unused code gets the most frequent label of all."""
    table = counts(codes, labels, (count, int(labels.max()) + 1))
    table += 1e-6 * table.sum(axis=0)
    return table.argmax(axis=1)


def distance_figure(films: np.ndarray, truth: np.ndarray, features) -> dict:
    """Fréchet distance between the frames of two sets of films. The films are the independent groups.

    Args:
        films: uint8 (M, T, H, W, 3).
        truth: uint8 (M, T, H, W, 3).
        features: Function from frames uint8 (n, H, W, 3) to (n, D).
    """
    pairs = [features(x.reshape(-1, *x.shape[2:])).reshape(*x.shape[:2], -1) for x in (films, truth)]
    return paired_distance(*pairs)


def paired_distance(a: np.ndarray, b: np.ndarray) -> dict:
    """Fréchet distance between features (M, H, D) and (M, H, D) with M independent groups. `n` counts vectors."""

    def distance(groups):
        return frechet_distance(*(np.concatenate([group[side] for group in groups]) for side in (0, 1)))

    return jackknife_figure(distance, list(zip(a, b)), a.shape[0] * a.shape[1])
