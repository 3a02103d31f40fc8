"""The three models: what must hold for any weights, and that each learns. Runs on either Keras backend."""

import functools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import sampling_noise
from keras import ops

from genie_tf.dynamics.context import PictureEmbedding
from genie_tf.dynamics.maskgit import MaskGitDynamics, MaskGitSettings, training_masks
from genie_tf.dynamics.sampling import sample_tokens, unmasking_schedule
from genie_tf.episodes.dataset import Windows
from genie_tf.latent_action.inverse_dynamics import InverseDynamicsModel
from genie_tf.latent_action.motion_rank import MIRROR, MotionRankModel, fused_rank, mirrored, part_of, rank_in
from genie_tf.latent_action.st_transformer import STLatentActionModel
from genie_tf.layers.pixels import from_pixels, patchify, to_pixels, unpatchify
from genie_tf.layers.registration import reach_in, register, rest_of_shift, shifted
from genie_tf.training.backend import compiled

RNG = np.random.default_rng(0)
B, T, N, K, A = 2, 6, 16, 32, 4


def built(model, seed=3):
    """With random weights everywhere, so that nothing is hidden by a start at zero."""
    keras.utils.set_random_seed(seed)
    model.build()
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_numpy(weight) + 0.1 * rng.standard_normal(weight.shape))
    return model


def with_codes_laid_out(model, inputs):
    """Among what is seen; the other weights stay."""
    model.compile(keras.optimizers.SGD(0.0))
    for _ in range(3):
        model.train_on_batch(inputs)
    return model


@functools.cache
def call(function):
    """A model's method, compiled: on JAX, what runs line by line is compiled line by line."""
    return compiled(function)


@pytest.fixture(scope="module")
def dynamics():
    return built(MaskGitDynamics(codes=K, tokens=N, actions=A, width=32, depth=2, heads=2, window=3))


@pytest.fixture(scope="module")
def dynamics_with_pictures():
    context = {"frame_size": (64, 32), "grid": (4, 2)}
    return built(MaskGitDynamics(codes=K, tokens=9, actions=A, width=32, depth=2, heads=2, window=3, context=context))


@pytest.fixture(scope="module")
def latent_action():
    return built(MotionRankModel(codes=A, width=16))


@pytest.fixture(scope="module")
def st_latent_action():
    model = built(STLatentActionModel(codes=A, code_dim=8, width=32, depth=2, heads=2))
    return with_codes_laid_out(model, {"frames": video(8, 4)})


def video(*shape):
    return RNG.integers(0, 256, (*shape, 64, 64, 3)).astype(np.uint8)


def transitions(batch):
    motion = RNG.uniform(-1, 1, (batch, 4, 3)) * [10, 20, 0.01]
    return {"frames": video(batch, 3), "motion": motion.astype("float32")}


def sequence(batch=B, tokens=N):
    return RNG.integers(0, K, (batch, T, tokens)).astype(np.int32), RNG.integers(0, A, (batch, T)).astype(np.int32)


def test_pixels_and_patches_are_inverses():
    frames = video(2)
    np.testing.assert_array_equal(to_pixels(from_pixels(frames)), frames)
    x = RNG.normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(unpatchify(patchify(x, 4), 4), x)
    np.testing.assert_array_equal(ops.convert_to_numpy(patchify(x, 4))[0, 1, 0].reshape(4, 4, 3), x[0, 4:, :4])


# Latent actions ------------------------------------------------------------------------------------


def test_decoder_sees_the_next_frame_through_the_code_alone(latent_action):
    many = transitions(12)
    many["frames"][:, :2], many["motion"][:, :3] = many["frames"][:1, :2], many["motion"][:1, :3]
    out = {name: ops.convert_to_numpy(value) for name, value in call(latent_action)(many).items()}
    assert len(np.unique(out["codes"])) > 1
    for code in np.unique(out["codes"]):
        same = out["prediction"][out["codes"] == code]
        np.testing.assert_allclose(same, np.broadcast_to(same[:1], same.shape), atol=1e-5)
    first = {code: out["prediction"][out["codes"] == code][0] for code in np.unique(out["codes"])}
    one, other = list(first.values())[:2]
    assert np.abs(one - other).max() > 1e-3, "the code must matter"


