"""Figures against independent implementations, closed forms, and worlds whose answer is known."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import COINRUN, FIGURES, refused
from keras import ops
from scipy import linalg, stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from genie_tf.cli import parse
from genie_tf.episodes.controls import Controls
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import episode_dtype
from genie_tf.episodes.recorded import recorded_with
from genie_tf.errors import UserError
from genie_tf.evaluation import features
from genie_tf.evaluation.features import block_statistics, inception_features, load_inception, load_video_features
from genie_tf.evaluation.guesses import guess_figures
from genie_tf.evaluation.latent_actions import decoder_figures, level_set_figures, probes
from genie_tf.evaluation.metrics import (
    bootstrap_figure,
    frechet_distance,
    jackknife_figure,
    macro_f1,
    mean_figure,
    mutual_information,
    normalized_mutual_information,
    perplexity,
    probe,
    psnr,
    share_figure,
    ssim,
)
from genie_tf.evaluation.rollouts import HORIZON, PROMPT, Moments, another, dream_all, evaluation_windows, rollout
from genie_tf.files import save_array
from genie_tf.quiet import quiet
from genie_tf.stages import latent_actions_of
from genie_tf.world import World

with quiet():
    from genie_tf.evaluation import memory, resting
    from genie_tf.evaluation.frames import dream_figures, far_off_figures, lasting_figures
    from genie_tf.evaluation.game import look_different, play_on
    from genie_tf.evaluation.latent_actions import information_figures, visible_effect
    from genie_tf.evaluation.memory import memory_figures
    from genie_tf.evaluation.obedience import matching_figures, obedience_figures, play_every_key
    from genie_tf.evaluation.reconstruction import coloured_pixels, moving_pixels, psnr_of_pixels
    from genie_tf.evaluation.resting import resting_figures

RNG = np.random.default_rng(0)


class Silent:
    def update(self, count=1):
        pass


# Metrics -------------------------------------------------------------------------------------------


def random_frames(*shape):
    return RNG.integers(0, 256, (*shape, 64, 64, 3)).astype(np.uint8)


def test_psnr_and_ssim_are_those_of_scikit_image():
    truth = random_frames(3, 2)
    noisy = np.clip(truth + RNG.normal(0, 20, truth.shape), 0, 255).astype(np.uint8)
    sharp, alike = psnr(noisy, truth), ssim(noisy, truth)
    assert sharp.shape == alike.shape == (3, 2)
    for i in np.ndindex(3, 2):
        assert sharp[i] == pytest.approx(peak_signal_noise_ratio(truth[i], noisy[i]))
        theirs = structural_similarity(
            truth[i], noisy[i], channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
        assert alike[i] == pytest.approx(theirs, abs=1e-4)


def test_psnr_and_ssim_of_known_frames():
    truth = np.full((2, 16, 16, 3), 100, np.uint8)
    off = truth.copy()
    off[0] += 10
    np.testing.assert_allclose(psnr(off, truth), [20 * np.log10(255 / 10), 10 * np.log10(255**2 * 768)])
    np.testing.assert_allclose(ssim(off, truth), [(2 * 100 * 110 + 6.5025) / (100**2 + 110**2 + 6.5025), 1], rtol=1e-4)
    dark, light = np.zeros((1, 16, 16, 3), np.uint8), np.full((1, 16, 16, 3), 255, np.uint8)
    assert psnr(dark, light)[0] == 0 and ssim(dark, light)[0] < 1e-3


def test_moving_pixels_are_those_that_no_shift_explains():
    """A scenery that scrolls, with a square that stands still in the picture and one that moves by itself."""
    scenery = RNG.integers(0, 4, (16, 24, 3)).repeat(8, axis=0).repeat(8, axis=1) * 40
    films, moving = np.zeros((2, 4, 64, 64, 3), np.uint8), np.zeros((2, 4, 64, 64), bool)
    for m, (down, right) in enumerate(((0, 3), (-2, -5))):
        for t in range(4):
            y, x = 30 - down * t, 60 - right * t
            films[m, t] = scenery[y : y + 64, x : x + 64]
            films[m, t, 30:34, 10 + 6 * t : 14 + 6 * t] = 255
            if t:  # either where it is, or where the shift has moved it to
                moving[m, t, 30:34, 10 + 6 * t : 14 + 6 * t] = True
                moving[m, t, 30 + down : 34 + down, 4 + 6 * t + right : 8 + 6 * t + right] ^= True
    np.testing.assert_array_equal(moving_pixels(films), moving)
    pictures = films.copy()
    pictures[moving] ^= 16
    assert psnr_of_pixels(pictures, films, moving)["value"] == pytest.approx(20 * np.log10(255 / 16))
    assert psnr_of_pixels(films, films, np.zeros_like(moving)) is None
    assert coloured_pixels(films, ((250, 250, 250), (255, 255, 255))).sum() == 2 * 4 * 16


@pytest.mark.parametrize("n", [6, 200])  # fewer vectors than dimensions, and more
def test_frechet_distance_is_that_of_the_formula(n):
    a = RNG.normal(size=(n, 20)) @ RNG.normal(size=(20, 20))
    b = RNG.normal(size=(n + 3, 20)) + 1
    spread_a, spread_b = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(spread_a @ spread_b + 1e-12 * np.eye(20)).real
    theirs = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(spread_a + spread_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-3)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + 2) == pytest.approx(80)


def test_information_is_that_of_scipy():
    labels = RNG.integers(0, 5, 3000)
    codes = np.where(RNG.random(3000) < 0.5, labels, RNG.integers(0, 8, 3000))
    table = np.histogram2d(codes, labels, bins=(np.arange(9), np.arange(6)))[0]
    each = [table.sum(axis=axis) for axis in (1, 0)]
    bits = stats.entropy(table.ravel(), np.outer(*each).ravel(), base=2)  # relative to no dependence
    assert mutual_information(codes, labels) == pytest.approx(bits)
    assert normalized_mutual_information(codes, labels) == pytest.approx(2 * bits / sum(stats.entropy(one, base=2) for one in each))
    right = np.diag(table)
    assert macro_f1(codes, labels) == pytest.approx(stats.hmean([right / each[0][:5], right / each[1]]).mean())
    assert perplexity(codes) == pytest.approx(np.exp(stats.entropy(np.bincount(codes))))
    assert normalized_mutual_information(labels, (labels + 1) % 5) == pytest.approx(1)
    assert normalized_mutual_information(np.zeros(10, int), np.zeros(10, int)) == 0
    assert perplexity(np.arange(6)) == pytest.approx(6)
    assert probe(np.array([0, 0, 0, 1, 1]), np.array([2, 2, 1, 0, 0]), 3).tolist()[:2] == [2, 0]


def test_intervals_are_those_of_scipy():
    samples, hits = RNG.normal(3, 1, 12), RNG.random(40) < 0.3
    low, high = stats.t.interval(0.95, 11, samples.mean(), stats.sem(samples))
    assert mean_figure(samples) == pytest.approx({"value": samples.mean(), "low": low, "high": high, "n": 12}, rel=1e-4)
    low, high = stats.beta.ppf([0.025, 0.975], hits.sum() + 0.5, 40.5 - hits.sum())
    assert share_figure(hits) == pytest.approx({"value": hits.mean(), "low": low, "high": high, "n": 40}, rel=1e-4)
    assert share_figure(np.zeros(5, bool))["low"] == 0 and share_figure(np.ones(5, bool))["high"] == 1
    left_out = jackknife_figure(np.mean, list(samples), 12, folds=12)  # of a mean it is Student's
    assert left_out == pytest.approx(mean_figure(samples))


def test_intervals_hold_the_truth_as_often_as_they_say():
    means = [mean_figure(RNG.normal(3, 1, 12)) for _ in range(400)]
    assert 0.91 < np.mean([f["low"] <= 3 <= f["high"] for f in means]) < 0.985
    shares = [bootstrap_figure(np.mean, list(RNG.random(80) < 0.4), 80, rounds=100) for _ in range(150)]
    assert 0.86 < np.mean([f["low"] <= 0.4 <= f["high"] for f in shares]) < 1


def test_block_statistics():
    frames = random_frames(2)
    statistics = block_statistics(frames).reshape(2, 8, 8, 3, 2)
    block = frames[1, 8:16, 24:32, 2] / 255
    np.testing.assert_allclose(statistics[1, 1, 3, 2], [block.mean(), block.std()], rtol=1e-5)


# Windows and rollouts ------------------------------------------------------------------------------


def test_windows_are_one_an_episode_and_whole(tmp_path):
    for name, length in (("a", 20), ("b", 14), ("c", 13), ("d", 40)):
        save_array(tmp_path / f"{name}.npy", np.zeros(length, episode_dtype((64, 64))))
    episodes = Episodes(tmp_path)
    starts = evaluation_windows(episodes, 14, 10, seed=1)
    episode, step = episodes.locate(starts)
    assert episode.tolist() == [0, 1, 3]
    assert (step + 14 <= episodes.lengths[[0, 1, 3]]).all()
    assert starts.tolist() == evaluation_windows(episodes, 14, 10, seed=1).tolist()


class KnownWorld:
    """A world whose answer is known: the true future, the last frame, noise that ignores the action, or obedience."""

    latent_action, keymap = "not asked", dict(zip(COINRUN, COINRUN.first))
    actions, stride, probability, seed = 3, 1, None, 0

    def __init__(self, kind, frames):
        self.kind, self.frames, self.prompt = kind, frames, PROMPT
        self.state = {"past": None, "seeds": 0}

    def restore(self, state):
        self.state = state

    def reset(self, prompt, actions, seeds):
        end = self.frames[:, self.prompt - 1]
        rows = [next(i for i in range(len(end)) if (end[i] == p[-1]).all()) for p in prompt]
        self.state = {"past": (np.array(rows), 0, prompt[:, -1]), "seeds": int(seeds.sum())}

    def observe(self, frames, actions):
        rows, t, _ = self.state["past"]
        self.state = self.state | {"past": (rows, t + 1, frames)}

    def step(self, actions, last=False):
        rows, t, before = self.state["past"]
        truth = self.frames[rows, min(self.prompt + t, self.frames.shape[1] - 1)]
        if self.kind == "copies":
            frame = before
        elif self.kind == "is the game":
            frame = truth
        elif self.kind == "ignores":
            frame = np.random.default_rng(self.state["seeds"]).integers(0, 256, before.shape).astype(np.uint8)
        else:  # "obeys": right only under the true actions of this test
            frame = np.where((np.asarray(actions) != t % 3)[:, None, None, None], 255 - truth, truth)
        self.probability = np.full(len(rows), 0.5)
        self.state = {"past": (rows, t + 1, frame), "seeds": self.state["seeds"] + 1}
        return frame


def known(kind, count=24):
    frames = random_frames(count, PROMPT + HORIZON)
    actions = np.tile((np.arange(frames.shape[1] - 1) - PROMPT + 1) % 3, (count, 1))
    moments = Moments(SimpleNamespace(every=1), np.arange(count), frames, actions, None)
    return KnownWorld(kind, frames), moments


@pytest.mark.parametrize("kind", ["copies", "is the game", "ignores", "obeys"])
def test_known_worlds_get_the_figures_they_deserve(kind):
    world, moments = known(kind)
    asked, held = np.zeros((2, HORIZON), int), np.zeros((0, 6), int)
    dreams = dream_all(world, None, moments, asked, held, False, seed=1)
    figures, sharp = dream_figures(moments, dreams, moments.frames)
    assert sharp.shape == (24, 10)
    for group in ("dynamics", "dynamics.prompt1"):
        for t in range(1, 11):
            genie, last = figures[f"{group}.delta_psnr_genie.{t}"], figures[f"{group}.delta_psnr_last.{t}"]
            if kind == "obeys":
                assert genie["low"] > 20 and last["low"] > 60
            else:  # the action is ignored
                assert genie["value"] == last["value"] == 0
            if kind == "copies":
                assert figures[f"{group}.psnr.{t}"] == figures[f"{group}.psnr_copy.{t}"]
            assert figures[f"{group}.ssim_tokenizer.{t}"]["value"] == pytest.approx(1)
        if kind == "is the game":
            assert figures[f"{group}.psnr.10"]["value"] > 80 > figures[f"{group}.psnr_copy.1"]["value"]
            assert figures[f"{group}.frechet_blocks"]["value"] == pytest.approx(0, abs=1e-6)
            assert figures[f"{group}.frechet_blocks_copy"]["value"] > 0.1


def test_teacher_forcing_puts_the_truth_in_place_of_the_dream():
    world, moments = known("copies", count=3)
    future = moments.actions[:, PROMPT - 1 :]
    forced = rollout(world, **moments.prompt(1), actions=future, progress=Silent(), batch=3, truth=moments.truth)["dream"]
    np.testing.assert_array_equal(forced[:, 1:], moments.truth[:, :-1])  # a copy of what came before, and that was the truth


class Counting:
    """A world that writes the number of its step, and the actions so far, into the pixels. A step has `stride` frames."""

    def __init__(self, stride):
        self.stride, self.seed, self.state = stride, 0, {"seeds": 0}

    def restore(self, state):
        self.state = state

    def reset(self, prompt, actions, seeds):
        assert actions.shape[1] == (prompt.shape[1] - 1) // self.stride
        self.state = {"seeds": 0, "step": 0, "sum": actions.sum(axis=1)}

    def step(self, actions, last=False):
        step, total = self.state["step"], self.state["sum"] + actions
        self.state = {"seeds": 0, "step": step + 1, "sum": total}
        self.probability = np.full(len(actions), 0.5)
        frames = np.zeros((len(actions), self.stride, 8, 8, 3), np.uint8)
        frames[..., 0] = (step * self.stride + 1 + np.arange(self.stride))[:, None, None]
        frames[..., 1] = total[:, None, None, None]
        return frames[:, -1] if last or self.stride == 1 else frames


@pytest.mark.parametrize("stride", [1, 2])
def test_an_action_is_held_over_its_frames(stride):
    actions, prompt = np.array([[1, 0, 2], [0, 3, 1]]), np.zeros((2, 9, 8, 8, 3), np.uint8)
    steps = 4 // stride
    asked = (Counting(stride), prompt, np.array([[1, 0], [0, 0]]), actions, Silent(), 2, actions + 1)
    shown = rollout(*asked, every=4, between=True)
    assert shown["film"][0, :, 0, 0, 0].tolist() == list(range(1, 13)), "all frames, in order"
    sums = steps * (np.cumsum(actions, axis=1) + np.array([[1], [0]]))
    np.testing.assert_array_equal(shown["dream"][:, :, 0, 0, 1], sums, "the frames at the ends of the actions")
    np.testing.assert_array_equal(shown["dream"], shown["film"][:, 3::4])
    np.testing.assert_array_equal(shown["instead"][:, :, 0, 0, 1], sums + steps, "the last action held anew, all of it")
    for name, frames in rollout(*asked, every=4).items():
        np.testing.assert_array_equal(frames, shown[name], "the same without the frames between")


class Place(KnownWorld):
    """A world in which the player is somewhere on a line, and sees where. It forgets the way after `memory` steps."""

    def __init__(self, memory):
        self.memory, self.state = memory, {"seeds": 0}

    def reset(self, prompt, actions, seeds):
        self.state = {"seeds": 0, "start": prompt[:, -1], "at": np.zeros(len(prompt), int), "steps": 0}

    def step(self, actions, last=False):
        now = dict(self.state, at=self.state["at"] + np.asarray(actions) - 1, steps=self.state["steps"] + 1)
        self.state = now
        lost = now["steps"] > self.memory
        return (now["start"] + 50 * now["at"][:, None, None, None] + 90 * lost).astype(np.uint8)


def test_a_world_that_forgets_the_way_does_not_come_back(monkeypatch):
    moments = known("copies", 6)[1]
    moments.controls = controls = Controls({"a": 0, "none": 1, "d": 2})

    def play(game, episodes, rows, actions, title):
        steps = np.cumsum(actions - 1, axis=2)[..., None, None, None]
        frames = moments.frames[rows - PROMPT + 1, None, None, PROMPT - 1] + 50 * steps
        alive = np.ones(actions.shape, bool)
        alive[3:, :, 20:] = False
        return {"frames": frames.astype(np.uint8), "alive": alive}

    monkeypatch.setattr(memory, "play_on", play)
    figures = memory_figures(Place(20), moments, 6, controls.first, None)
    assert figures["memory.psnr.4"]["value"] == figures["memory.psnr.8"]["value"] > 80
    assert figures["memory.psnr.16"]["value"] < 20 and figures["memory.chance"]["value"] < 20
    assert (
        figures["memory.psnr_game.16"]["value"] > 80
        and figures["memory.psnr_game.16"]["n"] == 3 < figures["memory.psnr_game.4"]["n"]
    )


def test_a_world_that_fades_does_not_rest(monkeypatch):
    class Fades(Place):
        def step(self, actions, last=False):
            self.memory += 1
            return super().step(actions) + np.uint8(self.memory)

    moments = known("copies", 6)[1]
    moments.controls = controls = Controls({"a": 0, "none": 1, "d": 2})

    def play(game, episodes, rows, actions, title):
        assert (actions == 1).all()
        alive = np.ones(actions.shape, bool)
        alive[3:, :, 20:] = False
        return {"frames": np.repeat(moments.frames[rows - PROMPT + 1, None, None, PROMPT - 1], 50, axis=2), "alive": alive}

    monkeypatch.setattr(resting, "play_on", play)
    for world, faded in ((Place(99), False), (Fades(0), True)):
        figures = resting_figures(world, moments, 6, controls.first, None)
        assert (
            figures["resting.psnr_copy.50"]["value"] > 80 and figures["resting.psnr.50"]["n"] == 3 < figures["resting.psnr.10"]["n"]
        )
        assert (figures["resting.psnr.50"]["value"] < figures["resting.psnr.10"]["value"] < 40) == faded
        assert (figures["resting.psnr.50"]["value"] > 80) != faded


def test_improbable_tokens_foretell_wrong_pictures_if_they_do():
    sharp = RNG.uniform(10, 30, (60, 10))
    knows = guess_figures((sharp - 10) / 20, sharp)
    assert knows["guess.auroc"]["value"] == knows["guess.auroc_same_step"]["value"] == 1
    assert knows["guess.found"]["value"] > 0.95 and knows["guess.false_alarm"]["value"] < 0.05
    assert abs(knows["guess.threshold"]["value"] - 0.5) < 0.02 and abs(knows["guess.wrong"]["value"] - 0.5) < 0.1
    blind = guess_figures(RNG.random(sharp.shape), sharp)
    assert abs(blind["guess.auroc"]["value"] - 0.5) < 0.07
    t = np.arange(10)  # all that it knows is that later pictures are worse
    steps = guess_figures(RNG.random(sharp.shape) - t, 30 - 2 * t + RNG.normal(size=sharp.shape))
    assert steps["guess.auroc"]["value"] > 0.95 and abs(steps["guess.auroc_same_step"]["value"] - 0.5) < 0.1
    assert guess_figures(np.ones((4, 10)), np.full((4, 10), 30.0)).keys() == {"guess.wrong"}


def test_another_action_is_another():
    actions = RNG.choice([2, 5, 7], (50, 3))
    other = another(actions, RNG)
    assert (other != actions).all() and set(np.unique(other)) == {2, 5, 7}
    assert another(np.full(4, 3), RNG).tolist() == [3] * 4


def test_a_world_goes_back_to_a_moment(tiny, monkeypatch):
    monkeypatch.chdir(tiny.folder)
    world = World.load("model/tiny", sampling_steps=2, temperature=1.0)
    world.reset(random_frames(2, 4))
    before = world.state
    first = [world.step(np.array([0, 1])) for _ in range(3)]
    world.restore(before)
    again = [world.step(np.array([0, 1])) for _ in range(3)]
    np.testing.assert_array_equal(first, again)
    assert (world.step(np.array([0, 1])) != first[0]).any()


def test_frozen_and_drifting_dreams_are_seen():
    recorded = random_frames(6, 10)
    still, lively = np.repeat(random_frames(4, 1), 21, axis=1), random_frames(4, 21)
    frozen, moving = lasting_figures(still, recorded, (1, 10, 20)), lasting_figures(lively, recorded, (1, 10, 20))
    assert frozen["lasting.frozen.20"]["value"] == 1 and frozen["lasting.change.1"]["value"] == 0
    assert moving["lasting.frozen.20"]["value"] == 0 and moving["lasting.change.20"]["value"] > 50
    faded = lasting_figures(lively // 4, recorded, (10,))
    assert faded["lasting.frechet_blocks.10"]["low"] > moving["lasting.frechet_blocks.10"]["high"]


# Actions -------------------------------------------------------------------------------------------


def test_a_world_infers_from_a_prompt_what_the_recording_was_given(tiny, monkeypatch):
    """Also at an episode's beginning, where no earlier frames are."""
    monkeypatch.chdir(tiny.folder)
    config = parse("test", arguments=["--config", "tiny.yaml"])[0]
    episodes = Episodes(config.record_folder("test"))
    first = episodes.starts[episodes.lengths > 8][:8, None]
    given = latent_actions_of(config, {"": episodes})[""][first + np.arange(7)]
    inferred = World.load("model/tiny").infer_actions(episodes.frames(first + np.arange(8)))
    assert (inferred == given).mean() > 0.95  # other batches, other last bits
    assert len(np.unique(given)) > 2


