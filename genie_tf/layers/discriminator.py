"""A small network that tells recorded frames from reconstructed ones."""

from keras import layers, ops

from genie_tf.layers.attention import SpatialAttention
from genie_tf.layers.norm import rms_normalize

WIDTHS = (32, 64, 128)  # channels of each convolution; the grid is halved after each


def blur_pool(x_BHWC):
    """Halve height and width with the filter 1, 3, 3, 1, which removes the detail that the coarse grid can't hold.

    A plain stride would keep it as aliasing, and the logits would depend on the phase of the grid.

    Args:
        x_BHWC: Tensor (B, H, W, C) with even H and W.

    Returns:
        Tensor (B, H/2, W/2, C).

    Reference:
        Zhang 2019, arXiv 1904.11486, section 3.
    """
    x = x_BHWC
    for axis in (1, 2):
        size = x.shape[axis]
        x = ops.pad(x, [(1, 1) if each == axis else (0, 0) for each in range(4)], mode="symmetric")
        a, b, c, d = (x[(slice(None),) * axis + (slice(begin, begin + size, 2),)] for begin in range(4))
        x = (a + 3.0 * b + 3.0 * c + d) / 8.0
    return x


class Discriminator(layers.Layer):
    """Judge the parts of frames: a logit for each cell of a grid of 8 x 8 pixels, high for recorded frames.

    Attention on this grid lets every logit depend on the whole frame.

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
        self.attention = SpatialAttention(heads=4, name="attention")
        self.to_logit = layers.Dense(1, dtype="float32", name="to_logit")

    def build(self, input_shape):
        for conv, channels in zip(self.convs, (input_shape[-1], *WIDTHS)):
            conv.build((None, None, None, channels))
        self.attention.build((None, 1, None, WIDTHS[-1]))
        self.to_logit.build((None, None, WIDTHS[-1]))

    def call(self, x_BHWC):
        x = x_BHWC
        for conv in self.convs:
            x = blur_pool(conv(x))
        _, rows, columns, width = x.shape
        x_BTND = ops.reshape(x, (-1, 1, rows * columns, width))
        x_BTND = x_BTND + self.attention(rms_normalize(x_BTND))
        return ops.reshape(self.to_logit(x_BTND), (-1, rows, columns))
