"""The spatio-temporal transformer block."""

import keras
from keras import layers, ops

from genie_tf.layers.attention import SpatialAttention, TemporalAttention
from genie_tf.layers.norm import rms_normalize


@keras.saving.register_keras_serializable("genie_tf")
class STBlock(layers.Layer):
    """Spatial attention, temporal attention and one feed-forward layer, each with a residual connection.

    Args:
        heads: Attention heads.
        window: Frames that a token attends to, its own included.
        expansion: Width of the feed-forward layer divided by the width of the model.

    Reference:
        Genie, section 2. ReLU and RMS norm replace GELU and LayerNorm, and there are fewer biases, because element-wise operations
        are slow on a CPU.
    """

    def __init__(self, heads: int, window: int, expansion: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.window, self.expansion = heads, window, expansion

    def build(self, input_shape):
        width = input_shape[-1]
        policy = self.dtype_policy
        self.space = SpatialAttention(self.heads, dtype=policy, name="space")
        self.time = TemporalAttention(self.heads, self.window, dtype=policy, name="time")
        self.widen = layers.Dense(self.expansion * width, activation="relu", dtype=policy, name="widen")
        self.narrow = layers.Dense(width, dtype=policy, name="narrow")
        for layer in (self.space, self.time, self.widen):
            layer.build(input_shape)
        self.narrow.build((*input_shape[:-1], self.expansion * width))

    def call(self, x_BTND, past=None, distance=None):
        """One block over T frames.

        Args:
            x_BTND: Tensor (B, T, N, D).
            past: A pair of tensors (B, N, heads, ≤ P, Dh), keys and values of past frames; None if there are none. The first of the
                T frames follow them, up to P.
            distance: int32 (T, P) or (B, T, P), distance in frames to each past frame. Frames that are not in the past are masked.

        Returns:
            A dict: `x` (B, T, N, D), and `keys`, `values` (B, N, heads, T, Dh) of these frames, for use as a past.
        """
        x = x_BTND + self.space(rms_normalize(x_BTND))
        q, k, v = self.time.project(rms_normalize(x))
        if own := distance.shape[-1] - (0 if past is None else past[0].shape[3]):
            first = [ops.split(each, [own], axis=3)[0] for each in (k, v)]  # a slice's gradient would copy the whole tensor
            past = first if past is None else [ops.concatenate(both, axis=3) for both in zip(past, first)]
        k_past, v_past = past
        x = x + self.time.attend(q, k, v, k_past, v_past, distance)
        x = x + self.narrow(self.widen(rms_normalize(x)))
        return {"x": x, "keys": k, "values": v}

    def remember(self, x_BTND):
        """Keys and values (B, N, heads, T, Dh) of T frames for later frames, the same as from `call`."""
        x = x_BTND + self.space(rms_normalize(x_BTND))
        return self.time.project(rms_normalize(x))[1:]

    def get_config(self):
        return super().get_config() | {"heads": self.heads, "window": self.window, "expansion": self.expansion}


def distances(frames: int):
    """Distances t - s between all frames t and s of one sequence: int32 (T, T)."""
    t = ops.arange(frames, dtype="int32")
    return t[:, None] - t[None, :]


# The past as a cache of keys and values, for one frame after another --------------------------------


def empty_past(blocks: list[STBlock], batch: int, places: int, width: int) -> dict:
    """An empty cache of the keys and values of blocks of one size.

    Args:
        blocks: The blocks. Their window holds W frames.
        batch: B.
        places: N, tokens of a frame.
        width: D, width of the blocks.

    Returns:
        A dict: `age` int32 (B,), the number of frames so far; `layers`, for each block its keys and values (B, N, heads, S, Dh),
        the oldest first. S is W - 1, at least 1.
    """
    heads, slots = blocks[0].heads, max(blocks[0].window - 1, 1)  # attention to no slot has no maximum; this one is masked
    empty = ops.zeros((batch, places, heads, slots, width // heads), blocks[0].compute_dtype)
    return {"age": ops.zeros((batch,), "int32"), "layers": [(empty, empty) for _ in blocks]}


def slot_distances(past: dict):
    """Distance in frames from the next frame to each slot of a cache: int32 (B, 1, S), 0 for an empty slot, which is ignored."""
    slots = past["layers"][0][0].shape[3]
    age_of_slot = slots - ops.arange(slots, dtype="int32")
    return ops.where(age_of_slot <= past["age"][:, None, None], age_of_slot, 0)


def extended(past: dict, new) -> dict:
    """The cache after one more frame. The oldest frame is dropped.

    Args:
        past: The cache before.
        new: For each block the frame's keys and values (B, N, heads, 1, Dh).
    """
    rolled = [
        tuple(ops.concatenate([old[:, :, :, 1:], latest], axis=3) for old, latest in zip(*pairs))
        for pairs in zip(past["layers"], new)
    ]
    return {"age": past["age"] + 1, "layers": rolled}