@pytest.fixture(scope="module")
def recording(tiny):
    episodes = Episodes(tiny.folder / "record" / "tiny" / "test")
    rows = evaluation_windows(episodes, 14, 8, seed=1) + PROMPT - 1
    return episodes, rows


def test_the_game_plays_recorded_moments_on(recording):
    episodes, rows = recording
    game = recorded_with(episodes)
    assert (game.hold, game.train_levels) == (5, 80)
    future = episodes.read(rows[:, None] + np.arange(6))
    actions = np.repeat(future["action"][:, None, :5], 2, axis=1)
    actions[:, 1, 0] = np.where(actions[:, 1, 0] == 7, 1, 7)  # another direction
    played = play_on(game, episodes, rows, actions, "test")
    assert played["alive"][:, 0].all()
    np.testing.assert_array_equal(played["frames"][:, 0], future["frame"][:, 1:])  # what was recorded, to the last pixel
    assert (played["frames"][:, 1, 0] != future["frame"][:, 1]).any(axis=(1, 2, 3)).mean() > 0.8
    ended = play_on(game, episodes, rows[:1], np.full((1, 1, 205), 7), "test")["alive"][0, 0]  # an episode is at most 200 long
    assert ended[0] and not ended[-1] and (np.diff(ended.astype(int)) <= 0).all()


