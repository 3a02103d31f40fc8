"""The real scripts, run small: what they make, how they stop and go on, and what they say to bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from conftest import FIGURES, ROOT, refused, run_on_full_disk, start, wait_for

from genie_tf import tokenizer
from genie_tf.cli import parse
from genie_tf.dynamics.maskgit import MaskGitDynamics, MaskGitSettings
from genie_tf.episodes.dataset import Episodes
from genie_tf.errors import UserError
from genie_tf.kinds import class_of
from genie_tf.layers.quantizers.lookup_free import LookupFreeSettings
from genie_tf.tokenizer.conv import ConvSettings
from genie_tf.world import World

SCRIPTS = {  # and the sections that each reads
    "extract.py": {"record", "play"}, "agent_training.py": {"record", "dynamics", "play"}, "tokenizer_training.py": {"tokenizer"},
    "idm_training.py": {"latent_action"}, "dream_train_tf.py": {"dynamics"}, "dream_evaluate_tf.py": {"judge", "dynamics", "play"},
    "dream_play_tf.py": {"dynamics", "play"}, "clone_agent.py": {"clone"},
}  # fmt: skip
EXPLAINED = {
    "record": "Game steps for which an action is held", "tokenizer": "Levels of each coordinate",
    "latent_action": "Frames from the beginning of a latent action to its end",
    "judge": "--judge.width WIDTH Channels", "dynamics": "Width of the transformer", "play": "MaskGIT steps a frame",
    "clone": "--clone.width WIDTH Channels",
}  # fmt: skip


def checkpoints(place):
    """Epochs of the tokenizer's checkpoints."""
    names = [path.name for path in (place.folder / "model" / "tiny").glob("VQVAE_Model_*[0-9]")]
    return {int(name.split("_")[-1]) for name in names}


def test_a_world_is_made(tiny):
    model = tiny.folder / "model" / "tiny"
    for name in ("VQVAE_Model", "IDM_Model", "world_model"):
        assert (model / f"{name}_2" / "model.keras").exists() and not (model / f"{name}_1").exists()
        assert len((model / f"{name}_history.csv").read_text().splitlines()) == 3
        assert (model / f"{name}_loss.png").stat().st_size > 1000
    assert "val_shuffled_actions" in (model / "world_model_history.csv").read_text()
    keymap = json.loads((model / "IDM_Model_2" / "keymap.json").read_text())
    assert set(keymap["codes"]) == {"none", "a", "d", "w", "aw", "dw"} and keymap["labelled_transitions"] <= 200
    figures = json.loads((model / "evaluation.json").read_text())
    assert set(figures) >= FIGURES, FIGURES - set(figures)
    for figure in figures.values():
        assert set(figure) == {"value", "low", "high", "n"} and figure["low"] <= figure["value"] <= figure["high"]
    assert all((model / f"{name}.png").stat().st_size > 1000 for name in ("strips", "worst", "actions"))
    assert not list(tiny.folder.rglob("*.tmp")) and not list(model.rglob("*.tmp"))


def test_done_work_is_not_done_again(tiny):
    before = {file: file.stat().st_mtime_ns for file in (tiny.folder / "model").rglob("model.keras")}
    assert "done already" in tiny.make("tokenizer_training.py")
    tiny.make("extract.py")
    assert before == {file: file.stat().st_mtime_ns for file in (tiny.folder / "model").rglob("model.keras")}


