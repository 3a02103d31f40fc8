"""Games: their controls, frames of any size, any Gymnasium environment, and whole worlds of other games."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import COINRUN, ROOT, TINY, refused

from genie_tf.cli import parse
from genie_tf.config import Config, PlayConfig
from genie_tf.episodes.controls import Controls, chord, control_of, keys_in
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.find_controls import same_effects
from genie_tf.episodes.gymnasium_game import GymnasiumGame, GymnasiumSettings
from genie_tf.episodes.procgen_game import CONTROLS, ENV_NAMES, ProcgenGame, ProcgenSettings
from genie_tf.episodes.recorded import controls_in, recorded_with
from genie_tf.episodes.recorder import controls_of, make_game, record
from genie_tf.errors import UserError
from genie_tf.latent_action import looks
from genie_tf.play.window import Keys, Window
from genie_tf.recording import extract
from genie_tf.world import World

OWN = "source: gymnasium, game: 'walker:Walker-v0', height: 64, width: 96"


def tiny_config(place, world: str, record: str, latent_action: str = "kind: motion_rank") -> str:
    """The settings of the tiny world for another game. Returns the file's name."""
    text = TINY.replace("world: tiny", f"world: {world}").replace("record: {", f"record: {{{record}, ")
    text = text.replace("kind: motion_rank", latent_action)
    text = text.replace("evaluation_windows: 8", "evaluation_windows: 4")
    (place.folder / f"{world}.yaml").write_text(text)
    return f"{world}.yaml"


# Controls ------------------------------------------------------------------------------------------


def test_a_control_is_a_chord_of_keys():
    assert keys_in("aw") == keys_in("wa") == {"a", "w"} and keys_in("a+space") == {"a", "space"} and keys_in("none") == set()
    assert chord("wa") == "aw" and chord("") == "none" and chord("wad") == "w" and chord(["space", "d"]) == "d+space"
    names = ["none", "a", "w", "d+space"]
    assert control_of("wa", names) == "a" and control_of(["d", "space", "w"], names) == "d+space"
    assert control_of("d", names) == "none" and control_of("d", ["a", "w"]) is None
    for bad in ("", "A", "1", "up"):
        with pytest.raises(UserError, match=r"no control|two controls"):
            Controls({bad: 1, "aw": 2, "wa": 3})


def test_directions_come_from_the_keys():
    assert COINRUN.has_directions and COINRUN.directions.tolist() == [1, 0, 2, 1, 0, 2]
    flying = Controls({"none": 0, "w": 1, "s": 2, "a+space": 3})
    assert not flying.has_directions and flying.directions.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("game", ["bigfish", "climber", "maze", "ninja", "starpilot", "fruitbot"])
def test_actions_of_a_control_have_one_effect_and_those_of_two_have_two(game):
    settings = ProcgenSettings(game=game)
    found = {frozenset(group) for group in same_effects(settings, states=30)}
    assert found == {frozenset(actions) for actions in controls_of(settings).values()}


def test_every_procgen_game_has_controls_that_name_every_action():
    assert set(CONTROLS) == set(ENV_NAMES)
    for game in ENV_NAMES:
        controls = controls_of(ProcgenSettings(game=game))
        assert sorted(action for actions in controls.values() for action in actions) == list(range(15)) and "none" in controls


@pytest.mark.parametrize(
    "game, expected",
    [
        ("MountainCar-v0", {"none": 1, "a": 0, "d": 2}),
        ("walker:Walker-v0", {"none": 0, "a": 1, "d": 2, "space": 3}),
        ("CartPole-v1", {"f": 0, "g": 1}),  # it names neither keys nor meanings
        ("ALE/Pong-v5", {"none": 0, "space": 1, "d": 2, "a": 3, "d+space": 4, "a+space": 5}),
    ],
)
def test_controls_of_an_environment_are_those_that_it_names(game, expected):
    if game.startswith("ALE"):
        pytest.importorskip("ale_py", reason="the extra of requirements-games.txt is not installed")
    assert GymnasiumGame.default_controls(GymnasiumSettings(game=game)) == expected


