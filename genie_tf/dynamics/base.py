"""The base class of the dynamics that are transformers over tokens."""

from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from genie_tf.config import DynamicsConfig
from genie_tf.dynamics.context import PictureEmbedding
from genie_tf.dynamics.sequences import Sequences
from genie_tf.episodes.dataset import Episodes
from genie_tf.layers.self_supervised import SelfSupervisedModel


@dataclass
class TransformerSettings(DynamicsConfig):
    """Settings of the transformers.

    Args:
        width: Width of the transformer.
        depth: Number of blocks.
        heads: Attention heads.
        window: Frames that a token attends to in one block, its own included.
        remat: Whether the backward pass computes what is inside the blocks again. It needs less memory and more time.
        picture_noise: Largest standard deviation, as a share of 255, of the noise on the pictures that tokens of `delta` change, in
            training.
    """

    epochs: int = 20
    steps_per_epoch: int = 105
    batch_size: int = 8
    learning_rate: float = 3e-3
    optimizer: Literal["adamw", "muon"] = "muon"
    width: int = 128
    depth: int = 4
    heads: int = 4
    window: int = 4
    remat: bool = False
    picture_noise: float = 0.1


class TokenTransformer(SelfSupervisedModel):
    """What the kinds share: the embeddings of tokens, actions and pictures, the training sequences, and the check of the actions.

    In validation, the outputs have `shuffled_actions` too: the loss under the actions of other sequences, divided by the loss. The
    actions tell the model something if it is above 1.

    Args:
        codes: K, size of the tokenizer's codebook.
        tokens: N, tokens per frame.
        actions: A, number of actions.
        width: D, width of the transformer.
        depth: Number of blocks.
        heads: Attention heads; divides `width`.
        window: Frames that a token attends to in one block, its own included.
        context: Arguments `frame_size`, `grid` and `noise` of `PictureEmbedding`, for tokens that change the picture before;
            otherwise None.
        remat: Whether the backward pass computes what is inside the blocks again, all but the last one.
    """

    reported = ("accuracy", "shuffled_actions")
    needs_vectors = False

    def __init__(self, codes, tokens, actions, width=128, depth=4, heads=4, window=4, context=None, remat=False, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(
            codes=codes, tokens=tokens, actions=actions, width=width, depth=depth, heads=heads, window=window, context=context,
            remat=remat,
        )  # fmt: skip
        self.codes, self.tokens, self.actions, self.no_action = codes, tokens, actions, actions
        self.width, self.heads, self.window = width, heads, window
        self.embed_action = layers.Embedding(actions + 1, width, name="embed_action")
        self.embed_place = layers.Embedding(tokens + 1, width, name="embed_place")
        self.embed_picture = PictureEmbedding(**context, tokens=tokens, width=width, name="embed_picture") if context else None

    @classmethod
    def from_settings(cls, settings: TransformerSettings, codes: int, tokens: int, actions: int, context: dict | None = None):
        return cls(*cls.arguments(settings, codes, tokens, actions, context))

    @staticmethod
    def arguments(settings: TransformerSettings, codes: int, tokens: int, actions: int, context: dict | None) -> tuple:
        """The arguments of the constructor that all kinds have."""
        s, seen = settings, None if context is None else context | {"noise": settings.picture_noise}
        return codes, tokens, actions, s.width, s.depth, s.heads, s.window, seen, s.remat

    @staticmethod
    def noise(rng: np.random.Generator, tokens_BTN: np.ndarray, codes: int, corruption: float, dropout: float) -> dict:
        """Further inputs of a training step: see `Sequences`."""
        raise NotImplementedError

    @classmethod
    def examples(
        cls, recording: Episodes, films: np.ndarray, actions: np.ndarray, settings: TransformerSettings, codes: int
    ) -> Sequences:
        """Sequences of `settings.length` frames: see `Sequences`."""
        return Sequences(recording, films, actions, settings, codes, cls.noise)

    def symbolic_inputs(self) -> dict:
        """The inputs of `call` without values, for `build`."""
        tokens = keras.KerasTensor((1, 2, self.tokens), "int32")
        inputs = {"tokens": tokens, "past": tokens, "actions": keras.KerasTensor((1, 2), "int32")}
        inputs["told"] = keras.KerasTensor((1, 2), "bool")
        if self.embed_picture is not None:
            inputs["pictures"] = keras.KerasTensor((1, 2, *self.embed_picture.frame_size, 3), "uint8")
        return inputs

    def predicted(self, inputs, training: bool = False) -> dict:
        """The outputs of `call` but `shuffled_actions`."""
        raise NotImplementedError

    def call(self, inputs, training=False):
        out = self.predicted(inputs, training)
        if not training:
            others = self.predicted(inputs | {"actions": ops.roll(inputs["actions"], 1, axis=0)})
            out["shuffled_actions"] = others["loss"] / out["loss"]
        return out

    def _in_training(self, block_output, x):
        """`block_output(x)`. With `remat`, only `x` is kept for the backward pass."""
        return keras.remat(block_output)(x) if self.config["remat"] else block_output(x)

    def _embedded(self, context):
        """Embeddings (B, 1, N, D) of pictures before a frame, or None."""
        return None if self.embed_picture is None else self.embed_picture(context[:, None])

    def get_config(self):
        return super().get_config() | self.config