def test_a_game_that_does_not_come_to_the_recorded_frames_again_is_noticed(recording):
    episodes, rows = recording
    game = recorded_with(episodes)
    assert play_every_key(episodes, rows[:2], game)["replayed"]
    assert not play_every_key(episodes, rows[:2], dataclasses.replace(game, use_backgrounds=True))["replayed"]


def test_without_directions_among_the_controls_no_figure_names_one():
    controls = Controls({"none": 0, "w": 1, "space": 2})
    actions = np.tile([0, 1, 2], 20)
    probed = probes(actions, actions, 3, controls)
    figures = information_figures("x", actions, actions, np.repeat(np.arange(10), 6), probed, controls)
    assert figures["x.key_accuracy"]["value"] == 1 and not any("probe_accuracy" in name for name in figures)
    shown = pictures_of(np.tile(np.arange(3), (4, 1)))
    assert set(visible_effect(shown, np.ones((4, 3), bool), shown[:, 0], np.zeros(4, int), controls)) == {"key"}
    films, asked = random_frames(4, 7), RNG.integers(0, 3, (4, 3))
    read = obedience_figures(
        lambda some: np.zeros(len(some), int), films, np.ones((4, 3), bool), asked, np.arange(4), (1,), "", controls
    )
    assert set(read) == {"obey.key_f1.1"}


