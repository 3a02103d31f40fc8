"""Conversions between pixels (uint8, 0 … 255) and inputs of networks (float, -0.5 … 0.5)."""

from keras import ops

FRAME_SIZE = (64, 64)  # height and width of models whose file does not name them


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
