"""What `dream_play_tf.py` does, by its options."""

from pathlib import Path

from genie_tf.config import Config
from genie_tf.play import calibration, headless, windowed


def start(config: Config, prompt: list[str], actions: str, policy: str, steps: int, replay: str, out: str, calibrate: bool) -> None:
    """Play in the way that the options of `dream_play_tf.py` name: headless, the calibration, or the window.

    Raises:
        UserError: an option is invalid, a model is missing, or there is no display.
    """
    pictures, film = tuple(map(Path, prompt)), out or "dream.gif"
    if actions:
        headless.play_keys(config, actions, film, pictures)
    elif policy:
        headless.play_policy(config, policy, steps, film, pictures)
    elif replay and out:
        headless.replay(config, replay, film)
    elif calibrate:
        calibration.calibrate(config)
    else:
        windowed.play(config, pictures, replay)
