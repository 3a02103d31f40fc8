"""`st_vivit`, the tokenizer of the paper: a spatio-temporal transformer. Its tokens depend on the frames before."""

import math
from dataclasses import asdict, dataclass
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.errors import UserError
from genie_tf.layers.norm import rms_normalize
from genie_tf.layers.pixels import FRAME_SIZE, from_pixels, patchify, to_pixels, unpatchify
from genie_tf.layers.quantizers import make_quantizer
from genie_tf.layers.st_block import STBlock, distances, empty_past, extended, slot_distances
from genie_tf.tokenizer.base import Tokenizer
from genie_tf.tokenizer.losses import ReconstructionLoss, TokenizerSettings, loss_settings


@dataclass
class STViViTSettings(TokenizerSettings):
    """Settings of the paper's tokenizer.

    Args:
        kind: "st_vivit".
        width: Width of both transformers.
        depth: Number of blocks of the encoder, and of the decoder.
        heads: Attention heads; divides `width`.
        patch: Side of a patch in pixels; divides the sides of the frame.
        window: Frames that a token attends to in one block, its own included.
        length: Frames of a training film.
    """

    kind: Literal["st_vivit"] = "st_vivit"
    epochs: int = 20
    batch_size: int = 8
    width: int = 128
    depth: int = 2
    heads: int = 4
    patch: int = 8
    window: int = 4
    length: int = 8


