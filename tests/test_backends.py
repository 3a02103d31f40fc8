"""TensorFlow and JAX: the model tests pass on both, and both give the same loss and gradients."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
import test_training

from genie_tf.dynamics.causal import CausalDynamics
from genie_tf.dynamics.diffusion import DiffusionDynamics
from genie_tf.dynamics.maskgit import MaskGitDynamics
from genie_tf.latent_action.avatar import AvatarModel
from genie_tf.latent_action.hypotheses import HypothesesModel
from genie_tf.latent_action.looks import LOOKS, OWN
from genie_tf.latent_action.motion_rank import MotionRankModel
from genie_tf.latent_action.st_transformer import STLatentActionModel
from genie_tf.tokenizer.conv import ConvTokenizer
from genie_tf.tokenizer.delta import DeltaTokenizer
from genie_tf.tokenizer.magvit2 import MagViT2Tokenizer
from genie_tf.tokenizer.st_vivit import STViViTTokenizer
from genie_tf.training.checkpoints import WEIGHTS

ROOT = Path(__file__).parent.parent
MODELS = {
    "tokenizer": (ConvTokenizer, dict(quantizer={"kind": "vector", "codes": 16, "code_dim": 8}, width=16)),
    "delta": (DeltaTokenizer, dict(quantizer={"kind": "vector", "codes": 16, "code_dim": 8}, actions=3, width=16)),
    "st_vivit": (
        STViViTTokenizer,
        dict(quantizer={"kind": "vector", "codes": 16, "code_dim": 8}, width=16, depth=1, heads=2, patch=16, window=2),
    ),
    "magvit2": (
        MagViT2Tokenizer,
        dict(
            encoder=[
                ["causal_conv", {"channels": 4}],
                ["downsample", {"space": 8, "time": 2}],
                ["space_time_attention", {"heads": 2}],
            ],
            decoder=[["residual", {"channels": 4}], ["upsample", {"space": 8, "time": 2}]],
            quantizer={"kind": "lookup_free", "bits": 6},
        ),
    ),
    "latent_action": (MotionRankModel, dict(codes=4, width=16)),
    "avatar": (AvatarModel, dict(codes=4, width=8)),
    "hypotheses": (HypothesesModel, dict(codes=4, width=8)),
    "st_latent_action": (STLatentActionModel, dict(codes=4, code_dim=8, width=16, depth=1, heads=2)),
    "dynamics": (MaskGitDynamics, dict(codes=16, tokens=9, actions=3, width=32, depth=2, heads=2, window=2)),
    "causal": (CausalDynamics, dict(codes=16, tokens=9, actions=3, width=32, depth=2, heads=2, window=2)),
    "diffusion": (
        DiffusionDynamics,
        dict(codes=16, tokens=9, actions=3, width=32, depth=2, heads=2, window=2, tables=[[1, 16, 2], [8, 12, 3]]),
    ),
}


QUICK = (  # compiles sooner, runs slower
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1"
)
ON_JAX = """
import pathlib, sys
import pytest
sys.path.insert(0, "tests")
import test_backends
test_backends.jax_side(pathlib.Path(sys.argv[1]))
files = [f"tests/test_{name}.py" for name in ("models", "causal", "diffusion", "tokenizers", "quantizers", "benchmarks")]
left_out = "a_row whatever peak unknown it_learns learns_with_it other_sizes remembers window_of_one in_a_group with_pict".split()
left_out += "first_token delta_s grid_of_delta products_of small_figure blueprint_is_small 2_to_the_18 everywhere entropies".split()
left_out += "finite_differences guidance first_group codes_of_vectors inferred_codes distances told mirror witness repair".split()
left_out += "add_up group_by_group frames_of_a_group rewards noise_of_pictures of_delta_that rank_is_the blur_pooling".split()
left_out += ["(later_frames and delta)", "(frame_by_frame and not st_vivit)"]
left_out += ["(saved and latent)", "(saved_quantizer and not vector)"]
sys.exit(pytest.main([*files, *"-p no:cacheprovider -n 0 -k".split(), f"not ({' or '.join(left_out)})"]))
"""
pytestmark = [
    pytest.mark.slow, pytest.mark.skipif(keras.backend.backend() == "jax", reason="they compare TensorFlow with JAX"),
]  # fmt: skip


def arrays(name):
    rng = np.random.default_rng(5)
    if name == "diffusion":
        tokens = rng.integers(0, 12, (2, 4, 9))
        drawn = {"level": rng.random((2, 4, 2), np.float32), "told": np.ones((2, 4), bool)}
        return {"tokens": tokens, "past": tokens, "actions": rng.integers(0, 3, (2, 4))} | drawn
    if name in ("dynamics", "causal"):
        return {
            "clean": rng.integers(0, 16, (2, 4, 9)),
            "masked": rng.integers(0, 17, (2, 4, 9)),
            "actions": rng.integers(0, 3, (2, 4)),
        }
    if name == "st_latent_action":
        return {"frames": rng.integers(0, 256, (2, 3, 64, 64, 3)).astype(np.uint8)}
    if name == "latent_action":
        motion = rng.uniform(-1, 1, (2, 4, 3)) * [10, 20, 0.01]
        return {"frames": rng.integers(0, 256, (2, 3, 64, 64, 3)).astype(np.uint8), "motion": motion.astype(np.float32)}
    films = rng.integers(0, 256, (2, 4 if name in ("avatar", "hypotheses") else 2, 64, 64, 3)).astype(np.uint8)
    if name == "avatar":
        films[:, 1:, 20:24, 30:34] = 255
    return {"frames": films, "actions": rng.integers(0, 3, (2, 2)).astype(np.int32)} if name == "delta" else films


def without_noise():
    """Noise that a model draws itself is 0: backends and devices draw different values by design."""
    return mock.patch("keras.random.normal", lambda shape, **_: keras.ops.zeros(shape))


def loss_of(model, x):
    """A loss without random draws."""
    if "clean" not in x:
        with without_noise():
            return model(x, training=False)["loss"]
    masked = [x["masked"]] if hasattr(model, "mask_id") else []
    logits = model.forward(x["clean"], *masked, x["actions"])
    return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(x["clean"][:, 1:], logits, from_logits=True))


def built(name):
    keras.utils.set_random_seed(2)
    kind, settings = MODELS[name]
    model = kind(**settings)
    model.build()
    for variable in model.trainable_variables:
        if variable.path.endswith("to_patches/kernel"):  # delta's is 0 at first, which would hide all gradients before it
            variable.assign(np.random.default_rng(2).normal(0, 0.1, variable.shape))
    if name == "avatar":  # white is the look of the avatar
        model.looks_KE.assign(np.where(np.arange(LOOKS)[:, None] == 1, 1.0, 0.5) * np.ones((1, 27)))
        model.own_M.assign(np.where(np.arange(OWN) == 0, 1, -1))
    return model


def jax_side(folder: Path) -> None:
    """Run in a process of its own: load weights, save loss and gradients, of every model. Go on with a training."""
    import jax

    test_training.run("dynamics", folder / "in_jax", test_training.Settings(epochs=2))
    for name in MODELS:
        model = built(name)
        model.load_weights(folder / f"{name}.weights.h5")
        rest = [(variable, variable.value) for variable in model.non_trainable_variables]

        def loss(values, x, model=model, rest=rest):
            with keras.StatelessScope(state_mapping=[*zip(model.trainable_variables, values), *rest]):
                return loss_of(model, x)

        values = [variable.value for variable in model.trainable_variables]
        value, gradients = jax.jit(jax.value_and_grad(loss))(values, arrays(name))
        np.savez(folder / f"{name}.npz", *[np.asarray(gradient) for gradient in gradients], loss=np.asarray(value))


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory, pytestconfig):
    """One process on JAX: loss and gradients of every model on weights from here, then the model tests. Its folder, its result.

    What JAX compiles is kept for the next run of the tests.
    """
    folder = tmp_path_factory.mktemp("jax")
    for name in MODELS:
        built(name).save_weights(folder / f"{name}.weights.h5")
    test_training.run("dynamics", folder / "in_jax", test_training.Settings(epochs=1))
    for copy in ("here", "with_two_processes"):
        shutil.copytree(folder / "in_jax", folder / copy)
    environment = {"KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK}
    environment |= {
        "JAX_COMPILATION_CACHE_DIR": str(pytestconfig.cache.mkdir("jax")), "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**28),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }  # fmt: skip
    command = [sys.executable, "-c", ON_JAX, folder]
    return folder, subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


def test_model_tests_pass_on_jax(on_jax):
    assert on_jax[1].returncode == 0, on_jax[1].stdout[-3000:] + on_jax[1].stderr[-2000:]


def test_a_training_begun_on_one_backend_goes_on_in_the_other(on_jax):
    folder = on_jax[0]
    test_training.run("dynamics", folder / "here", test_training.Settings(epochs=2))
    one, other = (keras.saving.load_model(folder / name / "model_2" / WEIGHTS) for name in ("here", "in_jax"))
    assert int(one.optimizer.iterations) == int(other.optimizer.iterations) == 6
    for a, b in zip([*one.weights, *one.optimizer.variables], [*other.weights, *other.optimizer.variables], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5, err_msg=a.path)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_same_loss_and_gradients_on_the_same_weights(name, on_jax):
    import tensorflow as tf

    model = built(name)
    folder = on_jax[0]
    model.load_weights(folder / f"{name}.weights.h5")
    with tf.GradientTape() as tape:
        loss = loss_of(model, arrays(name))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    other = np.load(folder / f"{name}.npz")
    np.testing.assert_allclose(float(loss), other["loss"], rtol=1e-5)
    moved = 0
    for i, (variable, gradient) in enumerate(zip(model.trainable_variables, gradients)):
        theirs = other[f"arr_{i}"]
        ours = np.zeros_like(theirs) if gradient is None else tf.convert_to_tensor(gradient).numpy()
        scale = np.abs(theirs).max() + 1e-8
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=2e-3, err_msg=variable.path)
        moved += np.abs(theirs).max() > 0
    assert moved > 0.7 * len(gradients)


# Several processes --------------------------------------------------------------------------------

ONE_OF_TWO = """
import itertools, os, pathlib, sys
sys.path.insert(0, "tests")
from genie_tf.cli import run
from genie_tf.hosts import joined, processes
folder, join, last = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def main():
    devices = joined(1, 1, join)
    import test_training
    make, sample = test_training.MODELS["dynamics"]
    drawn = itertools.count()

    def drawn_until_killed(rng, size):
        if processes.number == 1 and next(drawn) == last:
            os._exit(9)
        return sample(rng, size)

    test_training.MODELS["dynamics"] = make, drawn_until_killed
    test_training.run("dynamics", folder, test_training.Settings(epochs=2), devices=devices)
    print(processes.count, "processes are done")