def test_what_looks_different():
    a = np.full((2, 64, 64, 3), 100, np.uint8)
    b = a.copy()
    b[0, :2, :2, 1] += 60
    b[1, :3, :1, 1] += 60
    b[1, 5:, :, 0] += 20
    assert look_different(a, b).tolist() == [True, False]


def pictures_of(keys):
    """A frame for each of int (...): uint8 (..., 64, 64, 3), all different."""
    frames = np.zeros((*np.shape(keys), 64, 64, 3), np.uint8)
    frames[:] = np.asarray(keys)[..., None, None, None] * 40
    return frames


def test_an_effect_is_visible_where_no_other_key_has_it():
    shown = np.tile(np.arange(6), (4, 1))
    shown[1, [0, 3]] = 0  # in the air: no jump
    shown[2] = 0  # nothing moves
    alive = np.ones((4, 6), bool)
    alive[3, 5] = False
    visible = visible_effect(pictures_of(shown), alive, pictures_of([1, 0, 0, 1]), np.array([1, 5, 7, 1]), COINRUN)
    assert visible["key"].tolist() == [True, False, False, False]
    assert visible["direction"].tolist() == [True, True, False, False]


def test_dreams_match_the_game_or_do_not():
    game = pictures_of(np.tile(np.arange(6), (10, 1)))
    game[:, 3] = game[:, 0]  # jumping does nothing
    alive = np.ones((10, 6), bool)
    perfect = matching_figures(game, game, alive, 1, "", COINRUN)
    assert perfect["counterfactual.match.1"]["value"] == 1
    assert perfect["counterfactual.chance.1"]["value"] == pytest.approx(1 / 5)
    turned = matching_figures(game[:, [0, 2, 1, 3, 4, 5]], game, alive, 1, "", COINRUN)
    assert turned["counterfactual.match.1"]["value"] == pytest.approx(4 / 6)
    assert turned["counterfactual.match.1.a"]["value"] == 0 and turned["counterfactual.match.1.dw"]["value"] == 1
    copy = matching_figures(np.repeat(game[:, 1:2], 6, axis=1), game, alive, 1, "_copy", COINRUN)
    assert copy["counterfactual.match_copy.1"]["value"] == pytest.approx(1 / 6)
    alive[:, 2] = False
    assert matching_figures(game, game, alive, 1, "", COINRUN)["counterfactual.match.1"]["value"] == 1
    assert (
        matching_figures(game[:, :1].repeat(6, 1), game[:, :1].repeat(6, 1), alive, 1, "", COINRUN) == {}
    )  # nothing to tell apart


