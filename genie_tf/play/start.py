"""What `dream_play_tf.py` does, by its options."""

from pathlib import Path

from genie_tf.config import Config
from genie_tf.errors import UserError
from genie_tf.play import calibration, headless, windowed


def start(
    config: Config, prompt: list[str], actions: str, policy: str, steps: int, replay: str, out: str,
    browser: bool, host: str, port: int, calibrate: bool,
) -> None:  # fmt: skip
    """Play in the way that the options of `dream_play_tf.py` name: headless, the browser, the calibration, or the window.

    Raises:
        UserError: an option is invalid, a model is missing, there is no display, or a port is taken.
    """
    pictures, film = tuple(map(Path, prompt)), out or "dream.gif"
    if policy and steps < 1:
        raise UserError(f"--steps {steps}: let {policy} play 1 action or more")
    if actions:
        headless.play_keys(config, actions, film, pictures)
    elif policy == "recorded":
        if prompt:
            raise UserError("--policy recorded starts from a recorded moment: leave out --prompt")
        headless.play_recorded(config, steps, film)
    elif policy:
        headless.play_policy(config, policy, steps, film, pictures)
    elif replay and out:
        headless.replay(config, replay, film)
    elif browser:
        from genie_tf.play.server import serve  # the other ways of play do without a web server

        serve(config, host, port, pictures)
    elif calibrate:
        calibration.calibrate(config)
    else:
        windowed.play(config, pictures, replay)
