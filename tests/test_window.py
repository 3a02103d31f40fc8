"""The window without a screen: what the keys do, when steps begin, and the real game beside the dream."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import COINRUN
from PIL import Image

from genie_tf.cli import parse
from genie_tf.config import PlayConfig
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.procgen_game import ProcgenSettings
from genie_tf.episodes.recorder import controls_of, record
from genie_tf.errors import UserError
from genie_tf.play import headless, windowed
from genie_tf.play.functions import FUNCTIONS, functions_of, help_rows
from genie_tf.play.player import Pace, Player
from genie_tf.play.prompts import Prompts
from genie_tf.play.real_game import RealGame
from genie_tf.play.recording import read_recording
from genie_tf.play.scene import Moment, Scene
from genie_tf.play.session import Session, Step
from genie_tf.play.window import Keys, Window
from genie_tf.world import World


@pytest.fixture(scope="module")
def world(tiny):
    """The world, and its prompts. To load and compile it takes longer than the tests."""
    config = parse("test", arguments=["--config", str(tiny.folder / "tiny.yaml")])[0]
    world = World.load(tiny.folder / config.model_folder, **config.play.sampling)
    prompts = Prompts(world, tiny.folder / config.record_folder("test"), config.play.prompt_frames)
    return SimpleNamespace(config=config, world=world, prompts=prompts)


def begun(world, rollouts=None, pictures=()) -> Scene:
    """A scene of the world, at a prompt."""
    prompts = Prompts(world.world, world.config.record_folder("test"), 4, pictures) if pictures else world.prompts
    session = Session(world.world, prompts, world.config.play)
    session.reset()
    return Scene(world.config, session, rollouts)


class FakeScene:
    """A world that needs no time. The colour of a frame is the number of steps so far."""

    def __init__(self, keymap, stride: int = 1):
        world = SimpleNamespace(keymap=keymap, actions=6, stride=stride)
        self.session = SimpleNamespace(world=world, frame=np.zeros((8, 8, 3), np.uint8))
        self.recording = self.replay = self.game = None
        self.no_calibration = ""
        self.steps: list[str] = []

    def _frames(self):
        return np.full((self.session.world.stride, 8, 8, 3), len(self.steps), np.uint8)

    def step(self, key):
        self.steps.append(key)
        return Moment(self._frames(), step=Step(self._frames(), key, 0, 0.5))

    def back(self):
        self.steps.pop()
        return Moment(self._frames()[:1])


class Person:
    """Presses keys of a player, whose work is done at once. The clock goes on by a hundredth of a second."""

    def __init__(self, keymap, stride: int = 1, frames_per_second: float = 10.0):
        self.scene = FakeScene(keymap, stride)
        self.player = Player(PlayConfig(frames_per_second=frames_per_second), self.scene)
        self.now, self.begun = 100.0, []

    def spend(self, ticks: int, tapped=(), held=()) -> int:
        """Let time pass. The keys are tapped in the first tick. Returns the number of steps that were made."""
        before = len(self.scene.steps)
        for tick in range(ticks):
            now_tapped = set(tapped) if tick == 0 else set()
            self.player.press(Keys(now_tapped | set(held), now_tapped), self.now)
            self.player.advance(self.now)
            count = len(self.scene.steps)
            work = self.player.next_work(self.now)
            if work is not None:
                self.player.take(work(), self.now)
                self.begun += [self.now] * (len(self.scene.steps) - count)
            self.player.drawn(self.now)
            self.now += 0.01
        return len(self.scene.steps) - before


def test_the_keys_of_the_game_win():
    """The functions of a key that a game uses are reached by their other key, and the help says so."""
    assert functions_of(COINRUN)["space"] == "pause" and functions_of(COINRUN)["k"] == "wait"
    ninja = controls_of(ProcgenSettings(game="ninja"))
    functions = functions_of(ninja)
    assert "space" not in functions and "k" not in functions
    assert functions["f2"] == "pause" and functions["f8"] == "wait" and functions["c"] == "calibrate"
    every_letter = ["none", *"abcdefghijklmnopstvwxyz", "space", "return", "tab"]
    assert set(functions_of(every_letter).values()) == {function.name for function in FUNCTIONS}
    shown = {text: keys for keys, text in help_rows(ninja, 6)}
    assert shown["pause, and go on"] == "f2" and shown["dream or real game"] == "tab f3" and shown["latent actions"] == "1-6"
    assert "name the latent actions by eye" not in {text for _, text in help_rows(ninja, 6, {"calibrate"})}
    person = Person({"none": 0, "space": 1, "h": 2})
    person.spend(60, tapped=["space"])
    assert "space" in person.scene.steps and not person.player.paused
    person.spend(1, tapped=["h"])
    assert not person.player.helps
    person.spend(1, tapped=["f1", "f2"])
    assert person.player.helps and person.player.paused


def test_pause_single_steps_wait_and_rewinding():
    person = Person({"none": 0, "a": 1, "d": 2, "ad": 0})
    assert person.spend(100) in (10, 11), "ten frames in a second"
    person.spend(1, tapped=["space"])
    assert person.spend(100, held=["d"]) == 0
    assert person.spend(10, tapped=["."], held=["d"]) == 1 and person.scene.steps[-1] == "d"
    assert person.player.look(person.now)["key"] == "d"
    person.spend(5, tapped=["a"])
    person.spend(1, tapped=["space"])
    assert person.spend(30) > 0 and "a" not in person.scene.steps, "what was tapped during a pause is forgotten"
    person.spend(1, tapped=["space"])
    assert person.spend(5, tapped=["backspace"]) == -1
    assert person.spend(100, tapped=["backspace"], held=["backspace"]) < -5, "held, it goes further"
    assert (person.player.shot.dream == len(person.scene.steps)).all()
    person.spend(1, tapped=["space", "k"])
    assert person.spend(50) == 0, "it waits for a key"
    assert person.spend(50, tapped=["d"]) == 1 and person.spend(50, held=["a"]) in (5, 6)
    person.spend(1, tapped=["k", "+"])
    assert person.spend(100) in range(18, 23) and "x2" in person.player.look(person.now)["text"]
    person.spend(1, tapped=["h"])
    rows = dict(person.player.look(person.now)["rows"])
    assert rows["1-6"] == "latent actions" and person.spend(50) == 0
    person.spend(1, tapped=["h", "o"])
    person.spend(5)
    assert dict(person.player.look(person.now)["rows"])["sure"] == "50 %"
    person.spend(1, tapped=["q"])
    assert person.player.left


@pytest.mark.parametrize("stride", [1, 5])
def test_a_new_key_does_not_wait_for_the_rate_and_the_rate_is_kept(stride):
    person = Person({"none": 0, "d": 1}, stride, frames_per_second=10 * stride)
    person.spend(13)
    now = person.now
    person.spend(9, tapped=["d"])
    assert person.scene.steps[-2 if person.scene.steps[-1] == "none" else -1] == "d", "a key that was released at once counts"
    assert person.begun[person.scene.steps.index("d")] == now
    rng = np.random.default_rng(0)
    begin, before = person.now, len(person.scene.steps)
    for _ in range(200):
        person.spend(int(rng.integers(1, 12)), tapped=["d"])
    assert len(person.scene.steps) - before <= 10 * (person.now - begin) + 2, "no faster on average"
    assert max(person.player.latencies) < 0.11


def test_pace_makes_up_for_little_lateness_only():
    pace = Pace(10, 1)
    pace.begin(5.0)
    assert not pace.allows(5.02, False) and pace.allows(5.02, True)
    pace.begin(9.0)
    assert not pace.allows(9.05, False), "no burst after a pause"


def test_the_red_border_is_where_the_model_guesses():
    person = Person({"none": 0})
    person.player.threshold = 0.6
    assert not person.player.look(person.now)["red"]
    person.spend(20)
    assert person.player.look(person.now)["red"]
    person.player.threshold = 0.4
    assert not person.player.look(person.now)["red"]


def test_the_real_game_is_at_the_moment_of_the_dream(world):
    """It is opened in the middle of a rollout, or goes on beside it, and both go back together."""
    scene = begun(world)
    session, start = scene.session, scene.session.frame
    assert scene.meet().real.shape == (1, 64, 64, 3)
    np.testing.assert_array_equal(scene.game.frame, start)
    real = [scene.step(key).real for key in ("d", "d", "dw", "1", "a")]
    assert (real[-1] != real[0]).any() and (real[0][0] != session.frame).any()
    back = [scene.back() for _ in range(2)]
    np.testing.assert_array_equal(back[1].real, real[2])
    np.testing.assert_array_equal(scene.step("1").real, real[3])

    prompt, seed = session.prompt, session.seed
    session.reset(prompt, seed)
    scene.beside, scene.keys = False, session.keys
    for key in ("d", "d", "dw", "1"):
        assert scene.step(key).real is None
    np.testing.assert_array_equal(scene.meet().real, real[3])
    np.testing.assert_array_equal(scene.step("a").real, real[4])

    for _ in range(1000):  # until the game's time is over
        real.append(scene.game.press(7))
        if scene.game.over:
            break
    assert scene.game.over
    last = scene.game.frame
    np.testing.assert_array_equal(scene.game.press(7)[-1], last)
    assert scene.game.back() and scene.game.over and scene.game.back() and not scene.game.over

    session.prompt.frames = session.prompt.frames ^ 1  # another release draws otherwise
    scene.beside = False
    moment = scene.meet()
    assert moment.real is None and "does not reproduce" in moment.news
    scene.close()


def test_the_recorded_actions_lead_to_the_recorded_frames(tmp_path, monkeypatch):
    """In a world whose step is a held action of five frames, as in a world of one frame a step."""
    monkeypatch.chdir(tmp_path)
    levels = {"train_levels": 8, "validation_levels": 8, "test_levels": 8}
    record(ProcgenSettings(hold=5, every=1, train_frames=128, validation_frames=128, test_frames=128 * 24, **levels), "w")
    episodes = Episodes("record/w/test")
    at = int(episodes.starts[np.argmax(episodes.lengths)])
    actions, frames = episodes.action, episodes.frames(at + np.arange(21))
    for stride in (5, 1):
        game = RealGame(episodes, stride, 3)
        game.start(at + 10, frames[10])
        shown = [game.press(int(actions[at + t])) for t in range(10, 20, stride)]
        np.testing.assert_array_equal(np.concatenate(shown), frames[11:])
        assert [game.back() for _ in range(4)] == ([True, True, False, False] if stride == 5 else [True, True, True, False])
        game.close()
    with pytest.raises(UserError, match="does not reproduce"):
        game.start(at + 10, frames[11] ^ 1)
    assert game.action_of("dw", {"dw": 0}) == 8 and game.action_of("2", {"none": 0, "a": 1}) == 1
    assert game.action_of("3", {"none": 0, "a": 1}) == 4, "no control has this latent action"


def test_a_picture_has_no_real_game(world, tmp_path):
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "blue.png")
    scene = begun(world, pictures=(tmp_path / "blue.png",))
    moment = scene.meet()
    assert moment.real is None and "picture" in moment.news and "pictures" in scene.no_calibration
    player = Player(world.config.play, scene)
    player.press(Keys({"tab"}, {"tab"}), 0.0)
    player.take(player.next_work(0.0)(), 0.0)
    assert player.view == "dream" and "no real game" in player.look(0.1)["text"]
    assert "dream or real game" not in {text for _, text in player._help()}


def test_a_recording_with_steps_taken_back_is_dreamt_again(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / world.config.model_folder
    folder.mkdir(parents=True)
    scene = begun(world)
    for work in [*[partial(scene.step, key) for key in "dw"], scene.record, *[partial(scene.step, key) for key in "da2"]]:
        work()
    assert [scene.back().news for _ in range(6)] == [""] * 5 + ["no earlier step is kept"]
    film = [scene.step("a").dream, scene.step("dw").dream]
    scene.reset(False)
    film.append(scene.step("1").dream)
    assert "recordings" in scene.record().news and scene.recording is None
    assert "nothing" in [scene.record(), scene.record()][-1].news
    (file,) = (folder / "recordings").glob("tiny_*.json")
    assert file.with_suffix(".mp4").exists()

    again = begun(world, read_recording(file, scene.session))
    shown = []
    while again.replay is not None:
        shown.append(again.replay_step())
    assert shown.pop().dream is None and shown[0].step.key == "a"
    np.testing.assert_array_equal(np.concatenate([moment.dream for moment in shown]), np.concatenate(film))
    went_on = again.step("d").dream
    np.testing.assert_array_equal(went_on, scene.step("d").dream)

    written = []
    monkeypatch.setattr(Session, "load", lambda config: scene.session)
    monkeypatch.setattr(headless, "write_film", lambda path, frames, rate: written.append(frames))
    headless.replay(world.config, str(file), str(tmp_path / "again.gif"))
    scale = world.config.play.scale
    np.testing.assert_array_equal(written[0][:, ::scale, ::scale], np.concatenate(film))


def test_an_error_of_the_model_ends_the_program(world, monkeypatch):
    import pygame

    scene = begun(world)
    steps = iter(range(3))

    def broken(self, key):
        if next(steps, None) is None:
            raise RuntimeError("out of memory")
        return Step(self.frame[None], key, 0, 0.5)

    monkeypatch.setattr(Session, "press", broken)
    monkeypatch.setattr(Scene, "load", lambda *arguments: scene)
    with pytest.raises(RuntimeError, match="out of memory"):
        windowed.play(world.config)
    assert not pygame.display.get_init()


def test_pixels_are_enlarged_by_the_largest_whole_number_that_fits():
    import pygame

    frame = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    with Window("test", (16, 24), 4, ["none", "d"], "") as window:
        assert pygame.display.get_window_size() == (96, 64 + 24)
        for size, scale in (((96, 88), 4), ((200, 110), 5), ((60, 400), 2), ((10, 10), 1)):
            pygame.display.set_mode(size, pygame.RESIZABLE)
            window.draw([frame], "d", "text", [("a", "b")] * (size == (60, 400)), red=size[0] == 10)
            seen = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
            assert seen.shape == (size[1], size[0], 3)
            if size not in ((60, 400), (10, 10)):
                top, left = (size[1] - 24 - 16 * scale) // 2, (size[0] - 24 * scale) // 2
                big = frame.repeat(scale, axis=0).repeat(scale, axis=1)
                np.testing.assert_array_equal(seen[top : top + 16 * scale, left : left + 24 * scale], big)
        pygame.display.set_mode((96, 88), pygame.RESIZABLE)
        window.widen(2)
        assert pygame.display.get_window_size() == (2 * 96 + 4, 88)
        window.draw([frame, frame], "d", "text")
        seen = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
        np.testing.assert_array_equal(seen[:64, :96], seen[:64, 100:])
        window.widen(1)
        assert pygame.display.get_window_size() == (96, 88)
