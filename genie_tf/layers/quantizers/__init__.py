"""Quantizers, by kind: they replace each vector by one of a finite number of codes.

A quantizer is a Keras layer with these attributes:

- `Settings`: the dataclass of its settings, without `seed`.
- `codes`: K, number of codes.
- `code_dim`: D, size of the vectors.
- `call(inputs, training)`: from vectors (..., D) to a dict: `quantized` (..., D), with a straight-through gradient to `inputs`;
  `indices` int32 (...) in 0 … K - 1; the scalars `loss`, the quantizer's own loss, and `perplexity` in 1 … K, of the batch's codes.
- `lookup(indices)`: from indices (...) to code vectors (..., D).

All compute in float32, also in a model of bfloat16. With several replicas, each sees the codes of the whole batch.
"""

from pkgutil import resolve_name

KINDS = {
    "vector": "genie_tf.layers.quantizers.vector:VectorQuantizer",
    "finite_scalar": "genie_tf.layers.quantizers.finite_scalar:FiniteScalarQuantizer",
    "lookup_free": "genie_tf.layers.quantizers.lookup_free:LookupFreeQuantizer",
}
"""`vector`: the nearest vector of a learnt codebook. `finite_scalar`: each coordinate is rounded to a few levels. `lookup_free`:
only the sign of each coordinate is kept."""


def make_quantizer(settings: dict, seed: int = 0):
    """Make the layer.

    Args:
        settings: The fields of a quantizer's `Settings`.
        seed: Seed of the codebook, if the quantizer has one.

    Raises:
        UserError: a setting is invalid.
    """
    fields = dict(settings)
    return resolve_name(KINDS[fields.pop("kind")])(**fields, seed=seed, name="quantizer")
