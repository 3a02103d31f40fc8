"""A trained world as an environment of Gymnasium: `gymnasium.make("genie_tf/Dream-v0", world="model/coinrun_plain")`."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from keras import ops

from genie_tf.errors import UserError
from genie_tf.layers.registration import register
from genie_tf.play.prompts import Prompts
from genie_tf.training.backend import compiled
from genie_tf.world import World, join, split

load = lru_cache(maxsize=2)(World.load)  # environments of one world share it


class DreamVectorEnv(VectorEnv):
    """Several rollouts of a world in one batch.

    An action is held for as many steps as in the recording. An observation is the frame at its end, uint8 (H, W, 3). A rollout is
    truncated after `length` actions; it never terminates, because the world does not tell that the level is over. The next step of
    a truncated rollout starts a new one, and ignores its action.

    Args:
        num_envs: Number of rollouts.
        world: Folder of the models, `model/<world>`.
        prompts: Folder of the recording that the rollouts start from; by default `record/<world>/test` beside the folder `model`.
            Or the file of a picture.
        actions: "keys", the keys of the keymap, in the order of `keys`; "latent", the world's own actions.
        reward: Function from the frames before and after each action, uint8 (B, H, W, 3), to rewards float (B,); by default 0.
            `progress` is one.
        length: Actions of a rollout.
        prompt_frames: Frames of a prompt.
        guided: Whether to load the dynamics that was trained on recorded actions.
        render_mode: "rgb_array" or None.
        sampling_steps, temperature, guidance: See `World`.

    Raises:
        UserError: a model or the recording is missing.
    """

    metadata: dict[str, Any] = {
        "render_modes": ["rgb_array", "human"], "render_fps": 10, "autoreset_mode": AutoresetMode.NEXT_STEP,
    }  # fmt: skip

    def __init__(
        self,
        num_envs: int = 1,
        world: str = "model/coinrun_plain",
        prompts: str = "",
        actions: Literal["keys", "latent"] = "keys",
        reward: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        length: int = 200,
        prompt_frames: int = 4,
        guided: bool = False,
        render_mode: str | None = None,
        sampling_steps: int = 4,
        temperature: float = 0.5,
        guidance: float = 0.0,
    ):
        folder = Path(world)
        self.world = load(str(folder), guided, sampling_steps=sampling_steps, temperature=temperature, guidance=guidance)
        recording = Path(prompts) if prompts else folder.parent.parent / "record" / folder.name / "test"
        picture = () if recording.is_dir() or not prompts else (recording,)
        self.prompts = Prompts(self.world, recording, prompt_frames, picture)
        self.keys = list(self.world.keymap)
        if actions not in ("keys", "latent"):
            raise UserError(f"actions {actions!r}: choose keys or latent")
        self.actions = np.array(list(self.world.keymap.values())) if actions == "keys" else np.arange(self.world.actions)
        self.reward, self.length = reward, length
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space = gymnasium.spaces.Box(0, 255, (*self.world.frame_size, 3), np.uint8)
        self.single_action_space = gymnasium.spaces.Discrete(len(self.actions))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generators = [np.random.default_rng() for _ in range(num_envs)]
        self.steps = np.zeros(num_envs, int)  # actions of each rollout so far
        self.over = np.zeros(num_envs, bool)  # rollouts that the next step starts anew
        self.frames = np.zeros((num_envs, *self.world.frame_size, 3), np.uint8)
        self.state: dict | None = None

    def reset(self, *, seed: int | list[int | None] | None = None, options: dict | None = None):
        """Start new rollouts.

        Args:
            seed: Seed of the first rollout; the others have the seeds after it. Or a list with a seed for each. The same seed and
                actions give the same frames.
            options: `reset_mask` bool (B,), the rollouts to start anew; by default all.

        Returns:
            The last frames of the prompts, uint8 (B, H, W, 3), and a dict.
        """
        seeds = seed if isinstance(seed, list) else [None if seed is None else seed + i for i in range(self.num_envs)]
        for i, one in enumerate(seeds):
            if one is not None:
                self.generators[i] = np.random.default_rng(one)
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs)), bool)
        if mask.any():
            self._start(mask)
        return self.frames.copy(), {}

    def _start(self, mask: np.ndarray) -> None:
        """Start new rollouts in the rows bool (B,)."""
        which = np.resize(np.flatnonzero(mask), self.num_envs)  # one size of batch, so it is compiled once
        drawn = {i: (self.prompts.draw(self.generators[i]), self.generators[i].integers(2**32)) for i in np.flatnonzero(mask)}
        prompts, seeds = zip(*(drawn[i] for i in which))
        actions = None if prompts[0].actions is None else np.stack([prompt.actions for prompt in prompts])
        last = self.world.reset(np.stack([prompt.frames for prompt in prompts]), actions, np.array(seeds))
        if self.state is None or mask.all():
            self.state, self.frames = self.world.state, last.copy()
        else:
            rows = split(self.state)
            for i, state, frame in zip(which, split(self.world.state), last):
                rows[i], self.frames[i] = state, frame
            self.state = join(rows)
        self.steps[mask] = 0
        self.over[mask] = False

    def step(self, actions):
        """Hold an action in each rollout.

        Args:
            actions: int (B,).

        Returns:
            Frames uint8 (B, H, W, 3), rewards float64 (B,), terminated bool (B,), truncated bool (B,), and a dict: `probability`
            float (B,), the mean probability of the frames' tokens.
        """
        actions, before, begun = np.asarray(actions, int), self.frames.copy(), self.over.copy()
        if begun.any():
            self._start(begun)
        assert self.state is not None, "call reset first"
        if not begun.all():
            started = split(self.state) if begun.any() else []
            self.world.restore(self.state)
            for _ in range(self.prompts.held):
                frames = self.world.step(self.actions[actions], last=True)
            self.state = self.world.state
            if begun.any():  # a rollout that has just begun is not stepped
                self.state = join([old if new_begun else new for old, new, new_begun in zip(started, split(self.state), begun)])
            self.frames = np.where(begun[:, None, None, None], self.frames, frames)
        self.steps += ~begun
        rewards = np.zeros(self.num_envs)
        if self.reward is not None:
            rewards = np.where(begun, 0.0, self.reward(before, self.frames))
        self.over = self.steps >= self.length
        return self.frames.copy(), rewards, np.zeros(self.num_envs, bool), self.over.copy(), {"probability": self.world.probability}

    def render(self):
        """The frames, a tuple of uint8 (H, W, 3)."""
        return tuple(self.frames.copy()) if self.render_mode == "rgb_array" else None

    def get_state(self) -> dict:
        """The state of all rollouts. After `set_state`, the same actions give the same frames."""
        generators = [generator.bit_generator.state for generator in self.generators]
        rest = {"steps": self.steps.copy(), "over": self.over.copy(), "frames": self.frames.copy()}
        return {"state": self.state, "generators": generators, **rest}

    def set_state(self, state: dict) -> None:
        """Restore a result of `get_state`."""
        self.state = state["state"]
        for generator, of_state in zip(self.generators, state["generators"]):
            generator.bit_generator.state = of_state
        self.steps, self.over, self.frames = (state[name].copy() for name in ("steps", "over", "frames"))


class DreamEnv(gymnasium.Env):
    """One rollout of a world: a `DreamVectorEnv` of one, without its automatic resets.

    Args:
        As those of `DreamVectorEnv`, without `num_envs`. `render_mode` may also be "human", which opens a window.

    Raises:
        UserError: a model or the recording is missing, or there is no display.
    """

    metadata = DreamVectorEnv.metadata

    def __init__(self, render_mode: str | None = None, **settings):
        self.rollouts = DreamVectorEnv(1, render_mode=render_mode, **settings)
        self.render_mode, self.keys = render_mode, self.rollouts.keys
        self.observation_space = self.rollouts.single_observation_space
        self.action_space = self.rollouts.single_action_space
        self.window: Any = None

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        frames, _ = self.rollouts.reset(seed=seed)
        self._show()
        return frames[0], {}

    def step(self, action):
        self.rollouts.over[:] = False
        frames, rewards, terminated, truncated, info = self.rollouts.step(np.array([action]))
        self._show()
        facts = {name: float(value[0]) for name, value in info.items()}
        return frames[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), facts

    def render(self):
        """The frame, uint8 (H, W, 3), with "rgb_array"."""
        return self.rollouts.frames[0].copy() if self.render_mode == "rgb_array" else None

    def _show(self) -> None:
        if self.render_mode == "human":
            from genie_tf.play.window import Window

            if self.window is None:
                instead = 'make the environment with render_mode="rgb_array"'
                self.window = Window("dreaming", self.rollouts.world.frame_size, 8, self.keys, instead).__enter__()
            self.window.keys()
            self.window.show(self.rollouts.frames[0], "", self.metadata["render_fps"])

    def get_state(self) -> dict:
        """See `DreamVectorEnv.get_state`."""
        return self.rollouts.get_state()

    def set_state(self, state: dict) -> None:
        """See `DreamVectorEnv.set_state`."""
        self.rollouts.set_state(state)

    def close(self) -> None:
        if self.window is not None:
            self.window.__exit__()
            self.window = None


@lru_cache(maxsize=1)
def _registration():
    return compiled(register)


def progress(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """A reward: how far the camera moved to the right, in pixels. It is the shift of the picture between two frames.

    Args:
        before, after: uint8 (B, H, W, 3).

    Returns:
        float (B,).
    """
    shifts = _registration()(ops.convert_to_tensor(before), ops.convert_to_tensor(after))
    return -ops.convert_to_numpy(shifts)[:, 0].astype(float)  # what the camera passes moves to the left
