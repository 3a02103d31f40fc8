"""The world as an environment, the keys, and a real window on a dummy display."""

import asyncio
import io
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import COINRUN, wait_for
from keras import ops
from PIL import Image

from genie_tf import signals
from genie_tf.cli import parse, run
from genie_tf.episodes.controls import chord, control_of
from genie_tf.episodes.dataset import Episodes
from genie_tf.errors import UserError
from genie_tf.latent_action.keymap import LABELS, learn_keymap
from genie_tf.play import calibration, headless, windowed
from genie_tf.play.keys import keys_of
from genie_tf.play.recording import Recording, read_recording, replayed
from genie_tf.play.session import Session
from genie_tf.play.widget import Player
from genie_tf.world import World, join, split


@pytest.fixture
def config(tiny, monkeypatch):
    monkeypatch.chdir(tiny.folder)
    return parse("test", arguments=["--config", "tiny.yaml"])[0]


def test_keys():
    assert keys_of("dw.[wd][ad]") == ["d", "w", "none", "dw", "none"]
    assert keys_of("[space+a]x3") == ["a+space", "x", "3"]
    assert chord("wa") == "aw" and chord("") == "none" and chord("wad") == "w" and chord(["space", "d"]) == "d+space"
    names = ["none", "a", "w", "d+space"]
    assert control_of("wa", names) == "a" and control_of(["d", "space", "w"], names) == "d+space"
    assert control_of("d", names) == "none" and control_of("d", ["a", "w"]) is None
    for bad in ("", "X", "[w", "w]", "[[w]]", "!"):
        with pytest.raises(UserError):
            keys_of(bad)


def test_keymap_finds_the_codes_from_200_labels():
    rng = np.random.default_rng(0)
    code_of = {3: 5, 4: 5, 1: 2, 7: 0, 5: 6, 2: 1, 8: 3}
    actions = rng.choice(list(code_of), LABELS)
    codes = np.array([code_of[action] if rng.random() < 0.6 else rng.integers(8) for action in actions])
    assert learn_keymap(codes, actions, COINRUN, 8) == {key: code_of[true[0]] for key, true in COINRUN.items()}


def test_world_steps_like_an_environment(config):
    world = World.load(config.model_folder, sampling_steps=2)
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 64, 64, 3)).astype(np.uint8)
    np.testing.assert_array_equal(world.reset(frames), frames[:, -1])
    actions = np.array([0, 1, 2])
    first = world.step(actions)
    assert first.shape == (3, 64, 64, 3) and first.dtype == np.uint8
    rollout = [first, *(world.step(actions) for _ in range(8))]  # beyond the trained length
    assert all(frame.shape == first.shape for frame in rollout)

    again = World.load(config.model_folder, sampling_steps=2)
    again.reset(frames)
    np.testing.assert_array_equal(first, again.step(actions))


def test_rows_of_a_batch_are_rollouts_of_their_own(config):
    """A rollout gives the same frames alone and beside others that began at other times."""
    world = World.load(config.model_folder, sampling_steps=2)
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 64, 64, 3)).astype(np.uint8)
    seeds, actions = np.array([7, 8, 9]), np.array([0, 1, 2])
    world.reset(frames, seeds=seeds)
    together = [world.step(actions) for _ in range(6)]
    assert world.probability.shape == (3,) and ((world.probability > 0) & (world.probability <= 1)).all()
    assert (together[0][0] != together[0][1]).any()
    states = []
    for row, late in enumerate((0, 2, 4)):
        world.reset(frames[row : row + 1], seeds=seeds[row : row + 1])
        for t in range(late):
            near(world.step(actions[row : row + 1])[0], together[t][row])
        states += split(world.state)
    world.restore(join(states))
    for t in range(2):
        for row, frame in enumerate(world.step(actions)):
            near(frame, together[2 * row + t][row])


def near(a: np.ndarray, b: np.ndarray) -> None:
    """Frames are equal up to rounding: the matrix products of another batch size add in another order."""
    assert np.abs(a.astype(int) - b).max() <= 2


