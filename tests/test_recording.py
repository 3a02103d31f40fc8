"""The recorder's scripts, run small: workers, interruptions, full disks, and a world made of videos alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import FIGURES, ROOT, TINY, Place, refused, run_on_full_disk, start, wait_for
from PIL import Image

from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.video import encode_video


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


def test_ctrl_c_stops_all_workers_and_they_go_on(place):
    command = [ROOT / "data_collect.bash", "2", "--config", "tiny.yaml", "--record.train_frames", "16000"]
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


@pytest.mark.slow
def test_killed_workers_lose_unfinished_episodes_and_nothing_else(place):
    """First one worker of two is killed, later all."""
    command = [ROOT / "data_collect.bash", "2", "--config", "tiny.yaml", "--record.train_frames", "16000", "--record.hold", "2"]
    train = place.folder / "record" / "tiny" / "train"
    kept: dict = {}
    for whom in ("one", "all"):
        process = start(place, *command)
        wait_for(lambda: len(list(train.glob("*.npy"))) > len(kept) + 20)  # noqa: B023
        if whom == "all":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(int(subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()[0]), signal.SIGKILL)
        assert process.wait(60) != 0
        wait_for(lambda: subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True).returncode == 1)  # noqa: B023
        kept = {file: file.read_bytes() for file in train.glob("*.npy")}
        for file in kept:
            np.load(file, mmap_mode="r", allow_pickle=False)
    assert start(place, *command).wait(120) == 0
    assert not list(place.folder.rglob("*.tmp"))
    assert all(file.read_bytes() == was for file, was in kept.items())
    place.make("extract.py", "--world", "straight", "--record.train_frames", "16000", "--record.hold", "2")
    for split in ("train", "validation", "test"):
        one, other = (place.folder / "record" / world / split for world in ("tiny", "straight"))
        assert {file.name: file.read_bytes() for file in one.glob("*.npy")} == {
            file.name: file.read_bytes() for file in other.glob("*.npy")
        }


def test_two_runs_into_one_folder_do_not_meet(place):
    command = [sys.executable, str(ROOT / "extract.py"), "--config", "tiny.yaml", "--record.train_frames", "20000"]
    train = place.folder / "record" / "tiny" / "train"
    first = start(place, *command)
    wait_for(lambda: list(train.glob("*.npy")))
    first.send_signal(signal.SIGSTOP)  # or it may be over before the other has begun
    refused(place.run("extract.py", "--record.train_frames", "20000"), "another run", "--world")
    first.send_signal(signal.SIGCONT)
    assert first.wait(120) == 0
    assert not list(place.folder.rglob("*.tmp"))
    frames = sum(len(np.load(file, mmap_mode="r")) for file in train.glob("*.npy"))
    assert frames == sum(json.loads(file.read_text())["frames"] for file in train.glob("shard*.json")) >= 20000


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


def copy_some(tiny, place, count):
    """The first episodes of each split."""
    for split in ("train", "validation", "test"):
        (place.folder / "record" / "tiny" / split).mkdir(parents=True)
        for episode in sorted((tiny.folder / "record" / "tiny" / split).glob("*.npy"))[:count]:
            shutil.copy2(episode, place.folder / "record" / "tiny" / split)


def test_full_disk_stops_an_import_in_one_line_and_leaves_no_broken_file(place, tiny):
    copy_some(tiny, place, 8)
    place.make("extract.py", "--export", "mp4")
    options = ["--video", "record/tiny/mp4/*/*.mp4", "--name", "again"]
    refused(run_on_full_disk(place, "extract.py", *options), "room")
    assert not list(place.folder.rglob("*.tmp"))
    place.make("extract.py", *options)
    refused(run_on_full_disk(place, "extract.py", "--world", "again", "--export", "mp4", room=2_000), "room")
    assert not list(place.folder.rglob("*.tmp"))


# Videos alone --------------------------------------------------------------------------------------


def test_a_world_is_made_of_videos_alone_and_says_that_it_has_no_true_actions(tiny, tmp_path):
    """Clips of 101 x 75 pixels at 12.5 frames a second, to frames of 64 x 48, and latent actions of the kind for still cameras."""
    place = Place(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY.replace("kind: motion_rank", "kind: hypotheses"))
    for split in ("train", "validation", "test"):
        (tmp_path / "clips" / split).mkdir(parents=True)
        for episode in Episodes(tiny.folder / "record" / "tiny" / split).episodes[:48]:
            pictures = [np.asarray(Image.fromarray(frame).resize((101, 75))) for frame in episode.rows()["frame"]]
            (tmp_path / "clips" / split / f"{Path(episode.path).stem}.mp4").write_bytes(encode_video(np.stack(pictures), 12.5))

    size = ("--record.height", "48", "--record.width", "64")
    said = place.make("extract.py", "--video", "clips/*/*.mp4", "--name", "mine", "--cut", "0", "--fps", "12.5", *size)
    assert "0 skipped" in said
    train = Episodes(tmp_path / "record" / "mine" / "train")
    assert not train.known.any() and train.frame_size == (48, 64)
    assert "unknown 100.0 %" in place.make("extract.py", "--describe", "record/mine")
    world = ("--world", "mine")
    place.make("tokenizer_training.py", *world)
    assert "no true actions" in place.make("idm_training.py", *world)
    place.make("dream_train_tf.py", *world)
    assert "no true actions" in place.make("dream_evaluate_tf.py", *world)
    figures = json.loads((tmp_path / "model" / "mine" / "evaluation.json").read_text())
    of_labels = ("judge", "obey", "counterfactual", "memory", "resting", "lasting.psnr", "latent_action.")
    without = {name for name in FIGURES if not name.startswith(of_labels) and "_keys" not in name and "_after" not in name}
    assert set(figures) >= without | {"latent_action.codes_used"}
    assert not any(name.startswith(of_labels) or "_keys" in name for name in set(figures) - FIGURES)
    place.make("dream_play_tf.py", *world, "--actions", "12.6", "--out", "mine.gif")
    refused(place.run("dream_play_tf.py", *world, "--actions", "1d"), "no true actions", "1 to 6")
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