def test_inferred_codes_are_those_of_the_training(latent_action):
    frames = video(8, 5)
    motion = ops.stack([call(register)(frames[:, t], frames[:, t + 1]) for t in range(4)], axis=1)
    codes = call(latent_action)({"frames": frames[:, -3:], "motion": motion})["codes"]
    np.testing.assert_array_equal(codes, call(latent_action.infer)(frames))


def test_st_decoder_sees_a_later_frame_through_its_code_alone(st_latent_action):
    films = np.repeat(video(1, 4), 12, axis=0)
    films[:, -1] = video(12)
    out = {name: ops.convert_to_numpy(value) for name, value in call(st_latent_action)({"frames": films}).items()}
    assert len(np.unique(out["codes"][:, -1])) > 1
    for t in range(2):  # neither code nor frame knows what comes later
        np.testing.assert_array_equal(out["codes"][:, t], out["codes"][0, t])
        np.testing.assert_allclose(out["prediction"][:, t], out["prediction"][:1, t].repeat(12, 0), atol=1e-5)
    first = {}
    for code, prediction in zip(out["codes"][:, -1], out["prediction"][:, -1]):
        np.testing.assert_allclose(prediction, first.setdefault(code, prediction), atol=1e-5)
    one, other = list(first.values())[:2]
    assert np.abs(one - other).max() > 1e-3, "the code must matter"


@pytest.mark.parametrize("name", ["latent_action", "st_latent_action"])
def test_next_frame_is_told_without_looking_at_it(name, request):
    model, films = request.getfixturevalue(name), video(4, 5)
    codes = np.arange(4, dtype="int32") % A
    predict_next = call(model.predict_next)
    told = ops.convert_to_numpy(predict_next(films, codes))
    assert told.shape == (4, 64, 64, 3) and told.dtype == np.uint8
    films[:, -1] = 0
    np.testing.assert_array_equal(told, predict_next(films, codes))
    assert (told != ops.convert_to_numpy(predict_next(films, (codes + 1) % A))).any()
    np.testing.assert_array_equal(call(model.infer)(films).shape, (4,))


def test_registration_finds_shifts_and_parts_of_a_pixel():
    rng = np.random.default_rng(4)
    scene = keras.ops.convert_to_numpy(keras.ops.image.resize(rng.uniform(0, 255, (1, 40, 40, 3)), (320, 320), "bicubic"))[0]
    scene = np.clip(scene, 0, 255)  # each pixel a quarter of a frame's

    def frame(rows, columns):
        y, x = 32 - round(4 * rows), 32 - round(4 * columns)
        return scene[y : y + 256, x : x + 256].reshape(64, 4, 64, 4, 3).mean((1, 3)).astype(np.uint8)

    for rows, columns in ((0, 0), (3, 0), (0, -5), (-4, 2), (1.25, -0.5), (-0.75, 3.25)):
        out = ops.convert_to_numpy(call(register)(frame(0, 0)[None], frame(rows, columns)[None]))[0]
        np.testing.assert_allclose(out[:2], (columns, rows), atol=0.2)
        assert 0 <= out[2] < 5e-3
    apart = ops.convert_to_numpy(call(register)(frame(0, 0)[None], video(1)))[0]
    assert apart[2] > 0.02
    np.testing.assert_array_equal(call(register)(*2 * [np.full((1, 64, 64, 3), 90, np.uint8)]), 0)


