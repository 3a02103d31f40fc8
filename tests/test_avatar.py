"""The latent action model that follows the figure that the keys move."""

import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import episode_dtype
from genie_tf.errors import UserError
from genie_tf.files import save_array
from genie_tf.latent_action.auto import AutoSettings, chosen
from genie_tf.latent_action.avatar import AvatarModel, AvatarSettings
from genie_tf.latent_action.decoder import MotionDecoder, stepped
from genie_tf.latent_action.looks import FEWEST, LOOKS, NEAR, OWN, find_avatar, places, surprise_of
from genie_tf.layers.pixels import from_pixels

SIZE, WAYS = 32, np.array([[0, 0], [0, -3], [0, 3], [-3, 0], [3, 0]])
SCENERY = np.random.default_rng(7).integers(0, 90, (SIZE, SIZE, 3)).astype(np.uint8)
FIGURE = (60, 120, 250)


def film(rng: np.random.Generator, length: int, figure: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A larger thing goes its steady way. A small figure goes where the key says, before scenery in which other things flash.

    Returns:
        Episode (length,), its action is the key; and the row and column (length, 2) of the figure.
    """
    episode = np.zeros(length, episode_dtype((SIZE, SIZE)))
    place, steady = rng.integers(10, 22, 2), rng.integers(0, SIZE - 6)
    where = np.zeros((length, 2))
    for t in range(length):
        frame = episode["frame"][t]
        if figure:
            frame[:] = SCENERY
            row, column = rng.integers(0, SIZE - 6, 2)
            frame[row : row + 6, column : column + 6] = (250, 60, 60)
        column = (steady + 2 * t) % (SIZE - 6)
        frame[24:30, column : column + 6] = (240, 240, 60)
        if figure:
            frame[place[0] - 1 : place[0] + 2, place[1] - 1 : place[1] + 2] = FIGURE
        where[t] = place
        inside = [key for key, way in enumerate(WAYS) if (np.abs(place + way - SIZE // 2) <= 12).all()]
        episode["action"][t] = rng.choice(inside)
        place = place + WAYS[episode["action"][t]]
    return episode, where


def recorded(folder, figure: bool = True) -> Episodes:
    rng = np.random.default_rng(3)
    folder.mkdir()
    for name in "abcdefgh":
        save_array(folder / f"{name}.npy", film(rng, 80, figure)[0])
    return Episodes(folder)


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Episodes:
    return recorded(tmp_path_factory.mktemp("avatar") / "train")


@pytest.fixture(scope="module")
def learnt(recording) -> AvatarModel:
    keras.utils.set_random_seed(1)
    settings = AvatarSettings(codes=5, width=16)
    model = AvatarModel.from_settings(settings, recording.frame_size)
    model.adapt(recording)
    model.compile(keras.optimizers.Adam(4e-3, clipnorm=1.0))
    examples, rng = AvatarModel.examples(recording, recording.folder, settings), np.random.default_rng(4)
    for _ in range(150):
        model.train_on_batch(examples.draw(rng, 32))
    return model


def seen_and_true(film_of) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    episode, where = film_of
    frames = np.stack([episode["frame"][t : len(episode) - 3 + t] for t in range(4)], axis=1)
    return frames, episode["action"][2:-1], where[2:-1]


def test_the_looks_of_the_avatar_are_where_it_is(recording):
    avatar = find_avatar(recording)
    episode, where = film(np.random.default_rng(5), 200)
    found = ops.convert_to_numpy(places(episode["frame"], avatar.looks, avatar.own))
    first = found[found[:, 0, 2] > 0, 0, :2]
    off = np.abs(first - where[found[:, 0, 2] > 0][:, ::-1])
    assert len(first) > 60 and np.mean(off.max(axis=1) <= 3.0) > 0.9, "neither the steady thing nor the flashes"
    further = (avatar.own >= 0).sum()
    assert further > 1 and np.abs(avatar.offsets[:further]).max() <= 3.0


def test_each_look_marks_the_same_place():
    """A figure of a red and a blue part. Its place is that of the red one, also where only the blue one is seen."""
    model = AvatarModel.from_settings(AvatarSettings(codes=5, width=16), (SIZE, SIZE))
    model.build()
    looks, own, offsets = np.full((LOOKS, 27), 0.5, np.float32), np.full(OWN, -1), np.zeros((OWN, 2), np.float32)
    looks[:3], own[:2], offsets[1] = np.tile(np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]]), 9), [1, 2], (6, -3)
    for weight, value in zip((model.looks_KE, model.own_M, model.offsets_M2), (looks, own, offsets)):
        weight.assign(value)
    frames = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    frames[0, 11:14, 19:22, 0] = 255  # red in row 12, column 20
    frames[1, 8:11, 25:28, 2] = 255  # blue in row 9, column 26
    place, known = map(ops.convert_to_numpy, model._marks(frames))
    np.testing.assert_array_equal(known, [True, True, False])
    np.testing.assert_allclose(place[:2], [[20, 12]] * 2, atol=0.01)


def test_the_network_follows_the_avatar_and_the_codes_are_the_keys(learnt):
    frames, keys, where = seen_and_true(film(np.random.default_rng(6), 400))
    place = ops.convert_to_numpy(learnt._place(frames[:, 2])["place"])
    off = np.abs(place - where[:, ::-1]).max(axis=1)
    off = np.abs(off - np.median(off))  # its middle may be any part of the figure
    assert np.mean(off <= 2.0) > 0.9
    codes = ops.convert_to_numpy(learnt.code(frames))
    table = np.zeros((5, 5))
    np.add.at(table, (codes, keys), 1)
    assert table.max(axis=0).sum() > 0.8 * len(keys), table
    assert len(set(table.argmax(axis=0))) == 5, "no two keys share a code"


def test_the_decoder_does_not_see_the_next_frame_and_the_code_does(learnt):
    frames, _, _ = seen_and_true(film(np.random.default_rng(8), 40))
    five = np.concatenate([frames[:, :1], frames], axis=1)
    np.testing.assert_array_equal(learnt.infer(five), learnt.code(frames))
    other = five.copy()
    other[:, 4] = SCENERY
    codes = np.full(len(five), 2, np.int32)
    np.testing.assert_array_equal(learnt.predict_next(five, codes), learnt.predict_next(other, codes))


def test_the_decoder_moves_the_figure_by_the_step_of_the_code(learnt):
    frames, _, _ = seen_and_true(film(np.random.default_rng(6), 300))
    five, truth = np.concatenate([frames[:, :1], frames], axis=1), frames[:, 3].astype(int)
    changed = (truth != frames[:, 2]).any(axis=-1)
    codes = ops.convert_to_numpy(learnt.code(frames))

    def error(codes):
        missed = ops.convert_to_numpy(learnt.predict_next(five, codes)).astype(int) - truth
        return np.square(missed).sum(axis=-1)[changed].mean()

    told, other = error(codes), error(np.random.default_rng(0).permutation(codes))
    assert 10 * np.log10(other / told) > 0.3, "although the flashes change more than the figure"


@pytest.mark.parametrize("rows, weight", [(8, 1 + 1 / 0.5), (0.25, 1 + 1 / 0.02)])
def test_pixels_that_change_weigh_as_much_as_all_but_not_without_a_limit(rows, weight):
    frames = np.random.default_rng(1).integers(0, 255, (1, 1, 16, 16, 3)).repeat(3, axis=1).astype(np.uint8)
    changed = (np.arange(256) < 16 * rows).reshape(16, 16)
    frames[0, 2, changed] += 1
    out = MotionDecoder(codes=2, width=8, frame_size=(16, 16))(frames, np.zeros(1, np.int32))
    missed = ops.convert_to_numpy(out["prediction"] - from_pixels(frames[:, 2]))[0]
    each = (np.square(missed) + 0.1 * np.abs(missed)).mean(axis=-1)
    np.testing.assert_allclose(out["error"], 0.5 * np.mean(np.where(changed, weight, 1.0) * each), rtol=1e-4)


def test_a_picture_is_moved_by_whole_pixels_and_by_parts():
    x = np.zeros((2, 5, 6, 1), np.float32)
    x[:, 2, 3] = 1.0
    moved = ops.convert_to_numpy(stepped(x, np.array([[2.0, -1.0], [-0.25, 0.0]], np.float32), 3))[..., 0]
    assert moved[0, 1, 5] == 1.0 and moved[0].sum() == 1.0
    np.testing.assert_allclose(moved[1, 2, 2:4], [0.25, 0.75])


def test_steady_things_do_not_surprise_and_things_that_jump_are_no_avatar():
    rng, count = np.random.default_rng(9), 300 * FEWEST
    still = np.zeros((count, 2))
    steady = np.cumsum(np.tile(rng.uniform(-3, 3, (count, 1, 2)), (1, 3, 1)), axis=1)
    assert surprise_of(steady, still, 64) < 0.01
    led = np.cumsum(rng.choice([-4.0, 0.0, 4.0], (count, 3, 2)), axis=1)
    assert np.abs(led[:, 2] - led[:, 1]).max() < NEAR * 64
    assert surprise_of(led, still, 64) > 0.5
    assert surprise_of(led, led[:, 2] - led[:, 1], 64) == 0.0, "it moves with the picture: it is scenery"
    jumps = rng.uniform(0, 64, (count, 3, 2))
    assert surprise_of(jumps, still, 64) < 0.0
    assert surprise_of(np.full((count, 3, 2), np.nan), still, 64) == 0.0


def test_auto_takes_it_where_there_is_an_avatar_and_only_there(recording, tmp_path, capsys):
    assert chosen(AutoSettings(codes=5), recording) == AvatarSettings(codes=5)
    assert "avatar, because one thing is always there" in capsys.readouterr().out
    assert chosen(AutoSettings(codes=5), recorded(tmp_path / "without", figure=False)).kind != "avatar"


def test_a_recording_without_an_avatar_is_refused(tmp_path):
    save_array(tmp_path / "a.npy", np.zeros(40, episode_dtype((SIZE, SIZE))))
    model = AvatarModel.from_settings(AvatarSettings(), (SIZE, SIZE))
    with pytest.raises(UserError, match="no avatar"):
        model.adapt(Episodes(tmp_path))
