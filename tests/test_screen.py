"""The windows as a person has them: a real X server, keys pressed from outside, the picture read from the screen."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, start, wait_for
from PIL import ImageGrab

from genie_tf.episodes.dataset import Episodes

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("Xvfb", "xdotool"))), reason="no Xvfb or no xdotool: `make screen` installs them"
)


class Screen:
    """An X server without a monitor, and a person before it."""

    def __init__(self, display: str):
        self.display = display

    def hand(self, *command: str) -> str:
        done = subprocess.run(["xdotool", *command], env=os.environ | {"DISPLAY": self.display}, capture_output=True, text=True)
        return done.stdout

    def open(self, place, script: str, *options: str):
        """Start a script, and wait for its window."""
        command = [sys.executable, str(ROOT / script), "--config", "tiny.yaml", *options]
        process = start(place, *command, DISPLAY=self.display, SDL_VIDEODRIVER="x11")
        wait_for(lambda: self.hand("search", "--onlyvisible", "--class", ".") or process.poll() is not None)
        assert process.poll() is None, (process.returncode, process.stderr.read())
        return process

    def look(self) -> dict[str, np.ndarray]:
        """What the window shows: `picture` uint8 (128, 128, 3), and `words` uint8 (24, 128, 3), the first of its line of text."""
        windows = self.hand("search", "--onlyvisible", "--class", ".").split()
        assert windows, "the window is gone"
        place = dict(line.split("=") for line in self.hand("getwindowgeometry", "--shell", windows[-1]).split())
        x, y = int(place["X"]), int(place["Y"])
        seen = np.asarray(ImageGrab.grab((x, y, x + 128, y + 152), xdisplay=self.display).convert("RGB"))
        return {"picture": seen[:128], "words": seen[128:]}

    def press(self, *keys: str) -> None:
        self.hand("keydown", *keys)

    def release(self, *keys: str) -> None:
        self.hand("keyup", *keys)


@pytest.fixture(scope="module")
def screen():
    read, write = os.pipe()
    options = ["-screen", "0", "640x480x24", "-nolisten", "tcp", "-noreset"]  # while it resets it refuses clients
    server = subprocess.Popen(["Xvfb", "-displayfd", str(write), *options], pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as display:
        yield Screen(":" + display.readline().strip())
    server.terminate()
    server.wait()


def shown(screen, part: str, other: np.ndarray | None = None) -> np.ndarray:
    """Wait until a part of the window shows something, and something else than `other`."""
    seen = []

    def there():
        seen.append(screen.look()[part])
        return seen[-1].std() > 5 and (other is None or (seen[-1] != other).any())

    wait_for(there)
    return seen[-1]


def test_a_person_plays_the_dream_in_a_window(tiny, screen):
    process = screen.open(tiny, "dream_play_tf.py")
    first = shown(screen, "picture")
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 50, "a dream has many colours"
    key = slice(None), slice(0, 44)  # where the line of text names the key that is pressed
    none = shown(screen, "words")[key]
    names = []
    for pressed in (["d"], ["w"], ["a"], ["w", "d"], ["1"]):
        screen.press(*pressed)
        wait_for(lambda: (screen.look()["words"][key] != none).any())
        time.sleep(0.2)  # the second of two keys
        names.append(screen.look()["words"][key].tobytes())
        screen.release(*pressed)
        wait_for(lambda: (screen.look()["words"][key] == none).all())
    assert len(set(names)) == 5, "each key is named by its own word"
    before = screen.look()["picture"]
    screen.hand("key", "r")
    shown(screen, "picture", before)
    screen.hand("key", "q")
    assert process.wait(30) == 0, process.stderr.read()


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
