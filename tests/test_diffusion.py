"""The diffusion dynamics: what must hold for any weights, and that they learn. Runs on either Keras backend."""

import dataclasses

import keras
import numpy as np
import pytest
from conftest import sampling_noise
from keras import ops

from genie_tf.dynamics.diffusion import DiffusionDynamics, DiffusionSettings, noise_levels
from genie_tf.errors import UserError
from genie_tf.tokenizer.conv import ConvTokenizer
from genie_tf.tokenizer.delta import DeltaTokenizer
from genie_tf.training.backend import compiled

RNG = np.random.default_rng(3)
B, T, N, K, A = 2, 5, 9, 13, 3  # tokens: the shift, and a grid of 4 x 2
SETTINGS = DiffusionSettings(width=32, depth=2, heads=2, window=3, picture_noise=0.0)
CIRCLE = np.stack([np.cos(2 * np.pi * np.arange(K) / K), np.sin(2 * np.pi * np.arange(K) / K)], axis=1).astype(np.float32)


def made(context=None):
    """A model whose first token has vectors of two coordinates, and whose other tokens have three of their own."""
    keras.utils.set_random_seed(5)
    vectors = [(1, CIRCLE), (N - 1, np.random.default_rng(6).normal(size=(K - 2, 3)).astype(np.float32))]
    model = DiffusionDynamics.from_settings(SETTINGS, K, N, A, context, vectors)
    rng = np.random.default_rng(5)
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_numpy(weight) + 0.1 * rng.standard_normal(weight.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return made({"frame_size": (64, 32), "grid": (4, 2)})


def sequence():
    return {
        "tokens": RNG.integers(0, K - 2, (B, T, N)).astype(np.int32), "actions": RNG.integers(0, A, (B, T)).astype(np.int32),
        "pictures": RNG.integers(0, 256, (B, T, 64, 32, 3)).astype(np.uint8),
    }  # fmt: skip


@pytest.mark.parametrize("kind", [ConvTokenizer, DeltaTokenizer])
def test_a_token_stands_for_the_vector_of_its_tokenizer(kind):
    quantizer = {"kind": "finite_scalar", "levels": [4, 3]}
    sizes = {"width": 8, "frame_size": (32, 32)} | ({"actions": A, "stride": 2} if kind is DeltaTokenizer else {"patch": 8})
    tokenizer = kind(quantizer, **sizes)
    tokenizer.build()
    vectors = tokenizer.vectors()
    assert sum(places for places, _ in vectors) == tokenizer.tokens
    dynamics = DiffusionDynamics.from_settings(SETTINGS, tokenizer.codes, tokenizer.tokens, A, None, vectors)
    counts = np.concatenate([[len(table)] * places for places, table in vectors])
    tokens = np.random.default_rng(1).integers(0, counts, (50, tokenizer.tokens)).astype(np.int32)
    x = ops.convert_to_numpy(dynamics.vectors_of(tokens))
    np.testing.assert_array_equal(dynamics.nearest(x + 0.05), tokens)
    assert (x[:, dynamics.used_NV == 0] == 0).all()
    np.testing.assert_allclose(x[:, -1, -2:], ops.convert_to_numpy(tokenizer.quantizer.lookup(tokens[:, -1])))
    if kind is DeltaTokenizer:  # a shift one pixel to the right is the next token
        tokens = tokens // 2 * 2  # of 13 in a row
        step = ops.convert_to_numpy(dynamics.vectors_of(tokens + 1) - dynamics.vectors_of(tokens))[tokens[:, 0] % 13 < 12, 0, :2]
        np.testing.assert_allclose(step, np.tile([0, 0.25], (len(step), 1)), atol=1e-6)


def forward(model, noise, tokens, actions, pictures):
    """Predictions beside next frames that are noise alone."""
    x, level = model.vectors_of(tokens), np.zeros((B, T - 1), np.float32)
    next_ = ops.broadcast_to(noise[:, None], (B, T - 1, N, model.size)), level + 1.0
    return ops.convert_to_numpy(model.forward((x[:, :-1], level), next_, actions, pictures))


@pytest.mark.parametrize("what", ["tokens", "actions", "pictures"])
def test_a_frame_depends_on_what_comes_before_it_alone(model, what):
    """The action and the picture at t - 1 lead to frame t, which is prediction t - 1."""
    given, t = sequence(), 2
    other = {name: value.copy() for name, value in given.items()}
    other[what][:, t] = {"tokens": K - 3, "actions": A - 1, "pictures": 255}[what] - other[what][:, t]
    noise = RNG.normal(size=(B, N, model.size)).astype(np.float32) * model.used_NV
    before, after = (forward(model, noise, **each) for each in (given, other))
    same = np.abs(before - after).max(axis=(0, 2, 3)) < 1e-5
    np.testing.assert_array_equal(same[: t + 1], [True] * t + [False])


@pytest.mark.parametrize("steps", [1, 3])
def test_cached_sampling_follows_the_predictions_of_the_uncached_model(model, steps):
    given = sequence()
    past, before = model.empty_past(B), np.zeros_like(given["pictures"][:, 0])
    for t in range(T - 1):
        led_by = given["actions"][:, t - 1] if t else np.full(B, model.no_action, np.int32)
        past = model.extend(past, given["tokens"][:, t], led_by, before)
        before = given["pictures"][:, t]
    noise = sampling_noise(model, B, steps, seed=1)
    drawn = model.sample(past, given["actions"][:, T - 2], noise, 0.7, before)
    again = model.sample(past, given["actions"][:, T - 2], noise, 0.7, before)
    np.testing.assert_array_equal(drawn["tokens"], again["tokens"])

    level = np.zeros((B, T - 1), np.float32)
    x = 0.7 * np.sqrt(2) * ops.convert_to_numpy(ops.erfinv(2 * noise[:, 0] - 1)) * model.used_NV
    for i in range(steps):
        next_ = np.broadcast_to(x[:, None], (B, T - 1, N, model.size)), level + 1 - i / steps
        velocity = model.forward((model.vectors_of(given["tokens"])[:, :-1], level), next_, given["actions"], given["pictures"])
        x = x - ops.convert_to_numpy(velocity)[:, -1] / steps
    np.testing.assert_array_equal(drawn["tokens"], model.nearest(x))
    probability = ops.convert_to_numpy(drawn["probability"])
    assert ((probability > 0) & (probability < 1)).all()
    other = model.sample(past, given["actions"][:, T - 2], sampling_noise(model, B, steps, seed=2), 0.7, before)
    assert np.abs(probability - ops.convert_to_numpy(other["probability"])).min() > 0, "another seed is another frame"


def test_it_learns_and_loads_equal(tmp_path):
    """Action 0 keeps the tokens, and the others write one of two codes. The noise must be seen through and removed."""
    rng = np.random.default_rng(1)
    actions = rng.integers(0, A, (256, 4))
    led_by = np.concatenate([np.zeros((256, 1), int), actions[:, :-1]], axis=1)
    tokens = rng.integers(0, K, (256, 4, 4))
    for t in range(1, 4):
        tokens[:, t] = np.where(led_by[:, t, None] == 0, tokens[:, t - 1], 4 * led_by[:, t, None])
    x = {"tokens": tokens.astype(np.int32), "actions": actions.astype(np.int32)} | noise_levels(rng, tokens, K, 0.0, 0.0)
    keras.utils.set_random_seed(1)
    made = DiffusionDynamics.from_settings(SETTINGS, K, 4, A, None, [(4, CIRCLE)])
    made.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.tables[0], CIRCLE)
    np.testing.assert_allclose(made(x)["loss"], model(x)["loss"], rtol=1e-6)
    model.compile(keras.optimizers.Adam(3e-3))
    blind = x | {"level": np.stack([0 * x["level"][..., 0], 0 * x["level"][..., 1] + 1], axis=-1)}  # the next frame is all noise
    history = model.fit(x, validation_data=(blind,), validation_freq=39, epochs=40, batch_size=64, verbose=0).history
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["val_shuffled_actions"][-1] > 1.5, "wrong actions are seen"
    past = model.empty_past(256)
    for t in range(3):
        past = model.extend(past, x["tokens"][:, t], led_by[:, t] if t else np.full(256, A))
    sample = compiled(lambda past, actions, noise: model.sample(past, actions, noise, 1.0)["tokens"])
    drawn = ops.convert_to_numpy(sample(past, x["actions"][:, 2], ops.convert_to_tensor(sampling_noise(model, 256, 4, seed=1))))
    assert (drawn == tokens[:, 3]).mean() > 0.8