@keras.saving.register_keras_serializable("genie_tf")
class STViViTTokenizer(Tokenizer):
    """Converts films to tokens and back: each token stands for a patch, given the frames before.

    The tokens of a frame depend on this frame and on earlier frames. Its reconstruction depends on its own and on earlier tokens.

    Args:
        quantizer: Settings of the quantizer, a dict with its `kind`.
        width: Width of both transformers.
        depth: Number of blocks of each transformer.
        heads: Attention heads; divides `width`.
        patch: Side of a patch in pixels; divides the sides of the frame.
        window: Frames that a token attends to in one block, its own included.
        seed: Seed of the codebook.
        frame_size: H and W.
        losses: Arguments of `ReconstructionLoss`.

    Call arguments, returns: see `genie_tf.tokenizer`. N = H W / patch². The memory is that of `empty_past`. The encoder and the
    decoder have equal sizes, so it serves either.

    Reference:
        Genie, section 2.1, "Video Tokenizer", and Figure 4. Here the loss is the mean squared error, and the codebook is a moving
        average.
    """

    Settings = STViViTSettings

    def __init__(
        self, quantizer, width=128, depth=2, heads=4, patch=8, window=4, seed=0, frame_size=FRAME_SIZE, losses=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.config = dict(
            quantizer=quantizer, width=width, depth=depth, heads=heads, patch=patch, window=window, seed=seed,
            frame_size=frame_size, losses=losses,
        )  # fmt: skip
        self.width, self.patch = width, patch
        self.frame_size = tuple(frame_size)
        self.grid = tuple(side // patch for side in frame_size)
        self.tokens = math.prod(self.grid)
        self.embed_patch = layers.Dense(width, name="embed_patch")
        self.embed_patch_place = layers.Embedding(self.tokens, width, name="embed_patch_place")
        self.encoder = [STBlock(heads, window, name=f"encoder_{i}") for i in range(depth)]
        self.quantizer = make_quantizer(quantizer, seed)
        self.codes = self.quantizer.codes
        self.to_code = layers.Dense(self.quantizer.code_dim, dtype="float32", name="to_code")
        self.embed_code = layers.Dense(width, name="embed_code")
        self.embed_code_place = layers.Embedding(self.tokens, width, name="embed_code_place")
        self.decoder = [STBlock(heads, window, name=f"decoder_{i}") for i in range(depth)]
        self.head = layers.Dense(3 * patch**2, dtype="float32", name="head")
        self.reconstruction_loss = ReconstructionLoss(**(losses or {}), name="reconstruction_loss")
        self.report(*self.reconstruction_loss.parts)

    @classmethod
    def from_settings(cls, settings: STViViTSettings, frame_size: tuple[int, int], actions: int = 0) -> "STViViTTokenizer":
        """Make the model.

        Raises:
            UserError: the patches do not fill the frame, the heads do not fill the width, or VGG16's weights can't be loaded.
        """
        s = settings
        if any(side % s.patch for side in frame_size):
            raise UserError(f"--tokenizer.patch {s.patch}: it must divide the frame's {frame_size[0]} x {frame_size[1]} pixels")
        if s.width % s.heads:
            raise UserError(f"--tokenizer.heads {s.heads}: it must divide --tokenizer.width {s.width}")
        sizes = (s.width, s.depth, s.heads, s.patch, s.window)
        return cls(asdict(s.quantizer), *sizes, s.seed, frame_size, loss_settings(s))

    @staticmethod
    def examples(recording: Episodes, settings: STViViTSettings, actions: np.ndarray | None = None) -> Examples:
        """Films of `settings.length` frames."""
        steps = np.arange(settings.length)
        return Examples(recording.windows(settings.length), lambda rows: recording.frames(rows[:, None] + steps))

    def build(self, input_shape=None):
        for block in (*self.encoder, *self.decoder):
            block.build((None, None, self.tokens, self.width))
        self.compute_output_spec(keras.KerasTensor((1, 1, *self.frame_size, 3), "uint8"))

    def _vectors(self, x_BTHWC, memory=None):
        """Vectors (B, T, N, code size) of frames, and the memory after them."""
        patches = patchify(ops.reshape(x_BTHWC, (-1, *self.frame_size, 3)), self.patch)
        patches = ops.reshape(patches, (-1, x_BTHWC.shape[1], self.tokens, patches.shape[-1]))
        x = self.embed_patch(patches) + self.embed_patch_place(ops.arange(self.tokens))
        x, memory = _through(self.encoder, x, memory)
        return self.to_code(rms_normalize(x)), memory

    def _pictures(self, code_BTND, memory=None):
        """Frames (B, T, H, W, 3) of code vectors, and the memory after them."""
        x = self.embed_code(code_BTND) + self.embed_code_place(ops.arange(self.tokens))
        x, memory = _through(self.decoder, x, memory)
        patches = ops.reshape(self.head(rms_normalize(x)), (-1, *self.grid, 3 * self.patch**2))
        return ops.reshape(unpatchify(patches, self.patch), (-1, code_BTND.shape[1], *self.frame_size, 3)), memory

    def call(self, films, training=False):
        x = from_pixels(films)
        quantization = self.quantizer(self._vectors(x)[0], training=training)
        reconstruction = self._pictures(quantization["quantized"])[0]
        pictures, frames = (ops.reshape(each, (-1, *self.frame_size, 3)) for each in (reconstruction, films))
        errors = self.reconstruction_loss(pictures, frames, training=training)
        return errors | {
            "reconstruction": reconstruction,
            "tokens": quantization["indices"],
            "loss": errors["loss"] + quantization["loss"],
            "perplexity": quantization["perplexity"],
        }

    def memory(self, batch: int) -> dict:
        blocks = {"encoder": self.encoder, "decoder": self.decoder}
        return {name: empty_past(some, batch, self.tokens, self.width) for name, some in blocks.items()}

    def encode(self, frames, memory, led_by=None):
        vectors, after = self._vectors(from_pixels(frames[:, None]), memory["encoder"])
        return {"tokens": self.quantizer(vectors)["indices"][:, 0], "memory": memory | {"encoder": after}}

    def decode(self, tokens, memory, led_by=None):
        pictures, after = self._pictures(self.quantizer.lookup(tokens[:, None]), memory["decoder"])
        return {"frames": to_pixels(pictures[:, 0]), "memory": memory | {"decoder": after}}

    def get_config(self):
        return super().get_config() | self.config


def _through(blocks, x_BTND, memory):
    """Run blocks one after another.

    Args:
        blocks: The encoder's or the decoder's blocks.
        x_BTND: Tensor (B, T, N, D), whole films, or the next frame, T = 1.
        memory: What is known before the next frame; None for whole films.

    Returns:
        The blocks' output (B, T, N, D), and the memory after the next frame; None for whole films.
    """
    if memory is None:
        for block in blocks:
            x_BTND = block(x_BTND, distance=distances(x_BTND.shape[1]))["x"]
        return x_BTND, None
    new, distance = [], slot_distances(memory)
    for block, past in zip(blocks, memory["layers"]):
        out = block(x_BTND, past=past, distance=distance)
        x_BTND = out["x"]
        new.append((out["keys"], out["values"]))
    return x_BTND, extended(memory, new)
