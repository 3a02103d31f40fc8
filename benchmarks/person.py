"""Speed of play as a person has it: a key pressed in a real window or a real page, and the picture that answers it on the screen.

The window is on an X server without a monitor (Xvfb), its keys are pressed by xdotool. The page is in Chromium without a monitor.
The models have the demo's size; they are hardly trained, which does not change their speed.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

import numpy as np
import websocket
from tqdm import tqdm

from benchmarks.data import row
from benchmarks.desk import Chromium, Page, Screen, wait_for
from benchmarks.memory import CONFIG, ROOT, STAGES, peak_of
from benchmarks.models import alone
from genie_tf.cli import parse
from genie_tf.errors import UserError

PRESSES = 60
LIMIT = 80.0  # ms from a key to its picture
LOOK = 0.005  # seconds between two looks at the screen: a look takes half of them on one core, which the model needs too
FAST = ("--play.frames_per_second", "120")  # more than the model can
PLAYERS, SECONDS = 4, 10.0
HOUR = 3600.0  # seconds of play


@cache
def world() -> tempfile.TemporaryDirectory:
    """A folder with a world of the demo's size, trained for a few steps on a short recording."""
    folder = tempfile.TemporaryDirectory()
    few = ["--record.train_frames", "16384"]
    for stage in ("record", "latent_action", "tokenizer", "dynamics"):
        script, options = STAGES[stage]
        words = [*" ".join(options).split(), *(few if stage == "record" else [])]
        peak_of([sys.executable, str(ROOT / script), "--config", str(CONFIG), *words], Path(folder.name))
    return folder


@contextlib.contextmanager
def played(folder: str, *options: str, **environment: str):
    """`dream_play_tf.py` while it runs in a folder."""
    command = [sys.executable, str(ROOT / "dream_play_tf.py"), "--config", str(CONFIG), *options]
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def window() -> dict:
    """Milliseconds from a key, pressed at a random time, to the first picture under it in the window. Limit: 80."""
    rng, latencies = np.random.default_rng(0), []
    with contextlib.closing(Screen(640, 600)) as screen, played(world().name, DISPLAY=screen.display, SDL_VIDEODRIVER="x11"):
        shown = wait_for(screen.windows, "window")[-1]
        left, _, _, bottom = screen.place(shown)

        def named() -> np.ndarray:
            """The name of the key in the window's line of text."""
            return np.asarray(screen.look(left, bottom - 24, left + 50, bottom).convert("L")) > 128

        def press(key: str, until: np.ndarray) -> float:
            """Hold a key until the window names it. Returns milliseconds."""
            begin = time.perf_counter()
            screen.key("keydown", key)
            wait_for(lambda: (named() == until).all(), f"picture under {key}", LOOK)
            return 1000 * (time.perf_counter() - begin)

        seen: dict[str, np.ndarray] = {}
        for key in ("a", "d"):  # what the window shows for each key, once it runs
            screen.key("keydown", key)
            time.sleep(2 if seen else 20)
            seen[key] = named()
            screen.key("keyup", key)
        for key in "ad" * (PRESSES // 2):
            time.sleep(float(rng.uniform(0.5, 1)))
            latencies.append(press(key, seen[key]))
            screen.key("keyup", key)
    return row([float(np.quantile(latencies, 0.95))], [LIMIT], "ms from a key to its picture in the window, 95th percentile")


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
    with played(world().name, "--browser", "--port", "0") as process, contextlib.closing(Chromium()) as chromium:
        page = Page(chromium.address)
        page.open(address_of(process))
        page.run(MEASURE)
        for press in range(PRESSES):
            for kind in ("keyDown", "keyUp"):
                page.key("ad"[press % 2], kind)
                time.sleep(float(rng.uniform(0.5, 1)))
        latencies = page.run("took")
    if len(latencies) < PRESSES // 2:
        raise UserError(f"only {len(latencies)} of {PRESSES} keys were answered")
    return row([float(np.quantile(latencies, 0.95))], [LIMIT], "ms from a key to its picture on the page, 95th percentile")


def address_of(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    return next(word for line in process.stdout for word in line.split() if word.startswith("http"))


def players(count: int, least: float) -> dict:
    """Frames per second of each of several players of the page, at full speed. Limit: the frames/s that everyone should have."""
    frames = [0] * count
    with played(world().name, "--browser", "--port", "0", *FAST) as process:
        site = address_of(process).split("?")[0].rstrip("/")
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


def _hour(folder: str, rate: float) -> tuple[float, float, float]:
    """Play for an hour of the world's time, as fast as the model can. Runs in a process of its own.

    Returns:
        Memory in MB after a minute and after the hour, and the time of the last steps divided by that of the first.
    """
    os.chdir(folder)
    from genie_tf.play.session import Session

    config = parse("", arguments=["--config", str(CONFIG)], sections=("dynamics", "play"))[0]
    session = Session.load(config)
    keys, rng = list(session.world.keymap), np.random.default_rng(0)
    session.reset()
    steps, a_minute, seconds = int(HOUR * rate / session.world.stride), int(60 * rate / session.world.stride), []
    after_a_minute = 0.0
    for step in tqdm(range(steps), desc="an hour of play", unit=" steps"):
        begin = time.perf_counter()
        if rng.random() < 0.005:
            session.reset()
        session.press(keys[rng.integers(len(keys))])
        seconds.append(time.perf_counter() - begin)
        if step == a_minute:
            after_a_minute = _held()
    tenth = steps // 10
    return after_a_minute, _held(), float(np.median(seconds[-tenth:]) / np.median(seconds[a_minute : a_minute + tenth]))


def _held() -> float:
    """Memory of this process in MB."""
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1e3


def hour() -> dict:
    """Memory after an hour of play with random keys. Limit: after a minute."""
    rate = parse("", arguments=["--config", str(CONFIG)], sections=("play",))[0].play.frames_per_second
    before, after, slower = alone(_hour, world().name, rate)
    return row(
        [after],
        [before],
        f"MB after an hour of play; limit: after a minute; the last steps take {slower:.2f} of the time of the first",
    )


ROWS = {
    "play.hour": hour,
    "key.window": window,
    "key.browser": browser,
    "players.1": lambda: players(1, 30.0),
    "players.4": lambda: players(PLAYERS, 12.0),
}
