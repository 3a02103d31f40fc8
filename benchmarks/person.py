"""Speed of play as a person has it: a key pressed in a real window or a real page, and the picture that answers it on the screen.

The window is on an X server without a monitor (Xvfb), its keys are pressed by xdotool. The page is in Chromium without a monitor.
The models have the demo's size; they are hardly trained, which does not change their speed.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from functools import cache
from pathlib import Path

import numpy as np
import websocket
from PIL import ImageGrab

from benchmarks.data import row
from benchmarks.memory import CONFIG, ROOT, STAGES, peak_of
from genie_tf.errors import UserError

PRESSES = 60
LIMIT = 80.0  # ms from a key to its picture
FAST = ("--play.frames_per_second", "120")  # more than the model can
PLAYERS, SECONDS = 4, 10.0


@cache
def world() -> tempfile.TemporaryDirectory:
    """A folder with a world of the demo's size, trained for a few steps on a short recording."""
    folder = tempfile.TemporaryDirectory()
    few = ["--record.train_frames", "4096", "--record.validation_frames", "2048", "--record.test_frames", "4096"]
    for stage in ("record", "latent_action", "tokenizer", "dynamics"):
        script, options = STAGES[stage]
        words = [*" ".join(options).split(), *(few if stage == "record" else [])]
        peak_of([sys.executable, str(ROOT / script), "--config", str(CONFIG), *words], Path(folder.name))
    return folder


def needs(*programs: str) -> None:
    if missing := [name for name in programs if not shutil.which(name)]:
        raise UserError(f"{' and '.join(missing)} is missing: make screen")


