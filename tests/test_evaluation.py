"""Figures against closed forms and known cases."""

import numpy as np
import pytest

from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import EPISODE_DTYPE, save_array
from genie_tf.evaluation.evaluate import HORIZON, dynamics_figures, evaluation_windows
from genie_tf.evaluation.metrics import bootstrap_figure, mean_figure, normalized_mutual_information, probe, psnr

RNG = np.random.default_rng(0)


def test_psnr():
    truth = np.full((2, 8, 8, 3), 100, np.uint8)
    off = truth.copy()
    off[0] += 10
    np.testing.assert_allclose(psnr(off, truth), [20 * np.log10(255 / 10), 10 * np.log10(255**2 * 192)])
    dark, light = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)
    assert psnr(dark, light)[0] == 0


def test_mutual_information_and_probe():
    labels = RNG.integers(0, 4, 4000)
    assert normalized_mutual_information(labels, (labels + 1) % 4) == pytest.approx(1)
    assert normalized_mutual_information(labels, RNG.integers(0, 4, 4000)) < 0.01
    assert normalized_mutual_information(np.zeros(10, int), np.zeros(10, int)) == 0
    assert probe(np.array([0, 0, 0, 1, 1]), np.array([2, 2, 1, 0, 0]), 3).tolist()[:2] == [2, 0]


def test_intervals_hold_the_truth_as_often_as_they_say():
    means = [mean_figure(RNG.normal(3, 1, 12)) for _ in range(400)]
    assert 0.91 < np.mean([f["low"] <= 3 <= f["high"] for f in means]) < 0.985
    shares = [bootstrap_figure(np.mean, list(RNG.random(80) < 0.4), 80, rounds=100) for _ in range(150)]
    assert 0.86 < np.mean([f["low"] <= 0.4 <= f["high"] for f in shares]) < 1


def test_windows_are_one_an_episode_and_whole(tmp_path):
    for name, length in (("a", 20), ("b", 14), ("c", 13), ("d", 40)):
        save_array(tmp_path / f"{name}.npy", np.zeros(length, EPISODE_DTYPE))
    episodes = Episodes(tmp_path)
    starts = evaluation_windows(episodes, 14, 10, seed=1)
    episode, step = episodes.locate(starts)
    assert episode.tolist() == [0, 1, 3]
    assert (step + 14 <= episodes.lengths[[0, 1, 3]]).all()
    assert starts.tolist() == evaluation_windows(episodes, 14, 10, seed=1).tolist()


class KnownWorld:
    """A world whose answer is known: the true future, the last frame, or a picture of the action."""

    def __init__(self, kind, frames, prompt):
        self.kind, self.frames, self.prompt = kind, frames, prompt

    def reset(self, prompt, actions):
        self.last, self.t = prompt[:, -1], 0
        self.row = [next(i for i in range(len(self.frames)) if (self.frames[i, : self.prompt] == p).all()) for p in prompt]

    def step(self, actions):
        self.t += 1
        if self.kind == "copies":
            return self.last
        truth = self.frames[self.row, self.prompt + self.t - 1]
        if self.kind == "is the game":
            return truth
        wrong = np.asarray(actions) != self.t % 3  # "obeys": right only under the true actions of this test
        return np.where(wrong[:, None, None, None], 255 - truth, truth)


@pytest.mark.parametrize("kind", ["copies", "is the game", "obeys"])
def test_known_worlds_get_the_figures_they_deserve(kind):
    P, M = 4, 24
    frames = RNG.integers(0, 256, (M, P + HORIZON, 64, 64, 3)).astype(np.uint8)
    actions = np.tile((np.arange(P + HORIZON - 1) - P + 2) % 3, (M, 1))
    figures, dream = dynamics_figures(KnownWorld(kind, frames, P), frames, actions, P, seed=1)
    assert dream.shape == (M, HORIZON, 64, 64, 3)
    delta, last = figures["dynamics.delta_psnr_genie"], figures["dynamics.delta_psnr_last"]
    if kind == "copies":
        assert all(figures[f"dynamics.psnr.{t}"] == figures[f"dynamics.psnr_copy.{t}"] for t in range(1, HORIZON + 1))
    if kind in ("copies", "is the game"):  # the action is ignored
        assert delta["value"] == last["value"] == 0
    if kind == "is the game":
        assert figures["dynamics.psnr.10"]["value"] > 80 > figures["dynamics.psnr_copy.1"]["value"]
    if kind == "obeys":
        assert delta["low"] > 20 and last["low"] > 60
