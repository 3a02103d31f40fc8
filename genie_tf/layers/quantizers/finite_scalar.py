"""Finite scalar quantization: each coordinate is rounded to one of a few levels. There is no codebook to learn."""

import math
from dataclasses import dataclass, field
from typing import Literal

import keras
import numpy as np
from keras import ops

from genie_tf.errors import UserError
from genie_tf.layers.quantizers.codes import outputs, outputs_spec


@dataclass
class FiniteScalarSettings:
    """Settings of the finite scalar quantizer.

    Args:
        kind: "finite_scalar".
        levels: Levels of each coordinate, each 2 or more. Their product is the number of codes. The paper's choices are 8 6 5 for
            2^8 codes, 8 5 5 5 for 2^10, 7 5 5 5 5 for 2^12, 8 8 8 6 5 for 2^14 and 8 8 8 5 5 5 for 2^16.
    """

    kind: Literal["finite_scalar"] = "finite_scalar"
    levels: list[int] = field(default_factory=lambda: [8, 5, 5, 5])


STEEP, PULL = 3.0, 0.01  # coordinates up to STEEP cost nothing; weight of those beyond


@keras.saving.register_keras_serializable("genie_tf")
class FiniteScalarQuantizer(keras.layers.Layer):
    """Bound each coordinate of a vector, and round it to the nearest of its levels.

    A coordinate is bounded by a hyperbolic tangent to the range of its levels. The code vectors are scaled to -1 … 1.

    Args:
        levels: Levels of each coordinate. The size D of a vector is their number, the number of codes K their product.
        seed: Not used; all quantizers take one.

    Call arguments, returns: see `genie_tf.layers.quantizers`. The loss pulls coordinates back from where the hyperbolic tangent is
    flat. Without it, a coordinate that is large in all vectors has no gradient, and the codebook can collapse to one code.

    Raises:
        UserError: a coordinate has less than two levels.

    Reference:
        Mentzer et al. 2023, arXiv 2309.15505, sections 3.1 and 3.2.
    """

    Settings = FiniteScalarSettings

    def __init__(self, levels: list[int], seed: int = 0, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if not levels or min(levels) < 2:
            raise UserError(f"quantizer.levels {levels}: each coordinate needs 2 levels or more")
        self.levels = list(levels)
        self.codes, self.code_dim = math.prod(levels), len(levels)
        self.bases = np.cumprod([1, *levels[:-1]]).astype("int32")  # value of one level of each coordinate in the index

    def lookup(self, indices):
        level = indices[..., None] // self.bases % np.array(self.levels, "int32")
        return self._vector(ops.cast(level, "float32"))

    def _vector(self, level):
        """Code vectors of levels 0 … L - 1, as floats: -1 … 1 in steps of 2 / L for an even L, and of 2 / (L - 1) for an odd L."""
        half = np.array([count // 2 for count in self.levels], "float32")
        return level / half - 1.0

    def call(self, inputs, training=False):
        x_MD = ops.reshape(inputs, (-1, self.code_dim))
        levels = np.array(self.levels, "float32")
        reach = (levels - 1.0) * (1.0 + 1e-3) / 2.0  # a little more, so that a saturated coordinate is safely rounded outwards
        middle = np.where(levels % 2 == 0, 0.5, 0.0).astype("float32")  # an even number of levels has none in the middle
        bounded_MD = ops.tanh(x_MD + np.arctanh(middle / reach)) * reach - middle
        level_MD = ops.stop_gradient(ops.round(bounded_MD)) + levels // 2
        indices_M = ops.sum(ops.cast(level_MD, "int32") * self.bases, axis=-1)
        loss = PULL * ops.mean(ops.square(ops.maximum(ops.abs(x_MD) - STEEP, 0.0)))
        return outputs(inputs, self._vector(bounded_MD + levels // 2), self._vector(level_MD), indices_M, loss, self.codes)

    def compute_output_spec(self, inputs, training=False):
        return outputs_spec(inputs)

    def get_config(self):
        return super().get_config() | {"levels": self.levels}
