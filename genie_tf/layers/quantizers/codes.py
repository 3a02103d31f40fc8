"""What all quantizers return."""

import keras
from keras import ops

from genie_tf.training.backend import over_replicas


def perplexity(indices, codes: int):
    """The exponential of the entropy of `indices` (...) among 0 … codes - 1: a scalar in 1 … codes."""
    indices_M = ops.reshape(indices, (-1,))
    counts_K = ops.segment_sum(ops.ones_like(indices_M, dtype="float32"), indices_M, num_segments=codes)
    share_K = counts_K / ops.sum(counts_K)
    return ops.exp(-ops.sum(share_K * ops.log(share_K + 1e-10)))


def outputs(inputs, x_MD, code_MD, indices_M, loss, codes: int) -> dict:
    """The dict that `call` returns.

    Args:
        inputs: The vectors (..., D).
        x_MD: The vectors that are replaced. The gradient of their codes goes to them.
        code_MD: Their code vectors.
        indices_M: Their codes.
        loss: The quantizer's own loss.
        codes: K, number of codes.
    """
    return {
        "quantized": ops.reshape(x_MD + ops.stop_gradient(code_MD - x_MD), ops.shape(inputs)),
        "indices": ops.reshape(ops.cast(indices_M, "int32"), ops.shape(inputs)[:-1]),
        "loss": loss,
        "perplexity": perplexity(over_replicas(indices_M), codes),
    }


def outputs_spec(inputs) -> dict:
    """Shapes and types of `outputs`."""
    scalar = keras.KerasTensor((), "float32")
    return {
        "quantized": keras.KerasTensor(inputs.shape, "float32"),
        "indices": keras.KerasTensor(inputs.shape[:-1], "int32"),
        "loss": scalar,
        "perplexity": scalar,
    }
