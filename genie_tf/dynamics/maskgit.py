"""`maskgit`: a spatio-temporal transformer that predicts the masked tokens of the next frame under an action.

They are predicted from the past, the action and the unmasked tokens of the frame.
"""

from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from genie_tf.dynamics.base import TransformerSettings
from genie_tf.dynamics.past_and_next import PastAndNext
from genie_tf.dynamics.sampling import sample_tokens
from genie_tf.dynamics.sequences import past_with_errors
from genie_tf.training.backend import over_replicas


def training_masks(
    rng: np.random.Generator, tokens_BTN: np.ndarray, codes: int, corruption: float, dropout: float
) -> dict[str, np.ndarray]:
    """Draw the masked tokens, the corrupted past and the hidden actions of a training step.

    Args:
        As those of `past_with_errors`.

    Returns:
        The dict of `past_with_errors`, and `masked` bool (B, T, N), with a masking rate for each frame from MaskGIT's cosine
        schedule.
    """
    B, T, N = tokens_BTN.shape
    rate = np.cos(np.pi / 2 * rng.random((B, T, 1)))
    return past_with_errors(rng, tokens_BTN, codes, corruption, dropout) | {"masked": rng.random((B, T, N)) < rate}


@dataclass
class MaskGitSettings(TransformerSettings):
    """Settings of the MaskGIT dynamics.

    Args:
        kind: "maskgit".
    """

    kind: Literal["maskgit"] = "maskgit"


@keras.saving.register_keras_serializable("genie_tf")
class MaskGitDynamics(PastAndNext):
    """Predicts the tokens of the next frame from past tokens and actions.

    Args:
        As those of `TokenTransformer`.

    Call arguments:
        inputs: A dict: `tokens` int (B, T, N), the true tokens; `past` int (B, T, N), the corrupted tokens, and `masked` bool
            (B, T, N), the tokens to predict, and `told` bool (B, T), false where the action is hidden, all from `training_masks`;
            `actions` int (B, T), where action t led from frame t to frame t + 1 (the last is not used); with `context`, `pictures`
            uint8 (B, T, H, W, 3), which the tokens of the next frame change (the last is not used).

    Returns:
        A dict: `logits` float32 (B, T - 1, N, K) of frames 1 … T - 1, and the scalars `loss` (cross-entropy in nats per masked
        token) and `accuracy` (share of the masked tokens). In validation also `shuffled_actions`: see `TokenTransformer`.

    Reference:
        Chang et al. 2022, MaskGIT, arXiv 2202.04200; Genie, section 2.1, "Dynamics model".
    """

    Settings = MaskGitSettings
    noise = staticmethod(training_masks)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mask_id = self.codes
        self.embed_token = layers.Embedding(self.codes + 1, self.width, name="embed_token")  # the last: masked
        self.head = layers.Dense(self.codes, dtype="float32", name="head")

    def symbolic_inputs(self):
        return super().symbolic_inputs() | {"masked": keras.KerasTensor((1, 2, self.tokens), "bool")}

    def embed_past(self, tokens_BTN):
        return self.embed_token(tokens_BTN)

    def forward(self, past_BTN, masked_BTN, actions_BT, pictures=None):
        """Logits (B, T - 1, N, K) of the masked frames 1 … T - 1, each given the past frames before it.

        Args:
            past_BTN: int32 (B, T, N); frame T - 1 is not used.
            masked_BTN: int32 (B, T, N), `mask_id` where masked; frame 0 is not used.
            actions_BT, pictures: As in `features`.
        """
        past_x, next_x = self.embed_token(past_BTN[:, :-1]), self.embed_token(masked_BTN[:, 1:])
        return self.head(self.features(past_x, next_x, actions_BT, pictures))

    def predicted(self, inputs, training=False):
        tokens_BTN = ops.cast(inputs["tokens"], "int32")
        masked_BTN = ops.cast(inputs["masked"], "bool")
        guess_BTN = ops.where(masked_BTN, self.mask_id, tokens_BTN)
        past_BTN, actions_BT = (ops.cast(inputs[name], "int32") for name in ("past", "actions"))
        actions_BT = ops.where(inputs["told"], actions_BT, self.no_action)
        logits = self.forward(past_BTN, guess_BTN, actions_BT, inputs.get("pictures"))
        targets, masked = tokens_BTN[:, 1:], masked_BTN[:, 1:]
        weight = ops.cast(masked, "float32")
        count = over_replicas(ops.reshape(ops.sum(weight), (1,)))  # the losses of the replicas have one divisor
        weight = weight / ops.maximum(ops.mean(count), 1.0)
        loss = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), targets), "float32")
        return {"logits": logits, "loss": ops.sum(loss * weight), "accuracy": ops.sum(right * weight)}

    def noise_shape(self, steps: int) -> tuple[int, ...]:
        """Shape of the uniform noise that `sample` takes for each row."""
        return steps, self.tokens, self.codes + 1

    def sample(self, past, actions_B, noise, temperature: float, context=None, guidance: float = 0.0):
        """Sample the tokens of the next frame after `past` under `actions_B`. Returns the dict of `sample_tokens`.

        Args:
            past: The cache.
            actions_B: int32 (B,).
            noise: float32 (B, steps, N, K + 1) from `uniform_noise`.
            temperature: Temperature of the drawn tokens.
            context, guidance: As in `of_next`.
        """
        predict = self.of_next(past, actions_B, self.head, context, guidance)
        return sample_tokens(lambda tokens_BN: predict(self.embed_token(tokens_BN)), noise, self.mask_id, temperature)
