"""The three models: what must hold for any weights, and that each learns. Runs on either Keras backend."""

import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.dynamics.maskgit import MaskGitDynamics, training_masks
from genie_tf.dynamics.sampling import sample_tokens, sampling_noise, unmasking_schedule
from genie_tf.latent_action.model import LatentActionModel
from genie_tf.layers.pixels import from_pixels, patchify, to_pixels, unpatchify
from genie_tf.layers.vector_quantizer import VectorQuantizer
from genie_tf.tokenizer.conv import ConvTokenizer

RNG = np.random.default_rng(0)
B, T, N, K, A = 2, 6, 16, 32, 5


def built(model, seed=3):
    """With random weights everywhere, so that nothing is hidden by a start at zero."""
    keras.utils.set_random_seed(seed)
    model.build()
    for weight in model.trainable_weights:
        weight.assign(weight + 0.1 * keras.random.normal(weight.shape, seed=seed))
    return model


@pytest.fixture(scope="module")
def dynamics():
    return built(MaskGitDynamics(codes=K, tokens=N, actions=A, width=32, depth=2, heads=2, window=3))


@pytest.fixture(scope="module")
def tokenizer():
    return built(ConvTokenizer(codes=K, code_dim=8, width=16))


@pytest.fixture(scope="module")
def latent_action():
    model = built(LatentActionModel(codes=A, code_dim=8, width=16))
    for _ in range(3):
        model(video(32, 3), training=True)  # lays the codes out among what is seen
    return model


def video(*shape):
    return RNG.integers(0, 256, (*shape, 64, 64, 3)).astype(np.uint8)


def sequence(batch=B):
    return RNG.integers(0, K, (batch, T, N)).astype(np.int32), RNG.integers(0, A, (batch, T)).astype(np.int32)


def test_pixels_and_patches_are_inverses():
    frames = video(2)
    np.testing.assert_array_equal(to_pixels(from_pixels(frames)), frames)
    x = RNG.normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(unpatchify(patchify(x, 4), 4), x)
    np.testing.assert_array_equal(ops.convert_to_numpy(patchify(x, 4))[0, 1, 0].reshape(4, 4, 3), x[0, 4:, :4])


# Quantizer -----------------------------------------------------------------------------------------


def test_quantizer_takes_the_nearest_code_and_passes_gradients_through():
    quantizer = VectorQuantizer(8, 4)
    x = RNG.normal(size=(50, 4)).astype("float32")
    out = quantizer(x)
    codebook = ops.convert_to_numpy(quantizer.codebook_KD)
    nearest = np.square(x[:, None] - codebook[None]).sum(-1).argmin(1)
    np.testing.assert_array_equal(out["indices"], nearest)
    np.testing.assert_allclose(out["quantized"], codebook[nearest], atol=1e-5)
    np.testing.assert_allclose(quantizer.lookup(nearest), codebook[nearest], atol=1e-5)


def test_codebook_lives_when_it_starts_far_away_and_the_data_move():
    """All codes but one die at once; without revival one code would take everything."""
    quantizer = VectorQuantizer(16, 2, decay=0.9)
    quantizer.build((None, 2))
    quantizer.code_sum_KD.assign(quantizer.code_sum_KD + 100.0 * ops.expand_dims(quantizer.code_count_K, 1))
    for step in range(150):
        centre = np.array([[20.0 if step > 75 else 0.0, 0.0]])
        out = quantizer((RNG.normal(size=(256, 2)) + centre).astype("float32"), training=True)
    codebook = ops.convert_to_numpy(quantizer.codebook_KD)
    assert float(out["perplexity"]) > 10
    assert len(np.unique(out["indices"])) == 16
    gaps = np.square(codebook[:, None] - codebook[None]).sum(-1) + 1e9 * np.eye(16)
    assert gaps.min() > 0, "a revived code must not copy a live one"
    assert float(out["commitment"]) < 0.3


def test_codebook_is_still_outside_training():
    quantizer = VectorQuantizer(4, 2)
    quantizer(RNG.normal(size=(8, 2)).astype("float32"))
    before = ops.convert_to_numpy(quantizer.codebook_KD)
    quantizer(RNG.normal(size=(8, 2)).astype("float32"))
    np.testing.assert_array_equal(before, quantizer.codebook_KD)


# Tokenizer -----------------------------------------------------------------------------------------


