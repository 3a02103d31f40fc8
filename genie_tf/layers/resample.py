"""Down-sampling with a blur, and up-sampling that moves channels to pixels and frames."""

import keras
import numpy as np
from keras import layers, ops


def triangle(factor: int) -> np.ndarray:
    """The weights (2 factor - 1,) of the blur, a triangle with sum 1: 1 2 1 over 4 for a factor of 2."""
    box = np.full(factor, 1 / factor)
    return np.convolve(box, box)


def blur_matrix(size: int, factor: int) -> np.ndarray:
    """The matrix float32 (size / factor, size) that blurs and down-samples a side. Beyond the edge, the edge is repeated."""
    matrix = np.zeros((size // factor, size), np.float32)
    for i in range(len(matrix)):
        first = factor * i - factor // 2  # the middle of the triangle is in the middle of the cell
        for tap, weight in enumerate(triangle(factor)):
            matrix[i, np.clip(first + tap, 0, size - 1)] += weight
    return matrix


@keras.saving.register_keras_serializable("genie_tf")
class Downsample(layers.Layer):
    """Blur the frames and take every n-th pixel of both sides, and every n-th frame.

    In time, the last tap of the blur is the last frame of a group. There are zeros before the first frame.

    Args:
        space: Factor of the height and the width; divides both.
        time: F, factor of the frames; divides their number in each call.

    Call arguments:
        x_BTHWC: The next T frames.
        memory: The F - 1 frames before them at the lower resolution; `()` if F is 1.

    Returns:
        Tensor (B, T / F, H / space, W / space, C), and the memory after these frames.

    Reference:
        Zhang 2019, arXiv 1904.11486, section 3.2, with the triangle filter.
    """

    def __init__(self, space: int = 1, time: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.space, self.time = space, time

    def build(self, input_shape):
        _, _, height, width, channels = input_shape
        self.frame_shape = (height // self.space, width // self.space, channels)
        self.rows, self.columns = blur_matrix(height, self.space), blur_matrix(width, self.space)

    def memory(self, batch):
        return ops.zeros((batch, self.time - 1, *self.frame_shape), self.compute_dtype) if self.time > 1 else ()

    def call(self, x_BTHWC, memory):
        x, (_, T, height, width, channels) = x_BTHWC, x_BTHWC.shape
        if self.space > 1:
            x = ops.matmul(ops.cast(self.rows, x.dtype), ops.reshape(x, (-1, height, width * channels)))
            x = ops.matmul(ops.cast(self.columns, x.dtype), ops.reshape(x, (-1, width, channels)))
            x = ops.reshape(x, (-1, T, *self.frame_shape))
        if self.time > 1:
            seen = ops.concatenate([memory, x], axis=1)
            steps = T // self.time
            x = sum(weight * seen[:, tap :: self.time][:, :steps] for tap, weight in enumerate(triangle(self.time).tolist()))
            memory = seen[:, T:]
        return x, memory

    def get_config(self):
        return super().get_config() | {"space": self.space, "time": self.time}


@keras.saving.register_keras_serializable("genie_tf")
class Upsample(layers.Layer):
    """Project each vector to several ones, and lay them out in space and in time. The number of channels stays.

    Args:
        space: Factor of the height and the width.
        time: F, factor of the frames.

    Call arguments:
        x_BTHWC: Tensor (B, T, H, W, C).
        memory: `()`, as no frame depends on others.

    Returns:
        Tensor (B, F T, space H, space W, C), and `()`.

    Reference:
        Yu et al. 2023, MagViT-2, arXiv 2310.05737, section 3.2, "depth-to-space".
    """

    def __init__(self, space: int = 1, time: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.space, self.time = space, time

    def build(self, input_shape):
        several = self.time * self.space**2 * input_shape[-1]
        self.project = layers.Dense(several, dtype=self.dtype_policy, name="project")
        self.project.build(input_shape)

    def memory(self, batch):
        return ()

    def call(self, x_BTHWC, memory=()):
        _, T, height, width, channels = x_BTHWC.shape
        x = ops.reshape(self.project(x_BTHWC), (-1, T, height, width, self.time, self.space, self.space, channels))
        x = ops.transpose(x, (0, 1, 4, 2, 5, 3, 6, 7))
        return ops.reshape(x, (-1, T * self.time, height * self.space, width * self.space, channels)), ()

    def get_config(self):
        return super().get_config() | {"space": self.space, "time": self.time}
