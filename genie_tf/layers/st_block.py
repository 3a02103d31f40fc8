"""The spatio-temporal transformer block, over frames whose past is at hand."""

import keras
from keras import layers, ops

from genie_tf.layers.attention import SpatialAttention, TemporalAttention


@keras.saving.register_keras_serializable("genie_tf")
class STBlock(layers.Layer):
    """Attention within the frame, attention to the past, then one feed-forward layer, each added to its input.

    Args:
        heads: Attention heads.
        window: Frames a token sees through time, its own included.
        expansion: Width of the feed-forward layer over the width of the model.

    Reference:
        Genie, section 2. ReLU and RMS norm in place of GELU and LayerNorm: element-wise passes are what costs time on a CPU.
    """

    def __init__(self, heads: int, window: int, expansion: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.window, self.expansion = heads, window, expansion

    def build(self, input_shape):
        width = input_shape[-1]
        policy = self.dtype_policy
        self.norm_space = layers.RMSNormalization(dtype=policy, name="norm_space")
        self.norm_time = layers.RMSNormalization(dtype=policy, name="norm_time")
        self.norm_feed = layers.RMSNormalization(dtype=policy, name="norm_feed")
        self.space = SpatialAttention(self.heads, dtype=policy, name="space")
        self.time = TemporalAttention(self.heads, self.window, dtype=policy, name="time")
        self.widen = layers.Dense(self.expansion * width, activation="relu", dtype=policy, name="widen")
        self.narrow = layers.Dense(width, dtype=policy, name="narrow")
        for layer in (self.norm_space, self.norm_time, self.norm_feed, self.space, self.time, self.widen):
            layer.build(input_shape)
        self.narrow.build((*input_shape[:-1], self.expansion * width))

    def call(self, x_BTND, past=None, distance=None):
        """One block over T frames.

        Args:
            x_BTND: Tensor (B, T, N, D).
            past: A pair of tensors (B, N, heads, P, Dh), keys and values of past frames, or None: the first P of the T frames.
            distance: int32 (T, P), how far back each past frame lies; one that is not in the past is not seen.

        Returns:
            A dict: `x` (B, T, N, D), and `keys`, `values` (B, N, heads, T, Dh) of these frames, to be handed in as a past.
        """
        x = x_BTND
        x = x + self.space(self.norm_space(x))
        q, k, v = self.time.project(self.norm_time(x))
        seen = distance.shape[-1]
        k_past, v_past = past if past is not None else (k[..., :seen, :], v[..., :seen, :])
        x = x + self.time.attend(q, k, v, k_past, v_past, distance)
        x = x + self.narrow(self.widen(self.norm_feed(x)))
        return {"x": x, "keys": k, "values": v}

    def get_config(self):
        return super().get_config() | {"heads": self.heads, "window": self.window, "expansion": self.expansion}


def distances(frames: int):
    """How far frame s lies before frame t, for all pairs of one sequence: int32 (T, T)."""
    t = ops.arange(frames, dtype="int32")
    return t[:, None] - t[None, :]
