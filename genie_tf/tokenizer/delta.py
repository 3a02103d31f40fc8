"""`delta`: tokens that say only what the frame before and the action do not tell."""

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
from genie_tf.layers.registration import register, shifted, shifts_in, whole_shift
from genie_tf.tokenizer.base import Tokenizer
from genie_tf.tokenizer.losses import ReconstructionLoss, TokenizerSettings, loss_settings


@dataclass
class DeltaSettings(TokenizerSettings):
    """Settings of the context-aware tokenizer.

    Args:
        kind: "delta".
        patch: Side of an input patch in pixels.
        cell: Side in pixels of the square that a code stands for: 2, 4 or 8 patches.
        width: Channels of the network on squares of 2 x 2 patches and coarser; half as many on patches.
        blocks: Residual blocks of the decoder.
        length: Frames of a training film, 2 or more. The first is given, the others are the tokenizer's own pictures.
    """

    kind: Literal["delta"] = "delta"
    epochs: int = 20
    steps_per_epoch: int = 120
    batch_size: int = 16
    learning_rate: float = 3e-3
    optimizer: Literal["adamw", "muon"] = "muon"
    l4: float = 0.05
    patch: int = 4
    cell: int = 16
    width: int = 128
    blocks: int = 2
    length: int = 4


@keras.saving.register_keras_serializable("genie_tf")
class DeltaTokenizer(Tokenizer):
    """Converts a frame to a few tokens, given the picture before it and the action between them.

    The first token is the shift, in whole pixels, with which the picture before resembles the frame most. The others are a coarse
    grid of codes. Encoder and decoder see the picture before, as it is and shifted, and the action. The decoder adds a change to
    the shifted picture. So scenery that only moves costs one token.

    The picture before is the tokenizer's own, in training and in play, as its errors feed back. The encoder can correct them. The
    first frame of a film has no picture before it: it is given, and its tokens are 0.

    Args:
        quantizer: Settings of the quantizer, a dict with its `kind`.
        actions: A, number of actions.
        cell: Side in pixels of the square that a code stands for: 2, 4 or 8 patches.
        width: Channels of the network on squares of 2 x 2 patches and coarser; half as many on patches.
        blocks: Residual blocks of the decoder.
        patch: Side of an input patch in pixels.
        seed: Seed of the codebook.
        frame_size: H and W, multiples of `cell`.
        losses: Arguments of `ReconstructionLoss`.

    Call arguments:
        inputs: A dict: `frames` uint8 (B, T, H, W, 3), T 2 or more; `actions` int (B, T), where action t led from frame t to frame
            t + 1 (the last is not used).

    Returns:
        See `genie_tf.tokenizer`. The losses are those of the frames 1 … T - 1.

    Reference:
        Micheli et al. 2024, Δ-IRIS, arXiv 2406.19320, section 3.1. There a convolutional network writes all tokens.
    """

    Settings = DeltaSettings
    given = 1
    needs_actions = True

    def __init__(
        self, quantizer, actions, cell=16, width=128, blocks=2, patch=4, seed=0, frame_size=FRAME_SIZE, losses=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.config = dict(
            quantizer=quantizer, actions=actions, cell=cell, width=width, blocks=blocks, patch=patch, seed=seed,
            frame_size=frame_size, losses=losses,
        )  # fmt: skip
        self.frame_size, self.actions, self.patch = tuple(frame_size), actions, patch
        self.grid = tuple(side // cell for side in frame_size)
        self.tokens = 1 + math.prod(self.grid)
        halvings = int(math.log2(cell // (2 * patch)))  # from 2 x 2 patches to a cell

        def conv(channels, kernel=3, strides=1, activation="relu", **kwargs):
            return layers.Conv2D(channels, kernel, strides, "same", activation=activation, **kwargs)

        def up(channels, name):
            return layers.Conv2DTranspose(channels, 4, 2, "same", activation="relu", name=name)

        self.embed_action = layers.Embedding(actions + 1, width, name="embed_action")  # the last: unknown
        self.embed_place = layers.Embedding(math.prod(side // (2 * patch) for side in frame_size), width, name="embed_place")
        self.context_fine = conv(width // 2, name="context_fine")
        self.context_coarse = conv(width, 4, 2, name="context_coarse")
        self.encoder_fine = conv(width // 2, name="encoder_fine")
        self.encoder_coarse = conv(width, 4, 2, name="encoder_coarse")
        self.encoder_block = conv(width, name="encoder_block")
        self.encoder_down = [conv(width, 4, 2, name=f"encoder_down_{i}") for i in range(halvings)]
        self.quantizer = make_quantizer(quantizer, seed)
        self.codes = max(self.quantizer.codes, shifts_in(self.frame_size))
        self.to_code = layers.Dense(self.quantizer.code_dim, dtype="float32", name="to_code")
        self.from_code = layers.Dense(width, name="from_code")
        self.decoder_up = [up(width, f"decoder_up_{i}") for i in range(halvings)]
        self.decoder_blocks = [conv(width, name=f"decoder_block_{i}") for i in range(blocks)]
        self.upsample = up(width // 2, "upsample")
        self.decoder_fine = conv(width // 2, name="decoder_fine")
        self.to_patches = conv(3 * patch**2, activation=None, dtype="float32", kernel_initializer="zeros", name="to_patches")
        self.reconstruction_loss = ReconstructionLoss(**(losses or {}), name="reconstruction_loss")
        self.report(*self.reconstruction_loss.parts)

    @classmethod
    def from_settings(cls, settings: DeltaSettings, frame_size: tuple[int, int], actions: int) -> "DeltaTokenizer":
        """Make the model.

        Raises:
            UserError: the cells do not fill the frame, the films are too short, or VGG16's weights can't be loaded.
        """
        s = settings
        if s.cell not in (2 * s.patch, 4 * s.patch, 8 * s.patch) or any(side % s.cell for side in frame_size):
            raise UserError(
                f"--tokenizer.cell {s.cell}: it must be 2, 4 or 8 patches of {s.patch} pixels and divide the frame's "
                f"{frame_size[0]} x {frame_size[1]}"
            )
        if s.length < 2:
            raise UserError(f"--tokenizer.length {s.length}: a film needs 2 frames or more, as the first is given")
        return cls(asdict(s.quantizer), actions, s.cell, s.width, s.blocks, s.patch, s.seed, frame_size, loss_settings(s))

    @staticmethod
    def examples(recording: Episodes, settings: DeltaSettings, actions: np.ndarray) -> Examples:
        """Films of `settings.length` frames, and their actions."""

        def take(rows):
            at = rows[:, None] + np.arange(settings.length)
            return {"frames": recording.frames(at), "actions": actions[at].astype(np.int32)}

        return Examples(recording.windows(settings.length), take)

    def build(self, input_shape=None):
        frames = keras.KerasTensor((1, 2, *self.frame_size, 3), "uint8")
        self.compute_output_spec({"frames": frames, "actions": keras.KerasTensor((1, 2), "int32")})

    def _context(self, before, shift, led_by):
        """What encoder and decoder know before the frame.

        Args:
            before: Pictures uint8 (B, H, W, 3).
            shift: int32 (B,), from `whole_shift`.
            led_by: Actions int32 (B,).

        Returns:
            A dict of floats: `moved` (B, H, W, 3), the shifted picture; `fine`, `coarse`, features of patches and of 2 x 2 patches.
        """
        x = from_pixels(before)
        moved = shifted(x, shift)
        fine = self.context_fine(patchify(ops.concatenate([x, moved], axis=-1), self.patch))
        coarse = self.context_coarse(fine)
        place = ops.reshape(self.embed_place(ops.arange(math.prod(coarse.shape[1:3]))), (1, *coarse.shape[1:3], -1))
        return {"moved": moved[..., :3], "fine": fine, "coarse": coarse + place + self.embed_action(led_by)[:, None, None]}

    def _quantization(self, context, frames, training=False):
        """Output of the quantizer for frames uint8 (B, H, W, 3)."""
        x = self.encoder_fine(patchify(from_pixels(frames) - context["moved"], self.patch))
        x = self.encoder_coarse(ops.concatenate([x, context["fine"]], axis=-1)) + context["coarse"]
        x = x + self.encoder_block(x)
        for down in self.encoder_down:
            x = down(x)
        return self.quantizer(self.to_code(x), training=training)

    def _picture(self, context, quantized):
        """Frames float (B, H, W, 3), from quantized vectors (B, rows, columns, D)."""
        x = self.from_code(quantized)
        for up in self.decoder_up:
            x = up(x)
        x = x + context["coarse"]
        for block in self.decoder_blocks:
            x = x + block(x)
        x = self.upsample(x) + context["fine"]
        x = x + self.decoder_fine(x)
        return context["moved"] + unpatchify(self.to_patches(x), self.patch)

    def _tokens(self, shift_B, indices):
        return ops.concatenate([shift_B[:, None], ops.reshape(indices, (-1, self.tokens - 1))], axis=1)

    def call(self, inputs, training=False):
        films, actions = inputs["frames"], ops.cast(inputs["actions"], "int32")
        before = films[:, 0]
        pictures, tokens = [from_pixels(before)], [ops.repeat(ops.zeros_like(actions[:, :1]), self.tokens, axis=1)]
        quantizations = []
        for t in range(1, films.shape[1]):
            shift = whole_shift(register(before, films[:, t]), self.frame_size)
            context = self._context(before, shift, actions[:, t - 1])
            quantizations.append(self._quantization(context, films[:, t], training))
            pictures.append(self._picture(context, quantizations[-1]["quantized"]))
            tokens.append(self._tokens(shift, quantizations[-1]["indices"]))
            before = to_pixels(ops.stop_gradient(pictures[-1]))
        reconstruction = ops.stack(pictures, axis=1)
        own, true = (ops.reshape(frames[:, 1:], (-1, *self.frame_size, 3)) for frames in (reconstruction, films))
        errors = self.reconstruction_loss(own, true, training=training)
        of_codes = {name: sum(q[name] for q in quantizations) / len(quantizations) for name in ("loss", "perplexity")}
        return errors | {
            "reconstruction": reconstruction,
            "tokens": ops.stack(tokens, axis=1),
            "loss": errors["loss"] + of_codes["loss"],
            "perplexity": of_codes["perplexity"],
        }

    def memory(self, batch: int) -> dict:
        """The picture before, uint8 (B, H, W, 3); and whether it is known, bool (B,), so that the next frame is not given."""
        return {"before": ops.zeros((batch, *self.frame_size, 3), "uint8"), "known": ops.zeros((batch,), "bool")}

    def encode(self, frames, memory, led_by):
        known, before = memory["known"], memory["before"]
        shift = whole_shift(register(before, frames), self.frame_size)
        tokens = self._tokens(shift, self._quantization(self._context(before, shift, led_by), frames)["indices"])
        before = ops.where(known[:, None, None, None], before, frames)
        return {"tokens": ops.where(known[:, None], tokens, 0), "memory": {"before": before, "known": known}}

    def decode(self, tokens, memory, led_by):
        known, before = memory["known"], memory["before"]
        context = self._context(before, ops.minimum(tokens[:, 0], shifts_in(self.frame_size) - 1), led_by)
        codes = ops.reshape(ops.minimum(tokens[:, 1:], self.quantizer.codes - 1), (-1, *self.grid))
        picture = to_pixels(self._picture(context, self.quantizer.lookup(codes)))
        frames = ops.where(known[:, None, None, None], picture, before)
        return {"frames": frames, "memory": {"before": frames, "known": ops.ones_like(known)}}

    def context(self, memory):
        return memory["before"]

    def get_config(self):
        return super().get_config() | self.config