# Recordings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("every, digest", [(0, "65cf58ad630af9bd"), (1, "8563a0084b461fd9")])
def test_coinrun_is_recorded_as_ever(tmp_path, monkeypatch, every, digest):
    """The world of `make demo` is the same, byte by byte, and so is that of one frame for each action."""
    monkeypatch.chdir(tmp_path)
    settings = parse("test", arguments=["--config", str(ROOT / "configs" / "coinrun_plain.yaml")], sections=("record",))[0].record
    settings.every = every
    settings.train_frames = settings.validation_frames = settings.test_frames = 1024
    record(settings, "w")
    whole = hashlib.sha256()
    for file in sorted(Path("record/w").rglob("*.npy")):
        whole.update(file.read_bytes())
    assert whole.hexdigest()[:16] == digest


@pytest.mark.parametrize(
    "settings",
    [
        ProcgenSettings(game="maze", hold=2, height=128, width=96),
        GymnasiumSettings(game="MountainCar-v0", height=64, width=96),
        GymnasiumSettings(game="ALE/Pong-v5", height=104, width=80),  # sticky: it is played again from the start
        GymnasiumSettings(game="ALE/Pong-v5", height=104, width=80, arguments={"repeat_action_probability": 0}),
    ],
    ids=["maze", "MountainCar", "sticky Pong", "Pong"],
)
def test_a_game_goes_back_to_a_moment_and_repeats_what_followed(settings):
    if settings.game.startswith("ALE"):
        pytest.importorskip("ale_py", reason="the extra of requirements-games.txt is not installed")
    game, again = (make_game(settings, (7, 1), 2, seed=1) for _ in range(2))
    rng = np.random.default_rng(0)
    count = min(type(game).count_actions(settings), 5)

    def play(one, actions) -> np.ndarray:
        frames = []
        for action in actions:
            one.act(np.full(2, action))
            one.observe()
            frames.append(one.frames())
        return np.stack(frames)

    for one in (game, again):
        one.observe()
        assert one.levels().tolist() == [7, 7]
    first, then, other = (rng.integers(0, count, 25) for _ in range(3))
    shown = play(game, first)
    assert shown.shape == (25, 2, settings.height, settings.width, 3) and shown.dtype == np.uint8
    np.testing.assert_array_equal(play(again, first), shown)  # the same level and actions give the same frames
    state = game.get_state()
    one = play(game, then)
    play(game, other)
    game.set_state(state)
    np.testing.assert_array_equal(play(game, then), one)
    for one in (game, again):
        one.close()


def test_an_environment_is_recorded_in_shards_of_their_own_seeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = GymnasiumSettings(
        game="walker:Walker-v0", height=32, width=48, hold=8, train_frames=128 * 30, validation_frames=128, test_frames=128,
        train_levels=40, validation_levels=8, test_levels=8,
    )  # fmt: skip
    record(settings, "w")
    for worker in (1, 0):
        record(settings, "parts", worker, 2)
    levels = {}
    for split in ("train", "validation", "test"):
        one, other = Episodes(f"record/w/{split}"), Episodes(f"record/parts/{split}")
        np.testing.assert_array_equal(one.read(one.windows(1)[:]), other.read(other.windows(1)[:]))
        levels[split] = set(one.levels)
    assert one.frame_size == (32, 48) and controls_in(one).lists == {"none": [0], "a": [1], "d": [2], "space": [3]}
    assert recorded_with(one).game == "walker:Walker-v0"
    assert levels["train"] <= set(range(40)) and levels["validation"] <= set(range(40, 48)) and levels["test"] <= set(range(48, 56))
    train = Episodes("record/w/train")
    assert max(train.lengths) == 25, "200 steps in frames of eight: an episode ends when its time is over"
    assert 0 < sum(episode.rows()["reward"].sum() for episode in train.episodes) <= len(train.episodes), "and at the flag"
    with pytest.raises(UserError, match="width 48 -> 64"):
        record(GymnasiumSettings(**{**vars(settings), "width": 64}), "w")