@pytest.mark.parametrize("stride, span", [(1, 1), (1, 3), (2, 4)])
def test_the_latent_actions_of_a_prompt_end_at_its_last_frame(stride, span):
    """The fake model names the frames at which a latent action begins and ends. Frame t has the colour t."""

    def infer(frames):
        return 100 * ops.cast(frames[:, -2, 0, 0, 0], "int32") + ops.cast(frames[:, -1, 0, 0, 0], "int32")

    world = World(
        SimpleNamespace(stride=stride, encode=None), SimpleNamespace(infer=infer), SimpleNamespace(actions=3), {}, span=span
    )
    for length in (span + 1, 2 * span + 1, 8, 9):
        frames = np.zeros((2, length, 8, 8, 3), np.uint8) + np.arange(length, dtype=np.uint8)[:, None, None, None]
        codes = world.infer_actions(frames)
        ends = length - 1 - stride * np.arange(-(-length // stride) - 1)[::-1]  # last frame of every step
        blocks = (length - 1 - ends) // span
        expected = 100 * np.maximum(length - 1 - span * (blocks + 1), 0) + length - 1 - span * blocks
        np.testing.assert_array_equal(codes, [expected, expected])


def test_every_key_has_an_action(config):
    world = World.load(config.model_folder)
    assert set(world.keymap) == set(COINRUN) and all(0 <= code < world.actions for code in world.keymap.values())


def test_window_opens_plays_restarts_and_closes(config, monkeypatch):
    import pygame

    pressed, resets, pictures, done = [], [], [], []
    press, reset = Session.press, Session.reset
    monkeypatch.setattr(Session, "press", lambda self, key: pressed.append(key) or press(self, key))
    monkeypatch.setattr(Session, "reset", lambda self: resets.append(self) or reset(self))
    flip = pygame.display.flip

    def look():
        pictures.append(pygame.surfarray.array3d(pygame.display.get_surface()))
        flip()

    monkeypatch.setattr(pygame.display, "flip", look)

    def hands():
        def tap(key):
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.key.key_code(key)))

        try:
            wait_for(lambda: "none" in pressed)
            for key in ("d", "w", "a"):
                tap(key)
                wait_for(lambda key=key: key in pressed)
            tap("r")
            wait_for(lambda: len(resets) == 2)
            tap("c")
            wait_for(lambda: len(resets) == 3)
            tap("q")  # leaves the calibration
            wait_for(lambda: len(resets) == 4)
            count = len(pressed)
            wait_for(lambda: len(pressed) > count)
            done.append(pressed[-1])
        finally:
            tap("q")

    person = threading.Thread(target=hands)
    person.start()
    windowed.play(config)
    person.join(60)
    assert done == ["none"], "it plays on after the calibration"
    assert resets[0] is resets[1] is resets[3] is not resets[2]  # at the start, at r, after the calibration, and in it
    side = 64 * config.play.scale
    assert pictures[0].shape == (side, side + 24, 3)
    assert pictures[0][:, :side].std() > 0, "a dream is shown"
    assert pictures[0][:, side:].max() > 200, "the line of text is shown"
    assert not pygame.display.get_init()


def test_calibration_names_each_latent_action_by_the_key_that_was_pressed(copy, monkeypatch):
    import pygame

    monkeypatch.chdir(copy.folder)
    config = parse("test", arguments=["--config", "tiny.yaml"])[0]
    before = World.load(config.model_folder).keymap
    answers = ["d", ".", "u", "wd", "d", "q"]
    shown: list[set[str]] = []
    press = Session.press

    def dream(self, key):  # a person who looks at a few frames of each before answering
        if len(shown) < int(key):
            shown.append(set())
        shown[-1].add(key)
        answer = answers[int(key) - 1]
        for letter in answer:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.key.key_code(letter)))
        return press(self, key)

    monkeypatch.setattr(Session, "press", dream)
    calibration.calibrate(config)
    assert shown == [{str(code)} for code in range(1, 7)], "each was dreamt under its own code"
    assert World.load(config.model_folder).keymap == before, "q leaves it as it was"
    answers[-1] = "a"
    shown.clear()
    calibration.calibrate(config)
    said = {"d": 0, "none": 1, "w": 1, "dw": 3, "a": 5, "aw": 5}
    assert World.load(config.model_folder).keymap == said
    copy.make("idm_training.py")
    assert World.load(config.model_folder).keymap == said, "another look at a finished training keeps it"


