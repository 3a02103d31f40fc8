"""`magvit2`: a causal video tokenizer. A token grid stands for one frame or for several, and depends on the frames before it."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.errors import UserError
from genie_tf.layers.causal_conv import CausalConv
from genie_tf.layers.frame_norm import AdaptiveNorm, FrameNorm
from genie_tf.layers.pixels import FRAME_SIZE, from_pixels, to_pixels
from genie_tf.layers.quantizers import make_quantizer
from genie_tf.layers.quantizers.lookup_free import LookupFreeSettings
from genie_tf.tokenizer.base import Tokenizer
from genie_tf.tokenizer.blueprint import make_blocks, read_blueprint, stride_of
from genie_tf.tokenizer.losses import ReconstructionLoss, TokenizerSettings, loss_settings

ENCODER = [  # small enough for a CPU: 64 x 64 pixels become 8 x 8 tokens
    ["causal_conv", {"channels": 16}],
    ["downsample", {"space": 2}],
    ["residual", {"channels": 16}],
    ["downsample", {"space": 2}],
    ["residual", {"channels": 32}],
    ["downsample", {"space": 2}],
    ["residual", {"channels": 64}],
]
DECODER = [
    ["projection", {"channels": 64}],
    ["residual", {"channels": 64}],
    ["upsample", {"space": 2}],
    ["residual", {"channels": 32}],
    ["upsample", {"space": 2}],
    ["residual", {"channels": 16}],
    ["upsample", {"space": 2}],
]


@dataclass
class MagViT2Settings(TokenizerSettings):
    """Settings of the MagViT-2 tokenizer.

    Args:
        kind: "magvit2".
        encoder: Blueprint from frames to the grid of tokens: `genie_tf.tokenizer.blueprint`.
        decoder: Blueprint from the grid of tokens to frames.
        length: Frames of a training film, a multiple of the frames that a token grid stands for.
    """

    kind: Literal["magvit2"] = "magvit2"
    epochs: int = 20
    batch_size: int = 8
    quantizer: Any = field(default_factory=LookupFreeSettings)
    encoder: list[Any] = field(default_factory=lambda: ENCODER)
    decoder: list[Any] = field(default_factory=lambda: DECODER)
    length: int = 8


@keras.saving.register_keras_serializable("genie_tf")
class MagViT2Tokenizer(Tokenizer):
    """Converts films to tokens and back. Each token depends on the frames before it too.

    A layer follows each blueprint: one to the code vectors, and one to the pixels.

    Args:
        encoder: Blueprint from frames to the grid of tokens: `genie_tf.tokenizer.blueprint`.
        decoder: Blueprint from the grid of tokens to frames.
        quantizer: Settings of the quantizer, a dict with its `kind`.
        seed: Seed of the codebook.
        frame_size: H and W.
        losses: Arguments of `ReconstructionLoss`.

    Call arguments, returns: see `genie_tf.tokenizer`. `stride` is the product of the factors in time of the encoder.

    Raises:
        UserError: a blueprint or the quantizer is invalid.

    Reference:
        Yu et al. 2023, MagViT-2, arXiv 2310.05737, section 3.2 and appendix A. Here the first frame is not special: every grid
        stands for `stride` frames. Down-sampling always blurs. The paper's encoder has strided convolutions there, and its
        discriminator blurs.
    """

    Settings = MagViT2Settings

    def __init__(self, encoder, decoder, quantizer, seed=0, frame_size=FRAME_SIZE, losses=None, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(encoder=encoder, decoder=decoder, quantizer=quantizer, seed=seed, frame_size=frame_size, losses=losses)
        self.frame_size = tuple(frame_size)
        self.quantizer = make_quantizer(quantizer, seed)
        self.codes = self.quantizer.codes
        pixels = (*self.frame_size, 3)
        encoding = read_blueprint("encoder", encoder, pixels)
        self.grid = encoding[-1].outputs[:2]
        decoding = read_blueprint("decoder", decoder, (*self.grid, self.quantizer.code_dim))
        self.stride, self.tokens = stride_of(encoding), math.prod(self.grid)
        begin, end = (
            f"{frames} frame{'s' * (frames > 1)} of {height} x {width}"
            for frames, (height, width, _) in ((self.stride, pixels), (stride_of(decoding), decoding[-1].outputs))
        )
        if begin != end:
            raise UserError(f"tokenizer.decoder: a token grid becomes {end}, and the encoder begins with {begin}")
        self.encoding, self.decoding = encoding, decoding
        self.reconstruction_loss = ReconstructionLoss(**(losses or {}), name="reconstruction_loss")
        self.report(*self.reconstruction_loss.parts)

    @classmethod
    def from_settings(cls, settings: MagViT2Settings, frame_size: tuple[int, int], actions: int = 0) -> "MagViT2Tokenizer":
        """Make the model.

        Raises:
            UserError: a blueprint or the quantizer is invalid, or the training films do not consist of whole groups of frames.
        """
        s = settings
        model = cls(s.encoder, s.decoder, asdict(s.quantizer), s.seed, frame_size, loss_settings(s))
        if s.length % model.stride:
            raise UserError(f"--tokenizer.length {s.length}: it must be a multiple of the {model.stride} frames of a token grid")
        return model

    @staticmethod
    def examples(recording: Episodes, settings: MagViT2Settings, actions: np.ndarray | None = None) -> Examples:
        """Films of `settings.length` frames."""
        grids = settings.length // recording.every

        def take(rows):
            return recording.groups(rows[:, None] + np.arange(grids)).reshape(len(rows), -1, *recording.frame_size, 3)

        return Examples(recording.windows(grids), take)

    def build(self, input_shape=None):
        code_dim = self.quantizer.code_dim
        self.encoder_blocks = make_blocks(self.encoding, "encoder")
        self.encoder_norm = FrameNorm(name="encoder_norm")
        self.to_code = layers.Dense(code_dim, dtype="float32", name="to_code")
        self.decoder_blocks = make_blocks(self.decoding, "decoder", style=code_dim)
        self.decoder_norm = FrameNorm(name="decoder_norm")
        self.to_frames = CausalConv(3, dtype="float32", name="to_frames")
        for steps, norm, last in (
            (self.encoding, self.encoder_norm, self.to_code), (self.decoding, self.decoder_norm, self.to_frames),
        ):  # fmt: skip
            for layer in (norm, last):
                layer.build((None, None, *steps[-1].outputs))
        self.quantizer.build((None, None, *self.grid, code_dim))
        self.reconstruction_loss.build((None, *self.frame_size, 3), (None, *self.frame_size, 3))

    def memory(self, batch) -> dict:
        return {
            "encoder": [block.memory(batch) for block in self.encoder_blocks],
            "decoder": [block.memory(batch) for block in (*self.decoder_blocks, self.to_frames)],
        }

    def _encoded(self, x_BTHWC, memory, training=False):
        """Output of the quantizer for the next films, and the encoder's memory after them."""
        x, after = through(self.encoder_blocks, x_BTHWC, memory)
        vectors = self.to_code(self.encoder_norm(x))  # without an activation, so that the signs of a frame's vectors differ
        return self.quantizer(vectors, training=training), after

    def _decoded(self, quantized, memory):
        """The next frames, float (B, T, H, W, 3), and the decoder's memory after them."""
        *memory, last = memory
        x, after = through(self.decoder_blocks, quantized, memory, style_BGD=ops.mean(quantized, axis=(2, 3)))
        x, last = self.to_frames(ops.silu(self.decoder_norm(x)), last)
        return x, [*after, last]

    def call(self, films, training=False):
        x, memory = from_pixels(films), self.memory(ops.shape(films)[0])
        quantization, _ = self._encoded(x, memory["encoder"], training)
        reconstruction, _ = self._decoded(quantization["quantized"], memory["decoder"])
        pictures, frames = (ops.reshape(each, (-1, *self.frame_size, 3)) for each in (reconstruction, films))
        errors = self.reconstruction_loss(pictures, frames, training=training)
        return errors | {
            "reconstruction": reconstruction,
            "tokens": ops.reshape(quantization["indices"], (-1, films.shape[1] // self.stride, self.tokens)),
            "loss": errors["loss"] + quantization["loss"],
            "perplexity": quantization["perplexity"],
        }

    def encode(self, frames, memory, led_by=None):
        x = from_pixels(frames if self.stride > 1 else frames[:, None])
        quantization, after = self._encoded(x, memory["encoder"])
        return {"tokens": ops.reshape(quantization["indices"], (-1, self.tokens)), "memory": memory | {"encoder": after}}

    def decode(self, tokens, memory, led_by=None):
        quantized = self.quantizer.lookup(ops.reshape(tokens, (-1, 1, *self.grid)))
        x, after = self._decoded(quantized, memory["decoder"])
        return {"frames": to_pixels(x if self.stride > 1 else x[:, 0]), "memory": memory | {"decoder": after}}

    def get_config(self):
        return super().get_config() | self.config


def through(blocks, x_BTHWC, memory, style_BGD=None):
    """Output of a chain of blocks, and their memories after these frames."""
    after = []
    for block, seen in zip(blocks, memory):
        style = (style_BGD,) if isinstance(block, AdaptiveNorm) else ()
        x_BTHWC, seen = block(x_BTHWC, seen, *style)
        after.append(seen)
    return x_BTHWC, after
