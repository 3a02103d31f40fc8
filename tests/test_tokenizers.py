"""The tokenizers: what must hold for each, and what for those that see several frames. Runs on either Keras backend."""

import functools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from genie_tf import stages
from genie_tf.dynamics.context import PictureEmbedding
from genie_tf.dynamics.maskgit import MaskGitDynamics
from genie_tf.errors import UserError
from genie_tf.evaluation.metrics import psnr
from genie_tf.evaluation.reconstruction import reconstruct, tokenizer_figures
from genie_tf.layers.pixels import to_pixels, with_noise
from genie_tf.layers.registration import shifts_in
from genie_tf.layers.resample import Downsample
from genie_tf.tokenizer.conv import ConvTokenizer
from genie_tf.tokenizer.delta import DeltaSettings, DeltaTokenizer
from genie_tf.tokenizer.magvit2 import MagViT2Settings, MagViT2Tokenizer
from genie_tf.tokenizer.st_vivit import STViViTSettings, STViViTTokenizer
from genie_tf.training.backend import compiled
from genie_tf.world import World

VECTOR = {"kind": "vector", "codes": 32, "code_dim": 8}
SIGNS = {"kind": "lookup_free", "bits": 8}
ENCODER = [
    ["downsample", {"space": 4}],
    ["causal_conv", {"channels": 16}],
    ["downsample", {"space": 2}],
    ["space_time_attention", {"heads": 2, "window": 3}],
]
DECODER = [
    ["projection", {"channels": 16}],
    ["residual", {"channels": 16}],
    ["upsample", {"space": 2}],
    ["upsample", {"space": 4}],
]
MODELS = {
    "conv": lambda **size: ConvTokenizer(VECTOR, width=16, **size),
    "delta": lambda **size: DeltaTokenizer(VECTOR, actions=3, width=16, **size),
    "magvit2": lambda **size: MagViT2Tokenizer(ENCODER, DECODER, SIGNS, **size),
    "st_vivit": lambda **size: STViViTTokenizer(VECTOR, width=32, depth=2, heads=2, patch=16, window=3, **size),
}
each = pytest.mark.parametrize("kind", sorted(MODELS))


@functools.cache
def made(kind):
    """A model whose codes are laid out among what is seen, if they are learnt, and whose weights are random everywhere."""
    keras.utils.set_random_seed(3)
    model = MODELS[kind]()
    model.build()
    rng = np.random.default_rng(3)
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_numpy(weight) + 0.05 * rng.standard_normal(weight.shape))
    if model.quantizer.weights:
        model.compile(keras.optimizers.SGD(0.0))
        for seed in range(3):
            model.train_on_batch(given(model, films(8, 5, seed=seed)))
    return model


def given(model, film):
    """The model's inputs: a film, and actions if it needs them."""
    actions = np.random.default_rng(film.shape[0]).integers(0, 3, film.shape[:2]).astype(np.int32)
    return {"frames": film, "actions": actions} if model.needs_actions else film


def streamed(model, film):
    """Tokens, pictures and memories of a film that is converted grid by grid, under the actions of `given`."""
    actions, stride = np.random.default_rng(film.shape[0]).integers(0, 3, film.shape[:2]).astype(np.int32), model.stride
    memory, grids = model.memory(len(film)), []
    for t in range(0, film.shape[1], stride):
        frames, led_by = film[:, t : t + stride] if stride > 1 else film[:, t], ops.convert_to_tensor(actions[:, t - 1])
        encoded = call(model.encode)(ops.convert_to_tensor(frames), memory, led_by)
        decoded = call(model.decode)(encoded["tokens"], encoded["memory"], led_by)
        memory = decoded["memory"]
        grids.append((*(ops.convert_to_numpy(x) for x in (encoded["tokens"], decoded["frames"])), memory))
    return grids


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
    out = arrays(call(model)(given(model, film)))
    assert out["reconstruction"].shape == film.shape and out["tokens"].shape == (3, 6, model.tokens)
    assert len(np.unique(out["tokens"])) > 8 and out["tokens"].max() < model.codes
    for t, (tokens, picture, _) in enumerate(streamed(model, film)):
        np.testing.assert_array_equal(tokens, out["tokens"][:, t], err_msg=f"frame {t}")
        assert picture.shape == (3, 64, 64, 3) and picture.dtype == np.uint8
        expected = ops.convert_to_numpy(to_pixels(out["reconstruction"][:, t]))
        assert np.abs(picture.astype(int) - expected).max() <= 2  # those of delta stand on each other, rounded


