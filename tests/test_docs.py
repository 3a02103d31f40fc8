"""The pages: their code runs, and the files, options and messages that they name exist."""

import dataclasses
import json
import re
import subprocess
import sys

import gymnasium
import keras
import numpy as np
import pytest
from conftest import ROOT, sampling_noise

from genie_tf import cli, dynamics, tokenizer
from genie_tf.config import Config
from genie_tf.dynamics.maskgit import training_masks
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorded import controls_in
from genie_tf.episodes.recorder import make_game, record
from genie_tf.errors import UserError
from genie_tf.kinds import TABLES, class_of
from genie_tf.play.functions import FUNCTIONS

DOCS = sorted((ROOT / "docs").glob("*.md"))
EXTEND = (ROOT / "docs" / "extend.md").read_text()
FENCES = re.findall(r"^```\w+\n(.*?)^```$", EXTEND, re.M | re.S)
KINDS = re.findall(r'^ +"(\w+)": "(genie_tf\.(\w+)\.\w+:\w+)",$', EXTEND, re.M)  # the lines of the tables
NAMES = re.findall(r"^```\w+\n# ([\w/]+\.\w+)$", EXTEND, re.M)  # the files of the page


@pytest.fixture
def extended(tmp_path, monkeypatch):
    """The files of the page in a folder of their own, found as if they lay in the repository, and the kinds of the page."""
    for code in FENCES:
        if name := re.match(r"# ([\w/]+\.\w+)\n", code):
            (tmp_path / name[1]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name[1]).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for package in (tokenizer, dynamics):
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path.joinpath(*package.__name__.split(".")))])
    for kind, path, section in KINDS:
        monkeypatch.setitem(TABLES[section], kind, path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def settings_of(*options) -> Config:
    """The settings of the page's YAML file, with `options` of the command line."""
    return cli.parse("test", arguments=["--config", "configs/ball.yaml", *options])[0]


def reloaded(model, folder):
    """The model, saved to a file and loaded again."""
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def place_of_ball(frames):
    """Column of the ball in frames uint8 (..., 64, 64, 3)."""
    ball = (frames[..., 0] == 250) & (frames[..., 1] == 60)
    return (ball * np.arange(64)).sum(axis=(-1, -2)) / ball.sum(axis=(-1, -2))


def test_the_game_of_the_page_is_recorded_and_played_from_a_state(extended):
    config = settings_of("--record.train_frames", "1024", "--record.validation_frames", "128", "--record.test_frames", "128")
    assert all(vars(config).values()) and config.tokenizer.kind == "delta"
    record(config.record, config.world)
    episodes = Episodes("record/ball/train")
    assert len(episodes) == 1024 and controls_in(episodes).lists == {"none": [0], "a": [1], "d": [2]}
    rows = episodes.read(episodes.windows(2)[:][:, None] + np.arange(2))
    place, action = place_of_ball(rows["frame"]), rows["action"][:, 0]
    inside = (place[:, 0] > 10) & (place[:, 0] < 53)
    assert inside.sum() > 100 and (np.diff(place)[:, 0] == np.array([0, -4, 4])[action])[inside].all(), "two steps of two pixels"
    game = make_game(config.record, (3, 1), 2, seed=1)
    game.act(np.array([1, 2]))
    state, films = game.get_state(), []
    for actions in ([2, 2], [1, 1], [2, 2]):
        game.set_state(state)
        game.act(np.array(actions))
        game.observe()
        films.append(game.frames())
    game.close()
    np.testing.assert_array_equal(films[0], films[2])
    assert (films[0] != films[1]).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(films[0][0, 48:], films[0][1, 48:], err_msg="one seed, one ground")


def test_the_tokenizer_of_the_page_is_trained(extended):
    options = ["--tokenizer.kind", "conv_fine", "--tokenizer.fine_blocks", "1", "--tokenizer.width", "16"]
    settings = settings_of(*options).tokenizer
    model = class_of("tokenizer", settings.kind).from_settings(settings, (32, 32))
    model.build()
    films = np.random.default_rng(0).integers(0, 256, (4, 1, 32, 32, 3)).astype(np.uint8)
    before = [keras.ops.convert_to_numpy(weight) for weight in model.fine_blocks[0].weights]
    model.compile(keras.optimizers.Adam(1e-3))
    history = model.fit(films, epochs=2, batch_size=4, verbose=0).history
    assert np.isfinite(history["loss"]).all() and len(model.fine_blocks) == 1 and len(before) == 2
    assert all((old != new).any() for old, new in zip(before, model.fine_blocks[0].weights)), "the page's layers learn"
    out = reloaded(model, extended)(films)
    assert out["reconstruction"].shape == films.shape and out["tokens"].shape == (4, 1, model.tokens)
    np.testing.assert_array_equal(out["tokens"], model(films)["tokens"])
    assert model.decode(out["tokens"][:, 0])["frames"].shape == (4, 32, 32, 3)
    with pytest.raises(UserError, match=r"--tokenizer\.patch 5"):
        type(model).from_settings(dataclasses.replace(settings, patch=5), (32, 32))


def test_the_dynamics_of_the_page_are_trained(extended):
    sizes = ["--dynamics.width", "16", "--dynamics.depth", "1", "--dynamics.heads", "2"]
    settings = settings_of("--dynamics.kind", "maskgit_smooth", "--dynamics.smoothing", "0.25", *sizes).dynamics
    model = class_of("dynamics", settings.kind).from_settings(settings, 8, 4, 3)
    model.build()
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 8, (4, 3, 4)).astype(np.int32)
    inputs = {"tokens": tokens, "actions": rng.integers(0, 3, (4, 3)).astype(np.int32)}
    inputs |= training_masks(rng, tokens, 8, settings.corruption, settings.action_dropout)
    model.compile(keras.optimizers.Adam(1e-3))
    history = model.fit(inputs, epochs=2, batch_size=4, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    loaded = reloaded(model, extended)
    out = loaded(inputs)
    assert out["logits"].shape == (4, 2, 4, 8) and loaded.smoothing == 0.25
    log_p, masked = keras.ops.convert_to_numpy(keras.ops.log_softmax(out["logits"])), inputs["masked"][:, 1:]
    wanted = 0.75 * np.eye(8)[tokens[:, 1:]] + 0.25 / 8
    np.testing.assert_allclose(out["loss"], -(wanted * log_p).sum(axis=-1)[masked].mean(), rtol=1e-4)
    drawn = loaded.sample(loaded.empty_past(2), keras.ops.zeros(2, "int32"), sampling_noise(loaded, 2, 2, seed=1), 1.0)["tokens"]
    assert drawn.shape == (2, 4)
    with pytest.raises(UserError, match=r"--dynamics\.smoothing 1"):
        type(model).from_settings(dataclasses.replace(settings, smoothing=1.0), 8, 4, 3)


# What the pages name -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS], ids=lambda page: page.name)
def test_links_and_pictures_lead_to_files(page):
    links = re.findall(r"\]\(([^)\s#]+)", page.read_text())
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    folders = "genie_tf|configs|notebooks|tests|benchmarks"
    named = {name.rstrip(".") for name in re.findall(rf"(?<![\w/.-])(?:{folders})/[\w./-]*", page.read_text())}
    named -= set(gymnasium.registry)
    assert not [name for name in named if not (ROOT / name).exists() and (page.name != "extend.md" or name not in NAMES)]


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_options_that_a_page_names_exist(page, extended):
    if page.name != "extend.md":
        for kind, _, section in KINDS:
            del TABLES[section][kind]
    known = set()
    for section in dataclasses.fields(Config):
        if section.name in TABLES:
            kinds = [class_of(section.name, kind).Settings for kind in TABLES[section.name]]
        else:
            kinds = [section.type] if dataclasses.is_dataclass(section.type) else []
        known |= {f"{section.name}.{field.name}" for settings in kinds for field in dataclasses.fields(settings)}
    quantizers = [class_of("quantizer", kind).Settings for kind in TABLES["quantizer"]]
    known |= {f"tokenizer.quantizer.{field.name}" for settings in quantizers for field in dataclasses.fields(settings)}
    named = set(re.findall(r"--(\w+\.\w+(?:\.\w+)?)", page.read_text()))
    assert not named - known


def test_messages_that_are_quoted_are_those_of_the_code():
    """A quoted message has … for what differs."""
    files = [*(ROOT / "genie_tf").rglob("*.py"), *ROOT.glob("*.py"), ROOT / "Makefile", ROOT / "data_collect.bash"]
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(file.read_text() for file in files))  # a string over several lines
    quoted = re.findall(r"^```text\n(.*?)\n```$", "".join(page.read_text() for page in DOCS), re.M | re.S)
    parts = {part for message in quoted for part in message.removeprefix("error: ").split("…")}
    assert len(quoted) > 15 and not [part for part in parts if part not in code]


def test_the_dockerfile_s_files_and_commands_exist():
    lines = [line.split(" ", 1) for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == ["FROM", "python:3.12-slim"]
    for word, rest in lines:
        if word == "COPY":
            assert all((ROOT / name).exists() for name in rest.split()[:-1])
        if word == "RUN":
            assert subprocess.run(["bash", "-n", "-c", rest], check=False).returncode == 0
            for target in re.findall(r"make (\w+)$", rest):
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
            for pin in re.findall(r'"(\w+)\[[\w-]+\]==(\S+)"', rest):
                assert "==".join(pin) in (ROOT / "requirements.txt").read_text().splitlines()
    _, script, *options = json.loads(dict(lines)["CMD"])
    said = subprocess.run([sys.executable, ROOT / script, *options, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(option in said for option in options if option.startswith("--"))


def test_the_page_names_every_key_of_the_window():
    page = (ROOT / "docs" / "play.md").read_text()
    named = {key for line in page.splitlines() if line.startswith("| `") for key in re.findall("`([^`]+)`", line.split("|")[1])}
    assert named >= {key for function in FUNCTIONS for key in function.keys}
