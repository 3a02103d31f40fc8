"""The tokenizers: what must hold for each. Runs on either Keras backend."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.errors import UserError
from genie_tf.layers.pixels import to_pixels
from genie_tf.tokenizer.conv import ConvTokenizer
from genie_tf.tokenizer.st_vivit import STViViTSettings, STViViTTokenizer
from genie_tf.training.backend import compiled

VECTOR = {"kind": "vector", "codes": 32, "code_dim": 8}
MODELS = {
    "conv": lambda **size: ConvTokenizer(VECTOR, width=16, **size),
    "st_vivit": lambda **size: STViViTTokenizer(VECTOR, width=32, depth=2, heads=2, patch=16, window=3, **size),
}
each = pytest.mark.parametrize("kind", sorted(MODELS))


@functools.cache
def made(kind):
    """A model whose codes are laid out among what is seen, and whose weights are random everywhere."""
    keras.utils.set_random_seed(3)
    model = MODELS[kind]()
    model.build()
    rng = np.random.default_rng(3)
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_numpy(weight) + 0.05 * rng.standard_normal(weight.shape))
    model.compile(keras.optimizers.SGD(0.0))
    for seed in range(3):
        model.train_on_batch(films(8, 5, seed=seed))
    return model


@functools.cache
def call(function):
    """A model's method, compiled: on JAX, what runs line by line is compiled line by line."""
    return compiled(function)


def films(*shape, size=(64, 64), seed=0):
    """Films of coloured blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (*shape, size[0] // 8, size[1] // 8, 3))
    return blocks.repeat(8, axis=-3).repeat(8, axis=-2).astype(np.uint8)


def arrays(outputs):
    return {name: ops.convert_to_numpy(value) for name, value in outputs.items()}


@each
def test_a_film_frame_by_frame_is_what_the_call_reconstructs(kind):
    model, film = made(kind), films(3, 6, seed=9)
    out = arrays(call(model)(film))
    assert out["reconstruction"].shape == film.shape and out["tokens"].shape == (3, 6, model.tokens)
    assert len(np.unique(out["tokens"])) > 8 and out["tokens"].max() < model.codes
    seen, shown = model.memory(3), model.memory(3)
    for t in range(6):
        encoded = call(model.encode)(ops.convert_to_tensor(film[:, t]), seen)
        np.testing.assert_array_equal(encoded["tokens"], out["tokens"][:, t], err_msg=f"frame {t}")
        decoded = call(model.decode)(encoded["tokens"], shown)
        seen, shown = encoded["memory"], decoded["memory"]
        picture = ops.convert_to_numpy(decoded["frames"])
        assert picture.shape == (3, 64, 64, 3) and picture.dtype == np.uint8
        expected = ops.convert_to_numpy(to_pixels(out["reconstruction"][:, t]))
        assert np.abs(picture.astype(int) - expected).max() <= 1


@each
def test_later_frames_change_nothing_earlier(kind):
    model, film = made(kind), films(2, 6, seed=4)
    other = film.copy()
    other[:, 3:] = films(2, 3, seed=5)
    one, two = arrays(call(model)(film)), arrays(call(model)(other))
    np.testing.assert_array_equal(one["tokens"][:, :3], two["tokens"][:, :3])
    np.testing.assert_allclose(one["reconstruction"][:, :3], two["reconstruction"][:, :3], atol=1e-5)
    assert (one["tokens"][:, 3:] != two["tokens"][:, 3:]).any()


def test_tokens_and_pictures_depend_on_the_frames_before_as_far_as_the_windows_reach():
    """Two blocks of 3 frames each reach 4 frames back, in the encoder and again in the decoder."""
    model, film = made("st_vivit"), films(2, 6, seed=4)
    other = film.copy()
    other[:, 0] = films(2, seed=5)
    one, two = arrays(call(model)(film)), arrays(call(model)(other))
    differs = (one["tokens"] != two["tokens"]).any(axis=(0, 2))
    assert differs[1] and not differs[5]
    alone = call(model.decode)(one["tokens"][:, 5], model.memory(2))["frames"]
    assert (ops.convert_to_numpy(alone) != ops.convert_to_numpy(to_pixels(one["reconstruction"][:, 5]))).mean() > 0.1


def test_a_window_of_one_frame_encodes_each_frame_separately():
    model = STViViTTokenizer(VECTOR, width=16, depth=1, heads=2, patch=32, window=1)
    model.build()
    film, memory = films(2, 3), model.memory(2)
    for t, tokens in enumerate(np.moveaxis(arrays(call(model)(film))["tokens"], 1, 0)):
        frame = ops.convert_to_tensor(film[:, t])
        encoded, alone = call(model.encode)(frame, memory), call(model.encode)(frame, model.memory(2))
        memory = encoded["memory"]
        np.testing.assert_array_equal(encoded["tokens"], tokens)
        np.testing.assert_array_equal(alone["tokens"], tokens)


@each
def test_other_sizes(kind):
    model = MODELS[kind](frame_size=(32, 48))
    model.build()
    film = films(1, 2, size=(32, 48))
    out = arrays(call(model)(film))
    assert out["reconstruction"].shape == film.shape and out["tokens"].shape == (1, 2, model.tokens)


@each
def test_it_learns_and_loads_equal(kind, tmp_path):
    keras.utils.set_random_seed(1)
    model = MODELS[kind]()
    model.build()
    model.compile(keras.optimizers.Adam(3e-3))
    film = films(8, 3, seed=2)
    history = model.fit(film, epochs=30, batch_size=8, verbose=0).history
    assert history["psnr"][-1] > history["psnr"][0] + 1
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(call(model)(film)["tokens"], call(loaded)(film)["tokens"])


def test_patches_that_do_not_fill_the_frame_and_heads_that_do_not_fill_the_width_are_refused():
    for settings, words in (
        (STViViTSettings(patch=10), "--tokenizer.patch 10: .* 64 x 96"),
        (STViViTSettings(patch=64), "--tokenizer.patch 64: .* 64 x 96"),
        (STViViTSettings(heads=3), "--tokenizer.heads 3: .* 128"),
    ):
        with pytest.raises(UserError, match=words):
            STViViTTokenizer.from_settings(settings, (64, 96))
    assert STViViTTokenizer.from_settings(STViViTSettings(patch=16), (64, 96)).tokens == 24
