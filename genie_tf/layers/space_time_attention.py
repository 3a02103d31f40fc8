"""The spatio-temporal transformer block on feature maps, as a stream."""

import keras
from keras import layers, ops

from genie_tf.layers.st_block import STBlock


@keras.saving.register_keras_serializable("genie_tf")
class SpaceTimeAttention(layers.Layer):
    """An `STBlock` whose tokens are the places of a feature map.

    Frames before the first have keys and values of zero, like the frames that a causal convolution is padded with.

    Args:
        heads: Attention heads; divides the number of channels.
        window: Frames that a place attends to, its own included.

    Call arguments:
        x_BTHWC: The next T frames.
        memory: Keys and values of the `window - 1` frames before them, each (B, H W, heads, window - 1, C / heads).

    Returns:
        Tensor (B, T, H, W, C), and the memory after these frames.
    """

    def __init__(self, heads: int, window: int, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.window = heads, window

    def build(self, input_shape):
        _, _, self.height, self.width, self.channels = input_shape
        self.block = STBlock(self.heads, self.window, dtype=self.dtype_policy, name="block")
        self.block.build((None, None, self.height * self.width, self.channels))

    def memory(self, batch):
        shape = (batch, self.height * self.width, self.heads, self.window - 1, self.channels // self.heads)
        return ops.zeros(shape, self.compute_dtype), ops.zeros(shape, self.compute_dtype)

    def call(self, x_BTHWC, memory):
        T, before = x_BTHWC.shape[1], self.window - 1
        distance = ops.arange(T, dtype="int32")[:, None] - ops.arange(-before, T, dtype="int32")
        x = ops.reshape(x_BTHWC, (-1, T, self.height * self.width, self.channels))
        out = self.block(x, past=memory, distance=distance)
        pairs = zip(memory, (out["keys"], out["values"]))
        after = tuple(ops.concatenate([old, new], axis=3)[:, :, :, T:] for old, new in pairs)
        return ops.reshape(out["x"], (-1, T, self.height, self.width, self.channels)), after

    def get_config(self):
        return super().get_config() | {"heads": self.heads, "window": self.window}
