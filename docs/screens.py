"""Photograph the window and the page while they play a trained world: docs/window.png and docs/page.png.

Example: make screens   # plays model/coinrun_plain; make screen installs what it needs
"""

import base64
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.person import Page, Screen, address_of, played, wait_for  # noqa: E402
from genie_tf.cli import run  # noqa: E402

PHONE, DESK = (360, 640), (760, 640)


def window(target: Path) -> None:
    """The dream beside the real game, after two seconds of walking, with the figures."""
    screen = Screen(1400, 700)
    try:
        with played(".", "--play.seed", "2", "--play.scale", "6", DISPLAY=screen.display, SDL_VIDEODRIVER="x11"):
            screen.window()
            time.sleep(25)  # it compiles
            screen.do("key", "b")
            screen.do("key", "o")
            time.sleep(3)
            screen.do("keydown", "d")
            time.sleep(2.2)
            screen.look(*screen.window()).save(target, optimize=True)
    finally:
        screen.close()


def page(target: Path) -> None:
    """The page on a desk and on a phone, side by side."""
    shots = []
    with played(".", "--browser", "--port", "0") as process, tempfile.TemporaryDirectory() as folder:
        tab = Page(address_of(process), folder)
        try:
            for width, height in (DESK, PHONE):
                tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
                wait_for(lambda: tab.run("document.body.dataset.step > 2"), "dream on the page")
                tab.key("keyDown", "d")
                time.sleep(2.5)
                shots.append(base64.b64decode(tab.call("Page.captureScreenshot")["data"]))
                tab.key("keyUp", "d")
        finally:
            tab.close()
    whole, left = Image.new("RGB", (DESK[0] + PHONE[0] + 20, max(DESK[1], PHONE[1])), "white"), 0
    for shot in shots:
        picture = Image.open(io.BytesIO(shot)).convert("RGB")
        whole.paste(picture, (left, 0))
        left += picture.width + 20
    whole.save(target, optimize=True)


def main() -> None:
    window(HERE / "window.png")
    page(HERE / "page.png")


if __name__ == "__main__":
    run(main)
