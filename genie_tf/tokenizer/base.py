"""The base class of all tokenizers."""

import numpy as np
from keras import ops

from genie_tf.layers.self_supervised import SelfSupervisedModel


class Tokenizer(SelfSupervisedModel):
    """A tokenizer that converts each frame separately. Others override what differs: see `genie_tf.tokenizer`."""

    stride = 1
    given = 0
    needs_actions = False
    reported = ("psnr", "perplexity")

    def memory(self, batch: int):
        """What is remembered before the first frame: nothing."""
        return ()

    def remember(self, tokens, memory, led_by):
        """The memory of `decode` alone."""
        return self.decode(tokens, memory, led_by)["memory"]

    def decode_last(self, tokens, memory, led_by):
        """`decode`, but only the last of the S frames, uint8 (B, H, W, 3)."""
        decoded = self.decode(tokens, memory, led_by)
        return decoded if self.stride == 1 else decoded | {"frames": decoded["frames"][:, -1]}

    def context(self, memory):
        """The pictures that the next tokens change: none, as tokens stand for themselves."""
        return None

    def vectors(self) -> list[tuple[int, np.ndarray]]:
        """What tokens stand for: a vector of the codebook, at all places."""
        return [(self.tokens, table_of(self.quantizer))]


def table_of(quantizer) -> np.ndarray:
    """The codebook, float32 (K, D)."""
    return ops.convert_to_numpy(quantizer.lookup(ops.arange(quantizer.codes)))
