"""`maskgit`: the spatio-temporal transformer that fills in the next frame's tokens, prompted by the action.

Every frame is seen twice. As *clean* tokens it is the past of later frames: its keys and values are computed once, in play
as in training. As *masked* tokens it is what must be predicted, from the clean past, the action and whatever is not masked.
Both carry the action that led to them as a first token.
"""

import keras
import numpy as np
from keras import layers, ops

from genie_tf.dynamics.sampling import sample_tokens
from genie_tf.layers.self_supervised import SelfSupervisedModel
from genie_tf.layers.st_block import STBlock, distances


def training_masks(rng: np.random.Generator, tokens_BTN: np.ndarray, codes: int, corruption: float) -> dict[str, np.ndarray]:
    """What a training step hides, and what it gets wrong.

    Args:
        rng: Of this batch, so that a resumed training hides the same.
        tokens_BTN: int (B, T, N).
        codes: K.
        corruption: Share of a sequence's past tokens replaced by random ones, at most: in play, the past is the model's own.

    Returns:
        A dict: `masked` bool (B, T, N), at a rate drawn for each frame by MaskGIT's cosine schedule; `past` int (B, T, N).
    """
    B, T, N = tokens_BTN.shape
    rate = np.cos(np.pi / 2 * rng.random((B, T, 1)))
    wrong = rng.random((B, T, N)) < corruption * rng.random((B, 1, 1))
    return {
        "masked": rng.random((B, T, N)) < rate,
        "past": np.where(wrong, rng.integers(0, codes, (B, T, N)), tokens_BTN).astype(tokens_BTN.dtype),
    }


