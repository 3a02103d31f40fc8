"""Lookup-free quantization: each coordinate is rounded to its sign, so that D coordinates have 2^D codes."""

from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
from keras import ops

from genie_tf.errors import UserError
from genie_tf.layers.norm import rms_normalize
from genie_tf.layers.quantizers.codes import outputs, outputs_spec
from genie_tf.training.backend import over_replicas

MOST_BITS = 18  # of one codebook: its entropy needs a table of its codes


@dataclass
class LookupFreeSettings:
    """Settings of the lookup-free quantizer.

    Args:
        kind: "lookup_free".
        bits: Number of coordinates. There are 2^bits codes.
        codebooks: Number of equal parts of the coordinates, a divisor of `bits`. Diversity is measured in each part.
        entropy: Weight of both entropies.
        diversity: Weight of the entropy of the whole batch, in units of the weight of the entropy of each vector.
        commitment: Weight of the squared distance between vectors and codes.
    """

    kind: Literal["lookup_free"] = "lookup_free"
    bits: int = 10
    codebooks: int = 1
    entropy: float = 0.001
    diversity: float = 2.0
    commitment: float = 0.0025


@keras.saving.register_keras_serializable("genie_tf")
class LookupFreeQuantizer(keras.layers.Layer):
    """Scale each vector to unit mean square, and replace each coordinate by its sign.

    The loss has three terms. The commitment is the distance between vectors and codes. The mean entropy of the codes of one vector
    is low if every vector is near its code. Minus the entropy of the mean distribution of codes over the batch is low if all codes
    are used alike. The probability of a code given a vector is a softmax of minus their squared distance, divided by the
    temperature. It is a product over the coordinates. Therefore the first entropy is a sum over coordinates, and the mean
    distribution over 2^b codes is one matrix product of two tables with 2^(b/2) columns. Both entropies are exact, and a table of
    2^18 codes takes one megabyte.

    Args:
        bits: D, number of coordinates; K = 2^D codes.
        codebooks: Number of equal parts of the coordinates. The second entropy is the sum of those of the parts.
        entropy: Weight of the two entropies in nats.
        diversity: Weight of the second entropy, in units of the first.
        commitment: Weight of the mean squared distance between the scaled vectors and their codes.
        temperature: Temperature of the softmax.
        seed: Not used; all quantizers take one.

    Call arguments, returns: see `genie_tf.layers.quantizers`.

    Raises:
        UserError: the codebooks do not divide the bits, or one has more than `MOST_BITS`.

    Reference:
        Yu et al. 2023, MagViT-2, arXiv 2310.05737, section 3.1 and equations 3 to 5.
    """

    Settings = LookupFreeSettings

    def __init__(
        self,
        bits: int,
        codebooks: int = 1,
        entropy: float = 0.001,
        diversity: float = 2.0,
        commitment: float = 0.0025,
        temperature: float = 1.0,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if codebooks < 1 or bits < 1 or bits % codebooks or bits // codebooks > MOST_BITS:
            raise UserError(
                f"quantizer.bits {bits}, quantizer.codebooks {codebooks}: equal parts are needed, of {MOST_BITS} bits or less"
            )
        self.settings = dict(
            bits=bits, codebooks=codebooks, entropy=entropy, diversity=diversity, commitment=commitment, temperature=temperature
        )
        self.codebooks, self.entropy, self.diversity = codebooks, entropy, diversity
        self.commitment, self.temperature = commitment, temperature
        self.codes, self.code_dim = 2**bits, bits
        self.bases = (2 ** np.arange(bits)).astype("int32")

    def lookup(self, indices):
        return 2.0 * ops.cast(indices[..., None] // self.bases % 2, "float32") - 1.0

    def call(self, inputs, training=False):
        x_MD = rms_normalize(ops.reshape(inputs, (-1, self.code_dim)))
        positive_MD = ops.cast(x_MD > 0, "int32")
        code_MD = 2.0 * ops.cast(positive_MD, "float32") - 1.0
        indices_M = ops.sum(positive_MD * self.bases, axis=-1)
        entropies = self.entropies(over_replicas(x_MD))
        loss = self.commitment * ops.mean(ops.square(x_MD - code_MD)) + self.entropy * (
            entropies["of_a_vector"] - self.diversity * entropies["of_the_batch"]
        )
        return outputs(inputs, x_MD, code_MD, indices_M, loss, self.codes)

    def entropies(self, x_MD):
        """Two entropies of the codes in nats, a dict of scalars: `of_a_vector`, the mean over vectors; `of_the_batch`."""
        logits_MD = 4.0 * x_MD / self.temperature  # the squared distances to -1 and +1 differ by 4 x
        p_MD, q_MD = ops.sigmoid(logits_MD), ops.sigmoid(-logits_MD)
        of_a_vector = -(p_MD * ops.log_sigmoid(logits_MD) + q_MD * ops.log_sigmoid(-logits_MD))
        pairs = zip(ops.split(p_MD, self.codebooks, axis=1), ops.split(q_MD, self.codebooks, axis=1))
        return {
            "of_a_vector": ops.mean(ops.sum(of_a_vector, axis=1)),
            "of_the_batch": sum(entropy_of_mean(p, q) for p, q in pairs),
        }

    def compute_output_spec(self, inputs, training=False):
        return outputs_spec(inputs)

    def get_config(self):
        return super().get_config() | self.settings


def probabilities(p_Mb, q_Mb):
    """Probability of every combination of b coins: (M, 2^b), given those of heads and tails of each."""
    x = ops.ones_like(p_Mb[:, :1])
    for bit in range(p_Mb.shape[1]):
        x = ops.concatenate([x * q_Mb[:, bit : bit + 1], x * p_Mb[:, bit : bit + 1]], axis=1)
    return x


def entropy_of_mean(p_Mb, q_Mb):
    """Entropy in nats of the mean over M vectors of the distribution over 2^b codes, given the probabilities of each bit."""
    half = p_Mb.shape[1] // 2
    low, high = probabilities(p_Mb[:, :half], q_Mb[:, :half]), probabilities(p_Mb[:, half:], q_Mb[:, half:])
    mean = ops.matmul(ops.transpose(low), high) / ops.cast(ops.shape(p_Mb)[0], "float32")
    return -ops.sum(mean * ops.log(mean + 1e-10))