def test_changed_settings_or_inputs_train_anew_and_stale_tokens_are_not_used(copy):
    tokens = copy.folder / "model" / "tiny" / "VQVAE_Model_2" / "tokens_tiny_train.npy"
    before = np.load(tokens)
    assert "training anew" in copy.make("tokenizer_training.py", "--tokenizer.seed", "5")
    assert (tokens.parent.with_name("VQVAE_Model_2.old") / "model.keras").exists()
    assert (before != np.load(tokens)).any()
    refused(copy.run("dream_play_tf.py", "--actions", "d"), "another tokenizer", "dream_train_tf.py")
    episode = next((copy.folder / "record" / "tiny" / "train").glob("*.npy"))
    episode.write_bytes(episode.read_bytes()[:5000])  # a bad file: named, and the training goes on without it
    np.save(tokens, np.zeros_like(before))  # would be taken if it were not known to be stale
    said = copy.make("dream_train_tf.py")
    assert "training anew" in said and f"skipped {episode.relative_to(copy.folder)}" in said
    after = np.load(tokens)["tokens"]
    assert after.any() and len(after) < len(before)


def test_stopped_training_goes_on_from_there(copy):
    """Stopped by Ctrl-C, by SIGTERM, then killed while it writes a checkpoint."""
    model = copy.folder / "model" / "tiny"
    options = ["--tokenizer.epochs", "300", "--tokenizer.steps_per_epoch", "5", "--tokenizer.seed", "9"]
    reached = 0
    for how, code, enough in ((signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 2), (signal.SIGKILL, -signal.SIGKILL, 3)):
        process = start(copy, sys.executable, str(ROOT / "tokenizer_training.py"), "--config", "tiny.yaml", *options)
        least = max(reached + 1, enough)
        wait_for(lambda: (model / "VQVAE_Model_2.old").exists() and max(checkpoints(copy), default=0) >= least)  # noqa: B023
        if how == signal.SIGKILL:
            wait_for((model / "VQVAE_Model.tmp").exists, pause=0.001)
        os.killpg(process.pid, how)
        assert process.wait(120) == code
        assert "Traceback" not in process.stderr.read()
        reached = max(checkpoints(copy))
        assert 0 < reached < 300
    options[1] = str(reached + 1)
    copy.make("tokenizer_training.py", *options)
    history = (model / "VQVAE_Model_history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history[1:]] == [str(epoch) for epoch in range(1, reached + 2)]
    assert checkpoints(copy) == {*range(10, reached + 2, 10), reached + 1}
    assert not [*model.rglob("*.tmp"), *model.rglob("*.part")]


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
def test_help_explains_the_fields_of_the_sections_that_the_script_reads(place, script):
    said = " ".join(place.make(script, "--help").split())
    sections = {section: words for section, words in EXPLAINED.items() if words in said}
    assert set(sections) == SCRIPTS[script]
    assert all(f"--{section}." in said for section in sections)


def test_help_shows_the_settings_of_the_chosen_kind_alone(place):
    one, other = (
        place.make("idm_training.py", "--latent_action.kind", kind, "--help") for kind in ("motion_rank", "st_transformer")
    )
    assert "--latent_action.patch" in other and "--latent_action.patch" not in one
    kinds = "auto or motion_rank or avatar or hypotheses or st_transformer"
    assert all(kinds in said and "--latent_action.codes" in said for said in (one, other))


def test_another_kind_on_the_command_line_replaces_what_the_file_says_of_its_kind(place):
    (place.folder / "w.yaml").write_text("tokenizer: {kind: delta, epochs: 7, cell: 32, quantizer: {kind: vector, codes: 64}}")

    def read(*options):
        return parse("test", arguments=["--config", str(place.folder / "w.yaml"), *options], sections=("tokenizer",))[0].tokenizer

    assert asdict(read("--tokenizer.kind", "conv")) == asdict(ConvSettings())
    assert (read("--tokenizer.kind", "delta").epochs, read("--tokenizer.kind", "delta").cell) == (7, 32)
    other = read("--tokenizer.quantizer.kind", "lookup_free")
    assert other.cell == 32 and other.quantizer == LookupFreeSettings()


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_settings_are_read_whole(config):
    parsed = parse("test", arguments=["--config", str(config)])[0]
    assert all(parsed.__dict__.values()) and parsed.world == config.stem


def test_a_config_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    (tmp_path / "ball.yaml").write_text("world: ball")
    for file, there in (("bell.yaml", "ball.yaml"), ("none/ball.yaml", "no other settings")):
        with pytest.raises(UserError, match=f"--config .*{file}: there is no such file; in .* there are {there}"):
            parse("test", arguments=["--config", str(tmp_path / file)])


def test_noise_can_be_left_out():
    arguments = ["--config", str(ROOT / "configs" / "coinrun_plain.yaml"), "--tokenizer.noise", "0"]
    settings = parse("test", arguments=[*arguments, "--dynamics.picture_noise", "0"])[0]
    assert settings.tokenizer.noise == settings.dynamics.picture_noise == 0
    with pytest.raises(UserError, match=r"--tokenizer.noise -0.1: it must be 0 or more"):
        parse("test", arguments=[*arguments[:3], "-0.1"])


def test_a_new_tokenizer_is_one_file_and_one_line_of_its_table(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import Literal\n"
        "from genie_tf.tokenizer.conv import ConvSettings, ConvTokenizer\n"
        "@dataclass\n"
        "class MySettings(ConvSettings):\n"
        "    kind: Literal['mine'] = 'mine'\n"
        "    taste: int = 1\n"
        "class MyTokenizer(ConvTokenizer):\n"
        "    Settings = MySettings\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(tokenizer.KINDS, "mine", "mine:MyTokenizer")
    (tmp_path / "mine.yaml").write_text("tokenizer: {kind: mine, quantizer: {levels: [8, 4]}, width: 16}\n")
    arguments = ["--config", str(tmp_path / "mine.yaml"), "--tokenizer.taste", "3"]
    settings = parse("test", arguments=arguments, sections=("tokenizer",))[0].tokenizer
    assert (settings.taste, settings.quantizer.levels) == (3, [8, 4])
    model = class_of("tokenizer", settings.kind).from_settings(settings, (64, 64))
    assert type(model).__name__ == "MyTokenizer" and model.codes == 32
    with pytest.raises(UserError, match="kind mine, and the kind here is delta"):
        parse("test", arguments=["--config", str(ROOT / "configs" / "coinrun.yaml"), *arguments[2:]])


def test_each_tokenizer_has_a_usual_quantizer(tmp_path):
    (tmp_path / "mine.yaml").write_text("world: mine\n")
    for kind, usual in (("conv", "finite_scalar"), ("magvit2", "lookup_free")):
        arguments = ["--config", str(tmp_path / "mine.yaml"), "--tokenizer.kind", kind]
        assert parse("test", arguments=arguments, sections=("tokenizer",))[0].tokenizer.quantizer.kind == usual
        arguments += ["--tokenizer.quantizer.kind", "finite_scalar"]
        assert parse("test", arguments=arguments, sections=("tokenizer",))[0].tokenizer.quantizer.levels == [8, 5, 5, 5]


def test_a_world_whose_tokens_change_the_picture_before(copy):
    """Its tokenizer sees latent actions, which are trained before it."""
    delta = ["--tokenizer.kind", "delta", "--tokenizer.length", "3"]
    model = copy.folder / "model" / "tiny"
    said = copy.make("tokenizer_training.py", *delta)
    assert "tokens of record/tiny/train" in said
    films = np.load(model / "VQVAE_Model_2" / "tokens_tiny_validation.npy")
    tokens = films["tokens"]
    assert tokens.shape[1] == 17 and (tokens == 0).all(axis=1).sum() >= 16, "the first frames of the episodes are given"
    copy.make("dream_train_tf.py")
    frames = Episodes(copy.folder / "record" / "tiny" / "validation").frames(np.arange(6))
    latent_actions = np.load(model / "IDM_Model_2" / "latent_actions_tiny_validation.npy")
    world = World.load(model)
    world.reset(frames[None], latent_actions[None, :5])
    own, shown = (films["picture"][5].astype(int), world.memory["before"][0].numpy())
    assert np.abs(own - shown).max() <= 2 < np.abs(own - frames[5]).max(), "the cache has the pictures of play"
    recording = Episodes(copy.folder / "record" / "tiny" / "train")
    cache = np.load(model / "VQVAE_Model_2" / "tokens_tiny_train.npy", mmap_mode="r")
    batch = MaskGitDynamics.examples(recording, cache, np.zeros(len(cache), int), MaskGitSettings(length=4), 1000).spread(2)
    np.testing.assert_array_equal(batch["pictures"][0], cache["picture"][:4], "and the dynamics are trained on them")
    copy.make("dream_play_tf.py", "--actions", "ddw", "--out", "a.gif")
    copy.make("dream_train_tf.py", "--dynamics.actions", "true")
    world = World.load(model, guided=True)
    code_of = json.loads((model / "IDM_Model_2" / "keymap.json").read_text())["codes"]
    assert {key: world.led_by[action] for key, action in world.keymap.items()} == code_of, "the latent action of the same key"
    world.reset(np.zeros((1, 1, 64, 64, 3), np.uint8))
    assert world.step(np.array([world.keymap["d"]])).shape == (1, 64, 64, 3)
    facts = json.loads((model / "VQVAE_Model_2" / "training.json").read_text())
    facts["inputs"]["latent_action"] = "another"
    (model / "VQVAE_Model_2" / "training.json").write_text(json.dumps(facts))
    refused(copy.run("dream_train_tf.py"), "another latent action model", "tokenizer_training.py")
    for checkpoint in model.glob("IDM_Model_*"):
        checkpoint.rename(checkpoint.with_name(f"old_{checkpoint.name}"))
    refused(copy.run("tokenizer_training.py", *delta), "idm_training.py")


def test_unknown_key_and_wrong_type(place):
    refused(place.run("extract.py", "--record.hlod", "3"), "hlod")
    refused(place.run("tokenizer_training.py", "--tokenizer.epochs", "many"), "epochs", "many")
    refused(place.run("extract.py", config="nowhere.yaml"), "nowhere.yaml")
    refused(place.run("extract.py", "--record.game", "chess"), "chess", "coinrun")
    refused(place.run("extract.py", "--record.train_levels", "0"), "train_levels", "8 or more")
    refused(place.run("idm_training.py", "--latent_action.kind", "vae"), "vae", "motion_rank")
    refused(place.run("idm_training.py", "--latent_action.codes", "0"), "--latent_action.codes 0", "more than 0")
    refused(place.run("dream_train_tf.py", "--dynamics.seed", "-1"), "--dynamics.seed -1", "0 or more")
    refused(place.run("dream_train_tf.py", "--dynamics.ema", "1"), "--dynamics.ema 1.0", "less than 1")
    refused(place.run("dream_train_tf.py", "--dynamics.accumulate", "0"), "--dynamics.accumulate 0", "more than 0")
    refused(place.run("dream_train_tf.py", "--dynamics.accumulate", "9"), "--dynamics.accumulate 9", "at most 8")
    (place.folder / "bad.yaml").write_text("world: x\ntokenizer: {codse: 3}\n")
    refused(place.run("tokenizer_training.py", config="bad.yaml"), "codse")
    (place.folder / "bad.yaml").write_text("world: x\ntokeniser: {codes: 3}\n")
    refused(place.run("extract.py", config="bad.yaml"), "tokeniser", "tokenizer")
    for given in ([], ["--latent_action.codes", "8"]):  # settings of the time when one section held those of both kinds
        (place.folder / "old.yaml").write_text("latent_action: {kind: motion_rank, code_dim: 32}\n")
        refused(
            place.run("idm_training.py", *given, config="old.yaml"), "code_dim", "write kind: st_transformer", "leave code_dim out"
        )
    refused(place.run("idm_training.py", "--latent_action.patch", "8"), "patch", "st_transformer")
    (place.folder / "odd.yaml").write_text("latent_action: {kind: [motion_rank]}\n")
    refused(
        place.run("idm_training.py", config="odd.yaml"), "latent_action.kind", "choose one of auto, motion_rank, avatar, hypotheses"
    )
    refused(place.run("tokenizer_training.py", "--tokenizer.quantizer.kind", "vq"), "vq", "vector, finite_scalar, lookup_free")
    refused(place.run("tokenizer_training.py", "--tokenizer.quantizer.codes", "8"), "codes", "kind: vector")
    (place.folder / "old.yaml").write_text("tokenizer: {codes: 32}\n")
    refused(place.run("tokenizer_training.py", config="old.yaml"), "tokenizer.codes is now tokenizer.quantizer.codes")
    (place.folder / "old.yaml").write_text("tokenizer: {quantizer: vector}\n")
    refused(place.run("tokenizer_training.py", config="old.yaml"), "write quantizer: {kind: finite_scalar}")
    refused(place.run("tokenizer_training.py", "--world", "../../x"), "../../x", "not a path")
    refused(place.run("extract.py", "--name", "../x", "--video", "a.mp4"), "../x", "not a path")
    refused(place.run("clone_agent.py", "--expert", "a/b"), "a/b", "not a path")
    assert not list(place.folder.glob("record/*")) and not list(place.folder.glob("model/*"))
    (place.folder / "worse.yaml").write_text("world: [1\n")
    refused(place.run("extract.py", config="worse.yaml"))


def test_a_python_without_the_packages():
    for script in SCRIPTS:
        refused(subprocess.run([sys.executable, "-S", ROOT / script], capture_output=True, text=True), "gymnasium", "make setup")


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


def test_keys_files_and_displays_that_are_not(tiny, monkeypatch):
    refused(tiny.run("tokenizer_training.py", "--tokenizer.quantizer.levels", "[8, 1]"), "levels [8, 1]", "2 levels or more")
    refused(tiny.run("tokenizer_training.py", "--tokenizer.patch", "5"), "patch 5", "64 x 64")
    refused(tiny.run("idm_training.py", "--latent_action.codes", "7"), "codes 7", "even")
    refused(tiny.run("tokenizer_training.py", "--tokenizer.kind", "st_vivit", "--tokenizer.patch", "7"), "patch 7", "64 x 64")
    assert (tiny.folder / "model" / "tiny" / "VQVAE_Model_2").exists(), "a refused setting takes no checkpoint away"
    refused(tiny.run("dream_play_tf.py", "--actions", "ddx"), "'x'", "a, d, w")
    refused(tiny.run("dream_play_tf.py", "--actions", "d", "--out", "film.avi"), "film.avi", ".gif")
    refused(tiny.run("dream_play_tf.py", "--actions", "d", "--out", "no/where.gif"), "no")
    refused(tiny.run("dream_play_tf.py", SDL_VIDEODRIVER="x11", DISPLAY=""), "no display", "--actions")
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):  # SDL would take a driver that shows nothing
        monkeypatch.delenv(name, raising=False)
    refused(tiny.run("dream_play_tf.py"), "no display", "--actions")


def test_full_disk_stops_a_training_in_one_line_and_loses_nothing(copy):
    model = copy.folder / "model" / "tiny"
    before = (model / "VQVAE_Model_2" / "model.keras").read_bytes()
    refused(run_on_full_disk(copy, "tokenizer_training.py", "--tokenizer.epochs", "3"), "room")
    assert (model / "VQVAE_Model_2" / "model.keras").read_bytes() == before
    assert not list(model.rglob("*.tmp")) and not (model / "VQVAE_Model_3").exists()
    copy.make("tokenizer_training.py", "--tokenizer.epochs", "3")
    assert (model / "VQVAE_Model_3").exists()