def test_obedience_is_what_the_judge_reads():
    asked = RNG.integers(0, 6, (5, 20))
    films = np.concatenate([random_frames(5, 4), pictures_of(asked)], axis=1)

    def infer(frames):  # the last frame says it
        return np.asarray(frames)[:, -1, 0, 0, 0] // 40

    alive = np.ones((5, 20), bool)
    alive[1:, 15:] = False
    figures = obedience_figures(infer, films, alive, asked, np.arange(5), (1, 10, 20), "", COINRUN)
    assert figures["obey.key_f1.10"]["value"] == 1 and figures["obey.key_f1.10"]["n"] == 50
    assert figures["obey.key_f1.1"]["n"] == 5 and figures["obey.key_f1.20"]["n"] == 30
    other = obedience_figures(infer, films, alive, (asked + 1) % 6, np.arange(5), (10,), "", COINRUN)
    assert other["obey.key_f1.10"]["value"] == 0


def test_keys_are_what_actions_do():
    ways = {0: 0, 1: 0, 2: 0, 6: 2, 7: 2, 8: 2}  # Procgen's actions to the left and to the right
    for action, key in enumerate(COINRUN.of_action):
        assert COINRUN.direction_of(np.array(action)) == ways.get(action, 1)
        assert ("w" in COINRUN.names[key]) == (action in (2, 5, 8))


