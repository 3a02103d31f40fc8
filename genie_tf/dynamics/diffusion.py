"""`diffusion`: a spatio-temporal transformer that removes noise from the vectors of the next frame's tokens.

Other kinds predict a distribution over codes. Here a token is the vector that it stands for, so near codes are nearly the same. The
next frame begins as pure noise and moves to a frame in a few steps. The nearest codes are its tokens.
"""

import math
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from genie_tf.dynamics.base import TransformerSettings
from genie_tf.dynamics.past_and_next import PastAndNext
from genie_tf.dynamics.sequences import past_with_errors
from genie_tf.errors import UserError

WAVES = 8  # cosines and as many sines that show a noise level to the network


def noise_levels(
    rng: np.random.Generator, tokens_BTN: np.ndarray, codes: int, corruption: float, dropout: float
) -> dict[str, np.ndarray]:
    """Draw the noise levels, the corrupted past and the hidden actions of a training step.

    Args:
        As those of `past_with_errors`.

    Returns:
        The dict of `past_with_errors`, and `level` float32 (B, T, 2), uniform in 0 … 1: of every frame as past and as next frame.
    """
    level = rng.random((*tokens_BTN.shape[:2], 2), np.float32)
    return past_with_errors(rng, tokens_BTN, codes, corruption, dropout) | {"level": level}


@dataclass
class DiffusionSettings(TransformerSettings):
    """Settings of the diffusion dynamics.

    Args:
        kind: "diffusion".
        past_noise: Largest noise level of past frames in training, less than 1. In play they have none.
    """

    kind: Literal["diffusion"] = "diffusion"
    past_noise: float = 0.3


