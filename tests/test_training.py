"""The loop: a run that was killed and resumed ends where an uninterrupted one ends."""

import contextlib
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import ROOT
from keras import ops

from genie_tf import signals
from genie_tf.cloning import ClonedPolicy
from genie_tf.config import Training
from genie_tf.dynamics.maskgit import MaskGitDynamics, training_masks
from genie_tf.episodes.dataset import batches
from genie_tf.errors import UserError
from genie_tf.hosts import ONE, own_part
from genie_tf.layers.self_supervised import SelfSupervisedModel
from genie_tf.tokenizer.conv import ConvSettings, ConvTokenizer
from genie_tf.training import checkpoints, live, loop, precision
from genie_tf.training.checkpoints import latest_checkpoint
from genie_tf.training.loop import train
from genie_tf.training.optimizer import Muon, Schedule


@dataclass
class Settings(Training):
    epochs: int = 4
    steps_per_epoch: int = 3
    batch_size: int = 4
    seed: int = 7


@keras.saving.register_keras_serializable("tests")
class Sum(SelfSupervisedModel):
    """Adds numbers up. TensorFlow traces its training in less time than that of the real models."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dropout, self.head = keras.layers.Dropout(0.2), keras.layers.Dense(1)

    def build(self, input_shape=None):
        self.head.build((None, 3))
        self.built = True

    def call(self, x, training=False):
        sums = self.head(self.dropout(x, training=training))
        return {"loss": ops.mean(ops.square(sums - ops.sum(x, axis=1, keepdims=True)))}


def numbers(rng, size):
    return rng.normal(size=(size, 3)).astype("float32")


def tokens(rng, size):
    truth = rng.integers(0, 16, (size, 3, 4))
    return {"tokens": truth, "actions": rng.integers(0, 2, (size, 3)), **training_masks(rng, truth, 16, 0.2, 0.1)}


def films(rng, size):
    return {"frames": rng.integers(0, 256, (size, 2, 64, 64, 3)).astype(np.uint8), "choice": rng.integers(0, 4, size)}


def single_frames(rng, size):
    return rng.integers(0, 256, (size, 1, 16, 16, 3)).astype(np.uint8)


MODELS = {
    "sum": (Sum, numbers),
    "dynamics": (lambda: MaskGitDynamics(codes=16, tokens=4, actions=2, width=16, depth=1, heads=2), tokens),
    "policy": (lambda: ClonedPolicy(choices=4, width=8), films),  # it has dropout
    "tokenizer": (lambda: ConvTokenizer.from_settings(TOKENIZER, (16, 16)), single_frames),  # two optimizers, averaged weights
}
TOKENIZER = ConvSettings(
    **asdict(Settings(optimizer="muon", ema=0.8)), width=8, blocks=0, adversarial=0.1, adversarial_frames=4, adversarial_after=5
)


class Killed(Exception):
    pass


def run(name, folder, settings, kill_at=None, devices=ONE):
    """Train on `devices`, those of all processes, and kill the training before this batch."""
    make, sample = MODELS[name]
    drawn = itertools.count()

    def draw(rng, size):
        if next(drawn) == kill_at:
            raise Killed("Killed")
        return keras.tree.map_structure(lambda x: x[own_part(size)], sample(rng, size))

    validation = sample(np.random.default_rng(0), 4)
    inputs = {"recording": "1"}
    return train("test", make, draw, validation, folder, "model", "test.py", settings, inputs, devices=devices)


def stop_at(step, monkeypatch):
    """Ctrl-C after this step of a run."""
    steps = itertools.count(1)

    def counted(self, batch, logs=None):
        if next(steps) == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Progress, "on_train_batch_end", counted)


@pytest.mark.parametrize(("name", "how"), [("sum", "killed"), ("policy", "stopped"), ("tokenizer", "stopped")])
def test_resumed_run_ends_where_an_uninterrupted_one_ends(name, how, tmp_path, monkeypatch):
    """Killed, it goes on from the last epoch. Stopped by Ctrl-C, it goes on from the last step."""
    settings, parts = TOKENIZER if name == "tokenizer" else Settings(), tmp_path / "parts"
    whole = run(name, tmp_path / "whole", settings)
    if how == "killed":
        with pytest.raises(Exception, match="Killed"):
            run(name, parts, settings, kill_at=8)  # in the third epoch
    else:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            stop_at(8, patch)
            run(name, parts, settings)
        assert json.loads((parts / "model_2.part" / checkpoints.FACTS).read_text())["part"]["step"] == 2
    assert latest_checkpoint(parts, "model").name == "model_2"
    resumed = run(name, parts, settings)
    assert not list(parts.glob("*.part"))
    one, other = (keras.saving.load_model(checkpoint / checkpoints.WEIGHTS) for checkpoint in (whole, resumed))
    assert int(one.optimizer.iterations) == int(other.optimizer.iterations) == 12
    for a, b in zip([*one.weights, *one.optimizer.variables], [*other.weights, *other.optimizer.variables]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=a.path)
    for one, other in zip(*(json.loads((end / checkpoints.FACTS).read_text())["history"] for end in (whole, resumed))):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_stop_before_the_first_epoch_s_end_and_one_of_other_settings(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(1, patch)
        run("sum", tmp_path, Settings(epochs=1))
    part = tmp_path / "model_0.part"
    assert part.exists()
    shutil.copytree(part, tmp_path / "kept")
    run("sum", tmp_path, Settings(epochs=1))
    shutil.copytree(tmp_path / "kept", part)  # a run may end before it is deleted
    before = (tmp_path / "model_1" / checkpoints.WEIGHTS).read_bytes()
    run("sum", tmp_path, Settings(epochs=1))
    assert not list(tmp_path.glob("*.part")) and (tmp_path / "model_1" / checkpoints.WEIGHTS).read_bytes() == before
    shutil.copytree(tmp_path / "kept", tmp_path / "other" / "model_0.part")
    drawn = []
    monkeypatch.setattr(loop, "batches", lambda *arguments: drawn.append(arguments[-1]) or batches(*arguments))
    run("sum", tmp_path / "other", Settings(epochs=1, seed=8))
    assert drawn == [0]  # with other settings, from the first step on


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_goes_on(tmp_path, capsys):
    """The tenth epoch is kept beside the last one."""
    few = {"steps_per_epoch": 1}
    run("sum", tmp_path, Settings(epochs=12, **few))
    whole = (tmp_path / "model_12" / checkpoints.WEIGHTS).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (tmp_path / "model_12" / checkpoints.WEIGHTS).write_bytes(flipped)
    run("sum", tmp_path, Settings(epochs=12, **few))
    said = capsys.readouterr().out
    assert "model_12/model.keras is damaged" in said and "kept as model_12.damaged, going on from model_10" in said
    assert {path.name for path in tmp_path.glob("model_*") if path.is_dir()} == {"model_10", "model_12", "model_12.damaged"}
    one, other = (keras.saving.load_model(tmp_path / name / checkpoints.WEIGHTS) for name in ("model_10", "model_12"))
    assert int(one.optimizer.iterations) == 10 and int(other.optimizer.iterations) == 12
    for name in ("model_10", "model_12"):
        (tmp_path / name / checkpoints.FACTS).write_text("")
    run("sum", tmp_path, Settings(epochs=1, **few))
    said = capsys.readouterr().out
    assert "model_10.damaged, going on from the beginning" in said and latest_checkpoint(tmp_path, "model").name == "model_1"


def test_a_loss_that_is_no_number_ends_the_training_and_the_last_good_weights_are_kept(tmp_path):
    run("sum", tmp_path, Settings(epochs=2))
    before = (tmp_path / "model_2" / checkpoints.WEIGHTS).read_bytes()
    model = keras.saving.load_model(tmp_path / "model_2" / checkpoints.WEIGHTS)
    model.head.kernel.assign(model.head.kernel * np.nan)
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(UserError, match=r"step 1 of epoch 3.*model_2 is kept.*learning_rate"),
    ):
        patch.setattr(loop, "load_model", lambda *_, **__: (model, None))
        run("sum", tmp_path, Settings())
    assert (tmp_path / "model_2" / checkpoints.WEIGHTS).read_bytes() == before and not list(tmp_path.glob("model_3*"))
    run("sum", tmp_path, Settings(epochs=3))
    assert latest_checkpoint(tmp_path, "model").name == "model_3"


def test_an_interrupt_that_a_library_swallows_stops_the_training_after_the_batch(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    end = live.LiveFigure.on_epoch_end

    def swallowed(self, *arguments):
        with contextlib.suppress(KeyboardInterrupt):  # as Keras does
            signal.raise_signal(signal.SIGINT)
        end(self, *arguments)

    monkeypatch.setattr(live.LiveFigure, "on_epoch_end", swallowed)
    try:
        signals.listen()
        with pytest.raises(KeyboardInterrupt):
            run("sum", tmp_path, Settings(epochs=3))
    finally:
        signals.received = 0
        signal.signal(signal.SIGINT, before)
    assert latest_checkpoint(tmp_path, "model").name == "model_1" and (tmp_path / "model_1.part").exists(), "a step of epoch 2"


def test_a_checkpoint_that_is_older_than_a_setting_goes_on(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    known = {"settings": {"width": 8}, "inputs": {"recording": "1"}}
    checkpoints.save_checkpoint(model, tmp_path, "model", 3, known | {"history": []})
    for accumulate, epoch in ((1, 3), (2, 0)):
        facts = known | {"settings": {"width": 8, "accumulate": accumulate}}
        assert checkpoints.find_start(tmp_path, "model", "test.py", facts, {"width": 4, "accumulate": 1}).epoch == epoch
    assert (tmp_path / "model_3.old").exists()


def test_the_precision_is_that_of_the_settings_or_the_faster_one_of_a_measurement_that_is_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(precision, "measured", lambda: {"float32": 2.0, "mixed_bfloat16": 1.0})
    used = []
    for name, measured in (("float32", None), ("auto", None), ("auto", {}), ("auto", {"float32": 1.0, "mixed_bfloat16": 2.0})):
        if measured is not None:  # damaged, then measured otherwise
            file = tmp_path / "world" / precision.KEPT
            file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), measured)))
        precision.use_policy(name, tmp_path / "world")
        used.append(keras.mixed_precision.dtype_policy().name)
    keras.mixed_precision.set_global_policy("float32")
    assert used == ["float32", "mixed_bfloat16", "mixed_bfloat16", "float32"]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "arithmetic: float32" and said[3] == f"arithmetic: float32, the faster here by {file}"


def test_a_model_that_is_used_computes_in_float32_after_a_training_in_bfloat16(tmp_path):
    with precision.under_policy("mixed_bfloat16"):
        run("sum", tmp_path, Settings(epochs=1))
        model, _ = checkpoints.load_checkpoint(tmp_path, "model", "test.py")
        assert keras.mixed_precision.dtype_policy().name == "mixed_bfloat16"
    assert keras.mixed_precision.dtype_policy().name == "float32"
    assert model.head.compute_dtype == "float32"


def test_averaged_weights_are_validated_and_saved_and_the_training_goes_on_from_the_others(tmp_path, monkeypatch):
    for module in (checkpoints, loop):
        monkeypatch.setattr(module, "discard", lambda *checkpoint: None)
    few = {"epochs": 3, "steps_per_epoch": 1}
    run("sum", tmp_path / "plain", Settings(**few))
    run("sum", tmp_path / "averaged", Settings(ema=0.8, **few))
    expected = None
    for epoch in (1, 2, 3):
        plain, averaged = (
            keras.saving.load_model(tmp_path / kind / f"model_{epoch}" / checkpoints.WEIGHTS) for kind in ("plain", "averaged")
        )
        weights = [ops.convert_to_numpy(weight) for weight in plain.trainable_weights]
        expected = weights if expected is None else [0.8 * mean + 0.2 * weight for mean, weight in zip(expected, weights)]
        others = averaged.optimizer._model_variables_moving_average
        for i, weight in enumerate(averaged.trainable_weights):
            np.testing.assert_allclose(weight, expected[i], atol=1e-6, err_msg=weight.path)
            np.testing.assert_allclose(others[i], weights[i], atol=1e-6, err_msg=weight.path)
    history = json.loads((tmp_path / "averaged" / "model_3" / checkpoints.FACTS).read_text())["history"]
    validated = averaged.evaluate(numbers(np.random.default_rng(0), 4), verbose=0, return_dict=True)
    np.testing.assert_allclose(history[-1]["val_loss"], validated["loss"], rtol=1e-5)


def test_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    run("sum", tmp_path, Settings(epochs=1))
    before = (tmp_path / "model_1" / checkpoints.WEIGHTS).read_bytes()

    def disk_full(self, path, **kwargs):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", disk_full)
    with pytest.raises(OSError):
        run("sum", tmp_path, Settings(epochs=2))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["model_1"]
    assert (tmp_path / "model_1" / checkpoints.WEIGHTS).read_bytes() == before


def test_ctrl_c_while_a_model_is_loaded_is_not_lost(tmp_path, monkeypatch):
    """Keras itself goes on without the weights."""
    model = ConvTokenizer({"kind": "finite_scalar", "levels": [4, 4]}, width=8)
    model.build()
    checkpoints.save_checkpoint(model, tmp_path, "Model", 1, {})

    def interrupted(self, input_shape=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(ConvTokenizer, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.load_checkpoint(tmp_path, "Model", "tokenizer_training.py")


def test_schedule_rises_stays_and_falls():
    schedule = Schedule(peak=1.0, steps=1000, warmup=100, decay=0.4)
    values = [float(schedule(step)) for step in (0, 49, 99, 300, 600, 800, 1000)]
    np.testing.assert_allclose(values, [0.02, 0.5, 1.0, 1.0, 1.0, 0.5, 0.02], atol=1e-6)


def test_muon_moves_a_kernel_in_all_directions_alike():
    """The update of a convolution is a matrix with almost equal singular values; that of a bias is Adam's."""
    layer = keras.layers.Conv2D(6, 3)
    layer.build((None, 8, 8, 4))
    optimizer = Muon(0.1, weight_decay=None, adam_weight_decay=None, rms_rate=None)
    before = [ops.convert_to_numpy(weight) for weight in layer.weights]
    rng = np.random.default_rng(0)
    steep = rng.normal(size=(3, 3, 4, 6)) * np.logspace(0, -2, 6)
    optimizer.apply(
        [ops.convert_to_tensor(steep.astype("float32")), ops.convert_to_tensor(np.float32([1, -1, 2, 3, 4, -9]))], layer.weights
    )
    kernel, bias = (old - ops.convert_to_numpy(weight) for old, weight in zip(before, layer.weights))
    values = np.linalg.svd(kernel.reshape(36, 6) / 0.1, compute_uv=False)
    assert values.min() > 0.5 and values.max() < 1.5
    np.testing.assert_allclose(np.sign((kernel * steep).sum((0, 1, 2))), 1)
    np.testing.assert_allclose(bias, 0.1 * np.sign([1, -1, 2, 3, 4, -9]), rtol=1e-3)


