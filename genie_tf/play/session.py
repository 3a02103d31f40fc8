"""Play a trained world in a window or with given keys, and name its latent actions."""

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

SHOWN = 12  # frames of a rollout in the calibration, before it starts from another prompt


class Session:
    """One rollout at a time, started from a random prompt of the test recording.

    Args:
        config: The world; sections `dynamics` and `play`.
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
        """Start a new rollout.

        Returns:
            The prompt, uint8 (P, 64, 64, 3).
        """
        prompt = self.episodes.read(self.prompts.draw(self.rng, 1) + np.arange(self.prompt_frames))
        actions = prompt["action"][None, :-1] if self.world.latent_action is None else None
        self.world.reset(prompt["frame"][None], actions)
        return prompt["frame"]

    def action_of(self, key: str) -> int:
        """The action of a key of the keymap or of a digit.

        Raises:
            UserError: the world has no action for this key.
        """
        keymap, actions = self.world.keymap, self.world.actions
        if key.isdigit() and int(key) <= actions:
            return int(key) - 1
        if key not in keymap:
            why = "its recording has no true actions" if keymap.keys() == {"none"} else f"it has {actions} latent actions"
            raise UserError(f"this world knows no key {key}: {why}; use the digits 1 to {min(actions, 8)}")
        return keymap[key]

    def press(self, key: str) -> np.ndarray:
        """Predict one frame under a key.

        Returns:
            The frame, uint8 (64, 64, 3).
        """
        return self.world.step(np.array([self.action_of(key)]))[0]


def play_keys(config: Config, text: str, out: str) -> None:
    """Play the keys of `text` and write the prompt and the rollout to `out`.

    Raises:
        UserError: a key is unknown, `out` can't be written, or a model is missing.
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
    """Open the window: w jumps, a and d walk, digits are latent actions, r starts a new rollout, q quits.

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
    """Ask the user for the key of each latent action, and write the keymap.

    The window shows rollouts of one latent action from several prompts until you press the key that it looks like. This is meant
    for recordings without true actions. The keymap is written after all answers; q keeps the old keymap. If several latent
    actions get the same key, the first is used.

    Raises:
        UserError: the world is guided and needs no keymap, there is no display, or a model is missing.
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
    for key in KEYS:  # a key without an answer gets the code of "none"; two keys get the code of their first letter
        keymap.setdefault(key, keymap.get(key[0], keymap["none"]))
    checkpoint = latest_checkpoint(config.model_folder, IDM_MODEL)
    assert checkpoint is not None  # the session has loaded this model
    save_keymap(checkpoint, keymap, 0)
    print("keymap, from key to latent action: " + ", ".join(f"{key} {code + 1}" for key, code in keymap.items()))


def ask(session: Session, window: Window, frames_per_second: float, code: int) -> str | None:
    """Show rollouts of one latent action until the user names it.

    Returns:
        The keymap's name of the keys that were pressed and released; "" for unsure; None for q.
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