@pytest.mark.parametrize(
    "game, keys, actions", [("walker:Walker-v0", ["d", "", "space"], [2, 0, 3]), ("CartPole-v1", ["", "g", "f"], [1, 0])]
)
def test_a_person_plays_an_environment(game, keys, actions, tmp_path, monkeypatch):
    """A game without a control for no key waits for one."""
    monkeypatch.chdir(tmp_path)
    pressed = iter([Keys({key} - {""}, set()) for key in keys] + [Keys({"q"}, {"q"})])
    monkeypatch.setattr(Window, "keys", lambda self: next(pressed))
    settings = GymnasiumSettings(game=game, agent="human", hold=1, height=32, width=48)
    extract(Config(world="w", record=settings, play=PlayConfig(scale=2, frames_per_second=500)))
    played = Episodes("record/w/train").episodes[0].rows()
    assert played["action"].tolist()[: len(actions)] == actions and played["frame"].shape[1:] == (32, 48, 3)
    assert set(controls_in(Episodes("record/w/train")).names) == set(controls_of(settings).names)


def test_frames_of_another_size_are_skipped_by_name(tmp_path, capsys):
    from genie_tf.episodes.format import EpisodeWriter

    for name, size in (("a", (16, 24)), ("b", (24, 16)), ("c", (16, 24))):
        writer = EpisodeWriter(tmp_path / f"{name}.npy", size)
        writer.append(np.zeros((*size, 3), np.uint8), 0, 0)
        writer.close()
    episodes = Episodes(tmp_path)
    assert episodes.skipped == 1 and episodes.frame_size == (16, 24)
    assert "b.npy: its frames are 24 x 16, and those before it 16 x 24" in "".join(capsys.readouterr())


# Whole worlds --------------------------------------------------------------------------------------


def calibrated(place, config: str, monkeypatch, answers: dict[str, str]) -> tuple[dict, str]:
    """Answer each latent action by a key, in the window. Returns the keymap, and the text of the playing window."""
    import pygame

    from genie_tf.play import calibration, window, windowed
    from genie_tf.play.session import Session

    texts = []
    with monkeypatch.context() as patch:
        patch.chdir(place.folder)
        settings = parse("test", arguments=["--config", config])[0]
        press, draw = Session.press, window.Window.draw

        def answer(self, key):
            for name in answers.get(key, "u").split("+"):
                pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.key.key_code(name)))
            return press(self, key)

        patch.setattr(Session, "press", answer)
        calibration.calibrate(settings)
        keymap = World.load(settings.model_folder).keymap

        def leave(self, frames, key, text, *arguments, **options):
            if "help" in text:  # the model is ready
                texts.append(text)
                pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q))
            draw(self, frames, key, text, *arguments, **options)

        patch.setattr(Session, "press", press)
        patch.setattr(window.Window, "draw", leave)
        windowed.play(settings)
    return keymap, texts[0]


