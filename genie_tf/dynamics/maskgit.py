"""`maskgit`: a spatio-temporal transformer that predicts the masked tokens of the next frame under an action.

The transformer gets every frame twice. The *clean* tokens of a frame are the past of later frames. Their keys and values are
computed once, in play and in training. The *masked* tokens of a frame are predicted from the clean past, the action and its
unmasked tokens. In both, the first token is the action that led to the frame.
"""

from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from genie_tf.dynamics.base import TokenTransformer, TransformerSettings
from genie_tf.dynamics.sampling import sample_tokens
from genie_tf.dynamics.sequences import past_with_errors
from genie_tf.layers.st_block import STBlock, distances, empty_past, extended, slot_distances
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
class MaskGitDynamics(TokenTransformer):
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
        Genie, section 2.1, "Dynamics model"; the action is prepended, not added (Jasmine).
    """

    Settings = MaskGitSettings
    noise = staticmethod(training_masks)
    further_tokens = 1  # "masked"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mask_id = self.codes
        self.blocks = [STBlock(self.heads, self.window, name=f"block_{i}") for i in range(self.config["depth"])]
        self.norm = layers.RMSNormalization(name="norm")  # without its gain and the head's bias and float32, training is slower
        self.head = layers.Dense(self.codes, dtype="float32", name="head")

    def build(self, input_shape=None):
        for block in self.blocks:
            block.build((None, None, self.tokens + 1, self.width))
        tokens, actions = keras.KerasTensor((1, 2, self.tokens), "int32"), keras.KerasTensor((1, 2), "int32")
        inputs = {"tokens": tokens, "actions": actions, "past": tokens, "masked": keras.KerasTensor((1, 2, self.tokens), "bool")}
        inputs["told"] = keras.KerasTensor((1, 2), "bool")
        if self.embed_picture is not None:
            inputs["pictures"] = keras.KerasTensor((1, 2, *self.embed_picture.frame_size, 3), "uint8")
        self.compute_output_spec(inputs)

    def embed(self, tokens_BTN, actions_BT, before_BTND=None):
        """Embeddings (B, T, 1 + N, D): first the action that led to each frame, then the frame's tokens.

        The embeddings `before_BTND` of the pictures before the frames are added to the tokens.
        """
        x = self.embed_token(tokens_BTN)
        if before_BTND is not None:
            x = x + before_BTND
        x = ops.concatenate([self.embed_action(actions_BT)[:, :, None], x], axis=2)
        return x + self.embed_place(ops.arange(self.tokens + 1))

    def logits(self, x_BTND):
        return self.head(self.norm(x_BTND[:, :, 1:]))

    def forward(self, clean_BTN, masked_BTN, actions_BT, pictures=None):
        """Logits (B, T - 1, N, K) of the masked frames 1 … T - 1, each given the clean frames before it.

        Args:
            clean_BTN: int32 (B, T, N), the past; frame T - 1 is not used.
            masked_BTN: int32 (B, T, N), `mask_id` where masked; frame 0 is not used.
            actions_BT: int32 (B, T), action t led from frame t to frame t + 1.
            pictures: uint8 (B, T, H, W, 3) if the model has a context; picture T - 1 is not used.
        """
        T = clean_BTN.shape[1]
        led_to_BT = ops.concatenate([ops.full_like(actions_BT[:, :1], self.no_action), actions_BT[:, :-1]], axis=1)
        of_clean, of_masked = None, None
        if self.embed_picture is not None:
            of_masked = self.embed_picture(pictures[:, :-1])
            of_clean = ops.concatenate([self.embed_picture(ops.zeros_like(pictures[:, :1])), of_masked[:, :-1]], axis=1)
        clean_x = self.embed(clean_BTN[:, :-1], led_to_BT[:, :-1], of_clean)
        masked_x = self.embed(masked_BTN[:, 1:], led_to_BT[:, 1:], of_masked)
        x = ops.concatenate([clean_x, masked_x], axis=1)
        back = distances(T - 1)
        distance = ops.concatenate([back, back + 1], axis=0)  # masked frame t attends to clean frames up to t - 1
        for block in self.blocks[:-1]:
            x = self._in_training(lambda x, block=block: block(x, distance=distance)["x"], x)
        clean_x, masked_x = ops.split(x, 2, axis=1)  # the last block's output for the clean frames is not needed
        last = self.blocks[-1]
        return self.logits(last(masked_x, past=last.remember(clean_x), distance=back + 1)["x"])

    def predicted(self, inputs):
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

    # Play: the past is a cache of keys and values ------------------------------------------------

    def empty_past(self, batch: int):
        """An empty cache of the 1 + N tokens of each frame."""
        return empty_past(self.blocks, batch, self.tokens + 1, self.width)

    def extend(self, past, tokens_BN, led_by_B, context=None):
        """Append a frame to the past.

        Args:
            past: The cache.
            tokens_BN: int32 (B, N).
            led_by_B: int32 (B,), the action that led to the frame; `no_action` for the first frame.
            context: Pictures before the frame, uint8 (B, H, W, 3), if the model has a context.
        """
        x = self.embed(tokens_BN[:, None], led_by_B[:, None], self._embedded(context))
        distance, new = slot_distances(past), []
        for block, seen in zip(self.blocks[:-1], past["layers"]):
            out = block(x, past=seen, distance=distance)
            x = out["x"]
            new.append((out["keys"], out["values"]))
        new.append(self.blocks[-1].remember(x))
        return extended(past, new)

    def sample(self, past, actions_B, noise, temperature: float, context=None, guidance: float = 0.0):
        """Sample the tokens of the next frame after `past` under `actions_B`. Returns the dict of `sample_tokens`.

        Args:
            past: The cache.
            actions_B: int32 (B,).
            noise: From `gumbel_noise`.
            temperature: Temperature of the drawn tokens.
            context: As in `extend`.
            guidance: How much the difference is exaggerated that the action makes to the logits; 0 for not at all. It doubles the
                work of a step.

        Reference:
            Ho and Salimans 2022, arXiv 2207.12598, for guidance.
        """
        distance, before = slot_distances(past), self._embedded(context)

        def logits_under(actions_B, tokens_BN):
            x = self.embed(tokens_BN[:, None], actions_B[:, None], before)
            for block, seen in zip(self.blocks, past["layers"]):
                x = block(x, past=seen, distance=distance)["x"]
            return self.logits(x)[:, 0]

        def predict_logits(tokens_BN):
            logits = logits_under(actions_B, tokens_BN)
            if guidance:
                logits = logits + guidance * (logits - logits_under(ops.full_like(actions_B, self.no_action), tokens_BN))
            return logits

        return sample_tokens(predict_logits, noise, self.mask_id, temperature)
