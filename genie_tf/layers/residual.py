"""A residual block of causal convolutions."""

import keras
from keras import layers, ops

from genie_tf.layers.causal_conv import CausalConv
from genie_tf.layers.frame_norm import FrameNorm


@keras.saving.register_keras_serializable("genie_tf")
class ResidualBlock(layers.Layer):
    """Normalization, swish and causal convolution, twice, added to the input.

    If the number of channels changes, the input is projected.

    Args:
        channels: Channels of the output.

    Call arguments:
        x_BTHWC: The next T frames.
        memory: A pair, the memories of both convolutions.

    Returns:
        Tensor (B, T, H, W, channels), and the memory after these frames.

    Reference:
        Yu et al. 2023, MagViT-2, arXiv 2310.05737, section 3.2 and appendix A.
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, input_shape):
        inner, policy = (*input_shape[:-1], self.channels), self.dtype_policy
        self.norms = [FrameNorm(dtype=policy, name=f"norm_{i}") for i in range(2)]
        self.convs = [CausalConv(self.channels, dtype=policy, name=f"conv_{i}") for i in range(2)]
        for norm, conv, shape in zip(self.norms, self.convs, (input_shape, inner)):
            norm.build(shape)
            conv.build(shape)
        self.project = None
        if input_shape[-1] != self.channels:
            self.project = layers.Dense(self.channels, dtype=policy, name="project")
            self.project.build(input_shape)

    def memory(self, batch):
        return tuple(conv.memory(batch) for conv in self.convs)

    def call(self, x_BTHWC, memory):
        x, after = x_BTHWC, []
        for norm, conv, seen in zip(self.norms, self.convs, memory):
            x, seen = conv(ops.silu(norm(x)), seen)
            after.append(seen)
        return x + (x_BTHWC if self.project is None else self.project(x_BTHWC)), tuple(after)

    def get_config(self):
        return super().get_config() | {"channels": self.channels}