def test_the_rest_of_a_shift_leads_back_to_its_part():
    size, reach = (64, 64), reach_in((64, 64))

    def whole(row, column):
        return ops.convert_to_tensor(
            np.array([(row + reach["rows"]) * (2 * reach["columns"] + 1) + column + reach["columns"]], np.int32)
        )

    for shift, part, rest in (((5, -7), (2, -3), (-3, 4)), ((0, 0), (4, 1), (4, 1)), ((-20, 12), (20, -12), (26, -12))):
        np.testing.assert_array_equal(rest_of_shift(whole(*shift), whole(*part), size), whole(*rest))
    pictures, shift, part = video(1).astype("float32"), whole(9, -4), whole(3, -2)
    ahead = ops.convert_to_numpy(shifted(pictures, part))[0, ..., :3]
    last = shifted(pictures, shift)[..., :3]
    back = ops.convert_to_numpy(shifted(last, rest_of_shift(shift, part, size)))[0]
    same = (ahead == back[..., :3]).all(axis=-1)
    assert same[3:58, 2:62].all() and back[58:, :, 3].max() == 0, "except what left the picture"


def test_registration_of_mirrored_frames_is_mirrored():
    frames = np.repeat(np.repeat(RNG.integers(0, 256, (40, 5, 8, 8, 3)).astype(np.uint8), 8, axis=2), 8, axis=3)
    motion = np.stack([call(register)(frames[:, t], frames[:, t + 1]) for t in range(4)], axis=1)
    out = mirrored(np.random.default_rng(0).random(len(frames)) < 0.5, frames, motion)
    again = np.stack([call(register)(out["frames"][:, t], out["frames"][:, t + 1]) for t in range(4)], axis=1)
    flipped = (out["frames"] != frames).any((1, 2, 3, 4))
    assert 8 < flipped.sum() < 32
    np.testing.assert_array_equal(out["frames"][flipped], frames[flipped][:, :, :, ::-1])
    np.testing.assert_allclose(out["motion"], again, atol=1e-3)


def test_rank_is_the_share_below_and_half_ones_own():
    chances = np.array([[0.1, 0.2, 0.3, 0.4]] * 4, "float32")
    rank, surprise = rank_in(ops.log(chances), ops.arange(4))
    np.testing.assert_allclose(rank, [0.05, 0.2, 0.45, 0.8], atol=1e-5)
    np.testing.assert_allclose(surprise, -np.log(chances[0]), atol=1e-4)


def test_second_witness_moves_the_rank_by_its_odds():
    rank, nothing = np.float32([0.3, 0.7]), np.zeros((2, 100), "float32")
    odds = np.exp(-8 * np.square(rank[:, None] - (np.arange(100) + 0.5) / 100))
    alone = odds @ (np.arange(100) + 0.5) / 100 / odds.sum(axis=1)
    np.testing.assert_allclose(fused_rank(rank, nothing), alone, atol=1e-4)
    sure = np.where(np.arange(10) == 8, 30.0, 0.0).astype("float32")[None].repeat(2, 0)
    np.testing.assert_allclose(fused_rank(rank, sure), 0.85, atol=0.01)


def test_ranks_are_divided_evenly():
    np.testing.assert_array_equal(part_of(ops.convert_to_tensor([0.0, 0.33, 0.34, 0.66, 0.67, 1.0]), 3), [0, 0, 1, 1, 2, 2])