@keras.saving.register_keras_serializable("genie_tf")
class DiffusionDynamics(PastAndNext):
    """Predicts the velocity from the vectors of the next frame's tokens to noise.

    A vector v with noise e of level s is (1 - s) v + s e. It lies on the straight line from v to e, whose velocity is e - v. Every
    frame has a noise level of its own, as past and as next frame. The network is told all levels.

    Args:
        tables: For each table of vectors: the number of places whose tokens are in it, the number of vectors, and their size. The
            vectors are random until `from_settings` sets them.
        past_noise: Largest noise level of past frames in training.
        *args, **kwargs: As those of `TokenTransformer`.

    Call arguments:
        inputs: A dict: `tokens` int (B, T, N), the true tokens; `past` int (B, T, N), the corrupted tokens, `level` float
            (B, T, 2), the noise level of every frame as past (1 is `past_noise`) and as next frame, and `told` bool (B, T), false
            where the action is hidden, all from `noise_levels`; `actions` int (B, T), where action t led from frame t to frame
            t + 1 (the last is not used); with `context`, `pictures` uint8 (B, T, H, W, 3), which the tokens of the next frame
            change (the last is not used).
        training: Whether to draw new noise. Without it, the noise is always the same.

    Returns:
        A dict: `vectors` float32 (B, T - 1, N, V) of frames 1 … T - 1, those to which the predicted velocities lead back; and the
        scalars `loss` (mean squared error of a coordinate of the velocity) and `accuracy` (share of the tokens whose code is the
        nearest). In validation also `shuffled_actions`: see `TokenTransformer`.

    Reference:
        Chen et al. 2024, Diffusion Forcing, arXiv 2407.01392, section 3, for the noise levels; Lipman et al. 2023, Flow Matching,
        arXiv 2210.02747, section 4, for the straight lines.
    """

    Settings = DiffusionSettings
    noise = staticmethod(noise_levels)
    needs_vectors = True

    def __init__(self, *args, tables, past_noise=0.3, **kwargs):
        super().__init__(*args, **kwargs)
        self.config |= dict(tables=tables, past_noise=past_noise)
        self.past_noise = past_noise
        ends = np.cumsum([(places, size) for places, _, size in tables], axis=0)
        self.size = int(ends[-1, 1])  # V: each table has coordinates of its own, and 0 in those of the others
        self.parts = [  # of each table, its places and its coordinates
            (slice(place - places, place), slice(end - size, end)) for (place, end), (places, _, size) in zip(ends.tolist(), tables)
        ]
        self.used_NV = np.zeros((self.tokens, self.size), np.float32)  # 1 for the coordinates of each place's table
        for part in self.parts:
            self.used_NV[part] = 1.0
        self.embed_vector = layers.Dense(self.width, name="embed_vector")
        self.embed_level = layers.Dense(self.width, name="embed_level")
        self.head = layers.Dense(self.size, dtype="float32", name="head")
        self.chance = keras.random.SeedGenerator(name="chance")

    @classmethod
    def from_settings(cls, settings, codes, tokens, actions, context=None, vectors=()):
        """Make the model for tokens that stand for these vectors, from `vectors` of the tokenizer.

        Raises:
            UserError: the noise of past frames is too large.
        """
        if settings.past_noise >= 1:
            raise UserError(
                f"--dynamics.past_noise {settings.past_noise}: it must be less than 1, as nothing is left of a frame at 1"
            )
        tables = [(places, *table.shape) for places, table in vectors]
        arguments = cls.arguments(settings, codes, tokens, actions, context)
        model = cls(*arguments, tables=tables, past_noise=settings.past_noise)
        model.build()
        for weight, (_, table) in zip(model.tables, vectors):
            weight.assign(table)
        return model

    def build(self, input_shape=None):
        constant = {"dtype": "float32", "autocast": False, "trainable": False}
        self.tables = [
            self.add_weight(shape=(codes, size), initializer="random_normal", name=f"table_{i}", **constant)
            for i, (_, codes, size) in enumerate(self.config["tables"])
        ]
        super().build()

    def symbolic_inputs(self):
        return super().symbolic_inputs() | {"level": keras.KerasTensor((1, 2, 2), "float32")}

    # Tokens and their vectors --------------------------------------------------------------------

    def vectors_of(self, tokens):
        """Vectors float32 (..., N, V) of tokens int32 (..., N)."""
        parts = []
        for table, (places, own) in zip(self.tables, self.parts):
            x = ops.take(table, ops.minimum(tokens[..., places], table.shape[0] - 1), axis=0)
            parts.append(ops.pad(x, (*[(0, 0)] * len(tokens.shape), (own.start, self.size - own.stop))))
        return ops.concatenate(parts, axis=-2)

    def nearest(self, x):
        """The tokens int32 (..., N) whose vectors are nearest to x float32 (..., N, V)."""
        parts = []
        for table, (places, own) in zip(self.tables, self.parts):
            table = ops.convert_to_tensor(table)
            distance = ops.sum(ops.square(table), axis=-1) - 2.0 * ops.matmul(x[..., places, own], ops.transpose(table))
            parts.append(ops.cast(ops.argmin(distance, axis=-1), "int32"))
        return ops.concatenate(parts, axis=-1)

    def embed_noisy(self, x, level):
        """Embeddings (B, T, N, D) of vectors (B, T, N, V) with noise of levels (B, T)."""
        angle = np.pi * np.arange(1, WAVES + 1, dtype="float32") * level[..., None]
        waves = ops.concatenate([ops.cos(angle), ops.sin(angle)], axis=-1)
        return self.embed_vector(x) + self.embed_level(waves)[:, :, None]

    def embed_past(self, tokens_BTN):
        x = self.vectors_of(tokens_BTN)
        return self.embed_noisy(x, ops.zeros_like(x[..., 0, 0]))

    # Training ------------------------------------------------------------------------------------

    def forward(self, past, next_, actions_BT, pictures=None):
        """The velocities (B, T - 1, N, V) of the frames 1 … T - 1, each given the past frames before it.

        Args:
            past, next_: Pairs: vectors (B, T - 1, N, V) with noise, of the past frames 0 … T - 2 and of the next frames; and
                their levels (B, T - 1).
            actions_BT, pictures: As in `features`.
        """
        return self.head(self.features(self.embed_noisy(*past), self.embed_noisy(*next_), actions_BT, pictures)) * self.used_NV

    def predicted(self, inputs, training=False):
        tokens_BTN, past_BTN, actions_BT = (ops.cast(inputs[name], "int32") for name in ("tokens", "past", "actions"))
        actions_BT = ops.where(inputs["told"], actions_BT, self.no_action)
        level = ops.cast(inputs["level"], "float32")  # Keras makes it bfloat16
        of_past, of_next = self.past_noise * level[:, :-1, 0], level[:, 1:, 1]
        past, targets = self.vectors_of(past_BTN[:, :-1]), tokens_BTN[:, 1:]
        vectors = self.vectors_of(targets)

        def noise(seed):
            return keras.random.normal(ops.shape(vectors), seed=self.chance if training else seed) * self.used_NV

        def between(vectors, noise, level):
            return vectors + level[..., None, None] * (noise - vectors)

        end = noise(1)
        seen = between(past, noise(2), of_past), of_past
        velocity = self.forward(seen, (between(vectors, end, of_next), of_next), actions_BT, inputs.get("pictures"))
        error = ops.sum(ops.square(velocity - (end - vectors)), axis=(2, 3)) / self.used_NV.sum()
        begin = between(vectors, end, of_next) - of_next[..., None, None] * velocity
        right = ops.cast(ops.equal(self.nearest(begin), targets), "float32")
        return {"vectors": begin, "loss": ops.mean(error), "accuracy": ops.mean(right)}

    # Play ----------------------------------------------------------------------------------------

    def noise_shape(self, steps: int) -> tuple[int, ...]:
        """Shape of the uniform noise that `sample` takes for each row."""
        return steps, self.tokens, self.size

    def sample(self, past, actions_B, noise, temperature: float, context=None, guidance: float = 0.0):
        """Sample the tokens of the next frame after `past` under `actions_B`.

        The frame begins as noise, and goes back along the predicted velocity, in steps of equal length.

        Args:
            past: The cache.
            actions_B: int32 (B,).
            noise: float32 (B, steps, N, V) from `uniform_noise`; only that of the first step is used.
            temperature: Standard deviation of the noise; 0 gives the same frame every time.
            context, guidance: As in `of_next`.

        Returns:
            A dict: `tokens` int32 (B, N), the nearest ones; `probability` float32 (B,), 1 if their vectors were hit exactly, and
            less the farther they are.
        """
        steps = noise.shape[1]
        predict = self.of_next(past, actions_B, self.head, context, guidance)
        uniform = ops.clip(noise[:, 0], 1e-6, 1.0 - 1e-6)
        x = temperature * math.sqrt(2.0) * ops.erfinv(2.0 * uniform - 1.0) * self.used_NV  # normally distributed
        for i in range(steps):
            level = ops.full_like(x[:, None, 0, 0], 1.0 - i / steps)
            x = x - predict(self.embed_noisy(x[:, None], level)[:, 0]) * self.used_NV / steps
        tokens = self.nearest(x)
        distance = ops.sum(ops.square(x - self.vectors_of(tokens)), axis=-1)
        return {"tokens": tokens, "probability": ops.mean(ops.exp(-distance), axis=-1)}
