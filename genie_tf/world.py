"""A trained world: tokenizer, latent action model and dynamics, combined for play."""

import functools
import shutil
from pathlib import Path

import keras
import numpy as np
from keras import ops

from genie_tf.config import IDM_MODEL, MADE_BY, SHIPPED, TOKENIZER, world_model
from genie_tf.dynamics.sampling import uniform_noise
from genie_tf.episodes.codes import fingerprint
from genie_tf.episodes.controls import NONE
from genie_tf.errors import UserError
from genie_tf.files import UNFINISHED
from genie_tf.latent_action import FRAMES
from genie_tf.latent_action.keymap import load_keymap
from genie_tf.training.backend import compiled, in_batches
from genie_tf.training.checkpoints import checkpoint_file, latest_checkpoint, load_checkpoint, load_facts

INFERRED = 64  # maximum number of transitions in a batch


class World:
    """A playable world: `reset` it with prompts, then `step` with actions, in batches.

    The time per step does not depend on the length of the rollout. Each row of a batch is a rollout of its own: `split` separates
    the states of the rows, and `join` puts rows of several states together. A step predicts the S frames of a token grid, which is
    one frame with most tokenizers. The frames of a prompt are divided into such groups from its end on, and its first frame is
    repeated where the first group lacks frames.

    Args:
        tokenizer: Converts frames to tokens and back.
        latent_action: Infers the latent actions of the prompt; None in a guided world.
        dynamics: Predicts the next tokens from past tokens and actions.
        keymap: A dict from keys, such as "none", "a" and "aw", to actions.
        sampling_steps: MaskGIT steps per frame.
        temperature: Temperature of the drawn tokens.
        guidance: How much the difference is exaggerated that an action makes; 0 for not at all.
        seed: Seed of the rollouts' seeds.
        led_by: int (A + 1,), the action that the tokenizer sees for each of the world's A actions and for none. None: the same.
        span: Frames from the beginning of a latent action to its end.

    Example:
        world = World.load("model/coinrun_plain")
        world.reset(frames)          # uint8 (B, P, H, W, 3)
        frame = world.step(actions)  # int (B,) -> uint8 (B, H, W, 3), or (B, S, H, W, 3) if S > 1
    """

    def __init__(
        self,
        tokenizer: keras.Model,
        latent_action: keras.Model | None,
        dynamics: keras.Model,
        keymap: dict[str, int],
        sampling_steps: int = 4,
        temperature: float = 0.5,
        guidance: float = 0.0,
        seed: int = 0,
        led_by: np.ndarray | None = None,
        span: int = 1,
    ):
        self.tokenizer, self.latent_action, self.dynamics, self.keymap = tokenizer, latent_action, dynamics, keymap
        self.sampling_steps, self.temperature, self.guidance = sampling_steps, temperature, guidance
        self.led_by = np.arange(dynamics.actions + 1) if led_by is None else led_by
        self.span, self.stride = span, tokenizer.stride
        self.identity = ""  # fingerprint of the dynamics, which names the other models too
        self.folder = Path()  # of the models
        self.seed, self.rng = seed, np.random.default_rng(seed)
        self.past = None  # of the dynamics
        self.memory = None  # of the tokenizer
        self.seeds = np.zeros((0, 2), np.int64)  # of each row: its seed, and the number of steps so far
        self.tokens = None  # of the last step, int32 (B, N)
        self.probability = None  # of the last step: mean probability of each row's tokens, float32 (B,)
        self._observe = compiled(self._next_observed)
        self._infer = compiled(latent_action.infer) if latent_action is not None else None
        self._next = compiled(self._next_frame)
        self._next_last = compiled(functools.partial(self._next_frame, last=True)) if self.stride > 1 else self._next

    @classmethod
    def load(cls, folder: Path | str, guided: bool = False, **settings) -> "World":
        """Load the latest checkpoints of the three models in `model/<world>`, or of the shipped world of this name: see `playable`.

        Args:
            folder: `model/<world>`.
            guided: Whether to load the dynamics trained on recorded actions.
            **settings: `sampling_steps`, `temperature`, `guidance`, `seed`.

        Raises:
            UserError: a model is missing, or the dynamics was trained with another tokenizer or latent action model.
        """
        folder = playable(Path(folder), guided)
        tokenizer, tokenizer_file = load_checkpoint(folder, TOKENIZER, "tokenizer_training.py")
        inputs = {"tokenizer": tokenizer_file}
        latent_action, span = None, 1
        if not guided:
            latent_action, inputs["latent_action"] = load_checkpoint(folder, IDM_MODEL, "idm_training.py")
            keymap = load_keymap(inputs["latent_action"].parent, latent_action.codes)
            span = load_facts(inputs["latent_action"].parent, "idm_training.py")["settings"].get("span", 1)
        dynamics, file = load_checkpoint(folder, world_model(guided), "dream_train_tf.py")
        trained_on = load_facts(file.parent, "dream_train_tf.py")["inputs"]
        led_by = None
        if guided:
            keymap = load_keymap(file.parent, dynamics.actions, "dream_train_tf.py")
            if tokenizer.needs_actions:
                led_by = latent_actions_of_keys(folder, tokenizer.actions, keymap, dynamics.actions)
        for name, model_file in inputs.items():
            if trained_on.get(name) != fingerprint(model_file):
                raise UserError(f"{file.parent} was trained on another {name} model: run `python dream_train_tf.py` again")
        world = cls(tokenizer, latent_action, dynamics, keymap, led_by=led_by, span=span, **settings)
        world.identity, world.folder = fingerprint(file), folder
        return world

    def infer_actions(self, frames: np.ndarray) -> np.ndarray:
        """Infer the latent action that led to each step after the first one, from frames uint8 (B, P, H, W, 3).

        Latent actions are divided from the last frame on. A step has the latent action that it lies in.

        Returns:
            int32 (B, ceil(P / S) - 1).

        Raises:
            UserError: the world is guided.
        """
        if self._infer is None:
            raise UserError("a guided world infers no actions: pass those of its prompt, or a prompt of one frame")
        batch, length = frames.shape[:2]
        steps = -(-length // self.stride) - 1
        spans = -(-steps * self.stride // self.span)  # of latent actions
        count = batch * spans

        def take(rows):
            last = length - 1 - self.span * (spans - 1 - rows % spans)  # frame at which the latent action ends
            around = last[:, None] + self.span * np.arange(1 - FRAMES, 1)
            return frames[(rows // spans)[:, None], np.maximum(around, 0)]

        inferred = in_batches(self._infer, take, count, min(count, INFERRED)).reshape(batch, spans)
        return np.repeat(inferred, self.span // self.stride, axis=1)[:, -steps:]

    def reset(self, prompt: np.ndarray, actions: np.ndarray | None = None, seeds: np.ndarray | None = None) -> np.ndarray:
        """Start a rollout after the last frame of `prompt`.

        Args:
            prompt: uint8 (B, P, H, W, 3), P ≥ 1. Several frames show the velocity; those of four actions are recommended.
            actions: int (B, ceil(P / S) - 1), the actions that led to the steps after the first. By default they are inferred from
                the frames.
            seeds: int ≥ 0 (B,), seed of each row. The same prompt, seed and actions give the same frames. Drawn by default.

        Returns:
            The last prompt frame, uint8 (B, H, W, 3).

        Raises:
            UserError: the world is guided, and the prompt has several frames but no actions.
        """
        batch, length = prompt.shape[:2]
        steps = -(-length // self.stride)
        if actions is None:
            actions = self.infer_actions(prompt) if steps > 1 else np.zeros((batch, 0), int)
        self.past = self.dynamics.empty_past(batch)
        self.memory = self.tokenizer.memory(batch)
        seeds = self.rng.integers(2**32, size=batch) if seeds is None else seeds
        self.seeds = np.stack([seeds, np.zeros_like(seeds)], axis=1)
        for t in range(steps):
            frames = prompt[:, np.maximum(length + self.stride * (t - steps) + np.arange(self.stride), 0)]
            led_by = actions[:, t - 1] if t else np.full(batch, self.dynamics.no_action)
            self.observe(frames if self.stride > 1 else frames[:, 0], led_by)
        return prompt[:, -1]

    def observe(self, frames: np.ndarray, actions: np.ndarray) -> None:
        """Append given frames to the past, instead of predicted frames.

        Args:
            frames: uint8 (B, H, W, 3), or (B, S, H, W, 3) if S > 1.
            actions: int (B,), the actions that led to the frames.
        """
        actions = ops.convert_to_tensor(np.asarray(actions, np.int32))
        self.past, self.memory = self._observe(self.past, self.memory, ops.convert_to_tensor(frames), actions)

    @property
    def state(self) -> dict:
        """The current state, including the random state. After `restore`, the same actions give the same frames."""
        return {"past": self.past, "memory": self.memory, "seeds": self.seeds}

    def restore(self, state: dict) -> None:
        """Restore a value of `state`."""
        self.past, self.memory, self.seeds = state["past"], state["memory"], state["seeds"]

    def step(self, actions: np.ndarray, last: bool = False) -> np.ndarray:
        """Predict the frames of the next step.

        Args:
            actions: int (B,).
            last: Whether to decode only the last of the S frames, which takes less time.

        Returns:
            The next frame, uint8 (B, H, W, 3). If S > 1, and unless `last`, the next frames, (B, S, H, W, 3).
        """
        noise = uniform_noise(self.seeds, self.dynamics.noise_shape(self.sampling_steps))
        actions = ops.convert_to_tensor(np.asarray(actions, np.int32))
        predict = self._next_last if last else self._next
        out, self.past, self.memory = predict(self.past, self.memory, actions, ops.convert_to_tensor(noise))
        self.seeds = self.seeds + np.array([0, 1])
        self.tokens, self.probability = out["tokens"], ops.convert_to_numpy(out["probability"])
        return ops.convert_to_numpy(out["frames"])

    def _next_observed(self, past, memory, frames, actions):
        """The past and the tokenizer's memory after given frames."""
        led_by = ops.take(self.led_by, actions)
        encoded = self.tokenizer.encode(frames, memory, led_by)
        past = self.dynamics.extend(past, encoded["tokens"], actions, self.tokenizer.context(memory))
        return past, self.tokenizer.remember(encoded["tokens"], encoded["memory"], led_by)

    def _next_frame(self, past, memory, actions, noise, last=False):
        """The predicted frame, its tokens and their probability; the past and the tokenizer's memory after it."""
        context = self.tokenizer.context(memory)
        drawn = self.dynamics.sample(past, actions, noise, self.temperature, context, self.guidance)
        decode = self.tokenizer.decode_last if last else self.tokenizer.decode
        decoded = decode(drawn["tokens"], memory, ops.take(self.led_by, actions))
        out = {"frames": decoded["frames"], "tokens": drawn["tokens"], "probability": drawn["probability"]}
        return out, self.dynamics.extend(past, drawn["tokens"], actions, context), decoded["memory"]

    @property
    def actions(self) -> int:
        """Number of actions."""
        return self.dynamics.actions

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.tokenizer.frame_size


def split(state: dict) -> list[dict]:
    """The states of the rows of a state of `World`, each a batch of one."""
    return [keras.tree.map_structure(lambda x: x[row : row + 1], state) for row in range(len(state["seeds"]))]  # noqa: B023


def join(states: list[dict]) -> dict:
    """One state of `World`, whose batch holds the rows of several states."""

    def joined(*parts):
        return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else ops.concatenate(parts)

    return keras.tree.map_structure(joined, *states)


def playable(folder: Path, guided: bool = False) -> Path:
    """The folder of a world's models: `model/<world>` if its dynamics was trained there, otherwise that of the shipped world.

    If no world of this name is shipped, it is `model/<world>`.
    """
    shipped, prefix = folder.parent / SHIPPED / folder.name, world_model(guided)
    return folder if latest_checkpoint(folder, prefix) or not latest_checkpoint(shipped, prefix) else shipped


def adopt(folder: Path) -> None:
    """Copy the shipped world, prompts included, to `model/<world>` if no model was trained there, so that it can be measured there.

    Raises:
        UserError: some models were trained there, but no dynamics.
    """
    shipped = playable(folder)
    if shipped == folder:
        return
    if any(latest_checkpoint(folder, prefix) for prefix in MADE_BY):
        raise UserError(f"{folder} has no dynamics yet: run `python dream_train_tf.py`, or delete it to measure {shipped}")
    print(f"{folder} has no models: those of {shipped} are copied there")
    for source in sorted(shipped.iterdir()):  # the dynamics last, as it makes the world playable
        unfinished = folder / (source.name + UNFINISHED)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, unfinished)
        unfinished.rename(folder / source.name)


def latent_actions_of_keys(folder: Path, codes: int, keymap: dict[str, int], actions: int) -> np.ndarray:
    """The latent action of each true action, that of the same key, for a tokenizer that sees latent actions in a guided world.

    Args:
        folder: `model/<world>`.
        codes: Number of latent actions.
        keymap: From keys to true actions.
        actions: A, number of true actions.

    Returns:
        int (A + 1,). The last is the tokenizer's code for no action.
    """
    code_of = load_keymap(checkpoint_file(folder, IDM_MODEL, "idm_training.py").parent, codes)
    led_by = np.array([*[code_of.get(NONE, 0)] * actions, codes])
    for key, action in keymap.items():
        led_by[action] = code_of.get(key, led_by[action])
    return led_by