@each
def test_later_frames_change_nothing_earlier(kind):
    model, film = made(kind), films(2, 6, seed=4)
    other = film.copy()
    other[:, 3:] = films(2, 3, seed=5)
    one, two = arrays(call(model)(given(model, film))), arrays(call(model)(given(model, other)))
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
    out = arrays(call(model)(given(model, film)))
    assert out["reconstruction"].shape == film.shape and out["tokens"].shape == (1, 2, model.tokens)


@each
def test_it_learns_and_loads_equal(kind, tmp_path):
    keras.utils.set_random_seed(1)
    model = MODELS[kind]()
    model.build()
    model.compile(keras.optimizers.Adam(3e-3))
    film = given(model, films(8, 3, seed=2))
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


def test_a_world_remembers_what_was_shown():
    tokenizer, prompt, actions = made("st_vivit"), films(2, 4, seed=7), np.array([1, 2])
    dynamics = MaskGitDynamics(tokenizer.codes, tokenizer.tokens, actions=3, width=16, depth=1, heads=2, window=2)
    dynamics.build()
    world = World(tokenizer, None, dynamics, {}, sampling_steps=2)
    world.reset(prompt, np.zeros((2, 3), int))
    before, memory = world.state, streamed(tokenizer, prompt)[-1][2]
    for remembered, expected in zip(keras.tree.flatten(before["memory"]), keras.tree.flatten(memory), strict=True):
        np.testing.assert_allclose(remembered, expected, atol=1e-5)
    frame = world.step(actions)
    world.restore(before)
    np.testing.assert_array_equal(world.step(actions), frame)
    world.restore(before | {"memory": tokenizer.memory(2)})
    assert (world.step(actions) != frame).mean() > 0.1, "the picture depends on what was shown before"


# Tokens that change the picture before --------------------------------------------------------------


def scrolling(batch, shifts):
    """Films of a scene that moves by (rows, columns) a frame, without anything new in it."""
    scene = films(batch, size=(128, 128), seed=6)
    rows, columns = np.cumsum([(32, 32), *shifts], axis=0).T
    return np.stack([scene[:, r : r + 64, c : c + 64] for r, c in zip(rows, columns)], axis=1)


def test_the_first_token_is_the_shift_and_scenery_that_moves_costs_no_other():
    """A new model adds no change to the shifted picture."""
    model = DeltaTokenizer(VECTOR, actions=3, width=16)
    model.build()
    shifts = [(0, 0), (3, -5), (-20, 8)]
    film = scrolling(2, shifts)
    for t, (tokens, picture, _) in enumerate(streamed(model, film)):
        if t == 0:
            assert not tokens.any()
            np.testing.assert_array_equal(picture, film[:, 0])
            continue
        rows, columns = shifts[t - 1]
        assert (tokens[:, 0] == (26 - rows) * 25 + 12 - columns).all()
        inside = np.s_[:, 20:44, 20:44]  # what every frame shows
        np.testing.assert_array_equal(picture[inside], film[:, t][inside])


def test_given_frames_do_not_count():
    film, pictures = films(3, 4, size=(16, 16)), films(3, 4, size=(16, 16), seed=1)
    pictures[:, 0] = film[:, 0]
    tokens = np.ones((3, 4, 5), int)
    tokens[:, 0] = 0
    figures = tokenizer_figures(tokens, pictures, film, None, given=1)
    alone = tokenizer_figures(tokens[:, 1:], pictures[:, 1:], film[:, 1:], None)
    assert figures == alone and figures["tokenizer.codes_used"]["value"] == 1


def test_delta_s_picture_depends_on_the_picture_before_and_on_the_action():
    model, film = made("delta"), films(2, 2, seed=4)
    memory = streamed(model, film)[-1][2]
    tokens, led_by = ops.convert_to_tensor(np.full((2, 17), 5, np.int32)), ops.convert_to_tensor(np.array([0, 0], np.int32))
    picture = ops.convert_to_numpy(call(model.decode)(tokens, memory, led_by)["frames"])
    other = memory | {"before": 255 - memory["before"]}
    assert (ops.convert_to_numpy(call(model.decode)(tokens, other, led_by)["frames"]) != picture).mean() > 0.5
    assert (ops.convert_to_numpy(call(model.decode)(tokens, memory, led_by + 1)["frames"]) != picture).mean() > 0.05
    shown = film.copy()
    shown[:, 1] = films(2, seed=8)
    one, two = (call(model.encode)(ops.convert_to_tensor(shown[:, 1]), memory, led_by + i)["tokens"] for i in (0, 1))
    assert (ops.convert_to_numpy(one) != ops.convert_to_numpy(two)).any(), "the encoder sees the action"


