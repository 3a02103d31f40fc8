"""A Ray cluster does the work of all workers."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest
from conftest import ROOT, refused, start, wait_for

RECORD = ("--record.train_frames", "60000", "--record.hold", "1")


def processes_of(name: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.joinpath("cmdline").read_bytes().startswith(name.encode()):
                found.append(int(folder.name))
        except OSError:  # it has ended
            pass
    return found


@pytest.mark.slow
def test_a_lost_share_is_done_again_and_the_recording_is_that_of_one_worker(place):
    pytest.importorskip("ray", reason="the extra of requirements-cluster.txt is not installed")
    record = place.folder / "record" / "tiny"
    process = start(place, sys.executable, str(ROOT / "extract.py"), "--config", "tiny.yaml", *RECORD, "--ray", "local")
    wait_for(lambda: len(list(record.glob("train/*.npy"))) > 4, 300)
    killed = processes_of("ray::share")
    for worker in killed:
        os.kill(worker, signal.SIGKILL)
    assert killed and process.wait(300) == 0, process.stderr.read()
    record.rename(record.with_name("of_cluster"))
    place.make("extract.py", *RECORD)
    ours, theirs = ({f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()} for folder in
                    (record.with_name("of_cluster"), record))  # fmt: skip
    assert ours.keys() == theirs.keys() and len(ours) > 100
    assert all(ours[name] == theirs[name] for name in theirs), "the same bytes"


@pytest.mark.slow
def test_a_cluster_tokenizes_and_the_tokens_are_those_of_one_process(copy):
    pytest.importorskip("ray", reason="the extra of requirements-cluster.txt is not installed")
    (file,) = (copy.folder / "model" / "tiny").glob("VQVAE_Model_*/tokens_tiny_train.npy")
    before = file.read_bytes()
    file.unlink()
    process = start(copy, sys.executable, str(ROOT / "tokenizer_training.py"), "--config", "tiny.yaml", "--ray", "local")
    wait_for(lambda: processes_of("ray::share"), 300)
    for worker in processes_of("ray::share"):
        os.kill(worker, signal.SIGKILL)
    assert process.wait(300) == 0, process.stderr.read()
    assert file.read_bytes() == before


def test_clusters_that_are_not_there(place, monkeypatch):
    refused(place.run("extract.py", "--describe", "record/x", "--ray", "auto"), "--ray", "leave it out")
    if importlib.util.find_spec("ray"):
        for script in ("extract.py", "tokenizer_training.py"):  # the second one before it reads the recording and trains
            refused(place.run(script, "--ray", "127.0.0.1:1"), "--ray 127.0.0.1:1", "ray start --head")
    monkeypatch.setitem(sys.modules, "ray", None)
    refused(place.run("extract.py", "--ray", "auto"), "requirements-cluster.txt")
