"""Figures with their intervals."""

import numpy as np
import tensorflow_probability as tfp

LEVEL = 0.95
DIRECTIONS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2] + [1] * 6)  # left, none, right of Procgen's 15 actions


def figure(value: float, low: float, high: float, n: int) -> dict:
    return {"value": float(value), "low": float(low), "high": float(high), "n": int(n)}


def mean_figure(samples: np.ndarray) -> dict:
    """Mean of independent samples (n,), n ≥ 2, with Student's interval."""
    n = len(samples)
    mean, error = np.mean(samples), np.std(samples, ddof=1) / np.sqrt(n)
    reach = float(tfp.distributions.StudentT(n - 1.0, 0.0, 1.0).quantile((1 + LEVEL) / 2)) * error
    return figure(mean, mean - reach, mean + reach, n)


def share_figure(hits: np.ndarray) -> dict:
    """Share of true values in bool (n,), with Jeffreys' interval."""
    n, k = len(hits), np.sum(hits)
    posterior = tfp.distributions.Beta(k + 0.5, n - k + 0.5)
    low, high = (float(posterior.quantile(q)) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return figure(k / n, low, high, n)


def bootstrap_figure(statistic, groups: list, n: int, rounds: int = 200, seed: int = 0) -> dict:
    """A statistic of pooled data, with the interval of its bootstrap over independent groups (episodes).

    Args:
        statistic: Function of a list of groups to a number.
        groups: The data, a group an episode.
        n: Observations in all, for the record.
    """
    rng = np.random.default_rng(seed)
    drawn = [statistic([groups[i] for i in rng.integers(0, len(groups), len(groups))]) for _ in range(rounds)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = statistic(groups)
    return figure(value, min(low, value), max(high, value), n)


def psnr(frames: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of each frame of uint8 (..., H, W, C): (...).

    Equal frames count as an error of one level in one value, so the figure stays finite.
    """
    error = np.square(frames.astype(np.float64) - truth.astype(np.float64)).mean(axis=(-3, -2, -1))
    least = 1.0 / np.prod(truth.shape[-3:])
    return 10 * np.log10(255.0**2 / np.maximum(error, least))


def normalized_mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information of two labellings (n,) over the mean of their entropies, 0 to 1."""
    table = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(table, (a, b), 1)
    table /= table.sum()

    def entropy(p):
        p = p[p > 0]
        return -(p * np.log(p)).sum()

    marginals = entropy(table.sum(axis=1)) + entropy(table.sum(axis=0))
    return 2 * (marginals - entropy(table)) / marginals if marginals > 0 else 0.0


def probe(codes: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The commonest label of each code: int (count,). A code never seen gets the commonest label of all."""
    table = np.zeros((count, int(labels.max()) + 1))
    np.add.at(table, (codes, labels), 1)
    table += 1e-6 * table.sum(axis=0)
    return table.argmax(axis=1)
