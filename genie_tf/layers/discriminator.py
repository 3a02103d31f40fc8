"""A small network that tells recorded frames from reconstructed ones."""

from keras import layers, ops

from genie_tf.layers.attention import SpatialAttention
from genie_tf.layers.norm import rms_normalize
from genie_tf.layers.resample import Downsample

WIDTHS = (32, 64, 128)  # channels of each convolution; the grid is halved after each


class Discriminator(layers.Layer):
    """Judge the parts of frames: a logit for each cell of a grid of 8 x 8 pixels, high for recorded frames.

    Attention on this grid lets every logit depend on the whole frame. The grid is blurred before it is halved, so that the logits
    depend less on where the frame's details lie on it.

    Call arguments:
        x_BHWC: Frames float (B, H, W, 3) in about -0.5 … 0.5. H and W are multiples of 8.

    Returns:
        Logits float32 (B, H/8, W/8).

    Reference:
        Isola et al. 2017, arXiv 1611.07004, section 3.2.2, for a logit for each part. Zhang et al. 2019, arXiv 1805.08318,
        section 3, for attention in a discriminator.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convs = [
            layers.Conv2D(width, 3, padding="same", activation="leaky_relu", name=f"conv_{i}") for i, width in enumerate(WIDTHS)
        ]
        self.halve = [Downsample(space=2, name=f"halve_{i}") for i in range(len(WIDTHS))]
        self.attention = SpatialAttention(heads=4, name="attention")
        self.to_logit = layers.Dense(1, dtype="float32", name="to_logit")

    def build(self, input_shape):
        _, height, width, channels = input_shape
        for i, (conv, halve) in enumerate(zip(self.convs, self.halve)):
            conv.build((None, None, None, channels))
            channels = WIDTHS[i]
            halve.build((None, None, height >> i, width >> i, channels))
        self.attention.build((None, 1, None, WIDTHS[-1]))
        self.to_logit.build((None, None, WIDTHS[-1]))

    def call(self, x_BHWC):
        x = x_BHWC
        for conv, halve in zip(self.convs, self.halve):
            x = halve(conv(x)[:, None], ())[0][:, 0]  # a film of one frame
        _, rows, columns, width = x.shape
        x_BTND = ops.reshape(x, (-1, 1, rows * columns, width))
        x_BTND = x_BTND + self.attention(rms_normalize(x_BTND))
        return ops.reshape(self.to_logit(x_BTND), (-1, rows, columns))
