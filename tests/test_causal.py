"""The causal dynamics: what must hold for any weights, and that it learns. Runs on either Keras backend."""

import functools

import keras
import numpy as np
import pytest
from conftest import sampling_noise
from keras import ops

from genie_tf.config import Training
from genie_tf.dynamics.causal import CausalDynamics
from genie_tf.dynamics.maskgit import MaskGitDynamics
from genie_tf.dynamics.sampling import gumbel
from genie_tf.dynamics.sequences import past_with_errors
from genie_tf.training.backend import compiled
from genie_tf.training.optimizer import make_optimizer

RNG = np.random.default_rng(3)
B, T, N, K, A = 2, 6, 9, 13, 3  # the whole frame's token, and a grid of 4 x 2


@pytest.fixture(scope="module", params=["tokens", "pictures"])
def model(request):
    context = {"frame_size": (64, 32), "grid": (4, 2)} if request.param == "pictures" else None
    keras.utils.set_random_seed(5)
    made = CausalDynamics(K, N, A, width=32, depth=2, heads=2, window=3, context=context)
    made.build()
    rng = np.random.default_rng(5)
    for weight in made.trainable_weights:
        weight.assign(ops.convert_to_numpy(weight) + 0.1 * rng.standard_normal(weight.shape))
    return made


@functools.cache
def call(function):
    return compiled(function)


def sequence():
    return {
        "tokens": RNG.integers(0, K, (B, T, N)).astype(np.int32), "actions": RNG.integers(0, A, (B, T)).astype(np.int32),
        "pictures": RNG.integers(0, 256, (B, T, 64, 32, 3)).astype(np.uint8),
    }  # fmt: skip


def forward(model, tokens, actions, pictures):
    shown = [] if model.embed_picture is None else [pictures]
    return ops.convert_to_numpy(call(model.forward)(*map(ops.convert_to_tensor, (tokens, actions, *shown))))


@pytest.mark.parametrize("what", ["tokens", "actions", "pictures"])
def test_a_logit_depends_on_what_comes_before_it_alone(model, what):
    """Logits t - 1 are of frame t. The action and the picture at t - 1 come before all its tokens."""
    if what == "pictures" and model.embed_picture is None:
        pytest.skip("it sees no pictures")
    one, t, place = sequence(), 3, 4
    other = {name: value.copy() for name, value in one.items()}
    changed = (slice(None), t, place) if what == "tokens" else (slice(None), t)
    other[what][changed] = {"tokens": K, "actions": A, "pictures": 255}[what] - 1 - one[what][changed]
    before, after = (forward(model, **each) for each in (one, other))
    same = np.abs(before - after).max(axis=(0, 3)) < 1e-5
    if what == "tokens":
        expected = np.arange((T - 1) * N).reshape(T - 1, N) <= (t - 1) * N + place
    else:
        expected = np.broadcast_to(np.arange(T - 1)[:, None] < t, same.shape)
    unseen = np.arange(T - 1) >= t + 2 * (model.window - 1) + 1  # two blocks reach twice as far
    np.testing.assert_array_equal(same | unseen[:, None], expected | unseen[:, None])


def remembered(model, tokens, actions, pictures, length):
    """The past after the first `length` frames, and the picture before the next one."""
    past, before = model.empty_past(B), np.concatenate([np.zeros_like(pictures[:, :1]), pictures], axis=1)
    for t in range(length):
        led_by = actions[:, t - 1] if t else np.full(B, model.no_action, np.int32)
        shown = [] if model.embed_picture is None else [ops.convert_to_tensor(before[:, t])]
        past = call(model.extend)(past, ops.convert_to_tensor(tokens[:, t]), ops.convert_to_tensor(led_by), *shown)
    return past, None if model.embed_picture is None else ops.convert_to_tensor(before[:, length])


