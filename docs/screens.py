"""Photograph the window and the page while they play a trained world: docs/window.png and docs/page.png.

And dream from pictures that the world has never seen: docs/pictures.png.

Example: make screens   # plays model/coinrun_plain; make screen installs what it needs
"""

import base64
import dataclasses
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.person import Page, Screen, address_of, played, wait_for  # noqa: E402
from genie_tf.cli import parse, run  # noqa: E402
from genie_tf.episodes.procgen_game import ProcgenSettings  # noqa: E402
from genie_tf.episodes.recorder import make_game  # noqa: E402
from genie_tf.pictures import grid  # noqa: E402
from genie_tf.play.session import Session  # noqa: E402

PHONE, DESK = (360, 640), (760, 640)


def window(target: Path) -> None:
    """The dream beside the real game, after a second of walking, with the figures."""
    screen = Screen(1400, 700)
    try:
        with played(".", "--play.seed", "2", "--play.scale", "6", DISPLAY=screen.display, SDL_VIDEODRIVER="x11"):
            screen.window()
            time.sleep(25)  # it compiles
            for key in "bor":
                screen.do("key", key)
            time.sleep(2)
            screen.do("keydown", "d")
            time.sleep(1.2)
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
                time.sleep(1.2)
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


def sketch() -> Image.Image:
    """A level as one draws it with three pens."""
    paper = Image.new("RGB", (480, 480), "white")
    pen = ImageDraw.Draw(paper)
    pen.rectangle((0, 340, 480, 480), fill=(150, 110, 60))
    pen.rectangle((300, 270, 400, 340), outline="black", width=6)
    pen.ellipse((200, 190, 250, 240), outline="black", width=6)
    for line in ((225, 240, 225, 300), (225, 300, 195, 340), (225, 300, 255, 340), (190, 265, 260, 265)):
        pen.line(line, fill="black", width=6)
    pen.ellipse((420, 180, 455, 215), fill=(255, 200, 0))
    return paper


def photographed(picture: Image.Image) -> Image.Image:
    """The same picture as a telephone would see it on a table: at an angle, with a shadow, unsharp, with noise."""
    width, height = picture.size
    corners = (0.08 * width, 0.02 * height, -0.05 * width, 0.97 * height, 1.06 * width, 0.9 * height, 0.92 * width, 0.1 * height)
    turned = picture.transform(picture.size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    x = np.asarray(turned.filter(ImageFilter.GaussianBlur(2)), float) * np.linspace(0.55, 0.9, width)[None, :, None]
    noise = np.random.default_rng(0).normal(0, 8, x.shape)
    return Image.fromarray(np.clip(x * (1.0, 0.95, 0.85) + noise, 0, 255).astype(np.uint8))


def of_game(game: str, **settings) -> Image.Image:
    """A frame of a game."""
    env = make_game(dataclasses.replace(ProcgenSettings(game=game), **settings), (10_000_000, 1), 1, seed=0)
    env.observe()
    frame = env.frames()[0].copy()
    env.close()
    return Image.fromarray(frame)


def pictures(target: Path) -> None:
    """Rollouts under "go right" from pictures of other kinds, one below the other: the picture, then every second action."""
    session = Session.load(parse("", {}, [], sections=("dynamics", "play"))[0])
    starts = [
        of_game("coinrun", distribution_mode="easy", use_backgrounds=False, restrict_themes=True),
        of_game("coinrun", distribution_mode="hard", use_backgrounds=True, restrict_themes=False),
        of_game("ninja", distribution_mode="easy", use_backgrounds=True, restrict_themes=False),
        sketch(),
        photographed(sketch()),
    ]
    rows = []
    for start in starts:
        file = io.BytesIO()
        start.save(file, format="png")
        shown = [session.reset(session.prompts.of_pictures([(file.getvalue(), "a picture")]), seed=0)[-1]]
        for _ in range(8):
            shown += [session.press("d").frames[-1] for _ in range(session.held)][-1:]
        rows.append(np.stack([shown[0], *shown[1::2], shown[-1]]))
    grid(rows, scale=2).save(target, optimize=True)


def main() -> None:
    window(HERE / "window.png")
    page(HERE / "page.png")
    pictures(HERE / "pictures.png")


if __name__ == "__main__":
    run(main)
