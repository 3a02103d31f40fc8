"""`conv`: a convolutional VQ-VAE that encodes each frame separately. It is fast enough for a CPU."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import keras
from keras import layers, ops

from genie_tf.config import Training
from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.layers.pixels import FRAME_SIZE, from_pixels, patchify, to_pixels, unpatchify
from genie_tf.layers.quantizers import make_quantizer
from genie_tf.layers.quantizers.vector import VectorSettings
from genie_tf.layers.self_supervised import SelfSupervisedModel

PATCH = 4  # side of an input patch in pixels; a convolution of stride 2 follows, so a token covers 8 x 8 pixels


@dataclass
class ConvSettings(Training):
    """Settings of the convolutional tokenizer.

    Args:
        kind: "conv".
        quantizer: Settings of one kind of `genie_tf.layers.quantizers`.
        width: Channels of the network on the grid of tokens.
        blocks: Residual blocks on the grid of tokens, on either side of the codebook.
    """

    kind: Literal["conv"] = "conv"
    epochs: int = 20
    quantizer: Any = field(default_factory=VectorSettings)
    width: int = 128
    blocks: int = 1


@keras.saving.register_keras_serializable("genie_tf")
class ConvTokenizer(SelfSupervisedModel):
    """Converts frames to tokens and back: each token stands for 8 x 8 pixels.

    Args:
        quantizer: Settings of the quantizer, a dict with its `kind`.
        width: Channels on the grid of tokens; half as many on the grid of patches.
        blocks: Residual blocks on the grid of tokens, on either side of the codebook.
        seed: Seed of the codebook.
        frame_size: H and W, multiples of 8.

    Call arguments, returns: see `genie_tf.tokenizer`. N = H W / 64.

    Reference:
        van den Oord et al. 2017, arXiv 1711.00937. It encodes each frame separately, like the baseline of Genie, section 3.2.
    """

    Settings = ConvSettings
    stride = 1
    reported = ("psnr", "perplexity")

    def __init__(self, quantizer, width=128, blocks=1, seed=0, frame_size=FRAME_SIZE, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(quantizer=quantizer, width=width, blocks=blocks, seed=seed, frame_size=frame_size)
        self.frame_size = tuple(frame_size)
        self.grid = tuple(side // (2 * PATCH) for side in frame_size)
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
        self.to_patches = conv(3 * PATCH**2, activation=None, dtype="float32", name="to_patches")

    @classmethod
    def from_settings(cls, settings: ConvSettings, frame_size: tuple[int, int]) -> "ConvTokenizer":
        return cls(asdict(settings.quantizer), settings.width, settings.blocks, seed=settings.seed, frame_size=frame_size)

    @staticmethod
    def examples(recording: Episodes, settings: ConvSettings) -> Examples:
        """Films of one frame."""
        return Examples(recording.windows(1), lambda rows: recording.frames(rows[:, None]))

    def build(self, input_shape=None):
        self.compute_output_spec(keras.KerasTensor((1, 1, *self.frame_size, 3), "uint8"))

    def _vectors(self, frames):
        x = self.encoder_stem(patchify(from_pixels(frames), PATCH))
        for block in self.encoder_blocks:
            x = x + block(x)
        return self.to_code(x)

    def _picture(self, quantized):
        x = self.from_code(quantized)
        for block in self.decoder_blocks:
            x = x + block(x)
        x = self.upsample(x)
        x = x + self.decoder_fine(x)
        return unpatchify(self.to_patches(x), PATCH)

    def call(self, films, training=False):
        length, frames = films.shape[1], ops.reshape(films, (-1, *self.frame_size, 3))
        quantization = self.quantizer(self._vectors(frames), training=training)
        reconstruction = self._picture(quantization["quantized"])
        error = ops.mean(ops.square(reconstruction - from_pixels(frames)))
        return {
            "reconstruction": ops.reshape(reconstruction, (-1, length, *self.frame_size, 3)),
            "tokens": ops.reshape(quantization["indices"], (-1, length, self.tokens)),
            "loss": error + quantization["loss"],
            "psnr": -10.0 * ops.log10(error),
            "perplexity": quantization["perplexity"],
        }

    def memory(self, batch: int) -> tuple:
        return ()

    def encode(self, frames, memory=()):
        indices = self.quantizer(self._vectors(frames))["indices"]
        return {"tokens": ops.reshape(indices, (-1, self.tokens)), "memory": memory}

    def decode(self, tokens, memory=()):
        quantized = self.quantizer.lookup(ops.reshape(tokens, (-1, *self.grid)))
        return {"frames": to_pixels(self._picture(quantized)), "memory": memory}

    def get_config(self):
        return super().get_config() | self.config
