"""`st_transformer`, the latent action model of the paper: a spatio-temporal transformer with a small codebook."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from genie_tf.config import LatentActionConfig
from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.errors import UserError
from genie_tf.latent_action import FRAMES
from genie_tf.layers.norm import rms_normalize
from genie_tf.layers.pixels import FRAME_SIZE, from_pixels, patchify, to_pixels, unpatchify
from genie_tf.layers.quantizers.vector import VectorQuantizer
from genie_tf.layers.self_supervised import SelfSupervisedModel
from genie_tf.layers.st_block import STBlock, distances

LONGEST = 64  # maximum frames that a token attends to, its own included


@dataclass
class STSettings(LatentActionConfig):
    """Settings of the paper's latent action model.

    Args:
        kind: "st_transformer".
        code_dim: Size of a code.
        width: Width of both transformers.
        depth: Number of blocks of the encoder, and of the decoder.
        heads: Attention heads; divides `width`.
        patch: Side of a patch in pixels; divides the sides of the frame.
        length: Frames of a training sequence.
    """

    kind: Literal["st_transformer"] = "st_transformer"
    epochs: int = 30
    steps_per_epoch: int = 120
    batch_size: int = 16
    code_dim: int = 32
    width: int = 128
    depth: int = 4
    heads: int = 4
    patch: int = 16
    length: int = 8


@keras.saving.register_keras_serializable("genie_tf")
class STLatentActionModel(SelfSupervisedModel):
    """Assigns one of a few codes to each transition of a sequence.

    The encoder sees the frames up to t + 1 and returns a code. The decoder sees the frames up to t and the codes. It predicts the
    difference between frame t + 1 and frame t.

    Args:
        codes: A, number of latent actions.
        code_dim: D, size of a code.
        width: Width of both transformers.
        depth: Number of blocks of each transformer.
        heads: Attention heads; divides `width`.
        patch: Side of a patch in pixels; divides the sides of the frame.
        seed: Seed of the codebook.
        frame_size: H and W.

    Call arguments:
        inputs: A dict: `frames` uint8 (B, T, H, W, 3), T ≥ 2.
        training: Whether to update the codebook.

    Returns:
        A dict: `codes` int32 (B, T - 1); `prediction` of frames 1 … T - 1, float (B, T - 1, H, W, 3) in about -0.5 … 0.5; and the
        scalars `loss`, `psnr` in dB over the batch, `perplexity`.

    Reference:
        Genie, section 2.1, "Latent Action Model". Here the vector is scaled to unit mean square before it is quantized. The
        codebook is a moving average, and dead codes are reinitialised.
    """

    Settings = STSettings
    reported = ("psnr", "perplexity")

    def __init__(
        self,
        codes=6,
        code_dim=32,
        width=512,
        depth=8,
        heads=8,
        patch=16,
        seed=0,
        frame_size=FRAME_SIZE,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config = dict(
            codes=codes, code_dim=code_dim, width=width, depth=depth, heads=heads, patch=patch, seed=seed,
            frame_size=frame_size,
        )  # fmt: skip
        self.codes, self.width, self.patch = codes, width, patch
        self.frame_size = tuple(frame_size)
        self.grid = tuple(side // patch for side in frame_size)
        self.places = self.grid[0] * self.grid[1]
        self.embed_seen = layers.Dense(width, name="embed_seen")
        self.embed_seen_place = layers.Embedding(self.places, width, name="embed_seen_place")
        self.encoder = [STBlock(heads, LONGEST, name=f"encoder_{i}") for i in range(depth)]
        self.to_code = layers.Dense(code_dim, dtype="float32", name="to_code")
        self.quantizer = VectorQuantizer(codes, code_dim, dead_below=0.1, seed=seed, name="quantizer")
        self.embed_past = layers.Dense(width, name="embed_past")
        self.embed_past_place = layers.Embedding(self.places, width, name="embed_past_place")
        self.embed_code = layers.Dense(width, name="embed_code")
        self.decoder = [STBlock(heads, LONGEST, name=f"decoder_{i}") for i in range(depth)]
        self.head = layers.Dense(3 * patch**2, dtype="float32", name="head")

    @classmethod
    def from_settings(cls, settings: STSettings, frame_size: tuple[int, int]) -> "STLatentActionModel":
        """Make the model.

        Raises:
            UserError: the patches do not fill the frame.
        """
        s = settings
        if any(side % s.patch for side in frame_size):
            raise UserError(f"--latent_action.patch {s.patch}: it must divide the frame's {frame_size[0]} x {frame_size[1]} pixels")
        return cls(s.codes, s.code_dim, s.width, s.depth, s.heads, s.patch, seed=s.seed, frame_size=frame_size)

    @staticmethod
    def examples(recording: Episodes, folder: Path, settings: STSettings) -> Examples:
        """Sequences of `settings.length` frames. `folder` is not used."""

        def take(rows):
            return {"frames": recording.frames(rows[:, None] + np.arange(settings.length))}

        return Examples(recording.windows(settings.length), take)

    @staticmethod
    def transitions(recording: Episodes, folder: Path):
        """A function from rows to the inputs of `code`: frames t - 3 … t + 1 for each row t."""
        return lambda rows: recording.frames(recording.transition_rows(rows, FRAMES - 2))

    def build(self, input_shape=None):
        for block in (*self.encoder, *self.decoder):
            block.build((None, None, self.places, self.width))
        self.compute_output_spec({"frames": keras.KerasTensor((1, 2, *self.frame_size, 3), "uint8")})

    def _patches(self, x_BTHWC):
        """Patches (B, T, N, patch * patch * 3) of frames."""
        x = patchify(ops.reshape(x_BTHWC, (-1, *self.frame_size, 3)), self.patch)
        return ops.reshape(x, (-1, x_BTHWC.shape[1], self.places, x.shape[-1]))

    def _encode(self, x_BTHWC, training=False):
        """Output of the quantizer for the transitions 0 → 1 … T - 2 → T - 1."""
        x = self.embed_seen(self._patches(x_BTHWC)) + self.embed_seen_place(ops.arange(self.places))
        for block in self.encoder:
            x = block(x, distance=distances(x.shape[1]))["x"]
        return self.quantizer(self.to_code(ops.mean(x[:, 1:], axis=2)), training=training)

    def _decode(self, x_BTHWC, code_BTD):
        """Predicted frames 1 … T, float (B, T, H, W, 3), from frames 0 … T - 1 and the code of each transition."""
        length = x_BTHWC.shape[1]
        x = self.embed_past(self._patches(x_BTHWC)) + self.embed_past_place(ops.arange(self.places))
        x = x + self.embed_code(code_BTD)[:, :, None]
        for block in self.decoder:
            x = block(x, distance=distances(length))["x"]
        change = unpatchify(ops.reshape(self.head(rms_normalize(x)), (-1, *self.grid, 3 * self.patch**2)), self.patch)
        return x_BTHWC + ops.reshape(change, (-1, length, *self.frame_size, 3))

    def call(self, inputs, training=False):
        x = from_pixels(inputs["frames"])
        quantization = self._encode(x, training)
        prediction = self._decode(x[:, :-1], quantization["quantized"])
        square = ops.mean(ops.square(prediction - x[:, 1:]))
        return {
            "prediction": prediction,
            "codes": quantization["indices"],
            "loss": square + quantization["loss"],
            "psnr": -10.0 * ops.log10(square),
            "perplexity": quantization["perplexity"],
        }

    def infer(self, frames):
        """Latent action int32 (B,) between frames t and t + 1, from frames t - 3 … t + 1, uint8 (B, 5, H, W, 3)."""
        return self._encode(from_pixels(frames))["indices"][:, -1]

    code = infer  # this model caches nothing for a recording

    def predict_next(self, frames, codes):
        """Predict frame t + 1, uint8 (B, H, W, 3), under the latent actions `codes` int32 (B,).

        `frames` is uint8 (B, 5, H, W, 3), frames t - 3 … t + 1. Frame t + 1 is not used.
        """
        x = from_pixels(frames[:, :-1])
        led_BTD = ops.concatenate([self._encode(x)["quantized"], self.quantizer.lookup(codes)[:, None]], axis=1)
        return to_pixels(self._decode(x, led_BTD)[:, -1])

    def get_config(self):
        return super().get_config() | self.config