@pytest.mark.slow
def test_a_world_of_a_game_with_other_controls_in_which_an_action_is_held_over_several_frames(place, monkeypatch):
    """Ninja throws stars. First a token grid stands for all frames of an action, then for one. The blueprint comes from YAML."""
    config = tiny_config(place, "ninja", "game: ninja, hold: 4, every: 1", "kind: auto")
    (place.folder / config).write_text(
        (place.folder / config).read_text()
        .replace("train_frames: 1536, validation_frames: 1024, test_frames: 2048", "train_frames: 3840, validation_frames: 3840,\n"
                 "  test_frames: 7168")
        .replace("latent_action: {", "latent_action: {span: 4, ")
        .replace("evaluation_windows: 4", "evaluation_windows: 4, prompt_frames: 6")
        .replace(
            "tokenizer: {quantizer: {levels: [4, 4, 4]}, width: 16,",
            "tokenizer: {kind: magvit2, length: 4, quantizer: {kind: lookup_free, bits: 6},\n"
            "  encoder: [[downsample, {space: 16, time: 4}], [residual, {channels: 8}]],\n"
            "  decoder: [[projection, {channels: 8}], [upsample, {space: 16, time: 4}]],",
        )
    )  # fmt: skip

    def make(script, *options):
        done = place.run(script, *options, config=config)
        assert done.returncode == 0, done.stderr
        return done.stdout

    monkeypatch.setattr(looks, "TRIES", 1)  # to choose the kind takes a third of the time
    model, guided = place.folder / "model" / "ninja", ("--dynamics.actions", "true")
    controls = controls_of(ProcgenSettings(game="ninja"))
    said = "".join(make(script) for script in ("extract.py", "idm_training.py", "tokenizer_training.py", "dream_train_tf.py"))
    assert "space" in controls and set(json.loads((model / "IDM_Model_2" / "keymap.json").read_text())["codes"]) == set(controls)
    assert "latent actions: " in said and ", because " in said and "keymap, from key to latent action" in said
    rows = len(Episodes(place.folder / "record" / "ninja" / "train"))
    assert len(np.load(model / "IDM_Model_2" / "latent_actions_ninja_train.npy")) < rows / 3, "one for each held action"
    assert len(np.load(model / "VQVAE_Model_2" / "tokens_ninja_train.npy")) < rows / 3, "one grid for each held action"

    said = make("dream_evaluate_tf.py", "--only_tokenizer")
    assert "tokenizer.psnr.4 " in said and "16 tokens for 4 frames" in said
    make("dream_evaluate_tf.py")
    figures = json.loads((model / "evaluation.json").read_text())
    assert {f"latent_action.code_given_key.{name}.0" for name in controls} <= set(figures)
    assert {"counterfactual.match.1", "obey.direction_f1.1", "judge.visible.key_accuracy"} <= set(figures)
    assert {f"dynamics.psnr_after.{t}" for t in range(1, 41)} | {"counterfactual.match_after.4", "tokenizer.psnr.4"} <= set(figures)
    for action in (1, 5, 10):
        assert figures[f"dynamics.psnr_after.{4 * action}"] == figures[f"dynamics.psnr.{action}"]
    assert ", ".join(controls) in (model / "report.html").read_text()

    assert "6 frames of prompt, 12 dreamt" in make("dream_play_tf.py", "--actions", "ddw", "--out", "a.gif")
    refused(place.run("dream_play_tf.py", "--actions", "s", config=config), "knows no key 's'", "[space]", "[aw]")
    keymap, text = calibrated(place, config, monkeypatch, {"1": "space", "2": "d", "3": "j", "4": "d+space"})
    assert (keymap["space"], keymap["d"], keymap["j"]) == (0, 1, 2)
    assert set(keymap) == set(controls), "keys that the game does not know together are no key of their own"
    assert "space" in text and "j" in text

    wrong = ("--tokenizer.encoder", "[[downsample, {space: 7}]]")
    place_of_error = "tokenizer.encoder[0]: downsample: space 7 does not divide a grid of 64 x 64"
    refused(place.run("tokenizer_training.py", *wrong, config=config), place_of_error)
    facts = json.loads((model / "IDM_Model_2" / "training.json").read_text())
    facts["settings"]["span"] = 3
    (model / "IDM_Model_2" / "training.json").write_text(json.dumps(facts))
    refused(place.run("dream_train_tf.py", config=config), "--latent_action.span 3", "multiple of the 4 frames")

    tiny_config(place, "ninja", "game: ninja, hold: 4, every: 1")  # a token grid for every frame, under true actions
    make("tokenizer_training.py")
    make("dream_train_tf.py", *guided)
    assert len(np.load(model / "VQVAE_Model_2" / "tokens_ninja_train.npy")) == rows
    make("dream_play_tf.py", *guided, "--actions", "[space]j[aw]", "--out", "true.gif")
    make("dream_evaluate_tf.py", *guided)
    of_guided = json.loads((model / "guided_evaluation.json").read_text())
    assert "counterfactual.match.1" in of_guided and not any(name.startswith("latent_action") for name in of_guided)
    assert (model / "world_model_2").exists()


