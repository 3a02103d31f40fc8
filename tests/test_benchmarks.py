"""The limit beside a model's speed: all of its matrix products, and nothing else."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT, refused

from benchmarks import models
from benchmarks.memory import peak_of
from benchmarks.products import Products
from genie_tf.dynamics.maskgit import MaskGitDynamics, training_masks
from genie_tf.errors import UserError
from genie_tf.tokenizer.conv import ConvTokenizer


def products_of_a_step(model, batch) -> Products:
    model.build()
    model.compile(optimizer="sgd")
    batch = keras.tree.map_structure(keras.ops.convert_to_tensor, batch)
    return models.products_of_step(model, batch)


def test_products_of_the_dynamics_are_those_of_the_formula():
    B, T, N, D, K, heads, depth = 2, 5, 16, 32, 64, 2, 3
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, K, (B, T, N)).astype(np.int32)
    batch = {"tokens": tokens, "actions": np.zeros((B, T), np.int32), **training_masks(rng, tokens, K, 0.1, 0.1)}
    products = products_of_a_step(MaskGitDynamics(K, N, 4, width=D, depth=depth, heads=heads, window=3), batch)

    def block(frames, seen, whole=True):
        rows = B * frames * (N + 1)
        remembered = rows * D * 3 * D + 2 * rows * (N + 1) * D + rows * D * D + rows * D * 3 * D
        return remembered + (2 * rows * seen * D + rows * D * D + 2 * rows * 4 * D * D if whole else 0)

    forward = (depth - 1) * block(2 * (T - 1), T - 1) + block(T - 1, T - 1) + block(T - 1, 0, whole=False) + B * (T - 1) * N * D * K
    assert products.flops == 3 * 2 * forward  # backward, each product has two
    products.run()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX counts the zeros of widened convolutions")
def test_products_of_convolutions_are_those_of_the_formula():
    model = ConvTokenizer({"kind": "vector", "codes": 32, "code_dim": 8}, width=16, blocks=1)
    products = products_of_a_step(model, np.zeros((2, 1, 64, 64, 3), np.uint8))
    fine, coarse = 2 * 16 * 16, 2 * 8 * 8
    encoder = coarse * (16 * 8 * 16 + 9 * 16 * 16 + 16 * 8)
    decoder = coarse * (8 * 16 + 2 * 9 * 16 * 16 + 16 * 8 * 16) + fine * (9 * 8 * 8 + 9 * 8 * 48)
    first = fine * 9 * 48 * 8  # nothing lies before it: its input needs no gradient
    quantizer = coarse * 8 * 32 * 2  # distances, and the sums of what chose each code; neither has a gradient
    assert products.flops == 2 * (3 * (encoder + decoder) + 2 * first + quantizer)
    assert np.isfinite(products.run()).all()


def test_a_row_says_how_much_of_the_time_is_products(monkeypatch):
    monkeypatch.setattr(models, "SECONDS", 0.0)
    policy = keras.mixed_precision.dtype_policy().name
    small = {"width": 16, "depth": 1, "heads": 1, "batch_size": 2, "length": 4}
    monkeypatch.setattr(models, "CONVERTED", 4)
    converted = [models.convert(policy, models.PLAIN, way) for way in ("encode", "decode")]
    for row in (models.train_dynamics(policy, models.PLAIN, 16, small), models.play(policy, models.PLAIN, 16, small), *converted):
        assert {"value", "unit", "limit", "ratio", "spread", "tokens_per_second", "gflops", "peak_megabytes"} <= row.keys()
        assert row["spread"][0] <= row["value"] <= row["spread"][1] and row["ratio"] == row["value"] / row["limit"]
        assert row["gflops"] > 0 and row["peak_megabytes"] > 100
    assert models.read_config(models.FULL, {}).dynamics.width == 256


def test_the_peak_of_a_command_is_what_it_holds_at_most(tmp_path):
    hold = [sys.executable, "-c", "import time; held = bytearray(300_000_000); time.sleep(0.2); del held; time.sleep(0.2)"]
    assert 300 < peak_of(hold, tmp_path) < 400
    with pytest.raises(UserError, match="broken"):
        peak_of([sys.executable, "-c", "raise SystemExit('broken')"], tmp_path)


def test_an_unknown_row_is_refused_and_the_others_named():
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--only", "nothing"], cwd=ROOT, capture_output=True, text=True)
    wanted = "record", "load", "train.tokenizer", "train.latent_action", "train.dynamics", "train.dynamics.coinrun", "play"
    refused(done, "nothing", *wanted)