def test_tokenizer_encodes_and_decodes_what_its_call_reconstructs(tokenizer):
    frames = video(3)
    out = tokenizer(frames)
    tokens = tokenizer.encode(frames)
    assert tokens.shape == (3, 64)
    np.testing.assert_array_equal(out["tokens"], tokens)
    shown = ops.convert_to_numpy(tokenizer.decode(tokens)).astype(int)
    assert shown.shape == (3, 64, 64, 3)
    assert np.abs(shown - ops.convert_to_numpy(to_pixels(out["reconstruction"])).astype(int)).max() <= 1


# Latent actions ------------------------------------------------------------------------------------


def test_decoder_sees_the_next_frame_through_the_code_alone(latent_action):
    past = np.repeat(video(1, 3), 12, axis=0)
    past[:, 2] = video(12)
    out = {name: ops.convert_to_numpy(value) for name, value in latent_action(past).items()}
    assert len(np.unique(out["codes"])) > 1
    for code in np.unique(out["codes"]):
        same = out["prediction"][out["codes"] == code]
        np.testing.assert_allclose(same, np.broadcast_to(same[:1], same.shape), atol=1e-5)
    first = {code: out["prediction"][out["codes"] == code][0] for code in np.unique(out["codes"])}
    one, other = list(first.values())[:2]
    assert np.abs(one - other).max() > 1e-3, "the code must matter"


def test_inferred_codes_are_those_of_the_training(latent_action):
    frames = video(8, 3)
    np.testing.assert_array_equal(latent_action(frames)["codes"], latent_action.infer(frames))


# Dynamics ------------------------------------------------------------------------------------------


def forward(model, tokens, actions, masked=None):
    masked = np.full_like(tokens, K) if masked is None else masked
    return ops.convert_to_numpy(model.forward(ops.convert_to_tensor(tokens), ops.convert_to_tensor(masked), actions))


@pytest.mark.parametrize("t", [1, 3, 4])
def test_later_frames_and_actions_change_nothing_earlier(dynamics, t):
    """Output t - 1 predicts frame t from frames < t and actions < t."""
    tokens, actions = sequence()
    before = forward(dynamics, tokens, actions)
    tokens2, actions2 = tokens.copy(), actions.copy()
    tokens2[:, t] = (tokens[:, t] + 1) % K
    actions2[:, t] = (actions[:, t] + 1) % A
    after = forward(dynamics, tokens2, actions2)
    np.testing.assert_allclose(before[:, :t], after[:, :t], atol=1e-5)
    assert np.abs(before[:, t:] - after[:, t:]).max() > 1e-3


@pytest.mark.parametrize("t", [0, 2, 4])
def test_action_matters_at_once(dynamics, t):
    tokens, actions = sequence()
    actions2 = actions.copy()
    actions2[:, t] = (actions[:, t] + 1) % A
    before, after = forward(dynamics, tokens, actions), forward(dynamics, tokens, actions2)
    assert np.abs(before[:, t] - after[:, t]).max() > 1e-3
    np.testing.assert_allclose(before[:, :t], after[:, :t], atol=1e-5)


def test_targets_are_read_before_masking(dynamics):
    """A model that knew the answer would have no loss: the targets are the true tokens, never the mask."""
    tokens, actions = sequence()
    masks = training_masks(RNG, tokens, K, 0.0)
    out = dynamics({"tokens": tokens, "actions": actions, **masks})
    masked = masks["masked"][:, 1:]
    log_p = ops.convert_to_numpy(ops.log_softmax(out["logits"]))
    chosen = np.take_along_axis(log_p, tokens[:, 1:, :, None], axis=-1)[..., 0]
    assert out["logits"].shape == (B, T - 1, N, K)
    np.testing.assert_allclose(float(out["loss"]), -chosen[masked].mean(), rtol=1e-4)


