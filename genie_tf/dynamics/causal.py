"""`causal`: a causal transformer that predicts one token after another, as a language model does.

The sequence consists of frames: first the action that led to the frame, then the frame's tokens. Every token attends to all tokens
before it, in its frame and in a few past frames. Each token is drawn given all tokens before it. With N tokens a frame this takes N
steps, so few tokens a frame suit it.
"""

from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from genie_tf.dynamics.base import TokenTransformer, TransformerSettings
from genie_tf.dynamics.sampling import gumbel
from genie_tf.dynamics.sequences import past_with_errors
from genie_tf.layers.causal_block import CausalBlock
from genie_tf.layers.norm import rms_normalize


@dataclass
class CausalSettings(TransformerSettings):
    """Settings of the causal dynamics.

    Args:
        kind: "causal".
    """

    kind: Literal["causal"] = "causal"


@keras.saving.register_keras_serializable("genie_tf")
class CausalDynamics(TokenTransformer):
    """Predicts the tokens of the next frame one after another, from past tokens and actions.

    Args:
        As those of `TokenTransformer`.

    Call arguments:
        inputs: A dict: `tokens` int (B, T, N), the true tokens; `past` int (B, T, N), the corrupted tokens, and `told` bool (B, T),
            false where the action is hidden, both from `past_with_errors`; `actions` int (B, T), where action t led from frame t to
            frame t + 1 (the last is not used); with `context`, `pictures` uint8 (B, T, H, W, 3), which the tokens of the next frame
            change (the last is not used).

    Returns:
        A dict: `logits` float32 (B, T - 1, N, K) of frames 1 … T - 1, and the scalars `loss` (cross-entropy in nats per token) and
        `accuracy`; in validation also `shuffled_actions`: see `TokenTransformer`.

    Reference:
        Micheli et al. 2023, IRIS, arXiv 2209.00588, section 2.2. Here the action stands before the tokens that it led to.
    """

    Settings = CausalSettings
    noise = staticmethod(past_with_errors)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.embed_token = layers.Embedding(self.codes, self.width, name="embed_token")
        self.blocks = [CausalBlock(self.heads, self.window, name=f"block_{i}") for i in range(self.config["depth"])]
        self.head = layers.Dense(self.codes, dtype="float32", name="head")

    def build(self, input_shape=None):
        for block in self.blocks:
            block.build((None, None, self.width))
        self.compute_output_spec(self.symbolic_inputs(), training=True)  # a validation would predict twice

    def embed(self, tokens_BTN, led_by_BT, before_BTND=None):
        """Embeddings (B, T, 1 + N, D): first the action that led to each frame, then the frame's tokens.

        The embeddings `before_BTND` of the pictures before the frames are added one place earlier, where the token is predicted.
        """
        x = ops.concatenate([self.embed_action(led_by_BT)[:, :, None], self.embed_token(tokens_BTN)], axis=2)
        if before_BTND is not None:
            x = x + ops.pad(before_BTND, ((0, 0), (0, 0), (0, 1), (0, 0)))
        return x + self.embed_place(ops.arange(self.tokens + 1))

    def logits(self, x):
        return self.head(rms_normalize(x))

    def forward(self, tokens_BTN, actions_BT, pictures=None):
        """Logits (B, T - 1, N, K) of frames 1 … T - 1, of each token given all tokens before it.

        Args:
            tokens_BTN: int32 (B, T, N).
            actions_BT: int32 (B, T), action t led from frame t to frame t + 1.
            pictures: uint8 (B, T, H, W, 3) if the model has a context; picture T - 1 is not used.
        """
        T, places = tokens_BTN.shape[1], self.tokens + 1
        led_by_BT = ops.concatenate([ops.full_like(actions_BT[:, :1], self.no_action), actions_BT[:, :-1]], axis=1)
        before = None
        if self.embed_picture is not None:
            before = self.embed_picture(ops.concatenate([ops.zeros_like(pictures[:, :1]), pictures[:, :-1]], axis=1))
        x = ops.reshape(self.embed(tokens_BTN, led_by_BT, before), (-1, T * places, self.width))
        place = np.arange(T * places)
        distance, seen = place[:, None] // places - place // places, place[:, None] >= place
        distance = np.maximum(distance, 0).astype(np.int32)
        for block in self.blocks:
            x = self._in_training(lambda x, block=block: block.attend(x, *block.project(x), distance, seen), x)
        return self.logits(ops.reshape(x, (-1, T, places, self.width))[:, 1:, :-1])

    def predicted(self, inputs, training=False):
        tokens_BTN, past_BTN, actions_BT = (ops.cast(inputs[name], "int32") for name in ("tokens", "past", "actions"))
        actions_BT = ops.where(inputs["told"], actions_BT, self.no_action)
        logits, targets = self.forward(past_BTN, actions_BT, inputs.get("pictures")), tokens_BTN[:, 1:]
        loss = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        right = ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), targets)
        return {"logits": logits, "loss": ops.mean(loss), "accuracy": ops.mean(ops.cast(right, "float32"))}

    # Play: the past is a cache of keys and values ------------------------------------------------

    def empty_past(self, batch: int):
        """An empty cache.

        Returns:
            A dict: `age` int32 (B,), the number of frames so far; `layers`, for each block the keys and values
            (B, heads, (W - 1) (N + 1), Dh) of the last W - 1 frames, the oldest first.
        """
        shape = (batch, self.heads, (self.window - 1) * (self.tokens + 1), self.width // self.heads)
        empty = ops.zeros(shape, self.compute_dtype)
        return {"age": ops.zeros((batch,), "int32"), "layers": [(empty, empty) for _ in self.blocks]}

    def _view(self, past, places):
        """Distances (P, S) and visibility (B, P, S) from places int (P,) of the next frame to the cache's slots and this frame."""
        own, before = self.tokens + 1, (self.window - 1) * (self.tokens + 1)
        ago = self.window - 1 - np.arange(before) // own  # in frames
        distance = np.concatenate([ago, np.zeros(own, int)]).astype(np.int32)
        age = ops.cast(past["age"], "int64")[:, None]
        known = ops.concatenate([ops.convert_to_tensor(ago) <= age, ops.ones((ops.shape(age)[0], own), "bool")], axis=1)
        order = np.concatenate([np.full(before, -1), np.arange(own)]).astype(np.int32)
        seen = ops.logical_and(known[:, None], ops.convert_to_tensor(order) <= places[:, None])
        return ops.broadcast_to(ops.convert_to_tensor(distance), ops.shape(seen)[1:]), seen

    def extend(self, past, tokens_BN, led_by_B, context=None):
        """Append a frame to the past.

        Args:
            past: The cache.
            tokens_BN: int32 (B, N).
            led_by_B: int32 (B,), the action that led to the frame; `no_action` for the first frame.
            context: Pictures before the frame, uint8 (B, H, W, 3), if the model has a context.
        """
        x = self.embed(tokens_BN[:, None], led_by_B[:, None], self._embedded(context))[:, 0]
        distance, seen = self._view(past, ops.arange(self.tokens + 1, dtype="int32"))
        after = []
        for block, before in zip(self.blocks, past["layers"]):
            q, k, v = block.project(x)
            keys, values = (ops.concatenate([old, new], axis=2) for old, new in zip(before, (k, v)))
            x = block.attend(x, q, keys, values, distance, seen)
            after.append((keys[:, :, self.tokens + 1 :], values[:, :, self.tokens + 1 :]))
        return {"age": past["age"] + 1, "layers": after}

    def noise_shape(self, steps: int) -> tuple[int, ...]:
        """Shape of the uniform noise that `sample` takes for each row. There are N steps, whatever `steps` says."""
        return self.tokens, self.codes

    def sample(self, past, actions_B, noise, temperature: float, context=None, guidance: float = 0.0):
        """Sample the tokens of the next frame after `past` under `actions_B`, one after another.

        Args:
            past: The cache.
            actions_B: int32 (B,).
            noise: float32 (B, N, K) from `uniform_noise`.
            temperature: Temperature of the drawn tokens; 0 takes the most probable token.
            context: As in `extend`.
            guidance: How much the difference is exaggerated that the action makes to the logits; 0 for not at all.

        Returns:
            A dict: `tokens` int32 (B, N); `probability` float32 (B,), the mean probability of the drawn tokens.
        """
        led_by, before, noise = actions_B, self._embedded(context), gumbel(noise)
        if guidance:  # the second half of the batch is not told the action
            led_by = ops.concatenate([actions_B, ops.full_like(actions_B, self.no_action)], axis=0)
            before = None if before is None else ops.concatenate([before, before], axis=0)
            past = keras.tree.map_structure(lambda x: ops.concatenate([x, x], axis=0), past)
        batch, own = ops.shape(led_by)[0], self.tokens + 1
        x_first = self.embed_action(led_by)
        here = ops.zeros((len(self.blocks), 2, batch, self.heads, own, self.width // self.heads), self.compute_dtype)
        pictures = None if before is None else before[:, 0]

        def at(place, x_BND):
            return ops.take(x_BND, place, axis=1)

        def step(place, state):
            tokens_BN, x_BD, here, probability_B = state
            x = x_BD + self.embed_place(place)[None]
            if pictures is not None:
                x = x + at(place, pictures)
            x, distance_seen, written = x[:, None], self._view(past, ops.reshape(place, (1,))), []
            own_place = ops.cast(ops.equal(ops.arange(own, dtype="int32"), place), self.compute_dtype)[:, None]
            for i, (block, pair) in enumerate(zip(self.blocks, past["layers"])):
                q, k, v = block.project(x)
                now = [here[i, j] + own_place * new for j, new in enumerate((k, v))]
                keys, values = (ops.concatenate(both, axis=2) for both in zip(pair, now))
                x = block.attend(x, q, keys, values, *distance_seen)
                written.append(ops.stack(now))
            logits = self.logits(x[:, 0])
            if guidance:
                told, untold = ops.split(logits, 2, axis=0)
                logits = told + guidance * (told - untold)
            log_p = ops.log_softmax(logits)
            drawn = ops.cast(ops.argmax(log_p + temperature * at(place, noise), axis=-1), "int32")
            probability_B = probability_B + ops.exp(ops.take_along_axis(log_p, drawn[:, None], axis=-1)[:, 0]) / self.tokens
            column = ops.cast(ops.equal(ops.arange(self.tokens, dtype="int32"), place), "int32")
            next_x = self.embed_token(drawn)
            if guidance:
                next_x = ops.concatenate([next_x, next_x], axis=0)
            return tokens_BN + drawn[:, None] * column, next_x, ops.stack(written), probability_B

        tokens = ops.zeros((ops.shape(actions_B)[0], self.tokens), "int32")
        start = tokens, x_first, here, ops.zeros(ops.shape(actions_B), "float32")
        tokens, _, _, probability = ops.fori_loop(0, self.tokens, step, start)
        return {"tokens": tokens, "probability": probability}