@contextlib.contextmanager
def played(*options: str, **environment: str):
    """`dream_play_tf.py` while it runs."""
    command = [sys.executable, str(ROOT / "dream_play_tf.py"), "--config", str(CONFIG), *options]
    process = subprocess.Popen(
        command, cwd=world().name, env=os.environ | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(found, what: str):
    """Wait until a function returns something true, and return it."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.05)
    raise UserError(f"no {what} within three minutes")


def window() -> dict:
    """Milliseconds from a key, pressed at a random time, to the first picture under it in the window. Limit: 80."""
    needs("Xvfb", "xdotool")
    read, write = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(write), "-screen", "0", "640x600x24", "-noreset"], pass_fds=[write])
    os.close(write)
    with os.fdopen(read) as told:
        display = ":" + told.readline().strip()
    hand = ["xdotool"]

    def do(*words: str) -> str:
        return subprocess.run([*hand, *words], env=os.environ | {"DISPLAY": display}, capture_output=True, text=True).stdout

    def named() -> np.ndarray:
        """The name of the key in the window's line of text."""
        return np.asarray(ImageGrab.grab((x, y, x + 50, y + 24), xdisplay=display).convert("L")) > 128

    rng, latencies = np.random.default_rng(0), []
    try:
        with played(DISPLAY=display, SDL_VIDEODRIVER="x11"):
            number = wait_for(lambda: do("search", "--onlyvisible", "--class", "."), "window").split()[-1]
            place = dict(line.split("=") for line in do("getwindowgeometry", "--shell", number).split())
            x, y = int(place["X"]), int(place["Y"]) + int(place["HEIGHT"]) - 24
            seen: dict[str, np.ndarray] = {}
            for key in ("a", "d"):  # what the window shows for each key, once it runs
                do("keydown", key)
                time.sleep(15 if not seen else 2)
                seen[key] = named()
                do("keyup", key)
            for press in range(PRESSES):
                key = "ad"[press % 2]
                do("keydown", "ad"[1 - press % 2])
                wait_for(lambda: (named() == seen["ad"[1 - press % 2]]).all(), "key's name")  # noqa: B023
                time.sleep(float(rng.uniform(0.3, 0.8)))
                do("keyup", "ad"[1 - press % 2])
                begin = time.perf_counter()
                do("keydown", key)
                while (named() != seen[key]).any() and time.perf_counter() - begin < 5:
                    time.sleep(0.001)
                latencies.append(1000 * (time.perf_counter() - begin))
                do("keyup", key)
    finally:
        server.terminate()
        server.wait()
    return row([float(np.quantile(latencies, 0.95))], [LIMIT], "ms from a key to its picture in the window, 95th percentile")


class Page:
    """A tab of a Chromium without a monitor, over the DevTools protocol."""

    def __init__(self, address: str, folder: str):
        needs("chromium")
        flags = ["--headless=new", "--no-sandbox", "--remote-debugging-port=0", f"--user-data-dir={folder}", "--disable-gpu"]
        self.process = subprocess.Popen(["chromium", *flags, "about:blank"], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        port = next(found[1] for line in self.process.stderr if (found := re.search(r"ws://[^:]*:(\d+)/", line)))
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        tab = next(tab for tab in tabs if tab["type"] == "page")
        self.socket = websocket.create_connection(tab["webSocketDebuggerUrl"], suppress_origin=True, timeout=60)
        self.calls = 0
        self.call("Page.navigate", url=address)

    def call(self, method: str, **parameters) -> dict:
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.calls:
            pass
        return answer.get("result", {})

    def run(self, script: str):
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def key(self, kind: str, key: str) -> None:
        self.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait()


MEASURE = """
globalThis.waits = null; globalThis.took = [];
addEventListener("keydown", (event) => { waits = [event.key, performance.now()] }, true);
const look = () => {
  if (waits && document.body.dataset.key === waits[0]) { took.push(performance.now() - waits[1]); waits = null }
  requestAnimationFrame(look);
};
look();
"""


def browser() -> dict:
    """Milliseconds from a key, pressed at a random time, to the first picture under it on the page. Limit: 80."""
    rng = np.random.default_rng(0)
    with played("--browser", "--port", "0") as process, tempfile.TemporaryDirectory() as folder:
        page = Page(_address(process), folder)
        try:
            wait_for(lambda: page.run("document.body.dataset.step > 2"), "dream on the page")
            page.run(MEASURE)
            for press in range(PRESSES):
                page.key("keyDown", "ad"[press % 2])
                time.sleep(float(rng.uniform(0.5, 1)))
                page.key("keyUp", "ad"[press % 2])
                time.sleep(float(rng.uniform(0.5, 1)))
            latencies = page.run("took")
        finally:
            page.close()
    if len(latencies) < PRESSES // 2:
        raise UserError(f"only {len(latencies)} of {PRESSES} keys were answered")
    return row([float(np.quantile(latencies, 0.95))], [LIMIT], "ms from a key to its picture on the page, 95th percentile")


def _address(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    return next(word for word in process.stdout.readline().split() if word.startswith("http"))


def players(count: int, least: float) -> dict:
    """Frames per second of each of several players of the page, at full speed. Limit: the frames/s that everyone should have."""
    frames = [0] * count
    with played("--browser", "--port", "0", *FAST) as process:
        site = _address(process).split("?")[0].rstrip("/")
        sockets = [websocket.create_connection(site.replace("http", "ws") + "/play", origin=site, timeout=60) for _ in frames]
        end = time.monotonic() + SECONDS + 3
        begin = end - SECONDS

        def watch(i: int) -> None:
            while time.monotonic() < end:
                kind, data = sockets[i].recv_data()
                if kind == websocket.ABNF.OPCODE_BINARY and time.monotonic() > begin:
                    frames[i] += json.loads(data[2 : 2 + int.from_bytes(data[:2], "big")])["frames"]

        threads = [threading.Thread(target=watch, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for each in sockets:
            each.close()
    return row([number / SECONDS for number in frames], [least], f"frames/s of each of {count} on the page; limit: asked for")


ROWS = {
    "key.window": window,
    "key.browser": browser,
    "players.1": lambda: players(1, 30.0),
    "players.4": lambda: players(PLAYERS, 12.0),
}