@keras.saving.register_keras_serializable("genie_tf")
class MaskGitDynamics(SelfSupervisedModel):
    """Next-frame tokens from past tokens and actions.

    Args:
        codes: K, size of the tokenizer's codebook.
        tokens: N, tokens a frame.
        actions: A, number of actions.
        width: D, width of the transformer.
        depth: Number of blocks.
        heads: Attention heads; divides `width`.
        window: Frames that a token sees in one block, its own included.

    Call arguments:
        inputs: A dict: `tokens` int (B, T, N), the truth; from `training_masks`, `past` int (B, T, N), the truth as it is seen as
            a past, and `masked` bool (B, T, N), what is hidden and to be predicted; `actions` int (B, T), where action t led from
            frame t to frame t + 1 (the last is not read).

    Returns:
        A dict: `logits` float32 (B, T - 1, N, K) of frames 1 … T - 1, and the scalars `loss` (cross-entropy in nats a masked
        token) and `accuracy` (share of the masked tokens).

    Reference:
        Genie, section 2.1, "Dynamics model"; the action is prepended, not added (Jasmine).
    """

    reported = ("accuracy",)

    def __init__(self, codes, tokens, actions, width=192, depth=4, heads=4, window=4, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(codes=codes, tokens=tokens, actions=actions, width=width, depth=depth, heads=heads, window=window)
        self.codes, self.tokens, self.actions, self.heads = codes, tokens, actions, heads
        self.width, self.window = width, window
        self.mask_id, self.no_action = codes, actions
        self.embed_token = layers.Embedding(codes + 1, width, name="embed_token")
        self.embed_action = layers.Embedding(actions + 1, width, name="embed_action")
        self.embed_place = layers.Embedding(tokens + 1, width, name="embed_place")
        self.blocks = [STBlock(heads, window, name=f"block_{i}") for i in range(depth)]
        self.norm = layers.RMSNormalization(name="norm")
        self.head = layers.Dense(codes, dtype="float32", name="head")

    def build(self, input_shape=None):
        tokens = ops.zeros((1, 2, self.tokens), "int32")
        self.forward(tokens, tokens, tokens[:, :, 0])

    def embed(self, tokens_BTN, actions_BT):
        """(B, T, 1 + N, D): the action that led to each frame, then the frame's tokens."""
        x = ops.concatenate([self.embed_action(actions_BT)[:, :, None], self.embed_token(tokens_BTN)], axis=2)
        return x + self.embed_place(ops.arange(self.tokens + 1))

    def logits(self, x_BTND):
        return self.head(self.norm(x_BTND[:, :, 1:]))

    def forward(self, clean_BTN, masked_BTN, actions_BT):
        """Logits (B, T - 1, N, K) of the masked frames 1 … T - 1, each given the clean frames before it.

        Args:
            clean_BTN: int32 (B, T, N), the past; frame T - 1 is not read.
            masked_BTN: int32 (B, T, N), `mask_id` where masked; frame 0 is not read.
            actions_BT: int32 (B, T), action t led from frame t to frame t + 1.
        """
        T = clean_BTN.shape[1]
        led_to_BT = ops.concatenate([ops.full_like(actions_BT[:, :1], self.no_action), actions_BT[:, :-1]], axis=1)
        clean_x = self.embed(clean_BTN[:, :-1], led_to_BT[:, :-1])
        masked_x = self.embed(masked_BTN[:, 1:], led_to_BT[:, 1:])
        x = ops.concatenate([clean_x, masked_x], axis=1)
        back = distances(T - 1)
        distance = ops.concatenate([back, back + 1], axis=0)  # masked frame t sees clean frames up to t - 1
        for block in self.blocks:
            x = block(x, distance=distance)["x"]
        return self.logits(x[:, T - 1 :])

    def call(self, inputs, training=False):
        tokens_BTN = ops.cast(inputs["tokens"], "int32")
        masked_BTN = ops.cast(inputs["masked"], "bool")
        guess_BTN = ops.where(masked_BTN, self.mask_id, tokens_BTN)
        logits = self.forward(ops.cast(inputs["past"], "int32"), guess_BTN, ops.cast(inputs["actions"], "int32"))
        targets, masked = tokens_BTN[:, 1:], masked_BTN[:, 1:]
        weight = ops.cast(masked, "float32")
        weight = weight / ops.maximum(ops.sum(weight), 1.0)
        loss = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), targets), "float32")
        return {"logits": logits, "loss": ops.sum(loss * weight), "accuracy": ops.sum(right * weight)}

    # Play: the past is a cache -------------------------------------------------------------------

    def empty_past(self, batch: int):
        """A cache of no frames: a dict of `age`, frames so far, and `layers`, keys and values (B, N + 1, heads, window - 1, Dh)."""
        shape = (batch, self.tokens + 1, self.heads, self.window - 1, self.width // self.heads)
        empty = ops.zeros(shape, self.compute_dtype)
        return {"age": ops.zeros((), "int32"), "layers": [(empty, empty) for _ in self.blocks]}

    def _through_blocks(self, x_B1ND, past):
        slot = ops.arange(self.window - 1, dtype="int32")
        age_of_slot = self.window - 1 - slot
        distance = ops.where(age_of_slot <= past["age"], age_of_slot, 0)[None]  # 0: an empty slot, not seen
        states = []
        for block, layer_past in zip(self.blocks, past["layers"]):
            out = block(x_B1ND, past=layer_past, distance=distance)
            x_B1ND = out["x"]
            states.append((out["keys"], out["values"]))
        return x_B1ND, states

    def extend(self, past, tokens_BN, led_by_B):
        """The past with one more frame; the action `led_by_B` led to it (`no_action` for the first)."""
        _, states = self._through_blocks(self.embed(tokens_BN[:, None], led_by_B[:, None]), past)
        rolled = [
            tuple(ops.concatenate([old, new], axis=3)[:, :, :, 1:] for old, new in zip(old_pair, new_pair))
            for old_pair, new_pair in zip(past["layers"], states)
        ]
        return {"age": past["age"] + 1, "layers": rolled}

    def sample(self, past, actions_B, noise, temperature: float):
        """The next frame after `past` under `actions_B`: see `sample_tokens`, whose dict it returns."""

        def predict_logits(tokens_BN):
            x, _ = self._through_blocks(self.embed(tokens_BN[:, None], actions_B[:, None]), past)
            return self.logits(x)[:, 0]

        return sample_tokens(predict_logits, noise, self.mask_id, temperature)

    def get_config(self):
        return super().get_config() | self.config
