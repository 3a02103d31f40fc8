"""The quantizers: what must hold for each, and what is special to one. Runs on either Keras backend."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from genie_tf.errors import UserError
from genie_tf.layers.quantizers import make_quantizer
from genie_tf.layers.quantizers.lookup_free import LookupFreeQuantizer
from genie_tf.layers.quantizers.vector import VectorQuantizer
from genie_tf.tokenizer.conv import ConvTokenizer

RNG = np.random.default_rng(0)
QUANTIZERS = {
    "vector": {"kind": "vector", "codes": 24, "code_dim": 4},
    "finite_scalar": {"kind": "finite_scalar", "levels": [8, 5, 3]},
    "lookup_free": {"kind": "lookup_free", "bits": 6, "codebooks": 2, "entropy": 0.1},
}
each = pytest.mark.parametrize("kind", sorted(QUANTIZERS))


def made(kind, seed=5):
    quantizer = make_quantizer(QUANTIZERS[kind], seed)
    quantizer.build((None, quantizer.code_dim))
    if kind == "vector":  # codes are laid out among what is seen
        for _ in range(3):
            quantizer(vectors(quantizer, 400), training=True)
    return quantizer


def vectors(quantizer, *shape, seed=1):
    return np.random.default_rng(seed).normal(size=(*shape, quantizer.code_dim)).astype("float32")


def gradients(quantizer, x, of):
    """Gradients of a scalar of the outputs with respect to the inputs."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: of(quantizer(x)))(ops.convert_to_tensor(x)))
    import tensorflow as tf

    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = of(quantizer(x))
    return tape.gradient(loss, x).numpy()


def differences(function, x, step=1e-3):
    """The gradient of a scalar function by central finite differences."""
    out = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        for way in (1, -1):
            moved = x.copy()
            moved[place] += way * step
            out[place] += way * float(function(moved)) / (2 * step)
    return out


@each
def test_codes_of_vectors(kind):
    quantizer = made(kind)
    x = vectors(quantizer, 60, 5)
    out = {name: ops.convert_to_numpy(value) for name, value in quantizer(x).items()}
    assert out["quantized"].shape == x.shape and out["indices"].shape == (60, 5) and out["indices"].dtype == np.int32
    assert out["indices"].min() >= 0 and out["indices"].max() < quantizer.codes
    np.testing.assert_allclose(out["quantized"], quantizer.lookup(out["indices"]), atol=1e-5)
    share = np.bincount(out["indices"].ravel()) / 300
    np.testing.assert_allclose(out["perplexity"], np.exp(-np.sum(share * np.log(share + 1e-12))), rtol=1e-4)
    assert len(np.unique(out["indices"])) > 0.7 * quantizer.codes, "codes in use"
    every = ops.convert_to_numpy(quantizer.lookup(np.arange(quantizer.codes)))
    assert len(np.unique(every.round(4), axis=0)) == quantizer.codes, "no two codes are equal"
    if kind == "lookup_free":
        np.testing.assert_array_equal(quantizer(every)["indices"], np.arange(quantizer.codes))


@each
def test_straight_through_gradient_is_that_of_finite_differences(kind):
    """The gradient through the rounding is the gradient of the value before it; that of the loss is exact while no code changes."""
    quantizer = made(kind)
    x = 0.8 * vectors(quantizer, 3)
    toward = RNG.normal(size=x.shape).astype("float32")

    def before_rounding(x):  # what the straight-through estimator pretends: the quantized value without the rounding
        x = x.astype("float64")
        if kind == "finite_scalar":
            levels = np.array(quantizer.levels, float)
            reach, middle = (levels - 1) * 1.001 / 2, np.where(levels % 2 == 0, 0.5, 0.0)
            return (np.tanh(x + np.arctanh(middle / reach)) * reach - middle) / (levels // 2)
        return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)

    expected = differences(lambda x: np.sum(toward * before_rounding(x)), x.astype("float64"))
    found = gradients(quantizer, x, lambda out: ops.sum(toward * out["quantized"]))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    if kind != "finite_scalar":
        codes = ops.convert_to_numpy(quantizer(x)["indices"])
        np.testing.assert_array_equal(codes, quantizer(x + 2e-3)["indices"])
        expected = differences(lambda x: quantizer(x)["loss"], x, step=2e-3)
        assert np.abs(expected).max() > 1e-5
        np.testing.assert_allclose(gradients(quantizer, x, lambda out: out["loss"]), expected, atol=3e-2 * np.abs(expected).max())


