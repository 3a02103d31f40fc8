"""The real scripts, run small: what they make, how they stop and go on, and what they say to bad input."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, Place

from genie_tf.episodes.dataset import Episodes

SCRIPTS = [
    "extract.py", "agent_training.py", "tokenizer_training.py", "idm_training.py", "dream_train_tf.py", "dream_evaluate_tf.py",
    "dream_play_tf.py",
]  # fmt: skip
FIGURES = {
    "tokenizer.psnr", "tokenizer.codes_used",
    "latent_action.codes_used", "latent_action.nmi", "latent_action.probe_accuracy", "latent_action.majority_accuracy",
    *(f"dynamics.psnr.{t}" for t in range(1, 11)), *(f"dynamics.psnr_copy.{t}" for t in range(1, 11)),
    "dynamics.delta_psnr_genie", "dynamics.delta_psnr_last",
    "play.frames_per_second", "play.p95_ms",
}  # fmt: skip


def refused(done, *words):
    """One line that says what is wrong and what to do, exit code 2, no traceback."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


@pytest.fixture
def copy(tiny, tmp_path):
    """A world of one's own to break."""
    shutil.copytree(tiny.folder, tmp_path / "copy")
    place = object.__new__(Place)
    place.folder = tmp_path / "copy"
    return place


def checkpoints(place):
    """Epochs of the dynamics' checkpoints."""
    names = [path.name for path in (place.folder / "model" / "tiny").glob("world_model_*[0-9]")]
    return {int(name.split("_")[-1]) for name in names}


def test_a_world_is_made(tiny):
    model = tiny.folder / "model" / "tiny"
    for name in ("VQVAE_Model", "IDM_Model", "world_model"):
        assert (model / f"{name}_2" / "model.keras").exists() and not (model / f"{name}_1").exists()
        assert len((model / f"{name}_history.csv").read_text().splitlines()) == 3
        assert (model / f"{name}_loss.png").stat().st_size > 1000
    keymap = json.loads((model / "IDM_Model_2" / "keymap.json").read_text())
    assert set(keymap["codes"]) == {"none", "a", "d", "w", "aw", "dw"} and keymap["labelled_transitions"] <= 200
    figures = json.loads((model / "evaluation.json").read_text())
    assert set(figures) == FIGURES
    for figure in figures.values():
        assert set(figure) == {"value", "low", "high", "n"} and figure["low"] <= figure["value"] <= figure["high"]
    assert (model / "strips.png").stat().st_size > 1000 and (model / "actions.png").stat().st_size > 1000
    assert not list(tiny.folder.rglob("*.tmp")) and not list(model.glob("unfinished*"))


def test_done_work_is_not_done_again(tiny):
    before = {file: file.stat().st_mtime_ns for file in (tiny.folder / "model").rglob("model.keras")}
    assert "done already" in tiny.make("tokenizer_training.py")
    tiny.make("extract.py")
    assert before == {file: file.stat().st_mtime_ns for file in (tiny.folder / "model").rglob("model.keras")}


def test_checkpoints_stay_every_ten_epochs_and_the_last(copy):
    copy.make("dream_train_tf.py", "--dynamics.epochs", "12", "--dynamics.steps_per_epoch", "1")
    assert checkpoints(copy) == {10, 12}


def test_changed_settings_or_inputs_train_anew_and_stale_tokens_are_not_used(copy):
    tokens = copy.folder / "model" / "tiny" / "VQVAE_Model_2" / "tokens_train.npy"
    before = np.load(tokens)
    assert "training anew" in copy.make("tokenizer_training.py", "--tokenizer.seed", "5")
    assert (tokens.parent.with_name("VQVAE_Model_2.old") / "model.keras").exists()
    assert (before != np.load(tokens)).any()
    refused(copy.run("dream_play_tf.py", "--actions", "d"), "another tokenizer", "dream_train_tf.py")
    assert "training anew" in copy.make("dream_train_tf.py")
    episode = next((copy.folder / "record" / "tiny" / "train").glob("*.npy"))
    episode.unlink()
    np.save(tokens, np.zeros_like(before))  # would be taken if it were not known to be stale
    assert "training anew" in copy.make("dream_train_tf.py")
    assert np.load(tokens).any() and len(np.load(tokens)) < len(before)