# The whole -----------------------------------------------------------------------------------------


def test_a_code_that_means_something_else_in_some_levels_is_seen():
    levels = np.repeat(np.arange(100, 150), 40)
    actions = np.tile(COINRUN.first[[1, 2]], 1000)  # a and d by turns
    codes = np.tile([0, 1], 1000)
    codes[levels >= 140] = 1 - codes[levels >= 140]
    probed = probes(np.tile([0, 1], 1000), actions, 2, COINRUN)
    figures = level_set_figures(codes, actions, levels, levels, probed, COINRUN)
    for number, share in ((1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 0.0)):
        for code, key in ((0, "a"), (1, "d")):
            assert figures[f"latent_action.means.{code}.{key}.{number}"]["value"] == share
        assert figures[f"latent_action.set.{number}.nmi"]["value"] == pytest.approx(1)
    assert figures["latent_action.means.0.a.1"]["n"] == 200, "ten levels of forty, half of them under each code"


def test_a_decoder_is_judged_over_the_pixels_that_changed(tmp_path):
    class Decoder:
        """Code c puts 100 + 100c at the pixel that changes, and is 10 off where nothing changes."""

        def predict_next(self, frames, codes):
            return ops.where(frames[:, -1] > 0, 100 + 100 * codes[:, None, None, None], 10)

    codes = np.resize([0, 1, 1, 0, 1], 40)
    for name in "ab":
        steps = np.zeros(20, episode_dtype((64, 64)))
        steps["frame"][1::2, 5, 5] = 101 + 100 * codes[:20:2, None]
        save_array(tmp_path / f"{name}.npy", steps)
    rows = np.concatenate([np.arange(0, 19, 2), np.arange(20, 39, 2)])
    figures = decoder_figures(Decoder(), Episodes(tmp_path), rows, codes[rows])
    wrong = np.random.default_rng(0).permutation(codes[rows]) != codes[rows]
    lost = 10 * np.log10(np.mean(np.where(wrong, np.where(codes[rows] == 1, 101, 99) ** 2, 1)))
    assert figures["latent_action.delta_psnr_changed"]["value"] == pytest.approx(lost)
    assert figures["latent_action.delta_psnr"]["value"] < lost / 2


