"""What the tests share: a tiny world, made once by the real scripts."""

import contextlib
import fcntl
import functools
import gc
import io
import os
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # the workers share the cores
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pytest

from genie_tf.quiet import quiet

with quiet():
    from genie_tf.episodes.procgen_game import ProcgenSettings
    from genie_tf.episodes.recorder import controls_of

COINRUN = controls_of(ProcgenSettings())
ROOT = Path(__file__).parent.parent
TINY = """
world: tiny
record: {train_frames: 1536, validation_frames: 1024, test_frames: 2048, train_levels: 80, validation_levels: 16, test_levels: 40}
tokenizer: {quantizer: {levels: [4, 4, 4]}, width: 16, epochs: 2, steps_per_epoch: 4, batch_size: 8}
latent_action: {kind: motion_rank, width: 16, epochs: 2, steps_per_epoch: 4, batch_size: 8}
judge: {width: 8, epochs: 1, steps_per_epoch: 4, batch_size: 8}
dynamics: {width: 32, depth: 2, heads: 2, epochs: 2, steps_per_epoch: 4, batch_size: 4}
play: {evaluation_windows: 8, sampling_steps: 2, scale: 2, frames_per_second: 50}
"""
METRICS = ("psnr", "ssim")
ROWS = ("", "_keys", "_random", "_copy", "_tokenizer")
FIGURES = {  # of every world whose actions are known; a long dream's game may be over before
    *(f"tokenizer.{metric}" for metric in ("psnr", "ssim", "psnr_moving", "frechet_blocks", "codes_used", "perplexity")),
    *(f"latent_action.{metric}" for metric in ("codes_used", "perplexity", "psnr", "copy_psnr", "delta_psnr",
      "delta_psnr_changed")),
    *(f"{who}.{metric}" for who in ("latent_action", "judge") for metric in ("nmi", "mi", "nmi_effect", "mi_effect",
      "probe_accuracy", "majority_accuracy", "probe_f1", "key_accuracy", "majority_key_accuracy")),
    "latent_action.visible.nmi", "latent_action.visible.probe_accuracy", "judge.visible.key_accuracy", "judge.key_f1",
    *(f"{group}.{metric}{row}.{t}" for group in ("dynamics", "dynamics.prompt1") for metric in METRICS for row in ROWS
      for t in range(1, 11)),
    *(f"{group}.frechet_blocks{row}" for group in ("dynamics", "dynamics.prompt1") for row in ROWS),
    *(f"{group}.delta_psnr_{name}{t}" for group in ("dynamics", "dynamics.prompt1") for name in ("genie", "last")
      for t in ("", *(f".{t}" for t in range(1, 11)))),
    *(f"obey.{metric}.{t}" for metric in ("key_f1", "direction_f1") for t in (1, 10, 50, 200)),
    *(f"lasting.{metric}.{t}" for metric in ("change", "frozen") for t in (1, 10, 50, 200)),
    *(f"counterfactual.{name}.1" for name in ("match", "match_copy", "match_tokenizer", "chance")),
    "obey.key_f1_game.1", "lasting.psnr.1", "lasting.frechet_blocks.200", "lasting.frechet_blocks_recorded",
    "dynamics.psnr_after.5", "dynamics.psnr_after.50", "obey.direction_f1_after.5", "obey.direction_f1_after.1000",
    "counterfactual.match_after.5", "guess.wrong", "lasting.frechet_blocks_after.50", "memory.chance",
    *(f"memory.psnr.{n}" for n in (4, 8, 16)), "resting.psnr.10", "resting.psnr_copy.50", "play.frames_per_second", "play.p95_ms",
}  # fmt: skip


def sampling_noise(model, batch: int, steps: int, seed: int) -> np.ndarray:
    """The noise of a step of `batch` rows of dynamics, as `World.step` draws it."""
    from genie_tf.dynamics.sampling import uniform_noise

    return uniform_noise(seed + np.arange(batch), model.noise_shape(steps))


