"""Play a trained world in a window."""

import time
from pathlib import Path

from genie_tf.config import Config
from genie_tf.episodes.controls import NONE
from genie_tf.play.keys import DIGITS, pressed_in
from genie_tf.play.session import Session
from genie_tf.play.window import Window


def play(config: Config, pictures: tuple[Path, ...] = (), recording: str = "") -> None:
    """Open the window: the keys of the game, digits are latent actions, r starts a new rollout, q quits.

    Raises:
        UserError: there is no display, or a model is missing.
    """
    instead = 'play given keys instead, --actions "dddwwdaa" --out dream.gif'
    session = Session.load(config, pictures)
    known = session.world.keymap
    named = "  ".join(name for name in known if name != NONE) or f"keys 1-{min(session.world.actions, len(DIGITS))}"
    with Window(f"dreaming {config.world}", session.world.frame_size, config.play.scale, known, instead) as window:
        session.reset()
        session.press("1")  # compiles
        frames = session.reset()[-1:]
        while True:
            keys = window.keys()
            if "q" in keys.tapped:
                return
            if "r" in keys.tapped:
                frames = session.reset()[-1:]
            key = pressed_in(keys.down, known, session.world.actions)
            start = time.perf_counter()
            if key is not None:  # a game without a control for no key waits for one
                frames = session.press(key).frames
            milliseconds = 1000 * (time.perf_counter() - start)
            text = f"{key or '':>4}  {window.frames_per_second:4.1f} frames/s  {milliseconds:3.0f} ms   {named}   r new  q quit"
            for frame in frames:
                window.show(frame, text, config.play.frames_per_second)
