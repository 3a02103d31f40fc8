"""Functions of tensors: compiled for the running backend, and called on more rows than fit into memory."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops


def compiled(function):
    """Compile a function of tensors for the running backend."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def in_batches(function: Callable, take: Callable, count: int, size: int) -> np.ndarray:
    """Call a compiled function on `count` rows, `size` at a time. The last batch is filled up, so that all have one shape.

    Args:
        function: Function of tensors (size, ...) to a tensor (size, ...).
        take: Function of rows int (size,), from 0 on, to the arrays that `function` takes: one, or a tuple.

    Returns:
        Array (count, ...).
    """
    parts = []
    for begin in range(0, count, size):
        rows = np.minimum(np.arange(begin, begin + size), count - 1)
        arrays = take(rows)
        tensors = map(ops.convert_to_tensor, arrays if isinstance(arrays, tuple) else (arrays,))
        parts.append(ops.convert_to_numpy(function(*tensors))[: count - begin])
    return np.concatenate(parts)
