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
        stride: Frames that a token grid stands for.
        length: Frames of a training film, those of 2 token grids or more. The first grid is given, the others are the tokenizer's
            own pictures.
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
    stride: int = 1
    length: int = 4


@keras.saving.register_keras_serializable("genie_tf")
class DeltaTokenizer(Tokenizer):
    """Converts the next frames to a few tokens, given the picture before them and the action that leads to them.

    A token grid stands for S frames. The first S tokens are the shifts, in whole pixels, with which the picture before resembles
    each of them most. The others are a coarse grid of codes. Encoder and decoder see the picture before, as it is and shifted, and
    the action. The decoder adds a change to the shifted picture. So scenery that only moves costs one token a frame.

    The picture before is the tokenizer's own, in training and in play, as its errors feed back. The encoder can correct them. The
    first grid of a film has no picture before it: its last frame is given, and its tokens are 0.

    Args:
        quantizer: Settings of the quantizer, a dict with its `kind`.
        actions: A, number of actions.
        cell: Side in pixels of the square that a code stands for: 2, 4 or 8 patches.
        width: Channels of the network on squares of 2 x 2 patches and coarser; half as many on patches.
        blocks: Residual blocks of the decoder.
        patch: Side of an input patch in pixels.
        stride: S, frames that a token grid stands for.
        seed: Seed of the codebook.
        frame_size: H and W, multiples of `cell`.
        losses: Arguments of `ReconstructionLoss`.

    Call arguments:
        inputs: A dict: `frames` uint8 (B, T, H, W, 3), T a multiple of S, 2 S or more; `actions` int (B, T / S), where action k led
            from grid k to grid k + 1 (the last is not used).
        training: Whether to decode only the last frame of each grid, from which the next grid follows, and another frame of the
            last grid.

    Returns:
        See `genie_tf.tokenizer`. In training, `reconstruction` has only the decoded frames. The losses are those of all grids but
        the first.

    Reference:
        Micheli et al. 2024, Δ-IRIS, arXiv 2406.19320, section 3.1. There a convolutional network writes all tokens.
    """

    Settings = DeltaSettings
    given = 1
    needs_actions = True

    def __init__(
        self, quantizer, actions, cell=16, width=128, blocks=2, patch=4, stride=1, seed=0, frame_size=FRAME_SIZE, losses=None,
        **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.config = dict(
            quantizer=quantizer, actions=actions, cell=cell, width=width, blocks=blocks, patch=patch, stride=stride, seed=seed,
            frame_size=frame_size, losses=losses,
        )  # fmt: skip
        self.frame_size, self.actions, self.patch = tuple(frame_size), actions, patch
        self.grid = tuple(side // cell for side in frame_size)
        self.stride, self.tokens = stride, stride + math.prod(self.grid)
        halvings = int(math.log2(cell // (2 * patch)))  # from 2 x 2 patches to a cell

        def conv(channels, kernel=3, strides=1, activation="relu", **kwargs):
            return layers.Conv2D(channels, kernel, strides, "same", activation=activation, **kwargs)

        def up(channels, name):
            return layers.Conv2DTranspose(channels, 4, 2, "same", activation="relu", name=name)

        self.embed_action = layers.Embedding(actions + 1, width, name="embed_action")  # the last: unknown
        self.embed_place = layers.Embedding(math.prod(side // (2 * patch) for side in frame_size), width, name="embed_place")
        self.embed_order = layers.Embedding(stride, width, name="embed_order")
        self.between = keras.random.SeedGenerator(seed, name="between")
        self.context_fine = conv(width // 2, name="context_fine")
        self.context_coarse = conv(width, 4, 2, name="context_coarse")
        self.encoder_fine = conv(width // 2, name="encoder_fine")
        if stride > 1:
            self.encoder_between = layers.Dense(width // 2, name="encoder_between")
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
        if s.length < 2 * s.stride or s.length % s.stride:
            grids = f"a film consists of 2 token grids or more, of {s.stride} frames each, as the first is given"
            raise UserError(f"--tokenizer.length {s.length}: {grids}")
        losses = loss_settings(s)
        return cls(asdict(s.quantizer), actions, s.cell, s.width, s.blocks, s.patch, s.stride, s.seed, frame_size, losses)

    @staticmethod
    def examples(recording: Episodes, settings: DeltaSettings, actions: np.ndarray) -> Examples:
        """Films of `settings.length` frames, and their actions."""
        grids = settings.length // settings.stride

        def take(rows):
            at = rows[:, None] + np.arange(grids)
            frames = recording.groups(at).reshape(len(rows), -1, *recording.frame_size, 3)
            return {"frames": frames, "actions": actions[at].astype(np.int32)}

        return Examples(recording.windows(grids), take)

    def build(self, input_shape=None):
        frames = keras.KerasTensor((1, 2 * self.stride, *self.frame_size, 3), "uint8")
        self.compute_output_spec({"frames": frames, "actions": keras.KerasTensor((1, 2), "int32")})

    def _shifts(self, before, frames_BSHWC):
        """Shifts int32 (B, S) from the pictures before, uint8 (B, H, W, 3), to each of the next frames."""
        first = ops.reshape(ops.repeat(before[:, None], self.stride, axis=1), (-1, *self.frame_size, 3))
        shifts = whole_shift(register(first, ops.reshape(frames_BSHWC, (-1, *self.frame_size, 3))), self.frame_size)
        return ops.reshape(shifts, (-1, self.stride))

    def _context(self, before, shifts_BS, led_by, order_BJ):
        """What encoder and decoder know before the frames.

        Args:
            before: Pictures uint8 (B, H, W, 3).
            shifts_BS: int32 (B, S), from `_shifts`.
            led_by: Actions int32 (B,).
            order_BJ: int32 (B, J), the places of the frames in the grid, 0 … S - 1.

        Returns:
            A dict of floats: `moved` (B, J, H, W, 3), the shifted pictures; `fine`, `coarse` (B, J, …), features of patches and of
            2 x 2 patches.
        """
        each = order_BJ.shape[1]

        def for_each(x):
            return x if each == 1 else ops.repeat(x, each, axis=0)

        x = for_each(from_pixels(before))
        moved = shifted(x, ops.reshape(ops.take_along_axis(shifts_BS, order_BJ, axis=1), (-1,)))
        fine = self.context_fine(patchify(ops.concatenate([x, moved], axis=-1), self.patch))
        coarse = self.context_coarse(fine)
        place = ops.reshape(self.embed_place(ops.arange(math.prod(coarse.shape[1:3]))), (1, *coarse.shape[1:3], -1))
        order = self.embed_order(ops.reshape(order_BJ, (-1,)))
        coarse = coarse + place + (for_each(self.embed_action(led_by)) + order)[:, None, None]
        context = {"moved": moved[..., :3], "fine": fine, "coarse": coarse}
        return {name: ops.reshape(x, (-1, each, *x.shape[1:])) for name, x in context.items()}

    def _quantization(self, context, before, shifts_BS, frames_BSHWC, training=False):
        """Output of the quantizer for the next frames, uint8 (B, S, H, W, 3). The last of `context` is that of the last frame."""
        last = {name: x[:, -1] for name, x in context.items()}
        x = self.encoder_fine(patchify(from_pixels(frames_BSHWC[:, -1]) - last["moved"], self.patch))
        if self.stride > 1:
            moved = [shifted(from_pixels(before), shifts_BS[:, i])[..., :3] for i in range(self.stride - 1)]
            between = ops.concatenate([from_pixels(frames_BSHWC[:, i]) - each for i, each in enumerate(moved)], axis=-1)
            x = x + self.encoder_between(patchify(between, self.patch))
        x = self.encoder_coarse(ops.concatenate([x, last["fine"]], axis=-1)) + last["coarse"]
        x = x + self.encoder_block(x)
        for down in self.encoder_down:
            x = down(x)
        return self.quantizer(self.to_code(x), training=training)

    def _pictures(self, context, quantized):
        """The frames float (B, J, H, W, 3) of a context, from quantized vectors (B, rows, columns, D)."""
        each = context["moved"].shape[1]
        moved, fine, coarse = (ops.reshape(context[name], (-1, *context[name].shape[2:])) for name in ("moved", "fine", "coarse"))
        x = self.from_code(quantized)
        for up in self.decoder_up:
            x = up(x)
        x = (x if each == 1 else ops.repeat(x, each, axis=0)) + coarse
        for block in self.decoder_blocks:
            x = x + block(x)
        x = self.upsample(x) + fine
        x = x + self.decoder_fine(x)
        return ops.reshape(moved + unpatchify(self.to_patches(x), self.patch), (-1, each, *self.frame_size, 3))

    def _order(self, batch, places):
        """The same places in the grid for every example: int32 (B, J)."""
        return ops.repeat(np.array([places], "int32"), batch, axis=0)

    def _tokens(self, shifts_BS, indices):
        return ops.concatenate([shifts_BS, ops.reshape(indices, (-1, self.tokens - self.stride))], axis=1)

    def call(self, inputs, training=False):
        films, actions = inputs["frames"], ops.cast(inputs["actions"], "int32")
        batch, grids = ops.shape(films)[0], films.shape[1] // self.stride
        films = ops.reshape(films, (-1, grids, self.stride, *self.frame_size, 3))
        before = films[:, 0, -1]
        tokens, shown, true, quantizations = [ops.zeros((batch, self.tokens), "int32")], [], [], []
        for k in range(1, grids):
            order = self._order(batch, [self.stride - 1] if training else range(self.stride))
            if training and self.stride > 1 and k == grids - 1:
                between = keras.random.randint((batch, 1), 0, self.stride - 1, seed=self.between)
                order = ops.concatenate([between, order], axis=1)
            shifts, led_by = self._shifts(before, films[:, k]), actions[:, k - 1]
            context = self._context(before, shifts, led_by, order)
            quantizations.append(self._quantization(context, before, shifts, films[:, k], training))
            shown.append(self._pictures(context, quantizations[-1]["quantized"]))
            true.append(ops.take_along_axis(films[:, k], order[..., None, None, None], axis=1))
            tokens.append(self._tokens(shifts, quantizations[-1]["indices"]))
            before = to_pixels(ops.stop_gradient(shown[-1][:, -1]))
        pictures, frames = (ops.reshape(ops.concatenate(some, axis=1), (-1, *self.frame_size, 3)) for some in (shown, true))
        errors = self.reconstruction_loss(pictures, frames, training=training)
        of_codes = {name: sum(q[name] for q in quantizations) / len(quantizations) for name in ("loss", "perplexity")}
        first = ops.repeat(from_pixels(films[:, 0, -1:]), self.stride, axis=1)
        return errors | {
            "reconstruction": ops.concatenate([first, *shown], axis=1),
            "tokens": ops.stack(tokens, axis=1),
            "loss": errors["loss"] + of_codes["loss"],
            "perplexity": of_codes["perplexity"],
        }

    def memory(self, batch: int) -> dict:
        """The picture before, uint8 (B, H, W, 3); and whether it is known, bool (B,), so that the next frames are not given."""
        return {"before": ops.zeros((batch, *self.frame_size, 3), "uint8"), "known": ops.zeros((batch,), "bool")}

    def encode(self, frames, memory, led_by):
        known, before = memory["known"], memory["before"]
        frames = ops.reshape(frames, (-1, self.stride, *self.frame_size, 3))
        shifts = self._shifts(before, frames)
        context = self._context(before, shifts, led_by, self._order(ops.shape(frames)[0], [self.stride - 1]))
        tokens = self._tokens(shifts, self._quantization(context, before, shifts, frames)["indices"])
        before = ops.where(known[:, None, None, None], before, frames[:, -1])
        return {"tokens": ops.where(known[:, None], tokens, 0), "memory": {"before": before, "known": known}}

    def _decoded(self, tokens, memory, led_by, order):
        """Frames uint8 (B, J, H, W, 3) of the places `order`, J of 0 … S - 1; and the memory after the last of them."""
        known, before = memory["known"], memory["before"]
        shifts = ops.minimum(tokens[:, : self.stride], shifts_in(self.frame_size) - 1)
        codes = ops.reshape(ops.minimum(tokens[:, self.stride :], self.quantizer.codes - 1), (-1, *self.grid))
        context = self._context(before, shifts, led_by, self._order(ops.shape(tokens)[0], order))
        pictures = to_pixels(self._pictures(context, self.quantizer.lookup(codes)))
        frames = ops.where(known[:, None, None, None, None], pictures, before[:, None])
        return {"frames": frames, "memory": {"before": frames[:, -1], "known": ops.ones_like(known)}}

    def decode(self, tokens, memory, led_by):
        decoded = self._decoded(tokens, memory, led_by, range(self.stride))
        return decoded if self.stride > 1 else decoded | {"frames": decoded["frames"][:, 0]}

    def remember(self, tokens, memory, led_by):
        return self._decoded(tokens, memory, led_by, [self.stride - 1])["memory"]

    def context(self, memory):
        return memory["before"]

    def get_config(self):
        return super().get_config() | self.config
