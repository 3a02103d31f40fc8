"""The latent action model of still cameras, and the choice between it and the model of cameras that follow the player."""

import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import episode_dtype
from genie_tf.files import save_array
from genie_tf.latent_action.auto import AutoSettings, as_kind, chosen, moves_with_the_player
from genie_tf.latent_action.hypotheses import HypothesesModel, HypothesesSettings, shares
from genie_tf.latent_action.motion_rank import MotionRankSettings

SIZE, WAYS = (32, 32), np.array([[0, 0], [0, -4], [0, 4], [-4, 0], [4, 0]])
SCENERY = np.random.default_rng(7).integers(0, 90, (*SIZE, 3)).astype(np.uint8)


def films(rng: np.random.Generator, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Four frames of a figure that goes where the key says, before a still background. A second figure goes its own steady way."""
    keys = rng.integers(0, len(WAYS), (batch, 3))
    place = rng.integers(12, [17, 17], (batch, 2))
    other, steady = rng.integers(2, 14, (batch, 2)), rng.integers(1, 4, (batch, 2))
    frames = np.tile(SCENERY, (batch, 4, 1, 1, 1))
    for i in range(batch):
        for t in range(4):
            row, column = other[i] + t * steady[i]
            frames[i, t, row : row + 3, column : column + 3] = (60, 200, 60)
            row, column = place[i] + WAYS[keys[i, :t]].sum(axis=0)
            frames[i, t, row - 2 : row + 2, column - 2 : column + 2] = (240, 160, 60)
    return frames, keys[:, 2]


@pytest.fixture(scope="module")
def learnt() -> HypothesesModel:
    rng = np.random.default_rng(1)
    keras.utils.set_random_seed(1)
    model = HypothesesModel(codes=5, width=16, frame_size=SIZE)
    model.build()
    model.compile(keras.optimizers.Adam(4e-3, clipnorm=1.0))
    for _ in range(250):
        model.train_on_batch(films(rng, 32)[0])
    return model


def test_codes_are_the_keys_before_a_still_background(learnt):
    frames, keys = films(np.random.default_rng(2), 512)
    codes = ops.convert_to_numpy(learnt.code(frames))
    table = np.zeros((5, 5))
    np.add.at(table, (codes, keys), 1)
    assert table.max(axis=0).sum() > 0.8 * len(keys), table
    assert len(set(table.argmax(axis=0))) == 5, "no two keys share a code"
    out = learnt(frames)
    assert out["psnr"] > out["expected_psnr"] + 1.0, "a hypothesis tells more than the expectation"


def test_the_hypothesis_of_a_code_does_not_see_the_next_frame_and_the_code_is_the_nearest(learnt):
    frames, _ = films(np.random.default_rng(3), 8)
    five = np.concatenate([frames[:, :1], frames], axis=1)
    told = np.stack([ops.convert_to_numpy(learnt.predict_next(five, np.full(8, code, np.int32))) for code in range(5)], axis=1)
    blind = five.copy()
    blind[:, -1] = 0
    for code in range(5):
        np.testing.assert_array_equal(told[:, code], learnt.predict_next(blind, np.full(8, code, np.int32)))
    assert told.shape == (8, 5, *SIZE, 3) and told.dtype == np.uint8
    distance = np.square(told.astype(float) - five[:, None, -1]).sum(axis=(2, 3, 4))
    np.testing.assert_array_equal(distance.argmin(axis=1), learnt.infer(five))
    np.testing.assert_array_equal(learnt.infer(five), learnt(frames)["codes"])


def test_what_a_code_changes_depends_on_the_movement_until_now_through_the_expected_picture_alone(learnt, monkeypatch):
    """Otherwise a code would come to mean "on" or "back"."""
    past = films(np.random.default_rng(4), 4)[0][:, :3] / np.float32(255) - np.float32(0.5)
    other = past.copy()
    other[:, :2] = other[:, 2:]
    one, two = (learnt._suppose(ops.convert_to_tensor(each)) for each in (past, other))
    assert np.abs(ops.convert_to_numpy(one["expected"] - two["expected"])).max() > 1e-3
    monkeypatch.setattr(learnt, "expect", lambda seen: ops.zeros((*seen.shape[:3], 48)))
    one, two = (learnt._suppose(ops.convert_to_tensor(each)) for each in (past, other))
    np.testing.assert_array_equal(one["supposed"], two["supposed"])


def test_shares_are_even_over_the_batch_and_the_nearest_code_has_the_most():
    errors = np.random.default_rng(5).uniform(1.0, 2.0, (64, 4)).astype(np.float32)
    errors[:, 0] += 1.0  # a code that is never the nearest is trained as much as the others
    surprise = np.ones(64, np.float32)
    given = ops.convert_to_numpy(shares(ops.convert_to_tensor(errors), surprise))
    np.testing.assert_allclose(given.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(given.sum(axis=0), 16.0, rtol=0.05)
    assert (given[:, 1:].argmax(axis=1) == errors[:, 1:].argmin(axis=1)).mean() > 0.8
    scaled = ops.convert_to_numpy(shares(ops.convert_to_tensor(1000.0 * errors), 1000.0 * surprise))
    np.testing.assert_allclose(scaled, given, atol=1e-3, err_msg="the unit of the errors does not matter")


def test_transitions_without_surprise_do_not_take_the_codes():
    errors = np.random.default_rng(5).uniform(1.0, 2.0, (64, 4)).astype(np.float32)
    errors[16:, 0] -= 2.0  # three quarters of the batch, in which nothing happens, are nearest to code 0
    surprise = np.where(np.arange(64) < 16, 1.0, 1e-6).astype(np.float32)
    given = ops.convert_to_numpy(shares(ops.convert_to_tensor(errors), surprise))
    np.testing.assert_allclose(given[:16].sum(axis=0), 4.0, rtol=0.05)
    assert given[16:, 0].mean() > 0.9


def test_the_border_of_the_picture_has_no_part_in_the_code(learnt):
    frames, _ = films(np.random.default_rng(8), 16)
    other = frames.copy()
    other[:, 3, :4] = 255
    other[:, 3, :, -4:] = 0
    np.testing.assert_array_equal(learnt.code(frames), learnt.code(other))


def recorded(folder, follows: bool) -> Episodes:
    """Three films: a figure that is anywhere before a still background, or a background that moves to and fro."""
    rng = np.random.default_rng(6)
    wide = rng.integers(0, 255, (60, 60, 3) if follows else (16, 24, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    folder.mkdir()
    for name in "abc":
        episode = np.zeros(40, episode_dtype((64, 64)))
        camera = np.array([200, 200] if follows else [0, 0])
        for t in range(40):
            camera = np.clip(camera + follows * rng.integers(-11, 12, 2), 0, 400)
            episode["frame"][t] = wide[camera[0] : camera[0] + 64, camera[1] : camera[1] + 64]
            row, column = rng.integers(4, 56, 2)
            episode["frame"][t, row : row + 6, column : column + 6] = (255, 255, 255)
        save_array(folder / f"{name}.npy", episode)
    return Episodes(folder)


def test_the_kind_is_chosen_by_the_movement_of_the_picture(tmp_path, capsys):
    still, follows = (recorded(tmp_path / name, name == "follows") for name in ("still", "follows"))
    assert moves_with_the_player(still) < 0.2 < 0.6 < moves_with_the_player(follows)
    settings = AutoSettings(codes=4, width=16, epochs=3)
    assert chosen(settings, still) == HypothesesSettings(codes=4, width=16, epochs=3)
    said = capsys.readouterr().out
    assert "hypotheses, because no single thing moves unpredictably, and the camera does not follow the player" in said
    assert chosen(settings, follows) == MotionRankSettings(codes=4, width=16, epochs=3)
    assert "motion_rank, because no single thing moves unpredictably, and the camera follows the player" in capsys.readouterr().out
    named = MotionRankSettings(codes=4)
    assert chosen(named, still) is named and not capsys.readouterr().out, "a kind that is named is not judged"
    assert as_kind(AutoSettings(), "hypotheses") == HypothesesSettings()


def test_a_film_without_change_has_no_movement(tmp_path):
    save_array(tmp_path / "a.npy", np.zeros(9, episode_dtype((64, 64))))
    assert moves_with_the_player(Episodes(tmp_path)) == 0.0
