"""Two devices: the same update from the same batch."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from test_backends import QUICK

from genie_tf.errors import UserError
from genie_tf.hosts import Devices
from genie_tf.training import devices


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "model"), [("tensorflow", "tokenizer"), ("jax", "dynamics")])
def test_two_devices_train_the_weights_of_one(backend, model):
    """Twenty steps with Muon, averaged weights, a codebook and dead codes. `python -m tests.devices` compares every model."""
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK}
    done = subprocess.run(
        [sys.executable, "-m", "tests.devices", model], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.findall(r"differ by (\S+)", done.stdout)
    assert len(found) == {"tensorflow": 1, "jax": 2}[backend] and all(float(one) < 1e-4 for one in found), done.stdout


def test_devices_that_are_not_there_and_batches_that_can_t_be_divided(monkeypatch):
    for count in (0, -1, 3):
        with pytest.raises(UserError, match=f"--devices {count}: this machine has 1"), devices.shared_among(Devices(count), 12):
            pass
    monkeypatch.setattr(devices, "found", lambda: ["a", "b"])
    for two, batch, words in (
        (Devices(2), 5, "--devices 2: the batch size 5 must be a multiple of it"),
        (Devices(2, 3), 4, "--split 3: --devices 2 must be a multiple of it"),
        (Devices(2, 2), 4, "--split 2: set KERAS_BACKEND=jax"),
    ):
        with pytest.raises(UserError, match=words), devices.shared_among(two, batch):
            pass
    rows = devices.evenly({"a": range(7), "b": range(10, 17)}, 2)
    assert [list(rows[name]) for name in rows] == [list(range(6)), list(range(10, 16))]
