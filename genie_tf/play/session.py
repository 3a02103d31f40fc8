"""Play a trained world in a window or with given keys, and name its latent actions."""

import time
from pathlib import Path

import numpy as np

from genie_tf.config import IDM_MODEL, Config
from genie_tf.episodes.controls import NONE, chord, control_of, keys_in
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorded import controls_in
from genie_tf.errors import UserError
from genie_tf.latent_action.keymap import save_keymap
from genie_tf.play.keys import DIGITS, keys_of, pressed_in, written_keys
from genie_tf.play.record import check_target, enlarge, write_film
from genie_tf.play.window import Window
from genie_tf.stages import held_frames
from genie_tf.training.loop import latest_checkpoint
from genie_tf.world import World

USUAL = ("a", "d", "w", "s", "space")  # keys for the latent actions of a recording without controls
SHOWN = 12  # held actions of a rollout in the calibration, before it starts from another prompt


class Session:
    """One rollout at a time, started from a random prompt of the test recording.

    Args:
        config: The world; sections `dynamics` and `play`.
    """

    def __init__(self, config: Config):
        settings = config.play
        guided = config.dynamics.actions == "true"
        self.world = World.load(config.model_folder, guided, **settings.sampling)
        self.held = held_frames(config, guided) // self.world.stride  # steps over which an action is held in the recording
        self.episodes = Episodes(config.record_folder("test"))
        self.episodes.check_size(self.world.frame_size, config.model_folder)
        self.prompts = self.episodes.windows(settings.prompt_frames)
        self.prompt_frames = settings.prompt_frames
        self.rng = np.random.default_rng(settings.seed)

    def reset(self) -> np.ndarray:
        """Start a new rollout.

        Returns:
            The prompt, uint8 (P, H, W, 3).
        """
        prompt = self.episodes.read(self.prompts.draw(self.rng, 1) + np.arange(self.prompt_frames))
        actions = None
        if self.world.latent_action is None:
            actions = prompt["action"][None, -1 - self.world.stride :: -self.world.stride][:, ::-1]
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
            why = "its recording has no true actions; " if keymap.keys() == {NONE} else ""
            raise UserError(f"this world knows no key {key!r}: {why}{written_keys(keymap, actions)}")
        return keymap[key]

    def press(self, key: str) -> np.ndarray:
        """Predict the frames of one step under a key.

        Returns:
            The frames, uint8 (S, H, W, 3).
        """
        return self.world.step(np.array([self.action_of(key)])).reshape(-1, *self.world.frame_size, 3)


def play_keys(config: Config, text: str, out: str) -> None:
    """Play the keys of `text` and write the prompt and the rollout to `out`. Each key is held as long as in the recording.

    Raises:
        UserError: a key is unknown, `out` can't be written, or a model is missing.
    """
    keys, target = keys_of(text), Path(out)
    check_target(target)
    session = Session(config)
    for key in keys:
        session.action_of(key)
    prompt = session.reset()
    frames = np.concatenate([prompt, *(session.press(key) for key in keys for _ in range(session.held))])
    write_film(target, enlarge(frames, config.play.scale), config.play.frames_per_second)
    print(f"wrote {target}: {len(prompt)} frames of prompt, {len(frames) - len(prompt)} dreamt")


def play_window(config: Config) -> None:
    """Open the window: the keys of the game, digits are latent actions, r starts a new rollout, q quits.

    Raises:
        UserError: there is no display, or a model is missing.
    """
    instead = 'play given keys instead, --actions "dddwwdaa" --out dream.gif'
    session = Session(config)
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
                frames = session.press(key)
            milliseconds = 1000 * (time.perf_counter() - start)
            text = f"{key or '':>4}  {window.frames_per_second:4.1f} frames/s  {milliseconds:3.0f} ms   {named}   r new  q quit"
            for frame in frames:
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
    session = Session(config)
    controls = controls_in(session.episodes) or USUAL
    with Window(f"which key is this? {config.world}", session.world.frame_size, config.play.scale, controls, instead) as window:
        keymap: dict[str, int] = {}
        for code in range(session.world.actions):
            key = ask(session, window, config.play.frames_per_second, code)
            if key is None:
                print("left: the keymap is as it was")
                return
            if key and controls is not USUAL:
                key = control_of(keys_in(key), controls)  # keys that the game does not know together count as one of them
            if key:
                keymap.setdefault(key, code)
    # A key without an answer gets the code of its first key that has one, or of no key.
    for name in sorted(controls if controls is not USUAL else [NONE], key=lambda name: name != NONE):
        keymap.setdefault(name, keymap.get(control_of(keys_in(name), keymap) or "", session.world.keymap.get(name, 0)))
    checkpoint = latest_checkpoint(config.model_folder, IDM_MODEL)
    assert checkpoint is not None  # the session has loaded this model
    save_keymap(checkpoint, keymap, 0)
    print("keymap, from key to latent action: " + ", ".join(f"{key} {code + 1}" for key, code in keymap.items()))


def ask(session: Session, window: Window, frames_per_second: float, code: int) -> str | None:
    """Show rollouts of one latent action until the user names it.

    Returns:
        The keymap's name of the keys that were pressed and released; "" for unsure; None for q.
    """
    text = f"{code + 1} of {session.world.actions}: which key? or two at once  . none  u unsure  q leave"
    named: set[str] = set()
    t = 0
    while True:
        keys = window.keys()
        if "q" in keys.tapped:
            return None
        if "u" in keys.tapped:
            return ""
        if "." in keys.tapped:
            return NONE
        pressed = keys.down & window.watched
        if named and not pressed:
            return chord(named)
        named |= pressed
        frames = session.reset()[-1:] if t % (SHOWN * session.held) == 0 else session.press(str(code + 1))
        t += 1
        for frame in frames:
            window.show(frame, text, frames_per_second)
