"""Decoder: the next frame from the past and a latent action. It shifts the current frame, then predicts the remaining pixels.

A model that knows which thing an action moves, and how far, gives the decoder the current frame moved by this step as well.
"""

from typing import Any

import keras
from keras import layers, ops

from genie_tf.layers.pixels import from_pixels, patchify, unpatchify
from genie_tf.layers.registration import reach_in
from genie_tf.training.backend import over_replicas, replicas

PATCH = 4
AXES = ("columns", "rows")
RARE = 0.02  # the pixels that change weigh as much as all pixels together, or less if their share is smaller than this
DECODED = 16  # transitions of a batch that train the decoder: it is the slowest part of a model and needs fewer examples


def shift_matrix(weights_BS, side: int):
    """Weights (B, 2 R + 1) of the shifts -R … R along an axis of `side` pixels, as a matrix (B, side, side)."""
    reach = (weights_BS.shape[-1] - 1) // 2
    place = ops.arange(side, dtype="int32")
    shift = place[:, None] - place[None, :] + reach
    inside = ops.cast(ops.logical_and(shift >= 0, shift <= 2 * reach), weights_BS.dtype)
    return ops.take(weights_BS, ops.clip(shift, 0, 2 * reach), axis=1) * inside


def stepped(x_BHWC, step_B2, reach: int):
    """Pictures that are moved by a step of less than `reach` pixels. Between two pixels, they are a mean of both.

    Args:
        x_BHWC: float (B, H, W, C).
        step_B2: float32 (B, 2), columns and rows in pixels.
        reach: The largest whole number of pixels that counts.

    Returns:
        float (B, H, W, C), 0 where nothing comes into the picture.
    """
    whole = ops.arange(-reach, reach + 1, dtype="float32")
    columns, rows = (
        ops.cast(shift_matrix(ops.relu(1.0 - ops.abs(step_B2[:, axis, None] - whole)), side), x_BHWC.dtype)
        for axis, side in ((0, x_BHWC.shape[2]), (1, x_BHWC.shape[1]))
    )
    return ops.einsum("bij,bjkc,blk->bilc", rows, x_BHWC, columns)


@keras.saving.register_keras_serializable("genie_tf")
class MotionDecoder(layers.Layer):
    """Frame t + 1 from frames t - 1, t and a latent action.

    Args:
        codes: A, number of latent actions.
        width: Channels of the networks.
        frame_size: H and W, multiples of 8.
        moves: Whether a call has `moved`.

    Call arguments:
        frames: uint8 (B, 3, H, W, 3), frames t - 1, t, t + 1. Frame t + 1 is used only for the error.
        codes: int32 (B,), latent actions.
        moved: float (B, H, W, 5), if the decoder was made with `moves`: frame t, moved by the step of one thing, and two maps,
            0 … 1, of where this thing is and of where it goes.
        training: Whether to decode only 16 of the transitions.

    Returns:
        A dict: `prediction` float (B, H, W, 3) in about -0.5 … 0.5; `error`, the scalar to minimise; `psnr` in dB over the batch.

    Reference:
        Finn et al. 2016, arXiv 1605.07157, section 3: transformation of pixels.
    """

    def __init__(self, codes: int, width: int, frame_size: tuple[int, int], moves: bool = False, **kwargs):
        super().__init__(**kwargs, autocast=False)
        self.config = dict(codes=codes, width=width, frame_size=frame_size, moves=moves)
        self.frame_size: Any = tuple(frame_size)
        reach = reach_in(self.frame_size)
        half = width // 2
        self.see_past = keras.Sequential(
            [
                *(layers.Conv2D(half, 3, stride, padding="same", activation="relu") for stride in (1, 2, 2)),
                layers.Flatten(),
                layers.Dense(2 * width, activation="relu"),
            ],
            name="see_past",
        )
        self.code_gain = layers.Embedding(codes, 2 * width, name="code_gain")
        self.code_offset = layers.Embedding(codes, 2 * width, name="code_offset")
        self.mix = layers.Dense(2 * width, activation="relu", name="mix")
        self.shift = {axis: layers.Dense(2 * reach[axis] + 1, dtype="float32", name=f"{axis}_shift") for axis in AXES}
        self.paint_fine = layers.Conv2D(half, 3, padding="same", activation="relu", name="paint_fine")
        self.paint_coarse = layers.Conv2D(half, 3, 2, padding="same", activation="relu", name="paint_coarse")
        self.paint_code = layers.Embedding(codes, half, name="paint_code")
        self.paint_mix = layers.Conv2D(half, 3, padding="same", activation="relu", name="paint_mix")
        self.paint_up = layers.Conv2DTranspose(half, 4, 2, padding="same", activation="relu", name="paint_up")
        self.paint = layers.Conv2D((5 if moves else 4) * PATCH**2, 3, padding="same", dtype="float32", name="paint")

    def predict(self, frames, codes, moved=None):
        """Frame t + 1, float (B, H, W, 3), from frames t - 1 and t, uint8 (B, 2, H, W, 3), and codes int32 (B,)."""
        previous, current = ops.unstack(from_pixels(frames), 2, axis=1)
        past = ops.concatenate([patchify(previous, PATCH), patchify(current, PATCH)], axis=-1)
        h = self.see_past(past)
        h = h + self.mix(ops.relu(h * (1.0 + self.code_gain(codes)) + self.code_offset(codes)))
        rows, columns = (
            shift_matrix(ops.softmax(self.shift[axis](h)), side) for axis, side in zip(("rows", "columns"), self.frame_size)
        )
        shifted = ops.einsum("bij,bjkc,blk->bilc", rows, current, columns)
        seen = [patchify(shifted, PATCH), past]
        if moved is not None:
            seen.append(patchify(moved, PATCH))
        fine = self.paint_fine(ops.concatenate(seen, axis=-1))
        coarse = self.paint_coarse(fine) + self.paint_code(codes)[:, None, None]
        coarse = coarse + self.paint_mix(coarse)
        painted = unpatchify(self.paint(self.paint_up(coarse) + fine), PATCH)
        keep = ops.sigmoid(painted[..., :1] + 2.0)
        rest = painted[..., 1:4]
        if moved is not None:
            move = ops.sigmoid(painted[..., 4:])
            rest = move * moved[..., :3] + (1.0 - move) * rest
        return keep * shifted + (1.0 - keep) * rest

    def call(self, frames, codes, moved=None, training=False):
        if training:
            count = DECODED // replicas()
            some = ops.arange(count) * ops.shape(frames)[0] // count  # the same ones whatever the number of replicas
            frames, codes = (ops.take(each, some, axis=0) for each in (frames, codes))
            moved = None if moved is None else ops.take(moved, some, axis=0)
        prediction = self.predict(frames[:, :2], codes, moved)
        error = prediction - from_pixels(frames[:, 2])
        changed = ops.cast(ops.any(ops.not_equal(frames[:, 2], frames[:, 1]), axis=-1, keepdims=True), "float32")
        share = ops.mean(over_replicas(ops.mean(changed, axis=(1, 2, 3))))
        weight = 1.0 + changed / ops.maximum(share, RARE)
        return {
            "prediction": prediction,
            "error": 0.5 * ops.mean(weight * (ops.square(error) + 0.1 * ops.abs(error))),
            "psnr": -10.0 * ops.log10(ops.mean(ops.square(error))),
        }

    def get_config(self):
        return super().get_config() | self.config
