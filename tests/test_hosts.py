"""Several processes that train one model: here two on this machine, with JAX."""

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import test_backends
from conftest import ROOT

from genie_tf.dynamics.maskgit import MaskGitDynamics, MaskGitSettings
from genie_tf.episodes.dataset import Examples, Windows
from genie_tf.errors import UserError
from genie_tf.hosts import Devices, joined, processes
from genie_tf.training.loop import WEIGHTS

ONE_OF_TWO = """
import itertools, os, pathlib, sys
sys.path.insert(0, "tests")
from genie_tf.cli import run
from genie_tf.hosts import Devices, joined, processes
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
on_jax = test_backends.on_jax


def two(folder, last: int) -> list[subprocess.CompletedProcess]:
    """Train with two processes, of which the second ends before it draws so many batches."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    of_jax = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": test_backends.QUICK}
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | of_jax
    commands = [[sys.executable, "-c", ONE_OF_TWO, folder, f"127.0.0.1:{port},2,{number}", str(last)] for number in range(2)]
    started = [subprocess.Popen(c, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True) for c in commands]
    return [subprocess.CompletedProcess(p.args, p.wait(200), *p.communicate()) for p in started]


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="it compares with what JAX trained from here")
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


def test_each_process_draws_its_part_of_the_batch_of_one(monkeypatch):
    films = np.zeros(40, [("tokens", np.uint16, (3,))])
    films["tokens"] = np.arange(120).reshape(40, 3)
    recording = SimpleNamespace(windows=lambda length: Windows(np.array([0]), np.array([41 - length])))
    sequences = MaskGitDynamics.examples(recording, films, np.arange(40), MaskGitSettings(length=4), 120)
    kinds = (Examples(recording.windows(4), lambda rows: {"rows": rows}), sequences)

    def drawn() -> list[dict]:
        return [examples.draw(np.random.default_rng(1), 6) for examples in kinds]

    whole = drawn()
    monkeypatch.setattr(processes, "count", 2)
    parts = []
    for number in range(2):
        monkeypatch.setattr(processes, "number", number)
        parts.append(drawn())
    for one, first, second in zip(whole, *parts):
        for name, values in one.items():
            assert len(first[name]) == 3
            np.testing.assert_array_equal(values, np.concatenate([first[name], second[name]]), err_msg=name)


@pytest.mark.parametrize(("backend", "join", "words"), [("tensorflow", "auto", "KERAS_BACKEND=jax"), ("jax", "a,b", "host:port")])
def test_processes_that_can_t_join(backend, join, words, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(UserError, match=words):
        joined(1, 1, join)
    assert joined(4, 2, "") == Devices(4, 2)
