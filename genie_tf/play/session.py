"""A person at the keys, or keys given beforehand."""

import time
from pathlib import Path

import numpy as np

from genie_tf.config import IDM_MODEL, Config
from genie_tf.episodes.dataset import Episodes
from genie_tf.errors import UserError
from genie_tf.latent_action.keymap import KEYS, save_keymap
from genie_tf.play.keys import DIGITS, key_name, keys_of
from genie_tf.play.record import check_target, enlarge, write_film
from genie_tf.play.window import Window
from genie_tf.training.loop import latest_checkpoint
from genie_tf.world import World

SHOWN = 12  # frames of a dream in the calibration, before another moment is taken


class Session:
    """One dream at a time, begun from a random held-out moment.

    Args:
        config: The world; section `play`.
    """

    def __init__(self, config: Config):
        settings = config.play
        guided = config.dynamics.actions == "true"
        self.world = World.load(
            config.model_folder,
            guided,
            sampling_steps=settings.sampling_steps,
            temperature=settings.temperature,
            seed=settings.seed,
        )
        self.episodes = Episodes(config.record_folder("test"))
        self.prompts = self.episodes.windows(settings.prompt_frames)
        self.prompt_frames = settings.prompt_frames
        self.rng = np.random.default_rng(settings.seed)

    def reset(self) -> np.ndarray:
        """Begin anew.

        Returns:
            The prompt, uint8 (P, 64, 64, 3).
        """
        prompt = self.episodes.read(self.prompts.draw(self.rng, 1) + np.arange(self.prompt_frames))
        actions = prompt["action"][None, :-1] if self.world.latent_action is None else None
        self.world.reset(prompt["frame"][None], actions)
        return prompt["frame"]

    def action_of(self, key: str) -> int:
        """The action of a key of the keymap, or of a digit.

        Raises:
            UserError: the world has no such action.
        """
        keymap, actions = self.world.keymap, self.world.actions
        if key.isdigit() and int(key) <= actions:
            return int(key) - 1
        if key not in keymap:
            why = "its recording has no true actions" if keymap.keys() == {"none"} else f"it has {actions} latent actions"
            raise UserError(f"this world knows no key {key}: {why}; use the digits 1 to {min(actions, 8)}")
        return keymap[key]

    def press(self, key: str) -> np.ndarray:
        """Dream one frame under a key.

        Returns:
            uint8 (64, 64, 3).
        """
        return self.world.step(np.array([self.action_of(key)]))[0]


def play_keys(config: Config, text: str, out: str) -> None:
    """Play the keys of `text` and write prompt and dream to `out`.

    Raises:
        UserError: unknown keys, a name that can't be written, a missing model.
    """
    keys, target = keys_of(text), Path(out)
    check_target(target)
    session = Session(config)
    for key in keys:
        session.action_of(key)
    frames = [*session.reset(), *(session.press(key) for key in keys)]
    write_film(target, enlarge(np.stack(frames), config.play.scale), config.play.frames_per_second)
    print(f"wrote {target}: {config.play.prompt_frames} frames of prompt, {len(keys)} dreamt")


def play_window(config: Config) -> None:
    """Open the window: w jumps, a and d walk, digits are latent actions, r begins a new dream, q leaves.

    Raises:
        UserError: there is no display, or a model is missing.
    """
    instead = 'play given keys instead, --actions "dddwwdaa" --out dream.gif'
    with Window(f"dreaming {config.world}", 64 * config.play.scale, instead) as window:
        session = Session(config)
        session.reset()
        session.press("1")  # compiles
        session.reset()
        known = session.world.keymap
        while True:
            keys = window.keys()
            if "q" in keys.tapped:
                return
            if "r" in keys.tapped:
                session.reset()
            digits = sorted(keys.down & set(DIGITS[: session.world.actions]))
            key = digits[0] if digits else key_name("".join(keys.down & set("wad")))
            start = time.perf_counter()
            frame = session.press(key if key in known or digits else "none")
            milliseconds = 1000 * (time.perf_counter() - start)
            hint = "w jump  a d walk" if "d" in known else f"keys 1-{min(session.world.actions, 8)}"
            text = f"{key:>4}  {window.frames_per_second:4.1f} frames/s  {milliseconds:3.0f} ms   {hint}  r new  q quit"
            window.show(frame, text, config.play.frames_per_second)


def calibrate(config: Config) -> None:
    """Name the latent actions by eye: each is dreamt, from one moment after another, until you press the key that it looks like.

    For recordings without true actions, or for those who would rather see for themselves. The keymap is written once every
    latent action has had its answer; q leaves everything as it was. Of several that were given one key, the first is kept.

    Raises:
        UserError: a guided world, which needs no keymap; no display; a missing model.
    """
    if config.dynamics.actions == "true":
        raise UserError("a guided world takes the true keys: calibrate one with --dynamics.actions latent")
    instead = "learn the keymap from labels, python idm_training.py, or play with the keys 1 to 8"
    with Window(f"which key is this? {config.world}", 64 * config.play.scale, instead) as window:
        session = Session(config)
        keymap: dict[str, int] = {}
        for code in range(session.world.actions):
            key = ask(session, window, config.play.frames_per_second, code)
            if key is None:
                print("left: the keymap is as it was")
                return
            if key:
                keymap.setdefault(key, code)
    keymap.setdefault("none", session.world.keymap["none"])
    for key in KEYS:  # a key that nothing looked like does nothing; two at once are then the first of them
        keymap.setdefault(key, keymap.get(key[0], keymap["none"]))
    checkpoint = latest_checkpoint(config.model_folder, IDM_MODEL)
    assert checkpoint is not None  # the session has loaded it
    save_keymap(checkpoint, keymap, 0)
    print("keymap, from key to latent action: " + ", ".join(f"{key} {code + 1}" for key, code in keymap.items()))


def ask(session: Session, window: Window, frames_per_second: float, code: int) -> str | None:
    """Dream one latent action until a person names it.

    Returns:
        The keymap's name of the keys that were pressed and let go; "" for unsure; None for leaving.
    """
    text = f"{code + 1} of {session.world.actions}: which key?  w a d, two at once  . none  space unsure  q leave"
    named: set[str] = set()
    t = 0
    while True:
        keys = window.keys()
        if "q" in keys.tapped:
            return None
        if "space" in keys.tapped:
            return ""
        if "." in keys.tapped:
            return "none"
        pressed = keys.down & set("wad")
        if named and not pressed:
            return key_name("".join(named))
        named |= pressed
        frame = session.reset()[-1] if t % SHOWN == 0 else session.press(str(code + 1))
        t += 1
        window.show(frame, text, frames_per_second)