def test_a_coordinate_that_is_too_large_everywhere_comes_back():
    """Where the hyperbolic tangent is flat, the quantized vector has no gradient: without the loss, one code would stay."""
    quantizer = made("finite_scalar")
    x = np.full((5, 3), 12.0, np.float32) * np.array([1, -1, 0.1], np.float32)
    assert np.abs(gradients(quantizer, x, lambda out: ops.sum(out["quantized"])))[:, :2].max() < 1e-6
    pull = gradients(quantizer, x, lambda out: out["loss"])
    assert (pull[:, 0] > 0).all() and (pull[:, 1] < 0).all() and (pull[:, 2] == 0).all()
    assert float(quantizer(vectors(quantizer, 50).clip(-2, 2))["loss"]) == 0, "usual coordinates cost nothing"


@each
def test_distances_are_of_float32_in_a_model_of_bfloat16(kind):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        quantizer = made(kind)
        out = quantizer(vectors(quantizer, 50))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert keras.backend.standardize_dtype(out["quantized"].dtype) == "float32"
    np.testing.assert_array_equal(out["indices"], made(kind)(vectors(quantizer, 50))["indices"])


@each
def test_saved_quantizer_is_the_same(kind, tmp_path):
    quantizer = made(kind)
    inputs = keras.Input((quantizer.code_dim,))
    out = quantizer(inputs)
    keras.Model(inputs, {name: out[name] for name in ("quantized", "indices")}).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(vectors(quantizer, 50))["indices"], quantizer(vectors(quantizer, 50))["indices"])


@each
def test_tokenizer_learns_with_it(kind):
    keras.utils.set_random_seed(1)
    model = ConvTokenizer(QUANTIZERS[kind], width=16)
    model.build()
    model.compile(keras.optimizers.Adam(3e-3))
    films = np.random.default_rng(2).integers(0, 256, (16, 1, 8, 8, 3)).repeat(8, axis=2).repeat(8, axis=3).astype(np.uint8)
    history = model.fit(films, epochs=40, batch_size=16, verbose=0).history
    assert history["psnr"][-1] > history["psnr"][0] + 1.5


# One of a kind -------------------------------------------------------------------------------------


def test_vector_quantizer_takes_the_nearest_code():
    quantizer = made("vector")
    x = vectors(quantizer, 50)
    x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    codebook = ops.convert_to_numpy(quantizer.codebook_KD)
    nearest = np.square(x[:, None] - codebook[None]).sum(-1).argmin(1)
    np.testing.assert_array_equal(quantizer(x)["indices"], nearest)


