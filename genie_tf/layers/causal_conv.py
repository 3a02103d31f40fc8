"""A causal 3-D convolution that also runs as a stream.

It is the pattern of all blocks that see several frames. A block is called on the next frames of a film and on a memory, and it
returns its output and the memory after these frames. `memory(batch)` is the memory before the first frame. A whole film is one call
on this memory, so a film in parts gives what the whole film gives.
"""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("genie_tf")
class CausalConv(layers.Layer):
    """A convolution over a frame, its neighbours in space, and the frames before it.

    In space it is padded with zeros on all sides, and in time only before the first frame.

    Args:
        channels: Channels of the output.
        kernel: K, size of the kernel in time, height and width; odd.

    Call arguments:
        x_BTHWC: The next T frames.
        memory: The K - 1 frames before them, (B, K - 1, H, W, C).

    Returns:
        Tensor (B, T, H, W, channels), and the memory after these frames.

    Reference:
        Yu et al. 2023, MagViT-2, arXiv 2310.05737, section 3.2.
    """

    def __init__(self, channels: int, kernel: int = 3, **kwargs):
        super().__init__(**kwargs)
        self.channels, self.kernel = channels, kernel

    def build(self, input_shape):
        self.frame_shape = tuple(input_shape[2:])
        self.conv = layers.Conv3D(self.channels, self.kernel, dtype=self.dtype_policy, name="conv")
        self.conv.build(input_shape)

    def memory(self, batch):
        return ops.zeros((batch, self.kernel - 1, *self.frame_shape), self.compute_dtype)

    def call(self, x_BTHWC, memory):
        seen = ops.concatenate([memory, x_BTHWC], axis=1)
        side = (self.kernel // 2, self.kernel // 2)
        x = self.conv(ops.pad(seen, ((0, 0), (0, 0), side, side, (0, 0))))
        return x, seen[:, x_BTHWC.shape[1] :]

    def get_config(self):
        return super().get_config() | {"channels": self.channels, "kernel": self.kernel}
