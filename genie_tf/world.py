"""A trained world: tokenizer, latent actions and dynamics, composed into something that is played like a game."""

from pathlib import Path

import keras
import numpy as np
from keras import ops

from genie_tf.config import IDM_MODEL, TOKENIZER, world_model
from genie_tf.dynamics.sampling import sampling_noise
from genie_tf.episodes.codes import fingerprint
from genie_tf.errors import UserError
from genie_tf.latent_action import FRAMES
from genie_tf.latent_action.keymap import TRUE_KEYMAP, load_keymap
from genie_tf.training.backend import compiled, in_batches
from genie_tf.training.loop import load_checkpoint, load_facts

INFERRED = 64  # transitions at once


class World:
    """Reset with a prompt, then step with actions, each batched; time a step is constant however long the rollout.

    Args:
        tokenizer: Frames to tokens and back.
        latent_action: Names the actions between the prompt's frames; None in a guided world.
        dynamics: Next tokens from past tokens and actions.
        keymap: From keys ("none", "a", "d", "w", "aw", "dw") to actions.
        sampling_steps: MaskGIT steps a frame.
        temperature: Of the tokens.
        seed: Seed of the sampling.

    Example:
        world = World.load("model/coinrun_plain")
        world.reset(frames)          # uint8 (B, P, 64, 64, 3)
        frame = world.step(actions)  # int (B,) -> uint8 (B, 64, 64, 3)
    """

    def __init__(
        self,
        tokenizer: keras.Model,
        latent_action: keras.Model | None,
        dynamics: keras.Model,
        keymap: dict[str, int],
        sampling_steps: int = 4,
        temperature: float = 0.5,
        seed: int = 0,
    ):
        self.tokenizer, self.latent_action, self.dynamics, self.keymap = tokenizer, latent_action, dynamics, keymap
        self.sampling_steps, self.temperature = sampling_steps, temperature
        self.noise_seed = keras.random.SeedGenerator(seed)
        self.past = None
        self._encode = compiled(tokenizer.encode)
        self._decode = compiled(tokenizer.decode)
        self._infer = compiled(latent_action.infer) if latent_action is not None else None
        self._extend = compiled(dynamics.extend)
        self._next = compiled(self._next_frame)

    @classmethod
    def load(cls, folder: Path | str, guided: bool = False, **settings) -> "World":
        """Load the latest of the three models in `model/<world>`.

        Args:
            folder: `model/<world>`.
            guided: Whether to take the dynamics that was trained on recorded actions.
            **settings: `sampling_steps`, `temperature`, `seed`.

        Raises:
            UserError: a model is missing or was trained on another tokenizer.
        """
        folder = Path(folder)
        tokenizer, tokenizer_file = load_checkpoint(folder, TOKENIZER, "tokenizer_training.py")
        inputs = {"tokenizer": tokenizer_file}
        latent_action, keymap = None, TRUE_KEYMAP
        if not guided:
            latent_action, inputs["latent_action"] = load_checkpoint(folder, IDM_MODEL, "idm_training.py")
            keymap = load_keymap(inputs["latent_action"].parent, latent_action.codes)
        dynamics, file = load_checkpoint(folder, world_model(guided), "dream_train_tf.py")
        trained_on = load_facts(file.parent, "dream_train_tf.py")["inputs"]
        for name, model_file in inputs.items():
            if trained_on.get(name) != fingerprint(model_file):
                raise UserError(f"{file.parent} was trained on another {name} model: run `python dream_train_tf.py` again")
        return cls(tokenizer, latent_action, dynamics, keymap, **settings)

    def infer_actions(self, frames: np.ndarray) -> np.ndarray:
        """Latent actions int32 (B, P - 1) between the frames uint8 (B, P, 64, 64, 3)."""
        if self._infer is None:
            raise UserError("a guided world infers no actions: pass those of its prompt, or a prompt of one frame")
        batch, length = frames.shape[:2]
        count = batch * (length - 1)

        def take(rows):
            t = rows % (length - 1)
            return frames[(rows // (length - 1))[:, None], np.maximum(t[:, None] + np.arange(2 - FRAMES, 2), 0)]

        return in_batches(self._infer, take, count, min(count, INFERRED)).reshape(batch, length - 1)

    def reset(self, prompt: np.ndarray, actions: np.ndarray | None = None) -> np.ndarray:
        """Begin at the end of `prompt`.

        Args:
            prompt: uint8 (B, P, 64, 64, 3), P ≥ 1; four show velocity.
            actions: int (B, P - 1), what led from one to the next; by default the latent actions inferred from the frames.

        Returns:
            The last prompt frame, uint8 (B, 64, 64, 3).

        Raises:
            UserError: a guided world was given no actions for a prompt of several frames.
        """
        batch, length = prompt.shape[:2]
        if actions is None:
            actions = self.infer_actions(prompt) if length > 1 else np.zeros((batch, 0), int)
        self.past = self.dynamics.empty_past(batch)
        for t in range(length):
            self.observe(prompt[:, t], actions[:, t - 1] if t else np.full(batch, self.dynamics.no_action))
        return prompt[:, -1]

    def observe(self, frames: np.ndarray, actions: np.ndarray) -> None:
        """Take frames for what has happened, in place of a dream.

        Args:
            frames: uint8 (B, 64, 64, 3).
            actions: int (B,), what led to them.
        """
        tokens = self._encode(ops.convert_to_tensor(frames))
        self.past = self._extend(self.past, tokens, ops.convert_to_tensor(np.asarray(actions, np.int32)))

    @property
    def state(self) -> dict:
        """This moment, its chance included: `restore` it, and the same actions dream the same."""
        return {"past": self.past, "chance": ops.convert_to_numpy(self.noise_seed.state)}

    def restore(self, state: dict) -> None:
        """Go back to a moment that `state` gave."""
        self.past = state["past"]
        self.noise_seed.state.assign(state["chance"])

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Dream one frame on.

        Args:
            actions: int (B,).

        Returns:
            The next frame, uint8 (B, 64, 64, 3).
        """
        noise = sampling_noise(len(actions), self.dynamics.tokens, self.dynamics.codes, self.sampling_steps, self.noise_seed)
        frame, self.past = self._next(self.past, ops.convert_to_tensor(np.asarray(actions, np.int32)), noise)
        return ops.convert_to_numpy(frame)

    def _next_frame(self, past, actions, noise):
        tokens = self.dynamics.sample(past, actions, noise, self.temperature)["tokens"]
        return self.tokenizer.decode(tokens), self.dynamics.extend(past, tokens, actions)

    @property
    def actions(self) -> int:
        """Number of actions."""
        return self.dynamics.actions