def test_settings_of_delta_that_can_t_be_are_refused():
    for settings, words in (
        (DeltaSettings(cell=24), "--tokenizer.cell 24"),
        (DeltaSettings(length=1), "--tokenizer.length 1"),
        (DeltaSettings(stride=4, length=10), "of 4 frames each"),
    ):
        with pytest.raises(UserError, match=words):
            DeltaTokenizer.from_settings(settings, (64, 64), 6)
    small = DeltaTokenizer.from_settings(DeltaSettings(patch=2, cell=4, width=16), (64, 96), 6)
    assert small.tokens == 1 + 16 * 24
    embedding = PictureEmbedding(small.frame_size, small.grid, small.tokens, width=8)
    assert embedding(np.zeros((2, 3, 64, 96, 3), np.uint8)).shape == (2, 3, small.tokens, 8)


# Several frames a token grid ------------------------------------------------------------------------


@functools.cache
def strided():
    """A tokenizer whose grids stand for 4 frames of 16 x 16 pixels, with random weights everywhere."""
    encoder = [
        ["causal_conv", {"channels": 4}],
        ["downsample", {"space": 4, "time": 2}],
        ["residual", {"channels": 8}],
        ["space_time_attention", {"heads": 2, "window": 2}],
        ["downsample", {"time": 2}],
    ]
    decoder = [
        ["causal_conv", {"channels": 8}],
        ["upsample", {"time": 2}],
        ["residual", {"channels": 4}],
        ["upsample", {"space": 4, "time": 2}],
    ]
    keras.utils.set_random_seed(3)
    model = MagViT2Tokenizer(encoder, decoder, SIGNS, frame_size=(16, 16))
    model.build()
    rng = np.random.default_rng(3)
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_numpy(weight) + 0.1 * rng.standard_normal(weight.shape))
    return model


def test_the_tokens_of_a_recording_come_from_the_encoder_alone(monkeypatch):
    model, film = made("magvit2"), films(3, 6, seed=9)
    expected = ops.convert_to_numpy(call(model)(film)["tokens"])
    frames = film.reshape(-1, 64, 64, 3)
    recording = SimpleNamespace(episodes="abc", lengths=np.full(3, 6), starts=6 * np.arange(3), groups=lambda rows: frames[rows])
    monkeypatch.setattr(MagViT2Tokenizer, "decode", None)  # it takes most of the time
    tokens = np.zeros((len(frames), model.tokens), int)
    for row, some in stages._tokens_by(model)(recording, np.zeros(len(frames), int)):
        tokens[row : row + len(some)] = some["tokens"]
    np.testing.assert_array_equal(tokens.reshape(expected.shape), expected)


