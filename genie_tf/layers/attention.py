"""Attention layers: spatial, within a frame, and temporal, to past frames."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("genie_tf")
class SpatialAttention(layers.Layer):
    """Every token of a frame attends to every token of the same frame.

    Args:
        heads: Number of attention heads; divides the width D.

    Call arguments:
        x_BTND: Tensor (B, T, N, D).

    Returns:
        Tensor (B, T, N, D).

    Reference:
        Genie, section 2 and Figure 4.
    """

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape):
        width = input_shape[-1]
        self.qkv = layers.Dense(3 * width, use_bias=False, dtype=self.dtype_policy, name="qkv")
        self.out = layers.Dense(width, use_bias=False, dtype=self.dtype_policy, name="out")
        self.qkv.build(input_shape)
        self.out.build(input_shape)

    def call(self, x_BTND):
        _, T, N, D = x_BTND.shape
        qkv = ops.reshape(self.qkv(x_BTND), (-1, T, N, 3, self.heads, D // self.heads))
        q, k, v = ops.unstack(ops.transpose(qkv, (3, 0, 1, 4, 2, 5)), 3)
        q = q * q.shape[-1] ** -0.5  # cheaper than scaling the scores, which are larger
        weights = ops.softmax(ops.matmul(q, ops.swapaxes(k, -1, -2)))
        x = ops.transpose(ops.matmul(weights, v), (0, 1, 3, 2, 4))
        return self.out(ops.reshape(x, (-1, T, N, D)))

    def get_config(self):
        return super().get_config() | {"heads": self.heads}


@keras.saving.register_keras_serializable("genie_tf")
class TemporalAttention(layers.Layer):
    """Every token attends to itself and to the tokens at the same place in the last `window - 1` frames.

    The keys and values of past frames are arguments. In training the past is the sequence itself; in play it is a cache. Positions
    are relative, with one learnt bias per head and distance, so the length of a rollout is not limited.

    Args:
        heads: Number of attention heads; divides the width D.
        window: Frames that a token attends to, its own included.

    Reference:
        Genie, section 2: causal temporal layers; relative biases as in T5, arXiv 1910.10683, section 2.1.
    """

    def __init__(self, heads: int, window: int, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.window = heads, window

    def build(self, input_shape):
        width = input_shape[-1]
        self.qkv = layers.Dense(3 * width, use_bias=False, dtype=self.dtype_policy, name="qkv")
        self.out = layers.Dense(width, use_bias=False, dtype=self.dtype_policy, name="out")
        self.qkv.build(input_shape)
        self.out.build(input_shape)
        self.distance_bias = self.add_weight(shape=(self.heads, self.window), initializer="zeros", name="bias")

    def project(self, x_BTND):
        """Queries, keys and values of frames, each (B, N, heads, T, Dh)."""
        _, T, N, D = x_BTND.shape
        qkv = ops.reshape(self.qkv(x_BTND), (-1, T, N, 3, self.heads, D // self.heads))
        return ops.unstack(ops.transpose(qkv, (3, 0, 2, 4, 1, 5)), 3)

    def attend(self, q, k_self, v_self, k_past, v_past, distance):
        """Attention of each of T frames to P past frames and to itself.

        Args:
            q, k_self, v_self: From `project`, (B, N, heads, T, Dh).
            k_past, v_past: Keys and values of the past frames, (B, N, heads, P, Dh).
            distance: int32 (T, P) or (B, T, P), distance in frames to each past frame. Frames with a distance outside
                1 … window - 1 are masked.

        Returns:
            Tensor (B, T, N, D).
        """
        seen = ops.logical_and(distance >= 1, distance < self.window)
        biases = ops.cast(self.distance_bias, "float32")
        bias = ops.where(seen, ops.take(biases, ops.clip(distance, 0, self.window - 1), axis=1), -1e9)  # (heads, [B,] T, P)
        if len(distance.shape) == 3:
            bias = ops.swapaxes(bias, 0, 1)[:, None]  # (B, 1, heads, T, P)
        q = q * q.shape[-1] ** -0.5
        past = ops.cast(ops.matmul(q, ops.swapaxes(k_past, -1, -2)), "float32") + bias
        own = ops.cast(ops.sum(q * k_self, axis=-1, keepdims=True), "float32") + biases[:, :1, None]
        # The softmax over past and own scores is computed in two parts, because concatenation would copy both.
        highest = ops.stop_gradient(ops.maximum(ops.max(past, axis=-1, keepdims=True), own))
        past, own = ops.exp(past - highest), ops.exp(own - highest)
        total = ops.sum(past, axis=-1, keepdims=True) + own
        x = ops.matmul(ops.cast(past / total, q.dtype), v_past) + ops.cast(own / total, q.dtype) * v_self
        x = ops.transpose(x, (0, 3, 1, 2, 4))
        return self.out(ops.reshape(x, (-1, x.shape[1], x.shape[2], x.shape[3] * x.shape[4])))

    def get_config(self):
        return super().get_config() | {"heads": self.heads, "window": self.window}
