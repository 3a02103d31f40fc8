"""A transformer block in which every token attends to all tokens before it, in its frame and in a few past frames."""

import keras
from keras import layers, ops

from genie_tf.layers.norm import rms_normalize


@keras.saving.register_keras_serializable("genie_tf")
class CausalBlock(layers.Layer):
    """Masked causal attention and one feed-forward layer, each with a residual connection.

    Positions are relative in time, with one learnt bias per head and distance in frames, so the length of a rollout is not limited.

    Args:
        heads: Attention heads; divides the width D.
        window: Frames that a token attends to, its own included.
        expansion: Width of the feed-forward layer divided by the width of the model.

    Reference:
        Vaswani et al. 2017, arXiv 1706.03762, section 3; relative biases as in T5, arXiv 1910.10683, section 2.1.
    """

    def __init__(self, heads: int, window: int, expansion: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.window, self.expansion = heads, window, expansion

    def build(self, input_shape):
        width, policy = input_shape[-1], self.dtype_policy
        self.qkv = layers.Dense(3 * width, use_bias=False, dtype=policy, name="qkv")
        self.out = layers.Dense(width, use_bias=False, dtype=policy, name="out")
        self.widen = layers.Dense(self.expansion * width, activation="relu", dtype=policy, name="widen")
        self.narrow = layers.Dense(width, dtype=policy, name="narrow")
        for layer in (self.qkv, self.out, self.widen):
            layer.build(input_shape)
        self.narrow.build((*input_shape[:-1], self.expansion * width))
        self.distance_bias = self.add_weight(shape=(self.heads, self.window), initializer="zeros", name="bias")

    def project(self, x_BPD):
        """Queries, keys and values of P tokens, each (B, heads, P, Dh)."""
        _, P, D = x_BPD.shape
        qkv = ops.reshape(self.qkv(rms_normalize(x_BPD)), (-1, P, 3, self.heads, D // self.heads))
        return ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)

    def attend(self, x_BPD, q, keys, values, distance, seen):
        """The block's output for P tokens.

        Args:
            x_BPD: Tensor (B, P, D), the tokens.
            q: Their queries, from `project`.
            keys, values: (B, heads, S, Dh), of the tokens that they may attend to.
            distance: int32 (P, S), distances in frames.
            seen: bool (P, S) or (B, P, S), whether a token attends to another one. It must attend to one at least.

        Returns:
            Tensor (B, P, D).
        """
        _, P, D = x_BPD.shape
        bias = ops.take(ops.cast(self.distance_bias, "float32"), ops.clip(distance, 0, self.window - 1), axis=1)
        seen = ops.logical_and(seen, distance < self.window)
        if len(seen.shape) == 3:
            seen = seen[:, None]
        bias = ops.where(seen, bias, -1e9)
        scores = ops.matmul(q * q.shape[-1] ** -0.5, ops.swapaxes(keys, -1, -2))
        weights = ops.cast(ops.softmax(ops.cast(scores, "float32") + bias), q.dtype)
        x = x_BPD + self.out(ops.reshape(ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3)), (-1, P, D)))
        return x + self.narrow(self.widen(rms_normalize(x)))

    def get_config(self):
        return super().get_config() | {"heads": self.heads, "window": self.window, "expansion": self.expansion}