run(main)
"""


def two(folder, last: int) -> list[subprocess.CompletedProcess]:
    """Train with two processes, of which the second ends before it draws so many batches."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    of_jax = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK}
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | of_jax
    commands = [[sys.executable, "-c", ONE_OF_TWO, folder, f"127.0.0.1:{port},2,{number}", str(last)] for number in range(2)]
    started = [subprocess.Popen(c, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True) for c in commands]
    return [subprocess.CompletedProcess(p.args, p.wait(200), *p.communicate()) for p in started]


def test_two_processes_train_the_weights_of_one_and_a_lost_one_ends_the_other_in_one_line(on_jax):
    folder = on_jax[0] / "with_two_processes"  # an epoch is done
    first, second = two(folder, 3)
    assert second.returncode == 9 and first.returncode == 2, first.stderr[-2000:]
    errors = [line for line in first.stderr.splitlines() if "error: " in line]
    assert len(errors) == 1 and "another process" in errors[0] and "Traceback" not in first.stderr, first.stderr[-2000:]
    first, second = two(folder, 99)
    assert first.returncode == second.returncode == 0, first.stderr[-2000:] + second.stderr[-2000:]
    assert "2 processes are done" in first.stdout and not second.stdout, "one alone speaks"
    ours, theirs = (keras.saving.load_model(folder / "model_2" / WEIGHTS) for folder in (folder, on_jax[0] / "in_jax"))
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5, err_msg=a.path)
