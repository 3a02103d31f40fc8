"""`auto`, the usual kind: it chooses the latent action model by what moves in the picture. It uses no labels.

- `avatar`, if one thing is always there and moves unpredictably.
- Otherwise `motion_rank`, if the whole picture moves unpredictably: the camera follows the player.
- Otherwise `hypotheses`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from genie_tf.config import LatentActionConfig
from genie_tf.episodes.dataset import Episodes
from genie_tf.kinds import class_of
from genie_tf.latent_action.looks import SURPRISE, find_avatar
from genie_tf.layers.registration import register
from genie_tf.training.backend import compiled, in_batches

COMPARED = 512  # maximum number of transitions
BATCH = 64
UNFORESEEN = 0.25  # least surprise of the avatar's steps: 1 pixel in a frame of 64
FOLLOWS = 0.5  # least share of unpredictable movement of the picture if the camera follows the player


@dataclass
class AutoSettings(LatentActionConfig):
    """Settings of the latent action model that `chosen` finds. What is not given is as usual in that model.

    Args:
        kind: "auto".
        width: Channels of the chosen model's networks.
    """

    kind: Literal["auto"] = "auto"
    epochs: int | None = None  # type: ignore[assignment]
    steps_per_epoch: int | None = None  # type: ignore[assignment]
    batch_size: int | None = None  # type: ignore[assignment]
    learning_rate: float | None = None  # type: ignore[assignment]
    width: int | None = None


class Auto:
    """The entry of the table of kinds. It is no model: `chosen` finds the one to train."""

    Settings = AutoSettings


def moves_with_the_player(recording: Episodes) -> float:
    """How much of what changes in the picture is an unpredictable movement of the whole picture.

    If the camera follows the player, the shift of the whole picture explains most of what changes, and differs from one transition
    to the next. If the camera stands still, the shift explains little. If the camera moves by itself, the shift stays the same.

    Args:
        recording: A row for each held action.

    Returns:
        A share, 0 … 1: the share of the squared difference of consecutive frames that the best shift takes away, times the share of
        transitions whose shift differs by more than one pixel from the shift of the transition before.
    """
    rows = recording.windows(2, before=1).spread(COMPARED)
    compare = compiled(register)

    def frames(some):
        return recording.frames(rows[some][:, None] + np.arange(-1, 2))

    before, after = (
        in_batches(compare, lambda some, at=at: tuple(frames(some)[:, at : at + 2].swapaxes(0, 1)), len(rows), BATCH)
        for at in (0, 1)
    )
    bright = np.mean(frames(np.arange(len(rows)))[:, 1:], axis=-1) / 255.0
    changed = np.mean(np.square(bright[:, 1] - bright[:, 0]))
    explained = max(0.0, 1.0 - np.mean(after[:, 2]) / changed) if changed > 0.0 else 0.0
    return float(explained * np.mean(np.abs(after - before)[:, :2].max(axis=1) > 1.0))


def as_kind(settings: LatentActionConfig, kind: str) -> Any:
    """The settings of a model of this kind, with those values of the settings of `auto` that are given."""
    given = {name: value for name, value in asdict(settings).items() if name != "kind" and value is not None}
    return class_of("latent_action", kind).Settings(**given)


def chosen(settings: LatentActionConfig, recording: Episodes) -> Any:
    """The settings of the model to train. For every kind but "auto" they are the given ones. The choice is printed.

    Args:
        settings: Settings of the latent action model.
        recording: The recording for training, with a row for each held action.
    """
    if not isinstance(settings, AutoSettings):
        return settings
    pixel = SURPRISE * recording.frame_size[0]
    surprise = find_avatar(recording).surprise
    if surprise > UNFORESEEN:
        print(
            f"latent actions: avatar, because one thing is always there, and its steps differ by {surprise * pixel:.1f} pixels "
            f"from what the step before tells; the limit is {UNFORESEEN * pixel:.1f}"
        )
        return as_kind(settings, "avatar")
    share = moves_with_the_player(recording)
    kind, reason = ("motion_rank", "follows the player") if share > FOLLOWS else ("hypotheses", "does not follow the player")
    print(
        f"latent actions: {kind}, because no single thing moves unpredictably, and the camera {reason}: an unpredictable movement "
        f"of the whole picture explains {share:.0%} of what changes, and the limit is {FOLLOWS:.0%}"
    )
    return as_kind(settings, kind)