def test_a_training_s_figure_says_how_long_it_lasts_and_leaves_epochs_out_when_drawing_is_slow(tmp_path, monkeypatch):
    clock, drawn = [0.0], []
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    history: list[dict] = []

    def look(model):
        clock[0] += 2.0  # seconds
        return "what it shows", [np.zeros((2, 8, 8, 3), np.uint8)]

    draw = live.draw
    monkeypatch.setattr(live, "draw", lambda *arguments: drawn.append(arguments) or draw(*arguments))
    figure = live.LiveFigure("test", history, 10, tmp_path / "loss.png", look, live=False)
    figure.on_train_begin()
    for epoch in range(10):
        clock[0] += 30.0
        history.append({"epoch": epoch + 1, "loss": 1.0, "val_loss": 2.0})
        figure.on_epoch_end(epoch)
    assert [title for title, *_ in drawn][:2] == ["test: epoch 1 of 10, 4 min left", "test: epoch 3 of 10, 4 min left"]
    assert drawn[-1][0] == "test: epoch 10 of 10" and (tmp_path / "loss.png").stat().st_size > 1000
    made = draw(*drawn[-1])
    assert [axes.get_title() for part in made.subfigs for axes in part.axes] == ["loss", "what it shows"]
    assert len(made.subfigs[0].axes[0].lines) == 2, "training and validation"


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of glibc")
def test_freed_memory_is_kept_for_the_next_step():
    def new_pages():
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        bytearray(b"x" * 50_000_000)  # twice 12,208 pages
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

    new_pages()
    assert new_pages() < 100


def test_memory_of_a_gpu_is_taken_as_it_is_needed_or_as_the_user_says():
    program = "import genie_tf, os; print(*map(os.environ.get, ('TF_FORCE_GPU_ALLOW_GROWTH', 'XLA_PYTHON_CLIENT_PREALLOCATE')))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}

    def said(**more):
        return subprocess.check_output([sys.executable, "-c", program], env=environment | more, text=True).split()

    assert said() == ["true", "false"]
    assert said(TF_FORCE_GPU_ALLOW_GROWTH="false") == ["false", "false"]