def test_the_targets_are_the_true_tokens_and_the_past_is_the_corrupted_one():
    """Without noise, the vectors are those of the frame, whatever the velocity."""
    model = made()
    tokens, actions = sequence()["tokens"], sequence()["actions"]
    x = {"tokens": tokens, "actions": actions} | noise_levels(RNG, tokens, K - 2, 0.0, 0.0) | {"told": np.ones((B, T), bool)}
    clean = x | {"level": np.zeros((B, T, 2), np.float32)}
    true, wrong = (model(clean | {"past": past}) for past in (tokens, (tokens + 1) % (K - 2)))
    for out in (true, wrong):
        np.testing.assert_allclose(out["vectors"], model.vectors_of(tokens[:, 1:]), atol=1e-6)
        assert float(out["accuracy"]) == 1
    assert abs(float(true["loss"]) - float(wrong["loss"])) > 1e-3
    noisy = model(clean | {"level": clean["level"] + np.array([1, 0], np.float32)})
    assert abs(float(true["loss"]) - float(noisy["loss"])) > 1e-3, "the past has noise"
    assert float(model(x | {"level": np.ones((B, T, 2), np.float32)})["accuracy"]) < 0.5, "the whole next frame is noise"


def test_past_frames_of_pure_noise_are_refused():
    with pytest.raises(UserError, match=r"--dynamics\.past_noise 1"):
        DiffusionDynamics.from_settings(dataclasses.replace(SETTINGS, past_noise=1.0), K, 4, A, None, [(4, CIRCLE)])