def on_an_arc(angle, count=256):
    """Unit vectors within one and a half radians of an angle."""
    angles = angle + RNG.uniform(-1.5, 1.5, count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")


def test_codebook_lives_when_it_starts_far_away_and_the_data_move():
    """All codes but one die at once; without revival one code would take everything."""
    quantizer = VectorQuantizer(16, 2, decay=0.9)
    quantizer.build((None, 2))
    quantizer.code_sum_KD.assign(quantizer.code_sum_KD + 100.0 * ops.expand_dims(quantizer.code_count_K, 1))
    for step in range(150):
        out = quantizer(on_an_arc(3.0 if step > 75 else 0.0), training=True)
    codebook = ops.convert_to_numpy(quantizer.codebook_KD)
    assert float(out["perplexity"]) > 10
    assert len(np.unique(out["indices"])) >= 14
    gaps = np.square(codebook[:, None] - codebook[None]).sum(-1) + 1e9 * np.eye(16)
    assert gaps.min() > 0, "a revived code must not copy a live one"
    assert float(out["loss"]) < 0.1 * quantizer.commitment


def test_codebook_is_still_outside_training():
    quantizer = made("vector")
    before = ops.convert_to_numpy(quantizer.codebook_KD)
    quantizer(vectors(quantizer, 8))
    np.testing.assert_array_equal(before, quantizer.codebook_KD)


def enumerated_entropies(quantizer, x):
    """Both entropies from the probability of every code: the definition."""
    codes = ops.convert_to_numpy(quantizer.lookup(np.arange(quantizer.codes)))
    logits = -np.square(x[:, None] - codes[None]).sum(-1) / quantizer.temperature
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    of = [-(q * np.log(q + 1e-12)).sum(axis=-1) for q in (p, p.mean(axis=0))]
    return {"of_a_vector": of[0].mean(), "of_the_batch": of[1]}


def test_lookup_free_entropies_are_those_of_all_codes():
    quantizer = LookupFreeQuantizer(7, temperature=1.5)
    x = vectors(quantizer, 40)
    for name, expected in enumerated_entropies(quantizer, x).items():
        np.testing.assert_allclose(quantizer.entropies(x)[name], expected, rtol=1e-4, err_msg=name)
    two = LookupFreeQuantizer(6, codebooks=2)
    parts = [LookupFreeQuantizer(3).entropies(x[:, part])["of_the_batch"] for part in (slice(0, 3), slice(3, 6))]
    np.testing.assert_allclose(two.entropies(x[:, :6])["of_the_batch"], sum(map(float, parts)), rtol=1e-4)


def test_lookup_free_loss_rewards_all_codes_and_no_collapse():
    quantizer = LookupFreeQuantizer(6, entropy=1.0, diversity=1.0, commitment=0.0)
    alike = np.ones((64, 6), "float32")
    every = ops.convert_to_numpy(quantizer.lookup(np.arange(64)))
    unsure = np.where(np.arange(6) == 0, 1.0, 1e-3).astype("float32")[None].repeat(64, 0)
    losses = {name: float(quantizer(x)["loss"]) for name, x in (("every", every), ("alike", alike), ("unsure", unsure))}
    assert losses["every"] < min(losses["alike"], losses["unsure"]) - 1, losses


def test_lookup_free_counts_2_to_the_18_codes_in_bounded_memory():
    """A table of every vector's distribution would take 2 GB."""
    quantizer = LookupFreeQuantizer(18)
    x = vectors(quantizer, 2048)
    out = quantizer(x)
    assert quantizer.codes == 2**18 and int(ops.max(out["indices"])) > 2**17
    low, high = float(quantizer.entropies(x)["of_a_vector"]), float(quantizer.entropies(x)["of_the_batch"])
    assert 0 < low < high < 18 * np.log(2)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "finite_scalar", "levels": [4, 1]},
        {"kind": "lookup_free", "bits": 9, "codebooks": 2},
        {"kind": "lookup_free", "bits": 19},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UserError, match="quantizer"):
        make_quantizer(settings)


# Two replicas --------------------------------------------------------------------------------------

REPLICAS = """
import json, sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, "tests")
from genie_tf.layers.quantizers import make_quantizer
import test_quantizers as tests

strategies = {1: tf.distribute.OneDeviceStrategy("CPU:0"), 2: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])}
found = {}
for kind, settings in tests.QUANTIZERS.items():
    for replicas, strategy in strategies.items():
        with strategy.scope():
            quantizer = make_quantizer(settings, 5)
            quantizer.build((None, quantizer.code_dim))

            def step(x):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    out = quantizer(x, training=True)
                    loss = out["loss"] + tf.reduce_mean(tf.square(out["quantized"] - 1.0))
                return out["perplexity"], tf.reshape(tape.gradient(loss, x), (-1,))

            run = tf.function(lambda values: strategy.run(step, (values,)))

            for seed in range(4):
                x = tests.vectors(quantizer, 64, seed=seed)
                parts = tf.split(x, replicas)
                values = strategy.experimental_distribute_values_from_function(lambda c: parts[c.replica_id_in_sync_group])
                perplexity, gradient = run(values)
            gradient = tf.concat(strategy.experimental_local_results(gradient), 0) / replicas
            weights = [w.numpy().ravel() for w in quantizer.weights]
            perplexity = float(strategy.experimental_local_results(perplexity)[0])
            found[f"{kind} {replicas}"] = [float(perplexity), *map(float, gradient), *map(float, np.concatenate([*weights, [0.0]]))]
print(json.dumps(found))
"""


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="a distributed batch is one tensor on JAX")
def test_two_replicas_give_the_loss_gradient_and_codebook_of_one():
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for kind in QUANTIZERS:
        one, two = np.array(found[f"{kind} 1"]), np.array(found[f"{kind} 2"])
        assert one[0] > 2
        np.testing.assert_allclose(one, two, rtol=2e-4, atol=2e-5, err_msg=kind)