def test_a_widget_plays_while_it_has_the_focus(config, monkeypatch):
    """The page's messages, as a browser sends them: a key that was tapped between two steps counts for one of them."""
    player, shown = Player(config), []
    monkeypatch.setattr(player, "send", lambda content, buffers: shown.append((content["text"].split()[0], buffers[0])))

    async def person():
        def tell(*messages):
            for kind, key in messages:
                player.receive(None, {"kind": kind, "key": key}, [])

        async def see(count):
            begin = len(shown)
            while len(shown) < begin + count:
                await asyncio.sleep(0.01)
            return [text for text, _ in shown[begin:]]

        tell(("show", ""), ("play", ""), ("down", "d"), ("up", "d"))
        assert (await see(3))[:3] == ["d", "none", "none"]
        tell(("down", "w"), ("down", "arrow"), ("down", "left"))
        assert (await see(3))[1:] == ["aw", "aw"], "the arrows are letters, and other keys are nothing"
        tell(("pause", ""), ("play", ""))  # the focus went and came
        assert (await see(3))[-1] == "none", "a key that was held when the focus went is released"
        tell(("down", "r"))
        assert (await see(4)).count("a") == 1, "a new prompt, once"
        tell(("pause", ""))
        count = len(shown)
        await asyncio.sleep(0.2)
        assert len(shown) == count

    asyncio.run(asyncio.wait_for(person(), 60))
    frames = [np.asarray(Image.open(io.BytesIO(data))) for _, data in shown]
    assert frames[0].shape == (64, 64, 3) and (frames[0] != frames[-1]).any()


def test_an_interrupt_that_a_library_turns_into_its_own_error_still_ends_as_an_interrupt(capsys):
    def main():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError("while tracing") from error

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as left:
            run(main)
    finally:
        signals.received = 0  # otherwise the next training of this process stops
        signal.signal(signal.SIGINT, before)
    assert left.value.code == 130 and "stopped" in capsys.readouterr().err


