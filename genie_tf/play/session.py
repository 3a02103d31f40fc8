"""One person's rollout of a world: keys in, frames out, and back again."""

import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genie_tf.config import Config, PlayConfig
from genie_tf.episodes.controls import NONE
from genie_tf.errors import UserError
from genie_tf.files import read_json
from genie_tf.play.keys import written_keys
from genie_tf.play.prompts import Prompt, Prompts
from genie_tf.world import World, join, split

REWIND = 10.0  # seconds of play that are kept to go back
BATCHES = (1, 2, 4, 8)  # numbers of rollouts that are computed together; other numbers are filled up


@dataclass
class Step:
    """What a key led to.

    Args:
        frames: uint8 (S, H, W, 3).
        key: The key.
        action: The action of the key.
        probability: Mean probability that the model gave the tokens it drew, from 0 to 1.
    """

    frames: np.ndarray
    key: str
    action: int
    probability: float


class Session:
    """One rollout at a time. Several sessions can share a world.

    Args:
        world: The world.
        prompts: Its prompts.
        play: Settings of play.
        seed: Seed of the prompts and of the sampling; by default that of `play`.
    """

    def __init__(self, world: World, prompts: Prompts, play: PlayConfig, seed: int | None = None):
        self.world, self.prompts, self.held = world, prompts, prompts.held
        self.rng = np.random.default_rng(play.seed if seed is None else seed)
        steps = math.ceil(REWIND * play.frames_per_second / world.stride)
        self.before: deque[tuple[dict, np.ndarray]] = deque(maxlen=steps)  # state and frame before each of the last steps
        self.prompt: Prompt | None = None
        self.seed = 0  # of this rollout
        self.keys: list[str] = []  # of this rollout
        self.frame = np.zeros((*world.frame_size, 3), np.uint8)  # the last one

    @classmethod
    def load(cls, config: Config, pictures: tuple[Path, ...] = ()) -> "Session":
        """A session of the latest models.

        Args:
            config: The world; sections `dynamics` and `play`.
            pictures: See `Prompts`.

        Raises:
            UserError: a model or the recording is missing, or a file is no picture.
        """
        world = World.load(config.model_folder, config.dynamics.actions == "true", **config.play.sampling)
        if world.folder != config.model_folder:
            print(f"{config.model_folder} has no trained world: this is the shipped one, {world.folder}")
        return cls(world, Prompts(world, config.record_folder("test"), config.play.prompt_frames, pictures), config.play)

    def reset(self, prompt: Prompt | None = None, seed: int | None = None) -> np.ndarray:
        """Start a new rollout.

        Args:
            prompt: Its prompt; by default `Prompts.draw`.
            seed: Its seed; drawn by default. The same prompt, seed and keys give the same frames.

        Returns:
            The frames of the prompt, uint8 (P, H, W, 3).
        """
        self.prompt = self.prompts.draw(self.rng) if prompt is None else prompt
        self.seed = int(self.rng.integers(2**32)) if seed is None else seed
        actions = None if self.prompt.actions is None else self.prompt.actions[None]
        self.world.reset(self.prompt.frames[None], actions, np.array([self.seed]))
        self.state, self.frame, self.keys = self.world.state, self.prompt.frames[-1], []
        self.before.clear()
        return self.prompt.frames

    def action_of(self, key: str) -> int:
        """The action of a key of the keymap or of a digit.

        Raises:
            UserError: the world has no action for this key.
        """
        keymap, actions = self.world.keymap, self.world.actions
        if key.isdigit() and 1 <= int(key) <= actions:
            return int(key) - 1
        if key not in keymap:
            why = "its recording has no true actions; " if keymap.keys() == {NONE} else ""
            raise UserError(f"this world knows no key {key[:50]!r}: {why}{written_keys(keymap, actions)}")
        return keymap[key]

    def press(self, key: str) -> Step:
        """Predict the frames of one step under a key."""
        return press_together([self], [key])[0]

    def back(self) -> bool:
        """Undo the last step. Returns whether there was one that is still kept."""
        if not self.before:
            return False
        self.state, self.frame = self.before.pop()
        self.keys.pop()
        return True


def press_together(sessions: list[Session], keys: list[str]) -> list[Step]:
    """One step of several sessions of one world, in one batch.

    Raises:
        UserError: the world has no action for a key.
    """
    world, actions = sessions[0].world, [session.action_of(key) for session, key in zip(sessions, keys)]
    missing = next((size for size in BATCHES if size >= len(sessions)), len(sessions)) - len(sessions)
    states = [session.state for session in sessions]
    world.restore(join([*states, *states[:1] * missing]) if len(sessions) > 1 else states[0])
    frames = world.step(np.array([*actions, *actions[:1] * missing]))
    assert world.probability is not None
    after = split(world.state) if len(sessions) > 1 else [world.state]
    steps = []
    for row, (session, key, action) in enumerate(zip(sessions, keys, actions)):
        session.before.append((session.state, session.frame))
        shown = frames[row].reshape(-1, *world.frame_size, 3)
        session.state, session.frame = after[row], shown[-1]
        session.keys.append(key)
        steps.append(Step(shown, key, action, float(world.probability[row])))
    return steps


def guess_threshold(world: World) -> float:
    """Probability below which the model is guessing, of the evaluation; 0 if it was not measured."""
    file = world.folder / ("guided_evaluation.json" if world.latent_action is None else "evaluation.json")
    if not file.exists():
        return 0.0
    figure = read_json(file, "run `python dream_evaluate_tf.py`").get("guess.threshold")
    value = figure.get("value") if isinstance(figure, dict) else 0.0
    return float(value) if isinstance(value, (int, float)) else 0.0