def test_guided_world_trains_plays_and_is_measured(copy):
    copy.make("dream_train_tf.py", "--dynamics.actions", "true")
    copy.make("dream_play_tf.py", "--dynamics.actions", "true", "--actions", "dw", "--out", "true.gif")
    copy.make("dream_evaluate_tf.py", "--dynamics.actions", "true")
    assert (copy.folder / "model" / "tiny" / "guided_evaluation.json").exists()
    assert (copy.folder / "model" / "tiny" / "world_model_2").exists()


def test_collection_runs_workers_in_parallel_and_fails_if_one_fails(place):
    done = subprocess.run(
        [ROOT / "data_collect.bash", "2", "--config", "tiny.yaml"],
        cwd=place.folder, env=os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((place.folder / "record" / "tiny" / "train").glob("shard*.json"))) == 8
    for options, code in ((["0"], 2), (["2", "--record.hold", "x"], 2)):
        done = subprocess.run(
            [ROOT / "data_collect.bash", *options],
            cwd=place.folder, env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == code, done.stderr


def start(place, *command):
    return subprocess.Popen(
        command, cwd=place.folder, env=os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.05)


def test_ctrl_c_stops_all_workers_and_they_go_on(place):
    command = [ROOT / "data_collect.bash", "2", "--config", "tiny.yaml", "--record.train_frames", "60000"]
    train = place.folder / "record" / "tiny" / "train"
    process = start(place, *command)
    wait_for(lambda: list(train.glob("*.npy")))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130, process.stderr.read()
    assert "Traceback" not in process.stderr.read()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert len(list(train.glob("*.json"))) < 8
    assert start(place, *command).wait(120) == 0
    assert len(list(train.glob("*.json"))) == 8 and not list(train.glob("*.tmp"))


@pytest.mark.parametrize("whom", ["one", "all"])
def test_killed_workers_lose_unfinished_episodes_and_nothing_else(place, whom):
    command = [ROOT / "data_collect.bash", "2", "--config", "tiny.yaml", "--record.train_frames", "40000"]
    train = place.folder / "record" / "tiny" / "train"
    process = start(place, *command)
    wait_for(lambda: len(list(train.glob("*.npy"))) > 30)
    if whom == "all":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        os.kill(int(subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()[0]), signal.SIGKILL)
    assert process.wait(60) != 0
    wait_for(lambda: subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True).returncode == 1)
    kept = {file: file.read_bytes() for file in train.glob("*.npy")}
    assert len(kept) > 30
    for file in kept:
        np.load(file, mmap_mode="r", allow_pickle=False)
    assert start(place, *command).wait(120) == 0
    assert not list(place.folder.rglob("*.tmp"))
    assert all(file.read_bytes() == was for file, was in kept.items())
    place.make("extract.py", "--world", "straight", "--record.train_frames", "40000")
    for split in ("train", "validation", "test"):
        one, other = (place.folder / "record" / world / split for world in ("tiny", "straight"))
        assert {file.name: file.read_bytes() for file in one.glob("*.npy")} == {
            file.name: file.read_bytes() for file in other.glob("*.npy")
        }


