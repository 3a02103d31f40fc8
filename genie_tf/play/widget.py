"""Play a trained world inside a notebook: a picture that takes keys, and a button for each key."""

import asyncio
import io
import time

import anywidget
import numpy as np
import traitlets
from PIL import Image

from genie_tf.config import Config
from genie_tf.episodes.controls import keys_in
from genie_tf.play.keys import DIGITS, pressed_in
from genie_tf.play.session import Session
from genie_tf.play.window import ARROWS

PAGE = """
function render({ model, el }) {
  const { width, height, scale, keys } = model.get("page");
  el.classList.add("genie-player");
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height, tabIndex: 0, title: "click, then play" });
  Object.assign(canvas.style, { width: width * scale + "px", height: height * scale + "px" });
  const context = canvas.getContext("2d"), line = document.createElement("div"), buttons = document.createElement("div");
  el.append(canvas, line, buttons);
  const name = (event) => (event.key === " " ? "space" : event.key.replace("Arrow", "").toLowerCase());
  const tell = (kind, key) => model.send({ kind, key });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) tell("down", name(event));
  });
  canvas.addEventListener("keyup", (event) => { event.stopPropagation(); tell("up", name(event)); });
  canvas.addEventListener("focus", () => tell("play", ""));
  canvas.addEventListener("blur", () => tell("pause", ""));
  for (const key of keys) {
    const button = document.createElement("button");
    button.textContent = key;
    button.addEventListener("pointerdown", (event) => { event.preventDefault(); canvas.focus(); tell("down", key); });
    for (const end of ["pointerup", "pointerleave", "pointercancel"]) button.addEventListener(end, () => tell("up", key));
    buttons.append(button);
  }
  model.on("msg:custom", async (message, buffers) => {
    line.textContent = message.text;
    context.drawImage(await createImageBitmap(new Blob([buffers[0]], { type: "image/png" })), 0, 0);
  });
  tell("show", "");
}
export default { render };
"""
STYLE = """
.genie-player canvas { image-rendering: pixelated; border: 2px solid #ccc; outline: none; touch-action: none }
.genie-player canvas:focus { border-color: #1f77b4 }
.genie-player div { font: 13px monospace; min-height: 1.5em }
.genie-player button { margin: 2px; padding: 8px 14px; touch-action: none }
"""


class Player(anywidget.AnyWidget):
    """A widget that plays the world while its picture has the focus.

    The keys are those of the window: the keys of the game, the digits for the latent actions, and r for a new prompt. A key that
    was pressed and released between two steps counts for the next one.

    Args:
        config: The world; sections `dynamics` and `play`.
        scale: Side of a pixel of a frame, in pixels of the screen.

    Raises:
        UserError: a model or the recording is missing.
    """

    _esm, _css = PAGE, STYLE
    page = traitlets.Dict().tag(sync=True)

    def __init__(self, config: Config, scale: int = 6):
        session = Session.load(config)
        keymap, actions, (height, width) = session.world.keymap, session.world.actions, session.world.frame_size
        single = [key for key in keymap if len(keys_in(key)) == 1]
        buttons = [*(single or DIGITS[:actions]), "r"]
        super().__init__(page={"width": width, "height": height, "scale": scale, "keys": buttons})
        self.config, self.session = config, session
        self.held: set[str] = set()
        self.tapped: set[str] = set()
        self.playing: asyncio.Task | None = None
        session.reset()
        session.press("1")  # compiles
        self.frame = session.reset()[-1]
        self.on_msg(self.receive)

    def receive(self, _, message: dict, buffers) -> None:
        """Handle a message of the page: a key is `down` or `up`, or the picture wants to `play`, `pause` or `show` its frame."""
        kind, key = message.get("kind"), ARROWS.get(str(message.get("key")), str(message.get("key")))
        if kind == "down":
            self.held.add(key)
            self.tapped.add(key)
        elif kind == "up":
            self.held.discard(key)
        elif kind == "play" and self.playing is None:
            self.playing = asyncio.ensure_future(self.play())
        elif kind == "pause" and self.playing is not None:
            self.held.clear()
            self.playing.cancel()
            self.playing = None
        elif kind == "show":
            self.show("click the picture, then play")

    async def play(self) -> None:
        """Step and show frames at the world's rate until the task is cancelled."""
        due = time.monotonic()
        while True:
            for frame, text in zip(*self.step()):
                self.frame = frame
                self.show(text)
                due = max(due + 1 / self.config.play.frames_per_second, time.monotonic())
                await asyncio.sleep(due - time.monotonic())

    def step(self) -> tuple[np.ndarray, list[str]]:
        """The frames of the next step under the keys that are down, uint8 (S, H, W, 3), and a line of text for each."""
        tapped, self.tapped = self.tapped, set()
        if "r" in tapped:
            return self.session.reset()[-1:], ["a new prompt"]
        key = pressed_in(self.held | tapped, self.session.world.keymap, self.session.world.actions)
        if key is None:  # a game without a control for no key waits for one
            return self.frame[None], ["waits for a key"]
        begin = time.perf_counter()
        frames = self.session.press(key).frames
        return frames, [f"{key}   {1000 * (time.perf_counter() - begin):.0f} ms for {len(frames)} frames"] * len(frames)

    def __repr__(self) -> str:
        return f"a player of {self.config.world}: run this cell to play"

    def show(self, text: str) -> None:
        file = io.BytesIO()
        Image.fromarray(self.frame).save(file, format="png", compress_level=1)
        self.send({"text": text}, [file.getvalue()])
