"""`conv`: a convolutional VQ-VAE that encodes each frame separately. It is fast enough for a CPU."""

import math
from dataclasses import asdict, dataclass
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.errors import UserError
from genie_tf.layers.pixels import FRAME_SIZE, from_pixels, patchify, to_pixels, unpatchify
from genie_tf.layers.quantizers import make_quantizer
from genie_tf.tokenizer.base import Tokenizer
from genie_tf.tokenizer.losses import ReconstructionLoss, TokenizerSettings, loss_settings


@dataclass
class ConvSettings(TokenizerSettings):
    """Settings of the convolutional tokenizer.

    Args:
        kind: "conv".
        patch: Side of an input patch in pixels. A token stands for a square of twice this side.
        width: Channels of the network on the grid of tokens.
        blocks: Residual blocks on the grid of tokens, on either side of the codebook.
    """

    kind: Literal["conv"] = "conv"
    epochs: int = 20
    steps_per_epoch: int = 200
    batch_size: int = 32
    learning_rate: float = 3e-3
    optimizer: Literal["adamw", "muon"] = "muon"
    l4: float = 0.05
    patch: int = 4
    width: int = 128
    blocks: int = 1


@keras.saving.register_keras_serializable("genie_tf")
class ConvTokenizer(Tokenizer):
    """Converts frames to tokens and back: each token stands for a square of pixels.

    Args:
        quantizer: Settings of the quantizer, a dict with its `kind`.
        width: Channels on the grid of tokens; half as many on the grid of patches.
        blocks: Residual blocks on the grid of tokens, on either side of the codebook.
        patch: P, side of an input patch in pixels. A token stands for 2 P x 2 P pixels.
        seed: Seed of the codebook.
        frame_size: H and W, multiples of 2 P.
        losses: Arguments of `ReconstructionLoss`.

    Call arguments, returns: see `genie_tf.tokenizer`. N = H W / (2 P)².

    Reference:
        van den Oord et al. 2017, arXiv 1711.00937. It encodes each frame separately, like the baseline of Genie, section 3.2.
    """

    Settings = ConvSettings

    def __init__(self, quantizer, width=128, blocks=1, patch=4, seed=0, frame_size=FRAME_SIZE, losses=None, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(
            quantizer=quantizer, width=width, blocks=blocks, patch=patch, seed=seed, frame_size=frame_size, losses=losses
        )
        self.frame_size, self.patch = tuple(frame_size), patch
        self.grid = tuple(side // (2 * patch) for side in frame_size)
        self.tokens = math.prod(self.grid)

        def conv(channels, kernel=3, strides=1, activation="relu", **kwargs):
            return layers.Conv2D(channels, kernel, strides, "same", activation=activation, **kwargs)

        self.encoder_stem = keras.Sequential([conv(width // 2), conv(width, 4, 2)], name="encoder_stem")
        self.encoder_blocks = [conv(width, name=f"encoder_block_{i}") for i in range(blocks)]
        self.quantizer = make_quantizer(quantizer, seed)
        self.codes = self.quantizer.codes
        self.to_code = layers.Dense(self.quantizer.code_dim, dtype="float32", name="to_code")
        self.from_code = layers.Dense(width, name="from_code")
        self.decoder_blocks = [conv(width, name=f"decoder_block_{i}") for i in range(blocks + 1)]
        self.upsample = layers.Conv2DTranspose(width // 2, 4, 2, "same", activation="relu", name="upsample")
        self.decoder_fine = conv(width // 2, name="decoder_fine")
        self.to_patches = conv(3 * patch**2, activation=None, dtype="float32", name="to_patches")
        self.reconstruction_loss = ReconstructionLoss(**(losses or {}), name="reconstruction_loss")
        self.report(*self.reconstruction_loss.parts)

    @classmethod
    def from_settings(cls, settings: ConvSettings, frame_size: tuple[int, int], actions: int = 0) -> "ConvTokenizer":
        """Make the model.

        Raises:
            UserError: the tokens do not fill the frame, or VGG16's weights are needed and can't be loaded.
        """
        s = settings
        if any(side % (2 * s.patch) for side in frame_size):
            raise UserError(
                f"--tokenizer.patch {s.patch}: a token of {2 * s.patch} x {2 * s.patch} pixels must divide the frame's "
                f"{frame_size[0]} x {frame_size[1]}"
            )
        return cls(asdict(s.quantizer), s.width, s.blocks, s.patch, s.seed, frame_size, loss_settings(s))

    @staticmethod
    def examples(recording: Episodes, settings: ConvSettings, actions: np.ndarray | None = None) -> Examples:
        """Films of one frame."""
        return Examples(recording.windows(1), lambda rows: recording.frames(rows[:, None]))

    def build(self, input_shape=None):
        self.compute_output_spec(keras.KerasTensor((1, 1, *self.frame_size, 3), "uint8"))

    def _vectors(self, frames):
        x = self.encoder_stem(patchify(from_pixels(frames), self.patch))
        for block in self.encoder_blocks:
            x = x + block(x)
        return self.to_code(x)

    def _picture(self, quantized):
        x = self.from_code(quantized)
        for block in self.decoder_blocks:
            x = x + block(x)
        x = self.upsample(x)
        x = x + self.decoder_fine(x)
        return unpatchify(self.to_patches(x), self.patch)

    def call(self, films, training=False):
        length, frames = films.shape[1], ops.reshape(films, (-1, *self.frame_size, 3))
        quantization = self.quantizer(self._vectors(frames), training=training)
        reconstruction = self._picture(quantization["quantized"])
        errors = self.reconstruction_loss(reconstruction, frames, training=training)
        return errors | {
            "reconstruction": ops.reshape(reconstruction, (-1, length, *self.frame_size, 3)),
            "tokens": ops.reshape(quantization["indices"], (-1, length, self.tokens)),
            "loss": errors["loss"] + quantization["loss"],
            "perplexity": quantization["perplexity"],
        }

    def encode(self, frames, memory=(), led_by=None):
        indices = self.quantizer(self._vectors(frames))["indices"]
        return {"tokens": ops.reshape(indices, (-1, self.tokens)), "memory": memory}

    def decode(self, tokens, memory=(), led_by=None):
        quantized = self.quantizer.lookup(ops.reshape(tokens, (-1, *self.grid)))
        return {"frames": to_pixels(self._picture(quantized)), "memory": memory}

    def get_config(self):
        return super().get_config() | self.config