def test_an_evaluation_is_whole_and_repeats(tiny):
    model = tiny.folder / "model" / "tiny"
    figures = json.loads((model / "evaluation.json").read_text())
    assert figures.keys() >= FIGURES, FIGURES - figures.keys()
    assert all(f["low"] <= f["value"] <= f["high"] and f["n"] > 0 for f in figures.values())
    windows = json.loads((model / "windows.json").read_text())["windows"]
    assert len(windows) == 8 and all((tiny.folder / "record" / "tiny" / "test" / name).exists() for name, _ in windows)
    report = (model / "report.html").read_text()
    assert "no FID" in report and "--inception_weights" in report and "no FVD" in report
    assert report.count("data:image/webp") == 6 and 'src="http' not in report and "href=" not in report.replace("xlink:href=", "")


def test_worlds_side_by_side(tiny, tmp_path):
    from genie_tf.evaluation.compare import compare

    figures = json.loads((tiny.folder / "model" / "tiny" / "evaluation.json").read_text())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "evaluation.json").write_text(json.dumps(figures))
    page = compare([str(tmp_path / "a"), str(tmp_path / "b")])
    assert page == tmp_path / "comparison.html"
    assert page.read_text().count(f"{figures['tokenizer.psnr']['value']:.2f}") >= 2
    refused(tiny.run("dream_evaluate_tf.py", "--compare", "model/tiny", "model/nobody"), "nobody", "evaluate it first")