class Place:
    """A folder with a config in which scripts run as a user runs them."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "configs").mkdir()
        (folder / "configs" / "coinrun_plain.yaml").write_text((ROOT / "configs" / "coinrun_plain.yaml").read_text())
        (folder / "tiny.yaml").write_text(TINY)

    def run(self, script: str, *options: str, config: str = "tiny.yaml", **environment: str) -> subprocess.CompletedProcess:
        """Run a script in this process: importing TensorFlow anew takes longer than most of them."""
        command = [str(ROOT / script), "--config", config, *options]
        out, err, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", command)
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                runpy.run_path(command[0], run_name="__main__")
            except SystemExit as end:
                code = end.code or 0
            except Exception:
                traceback.print_exc()
                code = 1
            finally:
                forget_models()
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    def make(self, script: str, *options: str) -> str:
        done = self.run(script, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="session", autouse=True)
def plain_graphs():
    """Trace a training step once, and run it as it is traced: both take longer than the few steps of a test."""
    import keras

    from genie_tf.training import precision

    precision.measured = functools.cache(precision.measured)  # once for all worlds
    make = keras.Model.make_train_function

    def with_optimizer(model, *arguments, **keywords):
        if model.built and not model.optimizer.built:  # a first step that makes the optimizer's variables is traced twice
            model.optimizer.build(model.trainable_variables)
        return make(model, *arguments, **keywords)

    keras.Model.make_train_function = with_optimizer
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    gc.collect()
    gc.freeze()  # clearing Keras's session after each script collects garbage: the libraries' objects are never it
    gc.set_threshold(100_000)  # tracing makes many objects, and few of them are garbage


@pytest.fixture(scope="session", autouse=True)
def no_downloads():
    """No test downloads the weights of InceptionV3 or VGG16, or builds these in order to try."""
    import keras

    def offline(network):
        def without_download(*arguments, weights="imagenet", **keywords):
            if weights == "imagenet":
                raise OSError("tests download nothing")
            return network(*arguments, weights=weights, **keywords)

        return without_download

    with pytest.MonkeyPatch.context() as patch:
        for name in ("InceptionV3", "VGG16"):
            patch.setattr(keras.applications, name, offline(getattr(keras.applications, name)))
        yield


LONGEST = (
    "test_backends",
    "test_scripts",
    "test_recording",
    "test_games",
    "test_notebooks",
)  # they begin, so that both workers end together


def pytest_collection_modifyitems(items):
    """Sort the files, and mark tests that need a trained world as slow: `make test QUICK=1` leaves them out."""
    items.sort(key=lambda item: item.path.stem not in LONGEST or LONGEST.index(item.path.stem) - len(LONGEST))
    for item in items:
        if "tiny" in item.fixturenames:
            item.add_marker("slow")


def forget_models() -> None:
    """Leave Keras as a new process finds it."""
    if "keras" in sys.modules:
        import keras

        keras.mixed_precision.set_global_policy("float32")
        keras.backend.clear_session()


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, worker_id) -> Place:
    """A recorded and trained tiny world. Read it, and leave it as it is. Made once, and copied for each worker."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    made = shared / "made"
    with open(shared / "made.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            place = Place(tmp_path_factory.mktemp("making"))
            for script in ("extract.py", "idm_training.py", "tokenizer_training.py", "dream_train_tf.py", "dream_evaluate_tf.py"):
                place.make(script)
            place.folder.rename(made)
    return copied(made, tmp_path_factory.mktemp("tiny") / "world")


def copied(folder: Path, target: Path) -> Place:
    shutil.copytree(folder, target)  # times of files too: fingerprints are made of them
    place = object.__new__(Place)
    place.folder = target
    return place


def refused(done, *words):
    """One line that says what is wrong and what to do, exit code 2, no traceback."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def start(place, *command, **environment: str):
    """Start a process that Ctrl-C stops, also where these tests ignore it: a shell ignores it in what it runs in the background."""
    return subprocess.Popen(
        command, cwd=place.folder, env=os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for(condition, seconds=90, pause=0.05):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(pause)


def run_on_full_disk(place, script, *options, room=100_000):
    """No file may grow beyond `room` bytes: writing more fails as it does on a full disk."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        return place.run(script, *options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def copy(tiny, tmp_path):
    """A world of one's own to break."""
    return copied(tiny.folder, tmp_path / "copy")