def test_a_film_group_by_group_is_what_the_call_reconstructs():
    model, film = strided(), films(3, 12, size=(16, 16))
    out = arrays(call(model)(film))
    assert model.stride == 4 and out["tokens"].shape == (3, 3, 16) and out["reconstruction"].shape == film.shape
    assert len(np.unique(out["tokens"])) > 8
    for k, (tokens, pictures, _) in enumerate(streamed(model, film)):
        np.testing.assert_array_equal(tokens, out["tokens"][:, k], err_msg=f"grid {k}")
        expected = ops.convert_to_numpy(to_pixels(out["reconstruction"][:, 4 * k : 4 * k + 4]))
        assert np.abs(pictures.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("changed", [4, 7, 8])
def test_a_change_in_a_group_changes_no_earlier_group(changed):
    model, film = strided(), films(16, 12, size=(16, 16), seed=1)
    other = film.copy()
    other[:, changed] = 255 - other[:, changed]
    group = changed // 4
    one, two = arrays(call(model)(film)), arrays(call(model)(other))
    np.testing.assert_array_equal(one["tokens"][:, :group], two["tokens"][:, :group])
    np.testing.assert_array_equal(one["reconstruction"][:, : 4 * group], two["reconstruction"][:, : 4 * group])
    assert (one["tokens"][:, group] != two["tokens"][:, group]).any()


def test_the_first_group_repeats_the_first_frame_and_each_frame_of_a_group_has_its_figure():
    film = films(4, 13, size=(16, 16))
    tokens, pictures = reconstruct(strided(), film, np.zeros((4, 3), int))
    assert tokens.shape == (4, 4, 16) and pictures.shape == film.shape
    padded = arrays(call(strided())(np.concatenate([film[:, [0, 0, 0]], film], axis=1)))
    np.testing.assert_array_equal(tokens, padded["tokens"])
    expected = ops.convert_to_numpy(to_pixels(padded["reconstruction"][:, 3:]))
    assert np.abs(pictures.astype(int) - expected).max() <= 1
    figures = tokenizer_figures(tokens, pictures, film, None)
    of_places = [figures[f"tokenizer.psnr.{i}"]["value"] for i in range(1, 5)]
    assert of_places[1] == pytest.approx(psnr(pictures[:, 2::4], film[:, 2::4]).mean())
    assert np.mean(of_places) == pytest.approx(figures["tokenizer.psnr"]["value"]) and len(set(of_places)) == 4
    assert "tokenizer.psnr.5" not in figures


def test_delta_is_trained_to_repair_pictures_whose_noise_its_encoder_does_not_know():
    film, actions = films(4, 2, seed=3), np.zeros((4, 2), np.int32)
    shown = {}
    for noise in (0.0, 0.2):
        keras.utils.set_random_seed(1)
        model = DeltaTokenizer(VECTOR, actions=3, width=16, noise=noise)
        model.build()
        for training in (False, True):
            shown[noise, training] = arrays(model({"frames": film, "actions": actions}, training=training))
    plain, noisy = shown[0.0, True], shown[0.2, True]
    np.testing.assert_array_equal(noisy["tokens"], plain["tokens"])
    apart = noisy["reconstruction"].astype(float) - plain["reconstruction"]
    assert (apart[:, 0] == 0).all(), "the first frame is given"
    assert 0.005 < np.abs(apart[:, 1]).mean() < 0.2, "the new decoder leaves the noise as it is"
    assert noisy["loss"] > plain["loss"]
    np.testing.assert_array_equal(shown[0.2, False]["reconstruction"], shown[0.0, False]["reconstruction"])


def test_small_changes_of_delta_do_not_add_up_in_play():
    """Of two pixels, one is to change by 3 of 255 in every step, and one by 50."""
    model = DeltaTokenizer(VECTOR, actions=3, width=16)
    model.build()
    change = np.zeros((4, 4, 3), np.float32)
    change[1, 1, 0], change[2, 2, 1] = 3 / 255, 50 / 255
    model.to_patches.bias.assign(change.reshape(-1))
    before = np.full((1, 64, 64, 3), 100, np.uint8)
    memory = {"before": ops.convert_to_tensor(before), "known": ops.ones((1,), "bool")}
    tokens, led_by = np.zeros((1, model.tokens), np.int32), ops.zeros((1,), "int32")
    tokens[0, 0] = shifts_in((64, 64)) // 2  # no shift
    tokens = ops.convert_to_tensor(tokens)
    for _ in range(3):
        memory = model.decode_last(tokens, memory, led_by)["memory"]
    after = ops.convert_to_numpy(memory["before"]).astype(int)
    assert (after[0, 1::4, 1::4, 0] == 100).all() and (after[0, 2::4, 2::4, 1] == 250).all()
    film = np.repeat(before[:, None], 2, axis=1)
    trained = arrays(model({"frames": film, "actions": np.zeros((1, 2), np.int32)}, training=True))["reconstruction"]
    np.testing.assert_allclose(255 * (trained[0, 1, 1::4, 1::4, 0] + 0.5), 103, atol=1e-3, err_msg="in training they count")


def test_noise_of_pictures_is_of_pixels_and_of_squares_and_as_strong_as_it_says():
    pictures = np.full((400, 16, 16, 3), 128, np.uint8)
    seed = keras.random.SeedGenerator(1)
    noise = ops.convert_to_numpy(with_noise(pictures, 0.1, seed)).astype(float) - 128
    of_squares = noise.reshape(400, 4, 4, 4, 4, 3).mean(axis=(2, 4))
    assert abs(noise.mean()) < 0.5 and 25 < noise.std(axis=(1, 2, 3)).max() < 35
    assert 8 < of_squares.std(axis=(1, 2, 3)).max() < 20 and noise.std(axis=(1, 2, 3)).min() < 5
    assert (ops.convert_to_numpy(with_noise(pictures, 0.0, seed)) == 128).all()


def test_a_grid_of_delta_changes_the_picture_before_into_several_frames():
    model = DeltaTokenizer(VECTOR, actions=3, width=16, stride=3)
    model.build()
    for layer in (model.to_patches, model.between_patches):
        layer.kernel.assign(0.05 * np.random.default_rng(1).standard_normal(layer.kernel.shape))
    film = np.concatenate([films(2, 3, seed=1), scrolling(2, [(2, -1)] * 8)], axis=1)
    actions = np.array([[0, 1, 2, 0], [2, 2, 1, 1]], np.int32)
    out = arrays(call(model)({"frames": film, "actions": actions}))
    assert out["tokens"].shape == (2, 4, 3 + 16) and out["reconstruction"].shape == film.shape
    memory, shown = model.memory(2), []
    for k in range(4):
        led_by = ops.convert_to_tensor(actions[:, k - 1])
        encoded = call(model.encode)(ops.convert_to_tensor(film[:, 3 * k : 3 * k + 3]), memory, led_by)
        decoded = call(model.decode)(encoded["tokens"], encoded["memory"], led_by)
        last = call(model.decode_last)(encoded["tokens"], encoded["memory"], led_by)
        memory = decoded["memory"]
        np.testing.assert_array_equal(encoded["tokens"], out["tokens"][:, k])
        shown.append(ops.convert_to_numpy(decoded["frames"]))
        np.testing.assert_array_equal(model.context(memory), shown[-1][:, -1])
        np.testing.assert_array_equal(last["frames"], shown[-1][:, -1])
        keras.tree.map_structure(np.testing.assert_array_equal, last["memory"], memory)
    np.testing.assert_array_equal(shown[0], film[:, [2, 2, 2]], "the last frame of the first group is given")
    expected = ops.convert_to_numpy(to_pixels(out["reconstruction"]))
    assert np.abs(np.concatenate(shown, axis=1).astype(int) - expected).max() <= 1
    assert (shown[1][:, 0] != shown[1][:, 1]).mean() > 0.1, "the frames of a grid differ"
    trained = model({"frames": film, "actions": actions}, training=True)
    assert trained["reconstruction"].shape == (2, 3 + 3 + 1, 64, 64, 3), "the last frame of each grid, and another one"


def test_a_step_of_a_world_predicts_all_frames_of_a_group():
    keras.utils.set_random_seed(4)
    tokenizer, prompt = strided(), films(2, 6, size=(16, 16))
    dynamics = MaskGitDynamics(tokenizer.codes, tokenizer.tokens, 3, width=16, depth=1, heads=2)
    dynamics.build()
    world = World(tokenizer, None, dynamics, {}, sampling_steps=2)
    shown = []
    for begin in (prompt, np.concatenate([prompt[:, [0, 0]], prompt], axis=1), prompt[:, -1:]):  # 6 frames are 2 groups, padded
        actions, seeds = np.ones((2, (len(begin[0]) - 1) // 4), int), np.array([1, 2])
        np.testing.assert_array_equal(world.reset(begin, actions, seeds), prompt[:, -1])
        before = world.state
        shown.append(world.step(np.array([0, 1])))
    assert shown[0].shape == (2, 4, 16, 16, 3) and shown[0].dtype == np.uint8
    after = world.state
    world.restore(before)
    np.testing.assert_array_equal(world.step(np.array([0, 1]), last=True), shown[-1][:, -1])
    keras.tree.map_structure(np.testing.assert_array_equal, world.state, after)
    np.testing.assert_array_equal(shown[0], shown[1])
    assert (shown[0] != shown[2]).any()
    own = reconstruct(tokenizer, prompt[:, 1:], np.zeros((2, 1), int))[1]
    assert own.shape == (2, 5, 16, 16, 3)


# Blueprints and their blocks ------------------------------------------------------------------------


def with_entry(blueprint, i, entry):
    return [*blueprint[:i], entry, *blueprint[i + 1 :]]


@pytest.mark.parametrize(
    "encoder, decoder, said",
    [
        (with_entry(ENCODER, 1, ["blur", {}]), DECODER, "tokenizer.encoder[1]: there is no block blur; there are causal_conv"),
        (with_entry(ENCODER, 1, ["downsample", {"tme": 2}]), DECODER, "tokenizer.encoder[1]: downsample: there is no option tme"),
        (with_entry(ENCODER, 1, "downsample"), DECODER, "tokenizer.encoder[1]: downsample: write [block, {option: number}]"),
        (with_entry(ENCODER, 2, ["residual", {"repeats": 0}]), DECODER, "tokenizer.encoder[2]: residual: repeats 0: it must be"),
        (with_entry(ENCODER, 1, ["causal_conv", {"kernel": 4}]), DECODER, "tokenizer.encoder[1]: causal_conv: kernel 4 is not an"),
        (
            with_entry(ENCODER, 2, ["downsample", {"space": 3}]), DECODER,
            "tokenizer.encoder[2]: downsample: space 3 does not divide a grid of 16 x 16",
        ),
        (with_entry(ENCODER, 3, ["space_time_attention", {"heads": 3}]), DECODER, "tokenizer.encoder[3]: space_time_attention: 3"),
        (ENCODER, with_entry(DECODER, 2, ["downsample", {}]), "tokenizer.decoder[2]: downsample is a block of the encoder"),
        (
            ENCODER, with_entry(DECODER, 3, ["upsample", {"space": 2, "time": 2}]),
            "tokenizer.decoder: a token grid becomes 2 frames of 32 x 32, and the encoder begins with 1 frame of 64 x 64",
        ),
        (ENCODER, [], "tokenizer.decoder: it has no block"),
    ],
)  # fmt: skip
def test_an_impossible_blueprint_is_refused_with_its_place(encoder, decoder, said):
    with pytest.raises(UserError) as error:
        MagViT2Tokenizer(encoder, decoder, SIGNS)
    assert str(error.value).startswith(said) and "\n" not in str(error.value)


def test_training_films_are_whole_groups():
    slow = [["downsample", {"space": 8, "time": 4}]], [["upsample", {"space": 8, "time": 4}]]
    with pytest.raises(UserError, match=r"--tokenizer\.length 6: it must be a multiple of the 4 frames"):
        MagViT2Tokenizer.from_settings(MagViT2Settings(encoder=slow[0], decoder=slow[1], length=6), (64, 64))


def test_the_default_blueprint_is_small():
    model = MagViT2Tokenizer.from_settings(MagViT2Settings(), (64, 64))
    model.build()
    assert model.grid == (8, 8) and model.stride == 1 and model.codes == 1024 and 200_000 < model.count_params() < 900_000


@pytest.mark.parametrize("factor", [2, 3])
def test_blur_pooling_is_a_triangle_filter_then_every_nth_value(factor):
    """Against one loop per axis: in space the edge is repeated, in time the filter ends at the last frame of a group."""
    x = np.random.default_rng(0).normal(size=(2, 2 * factor, 4 * factor, 2 * factor, 3)).astype("float32")
    weights = np.array({2: [1, 2, 1], 3: [1, 2, 3, 2, 1]}[factor]) / factor**2

    def blurred(values, axis, before, mode):
        after = 2 * factor - 2 - before
        padded = np.pad(values, [(before, after) if i == axis else (0, 0) for i in range(5)], mode)
        return np.apply_along_axis(lambda line: np.convolve(line, weights, "valid")[::factor], axis, padded)

    space = blurred(blurred(x, 2, factor // 2, "edge"), 3, factor // 2, "edge")
    layer = Downsample(factor, factor)
    layer.build(x.shape)
    out, memory = layer(x, layer.memory(2))
    # the last tap of group k is its last frame, and the first tap lies factor - 1 frames before the group
    full = np.concatenate([np.zeros_like(space[:, : factor - 1]), space], axis=1)
    time = np.stack([np.tensordot(weights, full[:, factor * k : factor * k + 2 * factor - 1], (0, 1)) for k in range(2)], axis=1)
    np.testing.assert_allclose(out, time, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(memory, space[:, -(factor - 1) :], rtol=1e-5, atol=1e-6)
