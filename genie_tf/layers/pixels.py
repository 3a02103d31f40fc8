"""Conversions between pixels (uint8, 0 … 255) and inputs of networks (float, -0.5 … 0.5), and noise."""

import keras
from keras import ops

FRAME_SIZE = (64, 64)  # height and width of models whose file does not name them
SQUARE = 4  # side in pixels of the squares with a noise of their own


def from_pixels(frames):
    """Convert uint8 (..., H, W, C) to float32 in -0.5 … 0.5."""
    return ops.cast(frames, "float32") / 255.0 - 0.5


def to_pixels(x):
    """Convert floats to uint8. Values are clipped to -0.5 … 0.5."""
    return ops.cast(ops.round(ops.clip(ops.cast(x, "float32") + 0.5, 0.0, 1.0) * 255.0), "uint8")


def patchify(x_BHWC, patch: int):
    """Convert each patch to one vector: (B, H, W, C) to (B, H/patch, W/patch, patch * patch * C)."""
    _, height, width, channels = x_BHWC.shape
    rows, columns = height // patch, width // patch
    x = ops.reshape(x_BHWC, (-1, rows, patch, columns, patch, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows, columns, patch * patch * channels))


def unpatchify(x_BRQE, patch: int):
    """The inverse of `patchify`."""
    _, rows, columns, size = x_BRQE.shape
    x = ops.reshape(x_BRQE, (-1, rows, columns, patch, patch, size // patch**2))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows * patch, columns * patch, size // patch**2))


def with_noise(pictures, noise: float, seed: keras.random.SeedGenerator):
    """Add noise of single pixels, and noise of squares of 4 x 4 pixels, to pictures.

    A model that makes a picture from its own last one adds an error in every step. With noise in training it learns to remove them.

    Args:
        pictures: uint8 (B, H, W, 3), H and W multiples of 4.
        noise: Largest standard deviation of the noise of single pixels, as a share of 255; that of squares is half of it. The
            standard deviations of a picture are drawn uniformly from 0 to the largest.
        seed: Random generator.

    Returns:
        uint8 (B, H, W, 3).

    Reference:
        Valevski et al. 2024, GameNGen, arXiv 2408.14837, section 3.2.1, noise on the frames before; here the model is not told its
        level.
    """
    x = from_pixels(pictures)
    batch, (height, width) = ops.shape(x)[0], x.shape[1:3]
    for side, largest in ((1, noise), (SQUARE, noise / 2)):
        drawn = keras.random.normal((batch, height // side, width // side, 3), seed=seed)
        drawn = ops.repeat(ops.repeat(drawn, side, axis=1), side, axis=2)
        x = x + keras.random.uniform((batch, 1, 1, 1), 0.0, largest, seed=seed) * drawn
    return to_pixels(x)