@pytest.mark.parametrize("guidance", [0.0, 1.5])
@pytest.mark.parametrize("length", [1, 5])
def test_cached_sampling_gives_the_tokens_of_uncached_sampling(model, length, guidance):
    """Each drawn token is the best of the logits of `forward` plus the noise, given the tokens drawn before it."""
    given = sequence()
    past, context = remembered(model, **given, length=length)
    noise = sampling_noise(model, B, 1, seed=length)
    actions = ops.convert_to_tensor(given["actions"][:, length - 1])
    sample = compiled(lambda past, actions, noise, *context: model.sample(past, actions, noise, 0.7, *context, guidance=guidance))
    drawn = ops.convert_to_numpy(sample(past, actions, noise, *([] if context is None else [context]))["tokens"])

    whole = {name: value[:, : length + 1].copy() for name, value in given.items()}
    whole["tokens"][:, length] = drawn
    untold = whole | {"actions": whole["actions"].copy()}
    untold["actions"][:, length - 1] = model.no_action
    told, free = (forward(model, **each)[:, -1] for each in (whole, untold))
    logits = ops.convert_to_numpy(ops.log_softmax(told + guidance * (told - free)))
    np.testing.assert_array_equal(drawn, (logits + 0.7 * ops.convert_to_numpy(gumbel(noise))).argmax(axis=-1))
    assert (drawn != logits.argmax(axis=-1)).any() and len(np.unique(drawn)) >= 3


def test_it_learns_and_loads_equal(model, tmp_path):
    """Every token is the one before it plus the action that led to the frame."""
    rng = np.random.default_rng(1)
    start, actions = rng.integers(0, K, (64, 1, 1)), rng.integers(0, A, (64, 4))
    led_by = np.concatenate([np.zeros((64, 1), int), actions[:, :-1]], axis=1)
    tokens = ((start + np.arange(N) * (1 + led_by[..., None])) % K).astype(np.int32)
    x = {"tokens": tokens, "actions": actions.astype(np.int32), "pictures": np.zeros((64, 4, 64, 32, 3), np.uint8)}
    x |= past_with_errors(rng, tokens, K, 0.0, 0.0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(call(model)(x)["logits"], call(loaded)(x)["logits"], atol=1e-6)
    if model.embed_picture is not None:
        return  # black pictures tell nothing
    loaded.compile(keras.optimizers.Adam(3e-3))
    history = loaded.fit(x, validation_data=(x,), validation_freq=39, epochs=40, batch_size=64, verbose=0).history
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["val_shuffled_actions"][-1] > 1.1 and "shuffled_actions" not in history, "wrong actions are seen"


# Training with little memory -------------------------------------------------------------------------


def trained(kind, batches, **settings):
    """The weights after these batches, and the optimizer."""
    remat = settings.pop("remat", False)
    keras.utils.set_random_seed(5)
    model = kind(K, N, A, width=16, depth=2, heads=2, window=3, remat=remat)
    model.build()
    model.compile(optimizer=make_optimizer(Training(epochs=1, steps_per_epoch=len(batches), learning_rate=0.1, **settings)))
    for batch in batches:
        model.train_on_batch(batch)
    return [ops.convert_to_numpy(weight) for weight in model.trainable_weights], model.optimizer


def drawn(kind, size):
    rng = np.random.default_rng(4)
    tokens = rng.integers(0, K, (size, 3, N)).astype(np.int32)
    return {"tokens": tokens, "actions": rng.integers(0, A, (size, 3)).astype(np.int32)} | kind.noise(rng, tokens, K, 0.2, 0.1)


def test_gradients_of_several_batches_give_the_update_of_one_large_batch():
    """Also those of an embedding, which are sparse on TensorFlow, and with blocks that are computed again."""
    whole = drawn(CausalDynamics, 12)
    large = [{name: rows[i : i + 6] for name, rows in whole.items()} for i in (0, 6)]
    small = [{name: rows[i : i + 2] for name, rows in whole.items()} for i in range(0, 12, 2)]
    one, of_large = trained(CausalDynamics, large, optimizer="muon")
    other, of_small = trained(CausalDynamics, small, optimizer="muon", accumulate=3, ema=0.5, remat=True)
    assert int(of_large.iterations) == int(of_small.iterations) == 2, "the learning rate counts updates"
    np.testing.assert_allclose(of_small.ema_momentum**3, 0.5)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_blocks_of_maskgit_computed_again_in_the_backward_pass_give_the_same_updates(monkeypatch):
    batches, remat, again = [drawn(MaskGitDynamics, 4)] * 2, keras.remat, []
    monkeypatch.setattr(keras, "remat", lambda function: again.append(function) or remat(function))
    one, _ = trained(MaskGitDynamics, batches)
    assert not again
    other, _ = trained(MaskGitDynamics, batches, remat=True)
    assert again
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
