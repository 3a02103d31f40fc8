"""Group normalization of each frame by itself, so that no frame depends on a later one."""

import math

import keras
from keras import layers, ops

GROUP = 16  # channels that are normalized together, or the largest divisor that both numbers have


@keras.saving.register_keras_serializable("genie_tf")
class FrameNorm(layers.Layer):
    """Normalize groups of channels over the height and width of each frame, with a learnt gain and offset per channel.

    Args:
        affine: Whether there are a gain and an offset.

    Call arguments:
        x_BTHWC: Tensor (B, T, H, W, C).

    Returns:
        Tensor (B, T, H, W, C).

    Reference:
        Wu and He 2018, arXiv 1803.08494; 16 channels a group as in Table 3.
    """

    def __init__(self, affine: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.affine = affine

    def build(self, input_shape):
        self.frame_shape = tuple(input_shape[2:])
        channels = self.frame_shape[-1]
        groups = channels // math.gcd(GROUP, channels)
        options = dict(center=self.affine, scale=self.affine, dtype=self.dtype_policy)
        self.norm = layers.GroupNormalization(groups, name="norm", **options)
        self.norm.build((None, *self.frame_shape))

    def call(self, x_BTHWC):
        x = self.norm(ops.reshape(x_BTHWC, (-1, *self.frame_shape)))
        return ops.reshape(x, (-1, x_BTHWC.shape[1], *self.frame_shape))

    def get_config(self):
        return super().get_config() | {"affine": self.affine}


@keras.saving.register_keras_serializable("genie_tf")
class AdaptiveNorm(layers.Layer):
    """Normalize each frame. A style vector decides the gain and the offset of each channel; at the start they are 1 and 0.

    Args:
        style: D, size of a style vector.

    Call arguments:
        x_BTHWC: Tensor (B, T, H, W, C).
        memory: `()`, as no frame depends on others.
        style_BGD: One vector for each T / G frames, (B, G, D).

    Returns:
        Tensor (B, T, H, W, C), and `()`.

    Reference:
        Yu et al. 2023, MagViT-2, arXiv 2310.05737, section 3.2.
    """

    def __init__(self, style: int, **kwargs):
        super().__init__(**kwargs)
        self.style = style

    def build(self, input_shape):
        self.norm = FrameNorm(affine=False, dtype=self.dtype_policy, name="norm")
        self.to_affine = layers.Dense(2 * input_shape[-1], kernel_initializer="zeros", dtype=self.dtype_policy, name="to_affine")
        self.norm.build(input_shape)
        self.to_affine.build((None, None, self.style))

    def memory(self, batch):
        return ()

    def call(self, x_BTHWC, memory, style_BGD):
        affine = ops.repeat(self.to_affine(style_BGD), x_BTHWC.shape[1] // style_BGD.shape[1], axis=1)
        gain, offset = ops.split(affine[:, :, None, None], 2, axis=-1)
        return self.norm(x_BTHWC) * (1.0 + gain) + offset, ()

    def get_config(self):
        return super().get_config() | {"style": self.style}
