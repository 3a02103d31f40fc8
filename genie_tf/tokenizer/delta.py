"""`delta`: tokens that say only what the frame before and the action do not tell."""

import math
from dataclasses import asdict, dataclass
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.errors import UserError
from genie_tf.layers.pixels import FRAME_SIZE, from_pixels, patchify, to_pixels, unpatchify, with_noise
from genie_tf.layers.quantizers import make_quantizer
from genie_tf.layers.registration import register, rest_of_shift, shifted, shifts_in, vectors_of_shifts, whole_shift
from genie_tf.tokenizer.base import Tokenizer, table_of
from genie_tf.tokenizer.losses import ReconstructionLoss, TokenizerSettings, loss_settings

PIXELS = 4  # length of the shift whose vector has length 1; most coordinates of code vectors are at most 1
SMALL = 4 / 255  # smaller changes of a pixel are left out; from twice this on, changes count in full


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
        noise: Largest standard deviation, as a share of 255, of the noise that the decoder sees on the picture before in training.
            It learns to repair a picture, and errors add up more slowly in play.
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
    noise: float = 0.1


@keras.saving.register_keras_serializable("genie_tf")
class DeltaTokenizer(Tokenizer):
    """Converts the next frames to a few tokens, given the picture before them and the action that leads to them.

    A token grid stands for S frames. The first S tokens are the shifts, in whole pixels, with which the picture before resembles
    each of them most. The others are a coarse grid of codes, of the last frame. Encoder and decoder see the picture before, as it
    is and shifted, and the action. The decoder adds a change to the shifted picture. So scenery that only moves costs one token a
    frame. The frames between are made of the pictures before and after them, shifted, by a smaller network without codes.

    The picture before is the tokenizer's own, in training and in play, as its errors feed back. The encoder can correct them. In
    training the decoder sees it with noise of which the encoder does not know, so it learns to correct errors by itself.

    The first grid of a film has no picture before it: its last frame is given, and its tokens are 0.

    Args:
        quantizer: Settings of the quantizer, a dict with its `kind`.
        actions: A, number of actions.
        cell: Side in pixels of the square that a code stands for: 2, 4 or 8 patches.
        width: Channels of the network on squares of 2 x 2 patches and coarser; half as many on patches.
        blocks: Residual blocks of the decoder.
        patch: Side of an input patch in pixels.
        stride: S, frames that a token grid stands for.
        noise: Noise of the picture before, which the decoder sees in training: see `with_noise`.
        seed: Seed of the codebook and of the noise.
        frame_size: H and W, multiples of `cell`.
        losses: Arguments of `ReconstructionLoss`.

    Call arguments:
        inputs: A dict: `frames` uint8 (B, T, H, W, 3), T a multiple of S, 2 S or more; `actions` int (B, T / S), where action k led
            from grid k to grid k + 1 (the last is not used).
        training: Whether to add noise, to add small changes too, and to decode only one of the frames between, in the last grid, as
            they cost time.

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
        self, quantizer, actions, cell=16, width=128, blocks=2, patch=4, stride=1, noise=0.0, seed=0, frame_size=FRAME_SIZE,
        losses=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.config = dict(
            quantizer=quantizer, actions=actions, cell=cell, width=width, blocks=blocks, patch=patch, stride=stride,
            noise=noise, seed=seed, frame_size=frame_size, losses=losses,
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
        to_patches = dict(activation=None, dtype="float32", kernel_initializer="zeros")
        self.to_patches = conv(3 * patch**2, **to_patches, name="to_patches")
        self.noise, self.chance = noise, keras.random.SeedGenerator(seed, name="chance")
        if stride > 1:
            self.embed_order = layers.Embedding(stride - 1, width // 2, name="embed_order")
            self.between_fine = conv(width // 2, name="between_fine")
            self.between_block = conv(width // 2, name="between_block")
            self.between_patches = conv(3 * patch**2, **to_patches, name="between_patches")
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
        return cls(asdict(s.quantizer), actions, s.cell, s.width, s.blocks, s.patch, s.stride, s.noise, s.seed, frame_size, losses)

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

    def _context(self, before, shift, led_by):
        """What encoder and decoder know before the last frame of a grid.

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

    def _picture(self, context, quantized, training=False):
        """Frames float (B, H, W, 3), from quantized vectors (B, rows, columns, D).

        The network's change is never exactly 0. Where nothing happens, it would be added again in every step of play, and specks
        would grow. So outside of training small changes are left out.
        """
        x = self.from_code(quantized)
        for up in self.decoder_up:
            x = up(x)
        x = x + context["coarse"]
        for block in self.decoder_blocks:
            x = x + block(x)
        x = self.upsample(x) + context["fine"]
        x = x + self.decoder_fine(x)
        change = unpatchify(self.to_patches(x), self.patch)
        if not training:
            of_colours = ops.max(ops.abs(change), axis=-1, keepdims=True)
            change = change * ops.clip(of_colours / SMALL - 1.0, 0.0, 1.0)
        return context["moved"] + change

    def _between(self, before, after, shifts_BS, order_B):
        """A frame float (B, H, W, 3) between two pictures.

        Args:
            before, after: Pictures uint8 (B, H, W, 3), `after` that of the last frame of the grid.
            shifts_BS: int32 (B, S), from `_shifts`.
            order_B: int32 (B,), place of the frame in the grid, 0 … S - 2.
        """
        first, last = from_pixels(before), from_pixels(after)
        shift = ops.take_along_axis(shifts_BS, order_B[:, None], axis=1)[:, 0]
        ahead, back = shifted(first, shift), shifted(last, rest_of_shift(shifts_BS[:, -1], shift, self.frame_size))
        x = self.between_fine(patchify(ops.concatenate([first, last, ahead, back], axis=-1), self.patch))
        x = x + self.embed_order(order_B)[:, None, None]
        x = x + self.between_block(x)
        moved, known = ahead[..., :3], ahead[..., 3:]
        return moved + (1.0 - known) * back[..., :3] + unpatchify(self.between_patches(x), self.patch)

    def _all_between(self, before, after, shifts_BS):
        """All frames float (B, S - 1, H, W, 3) between two pictures."""
        count = self.stride - 1
        order = ops.repeat(ops.arange(count, dtype="int32")[None], ops.shape(before)[0], axis=0)
        before, after, shifts_BS = (ops.repeat(x, count, axis=0) for x in (before, after, shifts_BS))
        pictures = self._between(before, after, shifts_BS, ops.reshape(order, (-1,)))
        return ops.reshape(pictures, (-1, count, *self.frame_size, 3))

    def _tokens(self, shifts_BS, indices):
        return ops.concatenate([shifts_BS, ops.reshape(indices, (-1, self.tokens - self.stride))], axis=1)

    def call(self, inputs, training=False):
        films, actions = inputs["frames"], ops.cast(inputs["actions"], "int32")
        grids = films.shape[1] // self.stride
        films = ops.reshape(films, (-1, grids, self.stride, *self.frame_size, 3))
        before = films[:, 0, -1]
        tokens, shown, true, quantizations = [ops.repeat(ops.zeros_like(actions[:, :1]), self.tokens, axis=1)], [], [], []
        for k in range(1, grids):
            shifts = self._shifts(before, films[:, k])
            context = self._context(before, shifts[:, -1], actions[:, k - 1])
            quantizations.append(self._quantization(context, films[:, k, -1], training))
            if training and self.noise:
                context = self._context(with_noise(before, self.noise, self.chance), shifts[:, -1], actions[:, k - 1])
            picture = self._picture(context, quantizations[-1]["quantized"], training)
            after = to_pixels(ops.stop_gradient(picture))
            if self.stride > 1 and not training:
                shown.append(self._all_between(before, after, shifts))
                true.append(films[:, k, :-1])
            elif self.stride > 1 and k == grids - 1:
                order = keras.random.randint(ops.shape(before)[:1], 0, self.stride - 1, seed=self.chance)
                shown.append(self._between(before, after, shifts, order)[:, None])
                true.append(ops.take_along_axis(films[:, k], order[:, None, None, None, None], axis=1))
            shown.append(picture[:, None])
            true.append(films[:, k, -1:])
            tokens.append(self._tokens(shifts, quantizations[-1]["indices"]))
            before = after
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
        context = self._context(before, shifts[:, -1], led_by)
        tokens = self._tokens(shifts, self._quantization(context, frames[:, -1])["indices"])
        before = ops.where(known[:, None, None, None], before, frames[:, -1])
        return {"tokens": ops.where(known[:, None], tokens, 0), "memory": {"before": before, "known": known}}

    def remember(self, tokens, memory, led_by):
        known, before = memory["known"], memory["before"]
        codes = ops.reshape(ops.minimum(tokens[:, self.stride :], self.quantizer.codes - 1), (-1, *self.grid))
        context = self._context(before, self._shifts_of(tokens)[:, -1], led_by)
        picture = to_pixels(self._picture(context, self.quantizer.lookup(codes)))
        return {"before": ops.where(known[:, None, None, None], picture, before), "known": ops.ones_like(known)}

    def decode_last(self, tokens, memory, led_by):
        after = self.remember(tokens, memory, led_by)
        return {"frames": after["before"], "memory": after}

    def decode(self, tokens, memory, led_by):
        if self.stride == 1:
            return self.decode_last(tokens, memory, led_by)
        after = self.remember(tokens, memory, led_by)
        between = to_pixels(self._all_between(memory["before"], after["before"], self._shifts_of(tokens)))
        between = ops.where(memory["known"][:, None, None, None, None], between, after["before"][:, None])
        return {"frames": ops.concatenate([between, after["before"][:, None]], axis=1), "memory": after}

    def _shifts_of(self, tokens):
        return ops.minimum(tokens[:, : self.stride], shifts_in(self.frame_size) - 1)

    def context(self, memory):
        return memory["before"]

    def vectors(self):
        return [(self.stride, vectors_of_shifts(self.frame_size) / PIXELS), (self.tokens - self.stride, table_of(self.quantizer))]

    def get_config(self):
        return super().get_config() | self.config