def test_two_runs_into_one_folder_do_not_meet(place):
    command = [sys.executable, str(ROOT / "extract.py"), "--config", "tiny.yaml", "--record.train_frames", "60000"]
    train = place.folder / "record" / "tiny" / "train"
    first = start(place, *command)
    wait_for(lambda: list(train.glob("*.npy")))
    refused(place.run("extract.py", "--record.train_frames", "60000"), "another run", "--world")
    assert first.wait(120) == 0
    assert not list(place.folder.rglob("*.tmp"))
    frames = sum(len(np.load(file, mmap_mode="r")) for file in train.glob("*.npy"))
    assert frames == sum(json.loads(file.read_text())["frames"] for file in train.glob("shard*.json")) >= 60000


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_training_goes_on_from_the_last_finished_epoch(copy, how):
    model = copy.folder / "model" / "tiny"
    options = ["--dynamics.epochs", "300", "--dynamics.seed", "9"]
    process = start(copy, sys.executable, str(ROOT / "dream_train_tf.py"), "--config", "tiny.yaml", *options)
    wait_for(lambda: (model / "world_model_2.old").exists() and checkpoints(copy))
    os.killpg(process.pid, how)
    assert process.wait(60) == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in process.stderr.read()
    reached = max(checkpoints(copy))
    assert 0 < reached < 300
    options[1] = str(reached + 1)
    copy.make("dream_train_tf.py", *options)
    history = (model / "world_model_history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history[1:]] == [str(epoch) for epoch in range(1, reached + 2)]
    assert not list(model.glob("unfinished*"))


@pytest.mark.parametrize("name", ["a.gif", "a.mp4", "folder"])
def test_given_keys_are_dreamt_into_a_film(tiny, tmp_path, name):
    tiny.make("dream_play_tf.py", "--actions", "dd.[wd]a", "--out", str(tmp_path / name))
    if name == "folder":
        assert len(list((tmp_path / name).glob("*.png"))) == 4 + 5
    else:
        import av

        with av.open(str(tmp_path / name)) as film:
            frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert len(frames) == 4 + 5 and frames[0].shape == (128, 128, 3)


# Bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains_every_field(place, script):
    done = place.run(script, "--help", config=None)
    assert done.returncode == 0
    assert "Game steps for which an action is held" in done.stdout and "MaskGIT steps a frame" in done.stdout


def test_unknown_key_and_wrong_type(place):
    refused(place.run("extract.py", "--record.hlod", "3"), "hlod")
    refused(place.run("tokenizer_training.py", "--tokenizer.epochs", "many"), "epochs", "many")
    refused(place.run("extract.py", config="nowhere.yaml"), "nowhere.yaml")
    refused(place.run("extract.py", "--record.game", "chess"), "chess", "coinrun")
    refused(place.run("extract.py", "--record.train_levels", "0"), "train_levels", "8 or more")
    (place.folder / "bad.yaml").write_text("world: x\ntokenizer: {codse: 3}\n")
    refused(place.run("extract.py", config="bad.yaml"), "codse")
    (place.folder / "worse.yaml").write_text("world: [1\n")
    refused(place.run("extract.py", config="worse.yaml"))


def test_nothing_recorded_and_nothing_trained(place, tiny):
    refused(place.run("tokenizer_training.py"), "record/tiny/train", "data_collect.bash")
    (place.folder / "record" / "tiny" / "train").mkdir(parents=True)
    refused(place.run("idm_training.py"), "record/tiny/train", "data_collect.bash")
    refused(place.run("dream_play_tf.py", "--actions", "d"), "VQVAE_Model", "tokenizer_training.py")
    shutil.copytree(tiny.folder / "record", place.folder / "record", dirs_exist_ok=True)
    refused(place.run("dream_train_tf.py"), "VQVAE_Model", "tokenizer_training.py")
    refused(place.run("dream_evaluate_tf.py"), "VQVAE_Model", "tokenizer_training.py")


def test_truncated_files(copy):
    episode = next((copy.folder / "record" / "tiny" / "test").glob("*.npy"))
    episode.write_bytes(episode.read_bytes()[:5000])
    assert f"skipped {episode.relative_to(copy.folder)}" in copy.make("dream_play_tf.py", "--actions", "d")
    weights = copy.folder / "model" / "tiny" / "world_model_2" / "model.keras"
    weights.write_bytes(weights.read_bytes()[:5000])
    refused(copy.run("dream_play_tf.py", "--actions", "d"), "world_model_2", "dream_train_tf.py")


def test_keys_files_and_displays_that_are_not(tiny, place):
    refused(tiny.run("dream_play_tf.py", "--actions", "ddx"), "'x'", "w, a, d")
    refused(tiny.run("dream_play_tf.py", "--actions", "d", "--out", "film.avi"), "film.avi", ".gif")
    refused(tiny.run("dream_play_tf.py", "--actions", "d", "--out", "no/where.gif"), "no")
    refused(tiny.run("dream_play_tf.py", SDL_VIDEODRIVER="x11", DISPLAY=""), "no display", "--actions")


def run_on_full_disk(place, script, *options, room=100_000):
    """No file may grow beyond `room` bytes: writing more fails as it does on a full disk."""

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    return subprocess.run(
        [sys.executable, ROOT / script, "--config", "tiny.yaml", *options],
        cwd=place.folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, preexec_fn=small_files,
    )  # fmt: skip


@pytest.mark.parametrize("ending", ["npy", "b2nd"])
def test_full_disk_stops_a_recording_in_one_line_and_leaves_no_broken_file(place, ending):
    options = [
        "--record.format",
        ending,
        "--record.train_frames",
        "60000",
        "--record.hold",
        "1",
        "--record.use_backgrounds",
        "true",
    ]
    refused(run_on_full_disk(place, "extract.py", *options), "room")
    assert not list(place.folder.rglob("*.tmp"))
    if kept := list(place.folder.rglob(f"*.{ending}")):
        assert Episodes(kept[0].parent).skipped == 0
    place.make("extract.py", *options)


def test_full_disk_stops_an_import_in_one_line_and_leaves_no_broken_file(place, tiny):
    shutil.copytree(tiny.folder / "record", place.folder / "record")
    place.make("extract.py", "--export", "mp4")
    options = ["--video", "record/tiny/mp4/*/*.mp4", "--name", "again"]
    refused(run_on_full_disk(place, "extract.py", *options), "room")
    assert not list(place.folder.rglob("*.tmp"))
    place.make("extract.py", *options)
    refused(run_on_full_disk(place, "extract.py", "--world", "again", "--export", "mp4", room=2_000), "room")
    assert not list(place.folder.rglob("*.tmp"))


# Videos alone --------------------------------------------------------------------------------------


def test_a_world_is_made_of_videos_alone_and_says_that_it_has_no_true_actions(tiny, tmp_path):
    place = Place(tmp_path)
    shutil.copytree(tiny.folder / "record" / "tiny", tmp_path / "record" / "tiny")
    place.make("extract.py", "--export", "mp4")
    for split in ("train", "validation", "test"):
        (tmp_path / "clips" / split).mkdir(parents=True)
        for clip in (tmp_path / "record" / "tiny" / "mp4" / split).glob("*.mp4"):
            clip.rename(tmp_path / "clips" / split / clip.name)
    shutil.rmtree(tmp_path / "record" / "tiny")

    said = place.make("extract.py", "--video", "clips/*/*.mp4", "--name", "mine", "--cut", "0")
    assert "0 skipped" in said
    assert not Episodes(tmp_path / "record" / "mine" / "train").known.any()
    assert "unknown 100.0 %" in place.make("extract.py", "--describe", "record/mine")
    world = ("--world", "mine")
    place.make("tokenizer_training.py", *world)
    assert "no true actions" in place.make("idm_training.py", *world)
    place.make("dream_train_tf.py", *world)
    assert "no true actions" in place.make("dream_evaluate_tf.py", *world)
    figures = json.loads((tmp_path / "model" / "mine" / "evaluation.json").read_text())
    assert set(figures) == FIGURES - {f"latent_action.{name}" for name in ("nmi", "probe_accuracy", "majority_accuracy")}
    place.make("dream_play_tf.py", *world, "--actions", "12.8", "--out", "mine.gif")
    refused(place.run("dream_play_tf.py", *world, "--actions", "1d"), "no true actions", "1 to 8")
    refused(place.run("dream_train_tf.py", *world, "--dynamics.actions", "true"), "without true actions", "latent")


def test_bad_options_of_the_recorder(place):
    refused(place.run("extract.py", "--video", "clips/*.mp4"), "no file matches", "quotes")
    refused(place.run("extract.py", "--export", "avi"), "mp4")
    refused(place.run("extract.py", "--export", "mp4"), "no recording", "data_collect.bash")
    refused(place.run("extract.py", "--describe", "record/x"), "no recording in record/x")
    refused(place.run("extract.py", "--record.agent", "genius"), "genius", "sticky")
    refused(place.run("extract.py", "--record.distribution_mode", "extreme"), "chaser", "easy")
    refused(place.run("extract.py", "--worker", "2", "--workers", "2"), "worker 2 of 2")
    refused(place.run("extract.py", "--record.agent", "human", SDL_VIDEODRIVER="x11", DISPLAY=""), "no display")


def test_full_disk_stops_a_training_in_one_line_and_loses_nothing(copy):
    model = copy.folder / "model" / "tiny"
    before = (model / "world_model_2" / "model.keras").read_bytes()
    refused(run_on_full_disk(copy, "dream_train_tf.py", "--dynamics.epochs", "3"), "room")
    assert (model / "world_model_2" / "model.keras").read_bytes() == before
    assert not list(model.glob("unfinished*")) and not (model / "world_model_3").exists()
    copy.make("dream_train_tf.py", "--dynamics.epochs", "3")
    assert (model / "world_model_3").exists()