def test_the_code_of_a_transition_in_a_mirror_is_the_mirrored_code():
    keras.utils.set_random_seed(2)
    model = built(MotionRankModel(codes=8, width=16))
    seen = transitions(64)
    mirror = {"frames": seen["frames"][:, :, :, ::-1], "motion": seen["motion"] * MIRROR}
    codes, other = (ops.convert_to_numpy(call(model.code)(inputs)) for inputs in (seen, mirror))
    assert len(set(codes // 2)) > 1
    np.testing.assert_array_equal(other, (3 - codes // 2) * 2 + codes % 2)


def test_codes_are_the_actions_whatever_the_past_makes_of_them():
    """Three ways to walk, about another place in each state, twice as far in some; a jump moves that place."""
    rng = np.random.default_rng(1)
    keras.utils.set_random_seed(1)
    model = MotionRankModel(codes=6, width=16)
    model.build()
    model.compile(keras.optimizers.Adam(5e-3))

    def play(batch):
        walk, jump, state = rng.integers(0, 3, batch), rng.integers(0, 2, batch), rng.integers(-1, 2, batch)
        motion = np.zeros((batch, 4, 3), "float32")
        motion[:, 2, 0] = 4 * state
        motion[:, 3, 0] = 3 * state * (1 + 2 * jump) + (walk - 1) * np.where(state == 0, 1, 2)
        motion[:, 3, 1] = 9 * jump
        return {"frames": np.full((batch, 3, 64, 64, 3), 90, np.uint8), "motion": motion}, 2 * walk + jump

    for _ in range(150):
        model.train_on_batch(play(32)[0])
    inputs, action = play(512)
    table = np.zeros((6, 6))
    np.add.at(table, (action, ops.convert_to_numpy(model(inputs)["codes"])), 1)
    assert (np.diag(table) / table.sum(axis=1)).min() > 0.9, table


# Dynamics ------------------------------------------------------------------------------------------


def forward(model, tokens, actions, masked=None, *pictures):
    masked = np.full_like(tokens, K) if masked is None else masked
    return ops.convert_to_numpy(call(model.forward)(*map(ops.convert_to_tensor, (tokens, masked, actions, *pictures))))


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


@pytest.mark.parametrize("t", [0, 3])
def test_a_picture_changes_what_comes_after_it_and_nothing_earlier(dynamics_with_pictures, t):
    tokens, actions = sequence(tokens=9)
    pictures = RNG.integers(0, 256, (B, T, 64, 32, 3)).astype(np.uint8)
    other = pictures.copy()
    other[:, t] = 255 - other[:, t]
    before, after = (forward(dynamics_with_pictures, tokens, actions, None, frames) for frames in (pictures, other))
    np.testing.assert_allclose(before[:, :t], after[:, :t], atol=1e-5)
    assert (np.abs(before[:, t] - after[:, t]).max(axis=-1) > 1e-3).all(), "every token of the next frame sees the picture"


def test_targets_are_read_before_masking(dynamics):
    """A model that knew the answer would have no loss: the targets are the true tokens, never the mask."""
    tokens, actions = sequence()
    masks = training_masks(RNG, tokens, K, 0.0, 0.0)
    out = call(dynamics)({"tokens": tokens, "actions": actions, **masks})
    masked = masks["masked"][:, 1:]
    log_p = ops.convert_to_numpy(ops.log_softmax(out["logits"]))
    chosen = np.take_along_axis(log_p, tokens[:, 1:, :, None], axis=-1)[..., 0]
    assert out["logits"].shape == (B, T - 1, N, K)
    np.testing.assert_allclose(float(out["loss"]), -chosen[masked].mean(), rtol=1e-4)


def test_training_masks_hide_many_and_corrupt_few():
    tokens = RNG.integers(0, K, (64, T, N))
    masks = training_masks(np.random.default_rng(1), tokens, K, 0.2, 0.3)
    assert 0.55 < masks["masked"].mean() < 0.72  # 2 / pi
    assert 0.05 < (masks["past"] != tokens).mean() < 0.15
    assert (training_masks(np.random.default_rng(1), tokens, K, 0.0, 0.0)["past"] == tokens).all()
    np.testing.assert_array_equal(masks["masked"], training_masks(np.random.default_rng(1), tokens, K, 0.2, 0.3)["masked"])


def test_training_sequences_begin_as_a_prompt_of_one_frame_does():
    films = np.ones(40, [("tokens", np.uint16, (3,)), ("picture", np.uint8, (8, 8, 3))])
    recording = SimpleNamespace(windows=lambda length: Windows(np.array([0]), np.array([41 - length])))
    settings = MaskGitSettings(length=4, cold_starts=0.25, corruption=0.0)
    for fields, expected in ((["tokens", "picture"], 0.25), (["tokens"], 0.0)):
        examples = MaskGitDynamics.examples(recording, films[fields], np.arange(40), settings, 120)
        batch = examples.draw(np.random.default_rng(0), 2000)
        begins, later = batch["past"][:, 0], batch["past"][:, 1:]
        assert (begins.min(axis=1) == begins.max(axis=1)).all() and (later == 1).all() and (batch["tokens"] == 1).all()
        assert np.mean(begins == 0) == pytest.approx(expected, abs=0.04)


def test_a_hidden_action_is_no_action(dynamics):
    tokens, actions = sequence()
    batch = {"tokens": tokens, "actions": actions, **training_masks(np.random.default_rng(1), tokens, K, 0.0, 0.5)}
    hidden = batch | {"told": np.ones_like(batch["told"]), "actions": np.where(batch["told"], actions, dynamics.no_action)}
    assert 0 < batch["told"].mean() < 1
    told = batch | {"told": np.ones_like(batch["told"])}
    logits, as_none, with_all = (ops.convert_to_numpy(call(dynamics)(each)["logits"]) for each in (batch, hidden, told))
    np.testing.assert_array_equal(logits, as_none)
    assert np.abs(logits - with_all).max() > 1e-3


def test_the_dynamics_are_trained_beside_pictures_with_noise():
    pictures = RNG.integers(0, 256, (2, 3, 64, 32, 3)).astype(np.uint8)
    embeddings = []
    for noise in (0.0, 0.1):
        keras.utils.set_random_seed(1)
        layer = PictureEmbedding((64, 32), (4, 2), 9, 16, noise)
        layer.build()
        embeddings += [ops.convert_to_numpy(layer(pictures, training=training)) for training in (False, True)]
    played, trained, noisy_played, noisy_trained = embeddings
    np.testing.assert_array_equal(played, trained)
    np.testing.assert_array_equal(played, noisy_played)
    assert np.abs(noisy_trained - played).max() > 1e-3
    settings = MaskGitSettings(width=16, depth=1, heads=2, picture_noise=0.3)
    model = MaskGitDynamics.from_settings(settings, 8, 9, 3, {"frame_size": (64, 32), "grid": (4, 2)})
    assert model.embed_picture.noise == 0.3


@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_guidance_exaggerates_what_the_action_changes(dynamics, guidance):
    tokens, actions = sequence()
    past = dynamics.empty_past(B)
    for t in range(T - 1):
        led_by = actions[:, t - 1] if t else np.full(B, dynamics.no_action, np.int32)
        past = call(dynamics.extend)(past, ops.convert_to_tensor(tokens[:, t]), ops.convert_to_tensor(led_by))
    noise = sampling_noise(dynamics, B, 1, seed=1)
    last = ops.convert_to_tensor(actions[:, -2])
    drawn = ops.convert_to_numpy(dynamics.sample(past, last, noise, 0.0, guidance=guidance)["tokens"])
    free = actions.copy()
    free[:, -2] = dynamics.no_action
    under, without = (forward(dynamics, tokens, each)[:, -1] for each in (actions, free))
    expected = under + guidance * (under - without)
    np.testing.assert_array_equal(drawn, expected.argmax(axis=-1))
    assert guidance == 0 or (drawn != under.argmax(axis=-1)).any()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_sampling_refines(steps):
    """Fixed tokens are inputs of the next step, never change, and all are fixed in the end."""
    inputs = []
    logits = RNG.normal(size=(steps, B, N, K)).astype("float32")

    def predict(tokens):
        inputs.append(ops.convert_to_numpy(tokens))
        return logits[len(inputs) - 1]

    noise = RNG.random((B, steps, N, K + 1), np.float32)
    out = sample_tokens(predict, noise, mask_id=K, temperature=1.0)
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
    noise = RNG.random((B, 1, N, K + 1), np.float32)
    out = sample_tokens(lambda tokens: logits, noise, mask_id=K, temperature=0.0)
    np.testing.assert_array_equal(out["tokens"], logits.argmax(-1))


@pytest.mark.parametrize("name", ["dynamics", "dynamics_with_pictures"])
def test_cached_sampling_gives_the_tokens_of_uncached_sampling(name, request):
    """Over more frames than the window holds, each sampled frame is fed back."""
    dynamics = request.getfixturevalue(name)
    tokens, actions = sequence(tokens=dynamics.tokens)
    pictures = RNG.integers(0, 256, (B, T + 1, 64, 32, 3)).astype(np.uint8)
    padded, seen = np.pad(actions, ((0, 0), (0, 1))), dynamics.embed_picture is not None
    frames = list(np.moveaxis(tokens[:, :2], 1, 0))
    led_by = np.full(B, dynamics.no_action, np.int32)

    def before(t):
        """The picture before frame t."""
        return ops.convert_to_tensor(pictures[:, t - 1] if t else np.zeros_like(pictures[:, 0])) if seen else None

    def extend(past, tokens, led_by, t):
        return call(dynamics.extend)(past, ops.convert_to_tensor(tokens), ops.convert_to_tensor(led_by), before(t))

    sample = compiled(lambda past, actions, noise, before: dynamics.sample(past, actions, noise, 0.7, before)["tokens"])
    past = extend(extend(dynamics.empty_past(B), frames[0], led_by, 0), frames[1], actions[:, 0], 1)
    for t in range(1, T):
        noise = sampling_noise(dynamics, B, 3, seed=10 + t)
        cached = ops.convert_to_numpy(sample(past, ops.convert_to_tensor(actions[:, t]), noise, before(t + 1)))

        def predict(masked, t=t):
            clean = np.stack([*frames, frames[0]], axis=1)
            guess = np.concatenate([clean[:, :-1], ops.convert_to_numpy(masked)[:, None]], axis=1)
            shown = (pictures[:, : t + 2],) if seen else ()
            return forward(dynamics, clean, padded[:, : t + 2], guess, *shown)[:, -1]

        uncached = ops.convert_to_numpy(sample_tokens(predict, noise, dynamics.mask_id, 0.7)["tokens"])
        np.testing.assert_array_equal(cached, uncached)
        past = extend(past, cached, actions[:, t], t + 1)
        frames.append(cached)
    assert (ops.convert_to_numpy(past["age"]) == T + 1).all() and dynamics.window <= T


# All -----------------------------------------------------------------------------------------------


def inputs_of(model):
    if isinstance(model, MaskGitDynamics):
        tokens, actions = sequence(8)
        return {"tokens": tokens, "actions": actions, **training_masks(RNG, tokens, K, 0.1, 0.1)}
    if isinstance(model, STLatentActionModel):
        return {"frames": video(8, 3)}
    return transitions(8)


@pytest.mark.parametrize("name", ["latent_action", "st_latent_action", "dynamics"])
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
        one, other = (call(each)(x) for each in (model, loaded))
        np.testing.assert_allclose(one["prediction"], other["prediction"], atol=1e-6)
    loaded.compile(keras.optimizers.Adam(3e-3))
    losses = loaded.fit(x, epochs=12, batch_size=8, verbose=0).history["loss"]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


# Judge ---------------------------------------------------------------------------------------------


def test_the_judge_finds_a_small_figure_wherever_it_is():
    """On a black background, which a network on plain pixels sees as one large constant."""
    rng = np.random.default_rng(3)
    keras.utils.set_random_seed(3)
    model = InverseDynamicsModel(5, width=32, frame_size=(48, 64))
    model.build()
    model.compile(keras.optimizers.Adam(3e-3))
    ways = np.array([[0, 0], [0, -3], [0, 3], [-3, 0], [3, 0]])

    def play(batch):
        keys = rng.integers(0, 5, (batch, 4))
        place = rng.integers(14, [34, 50], (batch, 2))
        frames = np.zeros((batch, 5, 48, 64, 3), np.uint8)
        for i in range(batch):
            for t in range(5):
                row, column = place[i] + ways[keys[i, :t]].sum(axis=0)
                frames[i, t, row - 2 : row + 2, column - 2 : column + 2] = (200, 120, 40)
        return {"frames": frames, "keys": keys[:, -1]}

    for _ in range(120):
        model.train_on_batch(play(32))
    films = play(256)
    assert np.mean(ops.convert_to_numpy(model.infer(films["frames"])) == films["keys"]) > 0.9
