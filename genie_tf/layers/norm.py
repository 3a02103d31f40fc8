"""Root-mean-square normalization."""

from keras import ops


def rms_normalize(x):
    """Scale vectors (..., D) to unit mean square, in their own precision.

    It has no gain. A Dense layer follows and can learn the same scale, and a gain would cost two passes over memory.

    Reference:
        Zhang and Sennrich 2019, arXiv 1910.07467, section 3.
    """
    return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-6)
