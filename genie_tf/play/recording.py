"""Recordings of play: a film, and beside it a .json file from which the same frames can be dreamt again."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from genie_tf.errors import UserError
from genie_tf.files import read_json, write_json
from genie_tf.play.film import enlarge, write_film
from genie_tf.play.prompts import Prompt, read_picture
from genie_tf.play.session import Session

LONGEST = 6000  # frames of a film, which are kept in memory until it is written
LARGEST = 500_000_000  # bytes of its enlarged frames: those of a long film are enlarged less
LONGEST_PROMPT = 256  # frames


@dataclass
class Rollout:
    """A rollout of a recording.

    Args:
        prompt: Its prompt.
        seed: Its seed.
        keys: Its keys from the prompt on.
        begin: Number of keys before the recording began. Their frames are not shown.
    """

    prompt: Prompt
    seed: int
    keys: list[str]
    begin: int = 0


class Recording:
    """Notes what a session plays from now on.

    Call `follow` after every `Session.reset`, and `add` for the frames that are shown.
    """

    def __init__(self, session: Session):
        self.session, self.rollouts = session, [self._rollout(session, len(session.keys))]
        self.frames: list[np.ndarray] = []

    @staticmethod
    def _rollout(session: Session, begin: int) -> Rollout:
        assert session.prompt is not None
        return Rollout(session.prompt, session.seed, session.keys, begin)

    def follow(self) -> None:
        """Note that the session has started a new rollout."""
        self.rollouts.append(self._rollout(self.session, 0))

    def add(self, frames: np.ndarray) -> None:
        """Add frames uint8 (S, H, W, 3) to the film. Frames after the longest film are left out."""
        self.frames += list(frames[: max(LONGEST - len(self.frames), 0)])

    def undo(self) -> None:
        """Take out the step that `Session.back` has undone."""
        rollout = self.rollouts[-1]
        if len(rollout.keys) >= rollout.begin:
            del self.frames[-self.session.world.stride :]
        rollout.begin = min(rollout.begin, len(rollout.keys))

    @property
    def full(self) -> bool:
        return len(self.frames) >= LONGEST

    def save(self, film: Path, scale: int, frames_per_second: float) -> None:
        """Write the film, and its keys to a .json file of the same name.

        Raises:
            UserError: the name of the film has an unknown ending.
        """
        frames = np.stack(self.frames)
        scale = max(min(scale, int((LARGEST / frames.nbytes) ** 0.5)), 1)
        write_film(film, enlarge(frames, scale), frames_per_second)
        write_json(film.with_suffix(".json"), self.notes())

    def notes(self) -> dict:
        """The recording as JSON: the world's fingerprint, the settings of the sampling, and the rollouts."""
        rollouts = []
        for rollout in self.rollouts:
            actions = None if rollout.prompt.actions is None else rollout.prompt.actions.tolist()
            prompt = {"frames": [_png(frame) for frame in rollout.prompt.frames], "actions": actions, "name": rollout.prompt.name}
            prompt["row"] = rollout.prompt.row
            rollouts.append({"prompt": prompt, "seed": rollout.seed, "keys": rollout.keys, "begin": rollout.begin})
        return _of_world(self.session) | {"rollouts": rollouts}


def _of_world(session: Session) -> dict:
    world = session.world
    sampling = {"sampling_steps": world.sampling_steps, "temperature": world.temperature, "guidance": world.guidance}
    return {"world": world.identity, "sampling": sampling, "keymap": world.keymap}


def _png(frame: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="png")
    return base64.b64encode(file.getvalue()).decode()


def read_recording(path: Path, session: Session) -> list[Rollout]:
    """Read the rollouts of a recording.

    Args:
        path: The .json file, or the film beside it.
        session: A session of the world that was recorded.

    Raises:
        UserError: the file is missing, damaged, or of another world.
    """
    path, here = path.with_suffix(".json"), _of_world(session)
    notes = read_json(path, "name the .json file that was written beside the film", sampling=dict, keymap=dict, rollouts=list)
    if notes.get("world") != here["world"]:
        raise UserError(f"{path} was recorded in another world, or before this one was trained anew: name its world with --world")
    if notes["sampling"] != here["sampling"]:
        settings = " ".join(f"--play.{name} {value}" for name, value in notes["sampling"].items())
        raise UserError(f"{path} was recorded with other settings: replay it with {settings[:300]}")
    if notes["keymap"] != here["keymap"]:
        raise UserError(f"{path} was recorded when the keys meant other actions: since then the world was calibrated anew")
    try:
        return [_read_rollout(each, session) for each in notes["rollouts"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}): record it anew") from error


def _read_rollout(notes: dict, session: Session) -> Rollout:
    prompt, keys, begin = notes["prompt"], list(notes["keys"]), int(notes["begin"])
    pictures = [base64.b64decode(picture, validate=True) for picture in prompt["frames"]]
    if not 1 <= len(pictures) <= LONGEST_PROMPT or not 0 <= begin <= len(keys) or not all(isinstance(key, str) for key in keys):
        raise ValueError
    frames = np.stack([read_picture(picture, "a prompt", session.world.frame_size) for picture in pictures])
    actions, steps = prompt["actions"], -(-len(frames) // session.world.stride) - 1
    if actions is not None:
        actions = np.array(actions, int).reshape(steps)
        if not ((actions >= 0) & (actions < session.world.actions)).all():
            raise ValueError
    if (actions is None) != (session.world.latent_action is not None):
        raise ValueError
    row = None if prompt["row"] is None else int(prompt["row"])
    for key in keys:
        session.action_of(key)
    seed = int(notes["seed"])
    if seed < 0:
        raise ValueError
    return Rollout(Prompt(frames, actions, str(prompt["name"]), row), seed, keys, begin)


def replayed(session: Session, rollouts: list[Rollout]) -> Iterator[np.ndarray]:
    """Dream a recording again: the frames of each step that it shows, uint8 (S, H, W, 3)."""
    for rollout in rollouts:
        session.reset(rollout.prompt, rollout.seed)
        for t, key in enumerate(rollout.keys):
            step = session.press(key)
            if t >= rollout.begin:
                yield step.frames
