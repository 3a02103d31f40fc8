"""Compile functions of tensors for the current backend, and call them in batches."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops


def compiled(function):
    """Compile a function of tensors for the current backend."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)  # there is no Python control flow to convert
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def in_batches(function: Callable, take: Callable, count: int, size: int) -> np.ndarray:
    """Call a compiled function on `count` rows, `size` at a time. The last batch is padded, so that all batches have one shape.

    Args:
        function: Function from tensors (size, ...) to a tensor (size, ...).
        take: Function from rows int (size,), numbered from 0, to the arguments of `function`: one array or a tuple.
        count: Number of rows.
        size: Batch size.

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


def replicas() -> int:
    """Number of replicas that each compute a part of the batch. On JAX it is 1: a tensor of a distributed batch holds all parts."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    return 1


def whole_gradients(gradients: list) -> list:
    """The sums of gradients over the replicas, as dense tensors: TensorFlow's of an embedding is sparse. None stays None."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        dense = [tf.convert_to_tensor(gradient) for gradient in gradients if gradient is not None]
        if replicas() > 1:
            dense = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, dense)
        each = iter(dense)
        return [None if gradient is None else next(each) for gradient in gradients]
    return gradients


def over_replicas(x):
    """A tensor of each replica (M, ...), joined along the first axis: (replicas * M, ...). Gradients flow back to each part.

    On JAX, a tensor of a distributed batch already holds all parts.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            return tf.ensure_shape(context.all_gather(x, axis=0), (None, *x.shape[1:]))
    return x