def test_training_masks_hide_many_and_corrupt_few():
    tokens = RNG.integers(0, K, (64, T, N))
    masks = training_masks(np.random.default_rng(1), tokens, K, 0.2)
    assert 0.55 < masks["masked"].mean() < 0.72  # 2 / pi
    assert 0.05 < (masks["past"] != tokens).mean() < 0.15
    assert (training_masks(np.random.default_rng(1), tokens, K, 0.0)["past"] == tokens).all()
    np.testing.assert_array_equal(masks["masked"], training_masks(np.random.default_rng(1), tokens, K, 0.2)["masked"])


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_sampling_refines(steps):
    """Fixed tokens are inputs of the next step, never change, and all are fixed in the end."""
    inputs = []
    logits = RNG.normal(size=(steps, B, N, K)).astype("float32")

    def predict(tokens):
        inputs.append(ops.convert_to_numpy(tokens))
        return logits[len(inputs) - 1]

    out = sample_tokens(predict, sampling_noise(B, N, K, steps, seed=1), mask_id=K, temperature=1.0)
    history = [ops.convert_to_numpy(step) for step in out["history"]]
    assert (inputs[0] == K).all() and len(inputs) == steps
    for i, fixed in enumerate(unmasking_schedule(N, steps)):
        assert ((history[i] != K).sum(axis=1) == fixed).all()
        if i:
            np.testing.assert_array_equal(inputs[i], history[i - 1])
            kept = history[i - 1] != K
            np.testing.assert_array_equal(history[i][kept], history[i - 1][kept])
    np.testing.assert_array_equal(out["tokens"], history[-1])


def test_temperature_zero_takes_the_likeliest():
    logits = RNG.normal(size=(B, N, K)).astype("float32")
    out = sample_tokens(lambda tokens: logits, sampling_noise(B, N, K, 1, seed=1), mask_id=K, temperature=0.0)
    np.testing.assert_array_equal(out["tokens"], logits.argmax(-1))


def test_cached_sampling_gives_the_tokens_of_uncached_sampling(dynamics):
    """Over more frames than the window holds, each sampled frame is fed back."""
    tokens, actions = sequence()
    padded = np.pad(actions, ((0, 0), (0, 1)))
    frames = list(np.moveaxis(tokens[:, :2], 1, 0))
    led_by = np.full(B, dynamics.no_action, np.int32)
    past = dynamics.extend(dynamics.empty_past(B), ops.convert_to_tensor(frames[0]), ops.convert_to_tensor(led_by))
    past = dynamics.extend(past, ops.convert_to_tensor(frames[1]), ops.convert_to_tensor(actions[:, 0]))
    for t in range(1, T):
        noise = sampling_noise(B, N, K, 3, seed=10 + t)
        cached = ops.convert_to_numpy(dynamics.sample(past, ops.convert_to_tensor(actions[:, t]), noise, 0.7)["tokens"])

        def predict(masked, t=t):
            clean = np.stack([*frames, frames[0]], axis=1)
            guess = np.concatenate([clean[:, :-1], ops.convert_to_numpy(masked)[:, None]], axis=1)
            return forward(dynamics, clean, padded[:, : t + 2], guess)[:, -1]

        uncached = ops.convert_to_numpy(sample_tokens(predict, noise, dynamics.mask_id, 0.7)["tokens"])
        np.testing.assert_array_equal(cached, uncached)
        past = dynamics.extend(past, ops.convert_to_tensor(cached), ops.convert_to_tensor(actions[:, t]))
        frames.append(cached)
    assert int(past["age"]) == T + 1 > dynamics.window


# All -----------------------------------------------------------------------------------------------


def inputs_of(model):
    if isinstance(model, MaskGitDynamics):
        tokens, actions = sequence(8)
        return {"tokens": tokens, "actions": actions, **training_masks(RNG, tokens, K, 0.1)}
    return video(8, 3) if isinstance(model, LatentActionModel) else video(8)


@pytest.mark.parametrize("name", ["tokenizer", "latent_action", "dynamics"])
def test_saved_model_loads_equal_and_trains(name, request, tmp_path):
    model = request.getfixturevalue(name)
    x = inputs_of(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.weights) == len(model.weights)
    for one, other in zip(model.weights, loaded.weights):
        np.testing.assert_array_equal(one, other)
    if name == "dynamics":
        tokens, actions = x["tokens"], x["actions"]
        np.testing.assert_allclose(forward(model, tokens, actions), forward(loaded, tokens, actions), atol=1e-6)
    else:
        (output,) = {"reconstruction", "prediction"} & set(model(x))
        np.testing.assert_allclose(model(x)[output], loaded(x)[output], atol=1e-6)
    loaded.compile(keras.optimizers.Adam(3e-3))
    losses = loaded.fit(x, epochs=12, batch_size=8, verbose=0).history["loss"]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
