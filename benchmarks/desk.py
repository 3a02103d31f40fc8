"""A person's desk without a monitor: an X server whose keys are pressed from outside, and a browser driven from outside."""

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import websocket
from PIL import Image, ImageGrab

from genie_tf.errors import UserError


def needs(*programs: str) -> None:
    if missing := [name for name in programs if not shutil.which(name)]:
        raise UserError(f"{' and '.join(missing)} is missing: make screen")


def wait_for(found, what: str, pause: float = 0.05):
    """Wait until a function returns something true, and return it. Between two calls it waits for `pause` seconds."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(pause)
    raise UserError(f"no {what} within three minutes")


class Screen:
    """An X server (Xvfb), and xdotool, the hand of a person before it.

    Args:
        width: Width of the screen, in pixels.
        height: Height of the screen.
    """

    def __init__(self, width: int, height: int):
        needs("Xvfb", "xdotool")
        read, write = os.pipe()
        options = ["-displayfd", str(write), "-screen", "0", f"{width}x{height}x24"]
        options += ["-nolisten", "tcp", "-noreset"]  # while it resets it refuses clients
        self.server = subprocess.Popen(["Xvfb", *options], pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as told:
            self.display = ":" + told.readline().strip()
        self.environment = os.environ | {"DISPLAY": self.display}
        self.fingers = subprocess.Popen(["xdotool", "-"], stdin=subprocess.PIPE, text=True, env=self.environment)

    def key(self, kind: str, key: str) -> None:
        """Press ("keydown") or release ("keyup") a key, or both ("key"), at once: a process of its own takes some time to start."""
        assert self.fingers.stdin is not None
        self.fingers.stdin.write(f"{kind} {key}\n")
        self.fingers.stdin.flush()

    def hand(self, *words: str) -> str:
        """Run xdotool to its end. Returns what it prints."""
        return subprocess.run(["xdotool", *words], env=self.environment, capture_output=True, text=True).stdout

    def windows(self) -> list[str]:
        """The numbers of the windows that are shown."""
        return self.hand("search", "--onlyvisible", "--class", ".").split()

    def place(self, window: str) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a window."""
        told = dict(line.split("=") for line in self.hand("getwindowgeometry", "--shell", window).split())
        x, y, width, height = (int(told[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))
        return x, y, x + width, y + height

    def look(self, left: int, top: int, right: int, bottom: int) -> Image.Image:
        """What a part of the screen shows, in RGB."""
        return ImageGrab.grab((left, top, right, bottom), xdisplay=self.display).convert("RGB")

    def close(self) -> None:
        for process in (self.fingers, self.server):
            process.terminate()
            process.wait()


class Chromium:
    """A Chromium without a monitor. Its `address` is that of the DevTools protocol."""

    def __init__(self):
        needs("chromium")
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command = ["chromium", *flags, f"--user-data-dir={self.folder.name}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = Path(self.folder.name) / "DevToolsActivePort"
        wait_for(lambda: port.exists() and port.read_text().count("\n"), "Chromium")
        self.address = f"127.0.0.1:{port.read_text().split()[0]}"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()


class Page:
    """A tab of a `Chromium`, driven over the DevTools protocol.

    Args:
        browser: Address of the browser.
    """

    def __init__(self, browser: str):
        request = urllib.request.Request(f"http://{browser}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request) as answer:
            target = json.load(answer)
        self.socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=60, suppress_origin=True)
        self.calls = 0

    def call(self, method: str, **parameters) -> dict:
        """Call a method of the protocol. Returns its result."""
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.calls:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def run(self, script: str):
        """The value of an expression of JavaScript."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression of JavaScript is true."""
        wait_for(lambda: self.run(script), script)

    def open(self, address: str, width: int = 1000, height: int = 700, phone: bool = False) -> None:
        """Load the page of a dream in a screen of this size, and wait for its first steps."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone, maxTouchPoints=5)
        self.call("Page.navigate", url=address)
        self.call("Page.bringToFront")
        self.wait("document.readyState === 'complete' && document.body.dataset.step > 0")

    def key(self, key: str, kind: str = "keyDown") -> None:
        """Press a key, or release it ("keyUp")."""
        self.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" and len(key) == 1 else "")
