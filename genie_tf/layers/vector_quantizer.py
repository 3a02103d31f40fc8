"""Vector quantization. The codebook is a moving average, and dead codes are reinitialised."""

import keras
from keras import ops


def perplexity(indices, codes: int):
    """The exponential of the entropy of `indices` (...) among 0 … codes - 1: a scalar in 1 … codes."""
    share_K = ops.mean(ops.one_hot(ops.reshape(indices, (-1,)), codes, dtype="float32"), axis=0)
    return ops.exp(-ops.sum(share_K * ops.log(share_K + 1e-10)))


@keras.saving.register_keras_serializable("genie_tf")
class VectorQuantizer(keras.layers.Layer):
    """Replace each vector by the nearest code vector of a codebook.

    The codebook is the ratio of two moving averages: the sum of the vectors assigned to a code, and their number. No gradient flows
    to it. A code is dead if its number is below `dead_below` times the mean of all codes. A dead code is moved to a vector of the
    batch plus noise. Without noise, it could equal another code and become dead again. All codes are initialised as almost dead,
    so the first batches initialise the codebook. The chosen vectors depend only on the weights and the batch, so a resumed
    training chooses the same vectors.

    Args:
        codes: K, number of codes.
        code_dim: D, size of a code.
        decay: Weight of the past in the moving averages, 0 to 1.
        dead_below: A code is dead below this fraction of an even share of the vectors.
        seed: Seed of the initial codebook and of the noise.

    Call arguments:
        inputs: Tensor (..., D), best with unit mean square.
        training: Whether to update the codebook.

    Returns:
        A dict: `quantized` (..., D), with a straight-through gradient to `inputs`; `indices` (...) int32; `commitment`, a scalar,
        the mean squared distance between `inputs` and their codes; `perplexity`, a scalar in 1 … K, of the codes in the batch.

    Reference:
        van den Oord et al. 2017, arXiv 1711.00937, section 3 and appendix A.1.
    """

    def __init__(self, codes: int, code_dim: int, decay: float = 0.99, dead_below: float = 0.03, seed: int = 0, **kwargs):
        kwargs.setdefault("dtype", "float32")  # bfloat16 is too imprecise for sums of many vectors
        super().__init__(**kwargs)
        self.codes, self.code_dim, self.decay, self.dead_below, self.seed = codes, code_dim, decay, dead_below, seed

    def build(self, input_shape):
        average = {"trainable": False, "aggregation": "mean"}
        few, normal = keras.initializers.Constant(1e-3), keras.initializers.RandomNormal(stddev=1e-3, seed=self.seed)
        self.code_count_K = self.add_weight(shape=(self.codes,), initializer=few, name="code_count", **average)
        self.code_sum_KD = self.add_weight(shape=(self.codes, self.code_dim), initializer=normal, name="code_sum", **average)
        self.updates = self.add_weight(shape=(), initializer="zeros", dtype="int32", name="updates", trainable=False)

    @property
    def codebook_KD(self):
        return self.code_sum_KD / ops.maximum(self.code_count_K, 1e-6)[:, None]

    def lookup(self, indices):
        """The code vectors (..., D) of `indices` (...)."""
        return ops.take(self.codebook_KD, indices, axis=0)

    def call(self, inputs, training=False):
        x_MD = ops.reshape(inputs, (-1, self.code_dim))
        codebook_KD = self.codebook_KD
        distance_MK = ops.sum(ops.square(codebook_KD), axis=1) - 2.0 * ops.matmul(x_MD, ops.transpose(codebook_KD))
        indices_M = ops.argmin(ops.stop_gradient(distance_MK), axis=1)
        code_MD = ops.stop_gradient(ops.take(codebook_KD, indices_M, axis=0))
        if training:
            self._update(ops.stop_gradient(x_MD), ops.one_hot(indices_M, self.codes, dtype="float32"))
        return {
            "quantized": ops.reshape(x_MD + ops.stop_gradient(code_MD - x_MD), ops.shape(inputs)),
            "indices": ops.reshape(ops.cast(indices_M, "int32"), ops.shape(inputs)[:-1]),
            "commitment": ops.mean(ops.square(x_MD - code_MD)),
            "perplexity": perplexity(indices_M, self.codes),
        }

    def _update(self, x_MD, chosen_MK):
        """Update the moving averages with this batch, and move the dead codes to vectors of it."""
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
        scalar = keras.KerasTensor((), "float32")
        return {
            "quantized": keras.KerasTensor(inputs.shape, "float32"),
            "indices": keras.KerasTensor(inputs.shape[:-1], "int32"),
            "commitment": scalar,
            "perplexity": scalar,
        }

    def get_config(self):
        names = ("codes", "code_dim", "decay", "dead_below", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}