def test_other_protocol_and_features_of_the_user(tiny, monkeypatch, tmp_path, capsys):
    from genie_tf.evaluation.genieredux import evaluate_genieredux

    monkeypatch.chdir(tiny.folder)
    config = parse("test", arguments=["--config", "tiny.yaml"])[0]
    monkeypatch.setattr(features, "load_inception", lambda weights: "a network")
    monkeypatch.setattr(features, "inception_features", lambda model, frames, progress: block_statistics(frames))
    figures = evaluate_genieredux(config)
    for name in ("latent.psnr", "latent.ssim", "latent.delta_psnr", "latent.fid", "tokenizer.fid", "tokenizer.psnr", "copy.ssim"):
        assert f"genieredux.{name}" in figures
    said = capsys.readouterr().out
    assert "33.41" in said and "34.44" in said and f"{figures['genieredux.latent.psnr']['value']:.2f}" in said

    world, moments = known("is the game", count=4)
    dreams = dream_all(world, None, moments, np.zeros((2, 1), int), np.zeros((0, 6), int), False, seed=1)
    (tmp_path / "mine.py").write_text("def brightness(videos):\n    return videos.mean(axis=(2, 3))[..., 0]\n")
    mine = load_video_features(f"{tmp_path}/mine.py:brightness")
    distances = far_off_figures(moments, dreams, moments.frames // 2, "a network", mine)
    assert distances["dynamics.fid"]["value"] == pytest.approx(0, abs=1e-6) == distances["dynamics.prompt1.fvd"]["value"]
    assert distances["tokenizer.fid"]["low"] > 0 and distances["tokenizer.fvd"]["value"] > 1
    for bad in (f"{tmp_path}/mine.py:nothing", f"{tmp_path}/none.py:f", "mine"):
        with pytest.raises(UserError, match=r"file\.py:function"):
            load_video_features(bad)


@pytest.mark.slow
def test_inception_reads_weights_from_a_file(tmp_path):
    import keras

    with pytest.raises(UserError, match="notop"):
        load_inception(tmp_path / "missing.h5")
    theirs = keras.applications.InceptionV3(include_top=False, pooling="avg", weights=None, input_shape=(299, 299, 3))
    theirs.save_weights(tmp_path / "mine.weights.h5")
    frames = random_frames(3)
    ours = inception_features(load_inception(tmp_path / "mine.weights.h5"), frames, Silent())
    enlarged = keras.ops.image.resize(frames.astype("float32"), (299, 299))
    expected = theirs.predict(keras.applications.inception_v3.preprocess_input(np.array(enlarged)), verbose=0)
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


def test_the_tokenizer_alone_has_the_figures_of_the_whole_evaluation(tiny):
    said = tiny.make("dream_evaluate_tf.py", "--only_tokenizer")
    whole = json.loads((tiny.folder / "model" / "tiny" / "evaluation.json").read_text())
    for name in ("tokenizer.psnr", "tokenizer.ssim", "tokenizer.psnr_moving", "tokenizer.psnr_coin"):
        assert f"{whole[name]['value']:.3f}" in next(line for line in said.splitlines() if line.startswith(name + " "))
    assert "64 tokens a frame" in said and (tiny.folder / "model" / "tiny" / "tokenizer.png").exists()