@pytest.mark.slow
def test_a_world_of_a_gymnasium_environment_in_wide_frames(place):
    """With the latent action model of the paper. Its frames and controls go through every stage; other ones are refused."""
    config = tiny_config(place, "own", OWN, "kind: st_transformer, codes: 8, depth: 1, heads: 2")
    assert place.run("extract.py", config=config).returncode == 0
    refused(place.run("idm_training.py", "--latent_action.patch", "10", config=config), "patch 10", "64 x 96")
    for script in ("tokenizer_training.py", "idm_training.py"):
        done = place.run(script, config=config)
        assert done.returncode == 0, done.stderr
    assert "keymap, from key to latent action: none" in done.stdout
    assert place.run("dream_train_tf.py", config=config).returncode == 0
    assert World.load(place.folder / "model" / "own").actions == 8, "as many as the latent action model has"
    done = place.run("dream_evaluate_tf.py", config=config)
    assert done.returncode == 0 and "latent_action.delta_psnr" in done.stdout, done.stderr
    model = place.folder / "model" / "own"
    figures = json.loads((model / "evaluation.json").read_text())
    assert {"counterfactual.match_tokenizer.1", "obey.key_f1_game.1", "obey.direction_f1.1", "lasting.psnr.1"} <= set(figures)
    assert figures["counterfactual.match_tokenizer.1"]["n"] >= 2, "the environment plays a recorded episode again"
    assert "none, a, d, space" in (model / "report.html").read_text()
    assert place.run("dream_play_tf.py", "--actions", "ad.[space]8", "--out", "own", config=config).returncode == 0
    from PIL import Image

    assert Image.open(next((place.folder / "own").glob("*.png"))).size == (192, 128)

    (place.folder / "record" / "own").rename(place.folder / "record" / "wide")
    narrow = ["--record.width", "64"]
    assert place.run("extract.py", *narrow, config=config).returncode == 0
    for script in (("dream_play_tf.py", "--actions", "a"), ("dream_train_tf.py",), ("dream_evaluate_tf.py",)):
        refused(place.run(*script, config=config), "64 x 96", "64 x 64")
    (place.folder / "record" / "own").rename(place.folder / "record" / "narrow")
    other = ["--record.controls", "{none: 0, a: 1, d: 2, j: 3}", "--record.train_frames", "256"]
    assert place.run("extract.py", *other, config=config).returncode == 0
    refused(place.run("dream_evaluate_tf.py", config=config), "knows the key space", "record/own")


# Bad input -----------------------------------------------------------------------------------------


def test_bad_games_and_controls_are_refused_in_one_line(place):
    config = tiny_config(place, "own", OWN)
    for options, words in (
        (["--record.game", "Nope-v0"], ("Nope", "doesn't exist")),
        (["--record.game", "Pendulum-v1"], ("Pendulum-v1", "Box", "discrete")),
        (["--record.arguments", "{wind: 1}"], ("walker:Walker-v0", "wind", "record.arguments")),
        (["--record.height", "60"], ("record.height 60", "multiple of 8")),
        (["--record.controls", "{a: 0, d: 4}"], ("action 4", "0 to 3")),
        (["--record.controls", "{a: 0}"], ("two controls",)),
        (["--record.controls", "{a: 0, Up: 1}"], ("'Up'", "a+space")),
        (["--record.controls", "{a: 0, r: 1}"], ("keys of the window",)),
        (["--record.controls", "{a: 0, d: 0}"], ("an action has two controls",)),
        (["--record.controls", "{a: 0, d: 2}", "--record.agent", "uniform"], ("action 1", "--record.agent controls")),
        (["--record.source", "atari"], ("atari", "procgen, gymnasium")),
        (["--record.distribution_mode", "easy"], ("distribution_mode", "procgen")),
    ):
        refused(place.run("extract.py", *options, config=config), *words)
    assert not list(place.folder.glob("record/*"))


def test_an_extra_that_is_missing_and_an_environment_without_pictures_are_named(monkeypatch):
    import gymnasium

    def gone(*arguments, **keywords):
        raise gymnasium.error.DependencyNotInstalled("Box2D is not installed")

    with monkeypatch.context() as patch:
        patch.setattr(gymnasium, "make", gone)
        with pytest.raises(UserError, match=r"Box2D is not installed.*requirements-games"):
            GymnasiumGame.check(GymnasiumSettings())

    class Blind(gymnasium.Env):
        metadata = {"render_modes": []}
        action_space = gymnasium.spaces.Discrete(2)

    monkeypatch.setattr(gymnasium, "make", lambda *arguments, **keywords: Blind())
    with pytest.raises(UserError, match="draws no pictures"):
        GymnasiumGame.check(GymnasiumSettings())
    assert ProcgenGame.count_actions(ProcgenSettings()) == 15