def test_pictures_of_any_size_are_prompts(config, tmp_path):
    session = Session.load(config)
    prompts = session.prompts
    red = Image.new("RGBA", (300, 100), (255, 0, 0, 0))  # nothing but its middle is opaque
    red.paste((0, 0, 255, 255), (100, 0, 200, 100))
    red.save(tmp_path / "red.png")
    prompt = prompts.of_pictures([(tmp_path / "red.png", "red.png"), ((tmp_path / "red.png").read_bytes(), "upload")])
    assert prompt.frames.shape == (2, 64, 64, 3) and (prompt.frames[:, 8:-8, 8:-8] == (0, 0, 255)).all()
    session.reset(prompt)
    assert session.press("d").frames.shape == (1, 64, 64, 3)
    good = (tmp_path / "red.png").read_bytes()
    (tmp_path / "words.png").write_text("no picture")
    for file, words in ((tmp_path / "gone.png", "no picture"), (tmp_path / "words.png", "can be read"), (good[:90], "damaged"),
                        (tmp_path, "damaged")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            prompts.of_pictures([(file, "x")])
    bomb = io.BytesIO()
    Image.new("1", (9000, 9000)).save(bomb, format="png")
    with pytest.raises(UserError, match="make it smaller"):
        prompts.of_pictures([(bomb.getvalue(), "x")])


def test_a_session_goes_back_and_a_recording_is_dreamt_again(config, tmp_path):
    config.play.frames_per_second = 0.5  # five steps are kept
    session = Session.load(config)
    session.reset()
    assert not session.back()
    frames = [session.press(key).frames for key in "ddwad"]
    recording = Recording(session)
    assert session.back() and (session.frame == frames[3][-1]).all()
    np.testing.assert_array_equal(session.press("d").frames, frames[4])
    shown = [session.press(key).frames for key in "wwa12"]
    for each in shown:
        recording.add(each)
    assert [session.back() for _ in range(7)] == [True] * 5 + [False] * 2, "older steps are forgotten"
    for key in "wwa12":
        session.press(key)
    session.reset()
    recording.follow()
    recording.add(session.press("a").frames)
    recording.save(tmp_path / "film.gif", 2, 10)
    assert (tmp_path / "film.gif").exists()
    again = list(replayed(other := Session.load(config), read_recording(tmp_path / "film.gif", other)))
    np.testing.assert_array_equal(np.concatenate(again), np.stack(recording.frames))
    notes = (tmp_path / "film.json").read_text()
    other_world = notes.replace(other.world.identity, "0" * 64)
    hotter = notes.replace('"temperature": 0.5', '"temperature": 0.9')
    calibrated = notes.replace('"keymap": {', '"keymap": {"x": 1,')
    for text, words in ((other_world, "another world"), (calibrated, "calibrated anew"), (hotter, "--play.temperature 0.9"),
                        (notes[:300], "damaged|can't"),
                        (notes.replace('"seed"', '"sad"'), "damaged"), (notes.replace('"w",', '"z",'), "no key 'z'")):  # fmt: skip
        (tmp_path / "film.json").write_text(text)
        with pytest.raises(UserError, match=words):
            read_recording(tmp_path / "film.json", other)


@pytest.mark.parametrize("labels", [True, False])
def test_a_dream_is_shown_beside_the_recording_under_its_keys(config, tmp_path, monkeypatch, labels):
    pressed = []
    monkeypatch.setattr(Session, "press", lambda self, key, press=Session.press: pressed.append(key) or press(self, key))
    if not labels:
        monkeypatch.setattr(headless, "controls_in", lambda episodes: None)
    config.play.scale = 1
    headless.play_recorded(config, 6, tmp_path / "film")
    film = np.stack([np.asarray(Image.open(file)) for file in sorted((tmp_path / "film").iterdir())])
    recorded, dream = film[:, :, :64], film[:, :, -64:]
    session = Session.load(config)
    episodes = Episodes(config.record_folder("test"))
    held = session.held * session.world.stride
    starts = [r for r in episodes.windows(len(film))[:] if (episodes.frames(np.array([r]))[0] == recorded[0]).all()]
    starts = [r for r in starts if (episodes.frames(r + np.arange(len(film))) == recorded).all()]
    assert any(episodes.locate(np.array(start))[1] % held == 0 for start in starts), "no recorded film, or not from a key on"
    assert (recorded[: 3 * held + 1] == dream[: 3 * held + 1]).all() and (recorded[-1] != dream[-1]).any()
    assert len(film) == 9 * held + 1 and len(pressed) == 6 * session.held
    actions = episodes.action[starts[0] + held * (3 + np.arange(6))]
    truth = [COINRUN.names[COINRUN.of_action[action]] for action in actions.repeat(session.held)]
    assert pressed == truth if labels else all(key.isdigit() for key in pressed)
    if labels:
        headless.play_recorded(config, 10_000, tmp_path / "longest")
        assert len(list((tmp_path / "longest").iterdir())) == (episodes.lengths.max() - 1) // held * held + 1


def test_agents_play_the_dream_without_a_window(tiny, tmp_path):
    assert "12 dreamt" in tiny.make("dream_play_tf.py", "--policy", "random", "--steps", "12", "--out", str(tmp_path / "a.gif"))
    refused = tiny.run("dream_play_tf.py", "--policy", "none.zip", "--out", str(tmp_path / "b.gif"))
    assert refused.returncode == 2 and "no policy none.zip" in refused.stderr
    refused = tiny.run("dream_play_tf.py", "--policy", "random", "--steps", "0", "--out", str(tmp_path / "b.gif"))
    assert refused.returncode == 2 and "1 action or more" in refused.stderr
    refused = tiny.run("dream_play_tf.py", "--policy", "recorded", "--prompt", "a.png", "--out", str(tmp_path / "b.gif"))
    assert refused.returncode == 2 and "leave out --prompt" in refused.stderr
