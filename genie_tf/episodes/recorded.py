"""What a recording was made with: the settings of its game, and its controls. They are read from the files beside the episodes."""

from pathlib import Path
from typing import Any

from genie_tf.config import RecordSettings
from genie_tf.episodes.controls import Controls
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorder import OWN_PLAY, controls_of
from genie_tf.errors import UserError
from genie_tf.files import read_json
from genie_tf.kinds import class_of


def recorded_with(episodes: Episodes) -> RecordSettings | None:
    """Settings of the game of a recording, or None if the recording was made from videos.

    Raises:
        UserError: the recording was made with a game, but none of its files of settings can be read.
    """
    files = [*sorted(episodes.folder.glob("shard*.json")), *episodes.folder.parent.glob(OWN_PLAY)]
    for file in files:
        try:
            settings = read_json(file, "record it anew", config=dict)["config"]
            made = class_of("record", settings.get("source", "procgen")).Settings(**settings)
            check_types(made)
            return made
        except (UserError, TypeError, AttributeError):
            continue  # every file has the same settings
    if files:
        mend = "run `./data_collect.bash` with the settings it was recorded with: it records the shard anew"
        raise UserError(f"{files[0]} is damaged, and so is every other file of settings beside it: {mend}")
    return None


def check_types(settings: RecordSettings) -> None:
    """Check that every setting has the type of its default.

    Raises:
        TypeError: one has not, or the controls are none.
        UserError: the controls are invalid.
    """
    for name, usual in vars(type(settings)()).items():
        type_: Any = (int, float) if isinstance(usual, float) else type(usual)
        if not isinstance(getattr(settings, name), type_):
            raise TypeError(name)
    if settings.controls:
        Controls(settings.controls)


def controls_in(episodes: Episodes) -> Controls | None:
    """Controls of the recorded actions. None if no action is known.

    Raises:
        UserError: there are actions, and no file says which controls they have.
    """
    if not episodes.known.any():
        return None
    settings = recorded_with(episodes)
    if settings is not None:
        return controls_of(settings)
    return imported_controls(episodes.folder.parent)


def imported_controls(folder: Path) -> Controls:
    """Controls of labelled videos, as `--record.controls` gave them at the import."""
    for file in sorted(folder.glob("video*.json")):
        try:
            return Controls(read_json(file, "import it anew", config=dict)["config"]["controls"])
        except (UserError, KeyError, TypeError, AttributeError):
            continue  # it is damaged, or of a video without actions
    raise UserError(f"{folder} has actions, and no file beside them says which keys they are: import the videos anew")
