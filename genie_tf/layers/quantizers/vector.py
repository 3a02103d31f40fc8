"""Vector quantization. The codebook is a moving average, and dead codes are reinitialised."""

from dataclasses import dataclass
from typing import Literal

import keras
from keras import ops

from genie_tf.layers.norm import rms_normalize
from genie_tf.layers.quantizers.codes import outputs, outputs_spec
from genie_tf.training.backend import over_replicas


@dataclass
class VectorSettings:
    """Settings of the vector quantizer.

    Args:
        kind: "vector".
        codes: Size of the codebook.
        code_dim: Size of a code.
    """

    kind: Literal["vector"] = "vector"
    codes: int = 1024
    code_dim: int = 32


@keras.saving.register_keras_serializable("genie_tf")
class VectorQuantizer(keras.layers.Layer):
    """Replace each vector, scaled to unit mean square, by the nearest code vector of a codebook.

    The codebook is the ratio of two moving averages: the sum of the vectors assigned to a code, and their number. No gradient flows
    to it. A code is dead if its number is below `dead_below` times the mean of all codes. A dead code is moved to a vector of the
    batch plus noise. Without noise, it could equal another code and become dead again. All codes are initialised as almost dead,
    so the first batches initialise the codebook. The chosen vectors depend only on the weights and the batch, so a resumed
    training chooses the same vectors.

    Args:
        codes: K, number of codes.
        code_dim: D, size of a code.
        commitment: Weight of the mean squared distance between the scaled vectors and their codes, the quantizer's loss.
        decay: Weight of the past in the moving averages, 0 to 1.
        dead_below: A code is dead below this fraction of an even share of the vectors.
        seed: Seed of the initial codebook and of the noise.

    Call arguments, returns: see `genie_tf.layers.quantizers`. In training, the codebook is updated.

    Reference:
        van den Oord et al. 2017, arXiv 1711.00937, section 3 and appendix A.1.
    """

    Settings = VectorSettings

    def __init__(
        self,
        codes: int,
        code_dim: int,
        commitment: float = 0.0025,
        decay: float = 0.99,
        dead_below: float = 0.03,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32"} | kwargs)  # bfloat16 is too imprecise for sums of many vectors
        self.codes, self.code_dim, self.commitment = codes, code_dim, commitment
        self.decay, self.dead_below, self.seed = decay, dead_below, seed

    def build(self, input_shape):
        average = {"trainable": False, "aggregation": "mean"}
        few, normal = keras.initializers.Constant(1e-3), keras.initializers.RandomNormal(stddev=1e-3, seed=self.seed)
        self.code_count_K = self.add_weight(shape=(self.codes,), initializer=few, name="code_count", **average)
        self.code_sum_KD = self.add_weight(shape=(self.codes, self.code_dim), initializer=normal, name="code_sum", **average)
        self.updates = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", name="updates", trainable=False, aggregation="only_first_replica"
        )

    @property
    def codebook_KD(self):
        return self.code_sum_KD / ops.maximum(self.code_count_K, 1e-6)[:, None]

    def lookup(self, indices):
        return ops.take(self.codebook_KD, indices, axis=0)

    def call(self, inputs, training=False):
        x_MD = rms_normalize(ops.reshape(inputs, (-1, self.code_dim)))
        codebook_KD = self.codebook_KD
        distance_MK = ops.sum(ops.square(codebook_KD), axis=1) - 2.0 * ops.matmul(x_MD, ops.transpose(codebook_KD))
        indices_M = ops.argmin(ops.stop_gradient(distance_MK), axis=1)
        code_MD = ops.stop_gradient(ops.take(codebook_KD, indices_M, axis=0))
        if training:
            self._update(over_replicas(ops.stop_gradient(x_MD)), over_replicas(indices_M))
        loss = self.commitment * ops.mean(ops.square(x_MD - code_MD))
        return outputs(inputs, x_MD, code_MD, indices_M, loss, self.codes)

    def _update(self, x_MD, indices_M):
        """Update the moving averages with the vectors of this batch and their codes, and move the dead codes to vectors of it."""
        chosen_MK = ops.one_hot(indices_M, self.codes, dtype="float32")
        count_K = self.decay * self.code_count_K + (1 - self.decay) * ops.sum(chosen_MK, axis=0)
        sum_KD = self.decay * self.code_sum_KD + (1 - self.decay) * ops.matmul(ops.transpose(chosen_MK), x_MD)
        even_share = ops.mean(count_K)
        picks_K = (ops.arange(self.codes, dtype="int32") * 7919 + self.updates * 104729) % ops.shape(x_MD)[0]
        noise_KD = keras.random.normal((self.codes, self.code_dim), stddev=0.1, seed=self.seed)
        dead_K = count_K < self.dead_below * even_share
        trial = 3 * self.dead_below * even_share  # if a moved code is not used, it is soon dead again
        revived_KD = (ops.take(x_MD, picks_K, axis=0) + noise_KD) * trial
        self.code_sum_KD.assign(ops.where(dead_K[:, None], revived_KD, sum_KD))
        self.code_count_K.assign(ops.where(dead_K, trial, count_K))
        self.updates.assign((self.updates + 1) % 10000)  # keeps the product of `picks_K` within 32 bits

    def compute_output_spec(self, inputs, training=False):
        return outputs_spec(inputs)

    def get_config(self):
        names = ("codes", "code_dim", "commitment", "decay", "dead_below", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}
