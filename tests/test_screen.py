"""The windows as a person has them: a real X server, keys pressed from outside, the picture read from the screen."""

import contextlib
import json
import shutil
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, copied, start, wait_for

from benchmarks.desk import Screen
from genie_tf.episodes.dataset import Episodes

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("Xvfb", "xdotool"))), reason="no Xvfb or no xdotool: `make screen` installs them"
)


class Person(Screen):
    """A person before a screen."""

    def open(self, place, script: str, *options: str):
        """Start a script, and wait for its window."""
        command = [sys.executable, str(ROOT / script), "--config", "tiny.yaml", *options]
        process = start(place, *command, DISPLAY=self.display, SDL_VIDEODRIVER="x11")
        wait_for(lambda: self.windows() or process.poll() is not None)
        assert process.poll() is None, (process.returncode, process.stderr.read())
        return process

    def sees(self) -> dict[str, np.ndarray]:
        """What the window shows: `picture` uint8 (H, W, 3), and `words` uint8 (24, W, 3), its line of text."""
        windows = self.windows()
        assert windows, "the window is gone"
        seen = np.asarray(self.look(*self.place(windows[-1])))
        return {"picture": seen[:-24], "words": seen[-24:]}

    def press(self, *keys: str) -> None:
        self.hand("keydown", *keys)

    def release(self, *keys: str) -> None:
        self.hand("keyup", *keys)


@pytest.fixture(scope="module")
def screen():
    with contextlib.closing(Person(640, 480)) as screen:
        yield screen


def shown(screen, part: str, other: np.ndarray | None = None) -> np.ndarray:
    """Wait until a part of the window shows something, and something else than `other`."""
    seen = []

    def there():
        seen.append(screen.sees()[part])
        return seen[-1].std() > 5 and (other is None or seen[-1].shape != other.shape or (seen[-1] != other).any())

    wait_for(there)
    return seen[-1]


def test_a_person_names_the_latent_actions_in_a_window(copy, screen):
    process = screen.open(copy, "dream_play_tf.py", "--calibrate")
    question = None
    for answer in ("d", ".", "u", "w", "a", "d"):
        question = shown(screen, "words", question)
        screen.hand("key", {".": "period"}.get(answer, answer))
    assert process.wait(30) == 0, process.stderr.read()
    codes = json.loads((copy.folder / "model" / "tiny" / "IDM_Model_2" / "keymap.json").read_text())["codes"]
    assert codes == {"d": 0, "none": 1, "w": 3, "a": 4, "aw": 4, "dw": 0}


def test_a_person_plays_the_game_and_is_recorded(place, screen):
    process = screen.open(place, "extract.py", "--record.agent", "human", "--record.hold", "1")
    shown(screen, "picture")
    for pressed in ("d", "a"):
        screen.press(pressed)
        time.sleep(0.7)
        screen.release(pressed)
    screen.hand("key", "q")
    assert process.wait(30) == 0, process.stderr.read()
    played = Episodes(place.folder / "record" / "tiny" / "train").action
    assert {1, 4, 7} <= set(played.tolist())


# One window for the others: it would take the keys of the windows above -----------------------------


def still(screen) -> np.ndarray:
    """The picture of a window that does not change any more, uint8 (H, W, 3)."""
    seen = [screen.sees()["picture"]]

    def rests():
        time.sleep(0.3)
        seen.append(screen.sees()["picture"])
        return seen[-1].shape == seen[-2].shape and (seen[-1] == seen[-2]).all()

    wait_for(rests)
    return seen[-1]


@pytest.fixture(scope="module")
def dream(tiny, tmp_path_factory, screen):
    """A window with the dream, and the folder of its world. It is opened once, since loading takes longest."""
    place = copied(tiny.folder, tmp_path_factory.mktemp("dream") / "world")
    (place.folder / "model" / "tiny" / "evaluation.json").unlink(missing_ok=True)  # no red border
    process = screen.open(place, "dream_play_tf.py", "--play.frames_per_second", "10")
    shown(screen, "picture", shown(screen, "picture"))
    yield place.folder
    screen.hand("key", "q")
    assert process.wait(30) == 0, process.stderr.read()


def test_a_person_plays_the_dream_in_a_window(dream, screen):
    first = shown(screen, "picture")
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 50, "a dream has many colours"
    key = slice(None), slice(0, 44)  # where the line of text names the key that is pressed
    none = shown(screen, "words")[key]
    names = []
    for pressed in (["d"], ["w"], ["a"], ["w", "d"], ["1"]):
        screen.press(*pressed)
        wait_for(lambda: (screen.sees()["words"][key] != none).any())
        time.sleep(0.2)  # the second of two keys
        names.append(screen.sees()["words"][key].tobytes())
        screen.release(*pressed)
        wait_for(lambda: (screen.sees()["words"][key] == none).all())
    assert len(set(names)) == 5, "each key is named by its own word"
    before = screen.sees()["picture"]
    screen.hand("key", "r")
    shown(screen, "picture", before)


def test_a_person_pauses_goes_back_compares_and_records(dream, screen):
    """Pausing makes the picture stand still, so that each key can be seen to do its work and nothing else."""

    def key(name: str) -> np.ndarray:
        before = still(screen)
        screen.hand("key", name)
        shown(screen, "picture", before)
        return still(screen)

    screen.hand("key", "space")
    prompt = key("r")
    assert prompt.shape == (128, 128, 3)
    np.testing.assert_array_equal(prompt[::2, ::2], prompt[1::2, 1::2])
    recorded = Episodes(dream / "record" / "tiny" / "test")
    frames = recorded.frames(np.arange(len(recorded)))
    assert (frames == prompt[::2, ::2]).all(axis=(1, 2, 3)).any()

    key("b")
    wait_for(lambda: (screen.sees()["picture"][:, :128] == prompt).all())
    both = still(screen)
    assert both.shape == (128, 260, 3)
    np.testing.assert_array_equal(both[:, 132:], prompt)  # the real game is at this very moment
    one = key("period")
    assert (one[:, :128] != prompt).any() and (key("period") != one).any()
    np.testing.assert_array_equal(key("BackSpace"), one)
    alone = key("b")
    np.testing.assert_array_equal(alone, one[:, :128])
    np.testing.assert_array_equal(key("Tab"), one[:, 132:])
    np.testing.assert_array_equal(key("Tab"), alone)
    assert key("h").shape == alone.shape
    np.testing.assert_array_equal(key("h"), alone)

    windows = screen.hand("search", "--onlyvisible", "--class", ".").split()
    screen.hand("windowsize", windows[-1], "300", "230")  # 206 rows: three screen pixels for each
    wait_for(lambda: screen.sees()["picture"].shape == (206, 300, 3))
    big = still(screen)
    np.testing.assert_array_equal(big[7:199, 54:246], alone[::2, ::2].repeat(3, axis=0).repeat(3, axis=1))
    assert not big[:7].any() and not big[:, :54].any()

    words = screen.sees()["words"]
    screen.hand("key", "F5")
    shown(screen, "words", words)
    screen.press("d")
    key("period")
    screen.release("d")
    key("period")
    screen.hand("key", "F5")
    recordings = dream / "model" / "tiny" / "recordings"
    wait_for(lambda: list(recordings.glob("tiny_*.json")))
    (file,) = recordings.glob("tiny_*.json")
    assert file.with_suffix(".mp4").exists()
    assert json.loads(file.read_text())["rollouts"][-1]["keys"] == ["none", "d", "none"]
