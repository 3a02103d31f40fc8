"""Files between the stages that are damaged or missing, two runs at once, and what a killed run leaves behind."""

import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys

import fuzz
import keras
import numpy as np
import pytest
from conftest import ROOT, refused

from genie_tf import stages
from genie_tf.cli import parse
from genie_tf.episodes.codes import cached_codes, codes_of_films, codes_of_rows
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import episode_dtype
from genie_tf.errors import UserError
from genie_tf.files import read_json
from genie_tf.latent_action.keymap import load_keymap
from genie_tf.training.checkpoints import load_facts

DAMAGE = {"truncated": lambda data: data[: len(data) // 2], "empty": lambda data: b"", "else": lambda data: b"[1, 2]"}


def damage(file, how):
    file.write_bytes(DAMAGE[how](file.read_bytes()))


@pytest.fixture
def model(copy):
    return copy.folder / "model" / "tiny"


def test_json_is_an_object_with_the_names_asked_for_or_an_error_that_says_what_to_do(tmp_path):
    file = tmp_path / "a.json"
    for text in (None, "", '{"a": 1', "[1]", '{"b": 1}', "\xff"):
        if text is not None:
            file.write_text(text, encoding="latin-1")
        with pytest.raises(UserError, match=r"a\.json .*make it anew"):
            read_json(file, "make it anew", a=int)
    file.write_text('{"a": 1}')
    assert read_json(file, "", a=int) == {"a": 1}


def test_damaged_checkpoints_are_refused_by_name(copy, model):
    facts = model / "world_model_2" / "training.json"
    damage(facts, "truncated")
    done = copy.run("dream_play_tf.py", "--actions", "d")
    refused(done, "world_model_2/training.json is damaged", "delete", "python dream_train_tf.py --world tiny")
    for text in (b"", b"[1, 2]", b"{}", None):
        facts.write_bytes(text) if text is not None else facts.unlink()
        with pytest.raises(UserError, match=r"world_model_2/training\.json .*python dream_train_tf\.py --world tiny"):
            load_facts(facts.parent, "dream_train_tf.py")


def test_a_damaged_or_foreign_keymap_is_refused_and_learnt_anew(copy, model):
    file = model / "IDM_Model_2" / "keymap.json"
    whole = file.read_bytes()
    foreign = json.loads(whole)
    foreign["codes"]["d"] = 6
    for text in (b"", whole[:50], b"[1, 2]", b'{"codes": {}}', b'{"codes": 3}', json.dumps(foreign).encode(), None):
        file.write_bytes(text) if text is not None else file.unlink()
        with pytest.raises(UserError, match=r"IDM_Model_2/keymap\.json .*python idm_training\.py --world tiny"):
            load_keymap(file.parent, 6)
    file.write_text(json.dumps(foreign))
    refused(copy.run("dream_play_tf.py", "--actions", "d"), "the key d the latent action 6, of 0 to 5", "python idm_training.py")
    copy.make("idm_training.py")
    assert file.read_bytes() == whole


@pytest.mark.parametrize(("ending", "how"), [(".npy", "truncated"), (".npy", "empty"), (".npy", "else"), (".json", "truncated")])
def test_damaged_caches_are_made_anew(tmp_path, ending, how):
    """Of tokens, movements and latent actions alike."""
    (tmp_path / "mine" / "train").mkdir(parents=True)
    np.save(tmp_path / "mine" / "train" / "a.npy", np.zeros(40, episode_dtype((64, 64))))
    episodes, computed = Episodes(tmp_path / "mine" / "train"), []

    def compute(rows):
        computed.append(1)
        return rows.astype(np.uint16)

    def codes():
        return cached_codes("codes", episodes, tmp_path, "me", codes_of_rows(episodes, 1, compute))

    np.testing.assert_array_equal(codes(), np.arange(40))
    damage((tmp_path / "codes_mine_train").with_suffix(ending), how)
    np.testing.assert_array_equal(codes(), np.arange(40))
    np.testing.assert_array_equal(codes(), np.arange(40))
    assert len(computed) == 2, "once at first, once after the damage"


def test_codes_of_films_know_the_frames_before(tmp_path):
    """A memory that counts: each episode begins anew, whatever its length and its place among the others."""
    (tmp_path / "mine" / "train").mkdir(parents=True)
    lengths = (40, 3, 17, 33, 1)
    for i, length in enumerate(lengths):
        rows = np.zeros(length, episode_dtype((64, 64)))
        rows["frame"] = i
        np.save(tmp_path / "mine" / "train" / f"{i}.npy", rows)
    episodes = Episodes(tmp_path / "mine" / "train")

    def count(frames, rows, memory):
        return np.stack([frames[:, 0, 0, 0], memory], axis=1).astype(np.uint16), memory + 1

    for batch, workers in ((2, 1), (64, 1), (2, 2), (1, 8)):
        shares = [
            codes_of_films(episodes, lambda size: np.zeros(size, int), count, batch_size=batch, worker=worker, workers=workers)
            for worker in range(workers)
        ]
        found = cached_codes("codes", episodes, tmp_path, f"{batch} {workers}", itertools.chain(*shares))
        expected = [(i, t) for i, length in enumerate(lengths) for t in range(length)]
        np.testing.assert_array_equal(found, expected)


def test_workers_share_the_rows(tmp_path):
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "train" / "a.npy", np.zeros(70, episode_dtype((64, 64))))
    episodes = Episodes(tmp_path / "train")
    for workers in (1, 3, 9):
        shares = [list(codes_of_rows(episodes, 1, lambda rows: rows, 10, worker, workers)) for worker in range(workers)]
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        np.testing.assert_array_equal(np.sort(np.concatenate([rows for share in shares for _, rows in share])), np.arange(70))


def test_a_recording_s_damaged_settings_are_made_anew_or_refused(copy):
    shards = sorted((copy.folder / "record" / "tiny" / "test").glob("shard*.json"))
    damage(shards[0], "truncated")
    copy.make("dream_evaluate_tf.py", "--only_latent_action")  # every shard has the same settings
    before = {file: json.loads(file.read_text()) for file in shards[1:]}
    for shard in shards:
        damage(shard, "empty")
    refused(copy.run("dream_evaluate_tf.py", "--only_latent_action"), "shard00.json is damaged", "data_collect.bash")
    assert "shard00.json is damaged" in copy.make("extract.py")
    assert before == {file: json.loads(file.read_text()) for file in before}


def test_a_video_s_damaged_settings_are_made_anew(place, tiny):
    (place.folder / "record" / "tiny" / "test").mkdir(parents=True)
    episode = next((tiny.folder / "record" / "tiny" / "test").glob("*.npy"))
    shutil.copy2(episode, place.folder / "record" / "tiny" / "test")
    place.make("extract.py", "--export", "mp4")
    options = ["--video", "record/tiny/mp4/*/*.mp4", "--name", "again"]
    place.make("extract.py", *options)
    facts = place.folder / "record" / "again" / "video00000.json"
    whole = facts.read_bytes()
    for how in DAMAGE:
        damage(facts, how)
        assert "video00000.json is damaged" in place.make("extract.py", *options)
        assert facts.read_bytes() == whole


def test_damaged_and_hostile_files_are_read_or_refused_in_one_line(tmp_path, monkeypatch):
    """A few of each kind. `python -m tests.fuzz` reads twelve thousand."""
    monkeypatch.chdir(tmp_path)
    others = fuzz.hostile_files()
    for kind, target in fuzz.targets(tmp_path).items():
        target.read()
        for case in range(3 if kind.startswith("checkpoint") else 10):
            fault = fuzz.read_case(target, np.random.default_rng([case, sum(kind.encode())]), others)
            assert not fault, f"{kind}, case {case}: {fault}"


def test_figures_that_are_damaged_are_not_compared(copy, model):
    shutil.copytree(model, model.with_name("other"))
    for how in DAMAGE:
        damage(model.with_name("other") / "evaluation.json", how)
        done = copy.run("dream_evaluate_tf.py", "--compare", "model/tiny", "model/other")
        refused(done, "model/other/evaluation.json is damaged", "python dream_evaluate_tf.py --world other")
    for figures in ('{"tokenizer.psnr": 3}', '{"mine": {"value": 1, "low": 0, "high": 2, "n": 9}}'):
        (model.with_name("other") / "evaluation.json").write_text(figures)
        refused(copy.run("dream_evaluate_tf.py", "--compare", "model/tiny", "model/other"), "model/other", "evaluate")


def test_one_run_at_a_time_works_in_a_world_and_clears_what_a_killed_one_left(copy, model):
    left = [model / "world_model.tmp" / "model.keras", model / "VQVAE_Model_2" / "tokens_tiny_train.npy.tmp", model / "x.png.tmp"]
    left[0].parent.mkdir()
    for file in left:
        file.write_bytes(b"half")
    with open(model / "run.tmp", "w") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        for script in ("tokenizer_training.py", "idm_training.py", "dream_train_tf.py", "dream_evaluate_tf.py", "clone_agent.py"):
            refused(copy.run(script), "another run is training or measuring model/tiny", "--world")
        refused(copy.run("dream_evaluate_tf.py", "--protocol", "genieredux"), "another run")
        assert all(file.exists() for file in left), "they may be the other run's"
        copy.make("dream_play_tf.py", "--actions", "d")  # which only reads
    copy.make("dream_train_tf.py")
    assert not list(model.rglob("*.tmp"))


def test_latent_actions_in_the_cache_need_no_model(tiny, monkeypatch):
    monkeypatch.chdir(tiny.folder)
    monkeypatch.setattr(stages, "load_latent_action", None)
    config, _ = parse("test", arguments=["--config", "tiny.yaml"])
    recording = Episodes(config.record_folder("train"))
    codes = stages.latent_actions_of(config, {"train": recording})["train"]
    assert codes.shape == (len(recording),) and len(set(codes.tolist())) > 1


@pytest.mark.parametrize("stage, size", [("tokenizer", 32), ("latent_action", 32), ("judge", 32), ("world_model", 16)])
def test_an_epoch_is_validated_on_no_more_examples_than_it_trains_on(copy, monkeypatch, stage, size):
    def train(title, make, draw, validation, *others, **options):
        raise UserError(f"{len(keras.tree.flatten(validation)[0])} examples")

    monkeypatch.chdir(copy.folder)
    monkeypatch.setattr(stages, "train", train)
    config, _ = parse("test", arguments=["--config", "tiny.yaml"])
    with pytest.raises(UserError, match=f"^{size} examples"):
        getattr(stages, f"train_{stage}")(config)


def test_a_model_is_loaded_from_a_bare_import(tiny):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    program = (
        "import genie_tf\n"
        "for name in ('VQVAE_Model', 'IDM_Model', 'Judge_Model', 'world_model'):\n"
        "    model, file = genie_tf.load_checkpoint('model/tiny', name, 'a script')\n"
        "    assert model.built and file.exists()\n"
        "genie_tf.World.load('model/tiny')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tiny.folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
