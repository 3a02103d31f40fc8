"""Name the latent actions of a world by eye."""

from genie_tf.config import IDM_MODEL, Config
from genie_tf.episodes.controls import NONE, chord, control_of, keys_in
from genie_tf.episodes.recorded import controls_in
from genie_tf.errors import UserError
from genie_tf.latent_action.keymap import save_keymap
from genie_tf.play.session import Session
from genie_tf.play.window import Window
from genie_tf.training.checkpoints import latest_checkpoint

USUAL = ("a", "d", "w", "s", "space")  # keys for the latent actions of a recording without controls
SHOWN = 12  # held actions of a rollout in the calibration, before it starts from another prompt


def calibrate(config: Config) -> None:
    """Ask the user for the key of each latent action, in a window, and write the keymap: see `name_actions`.

    Raises:
        UserError: the world is guided and needs no keymap, there is no display, or a model is missing.
    """
    if config.dynamics.actions == "true":
        raise UserError("a guided world takes the true keys: calibrate one with --dynamics.actions latent")
    instead = "learn the keymap from labels, python idm_training.py, or play with the keys 1 to 8"
    session = Session.load(config)
    size, keymap = session.world.frame_size, session.world.keymap
    with Window(f"which key is this? {config.world}", size, config.play.scale, keymap, instead) as window:
        written = name_actions(config, session, window)
    if written:
        print("keymap, from key to latent action: " + ", ".join(f"{key} {code + 1}" for key, code in written.items()))
    else:
        print("left: the keymap is as it was")


def name_actions(config: Config, session: Session, window: Window) -> dict[str, int] | None:
    """Ask the user for the key of each latent action in a window that is open.

    The window shows rollouts of one latent action from several prompts until you press the key that it looks like. This is meant
    for recordings without true actions. The keymap is written after all answers; q keeps the old keymap. If several latent
    actions get the same key, the first is used.

    Returns:
        The keymap that was written; None if the user left.
    """
    assert session.prompts.episodes is not None  # no pictures are given
    controls = controls_in(session.prompts.episodes) or USUAL
    window.watch(controls)
    keymap: dict[str, int] = {}
    for code in range(session.world.actions):
        key = ask(session, window, config.play.frames_per_second, code)
        if key is None:
            return None
        if key and controls is not USUAL:
            key = control_of(keys_in(key), controls)  # keys that the game does not know together count as one of them
        if key:
            keymap.setdefault(key, code)
    # A key without an answer gets the code of its first key that has one, or of no key.
    for name in sorted(controls if controls is not USUAL else [NONE], key=lambda name: name != NONE):
        keymap.setdefault(name, keymap.get(control_of(keys_in(name), keymap) or "", session.world.keymap.get(name, 0)))
    checkpoint = latest_checkpoint(session.world.folder, IDM_MODEL)
    assert checkpoint is not None  # the session has loaded this model
    save_keymap(checkpoint, keymap, 0)
    return keymap


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
        frames = session.reset()[-1:] if t % (SHOWN * session.held) == 0 else session.press(str(code + 1)).frames
        t += 1
        for frame in frames:
            window.show(frame, text, frames_per_second)
