"""The transformer of `maskgit` and `diffusion`, which gets every frame twice.

As a *past* frame, it is what later frames depend on. Its keys and values are computed once, in play and in training. As a *next*
frame, it is predicted from the past, the action, and what is known of it. In both, the first token is the action that led to the
frame.
"""

from keras import layers, ops

from genie_tf.dynamics.base import TokenTransformer
from genie_tf.layers.st_block import STBlock, distances, empty_past, extended, slot_distances


class PastAndNext(TokenTransformer):
    """A spatio-temporal transformer over embedded tokens of past and next frames.

    Args:
        As those of `TokenTransformer`.

    Reference:
        Genie, section 2.1, "Dynamics model"; the action is prepended, not added (Jasmine).
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.blocks = [STBlock(self.heads, self.window, name=f"block_{i}") for i in range(self.config["depth"])]
        self.norm = layers.RMSNormalization(name="norm")  # without its gain and the head's bias and float32, training is slower

    def build(self, input_shape=None):
        for block in self.blocks:
            block.build((None, None, self.tokens + 1, self.width))
        self.compute_output_spec(self.symbolic_inputs(), training=True)  # a validation would predict twice

    def embed_past(self, tokens_BTN):
        """Embeddings (B, T, N, D) of the tokens of past frames."""
        raise NotImplementedError

    def placed(self, x_BTND, led_by_BT, before_BTND=None):
        """Embeddings (B, T, 1 + N, D): first the action that led to each frame, then the frame's tokens.

        The embeddings `before_BTND` of the pictures before the frames are added to those of the tokens.
        """
        if before_BTND is not None:
            x_BTND = x_BTND + before_BTND
        x = ops.concatenate([self.embed_action(led_by_BT)[:, :, None], x_BTND], axis=2)
        return x + self.embed_place(ops.arange(self.tokens + 1))

    def features(self, past_BTND, next_BTND, actions_BT, pictures=None):
        """Features (B, T - 1, N, D) of the next frames 1 … T - 1, each given the past frames before it.

        Args:
            past_BTND: Embedded tokens (B, T - 1, N, D) of the past frames 0 … T - 2.
            next_BTND: Embedded tokens (B, T - 1, N, D) of the next frames.
            actions_BT: int32 (B, T), action t led from frame t to frame t + 1.
            pictures: uint8 (B, T, H, W, 3) if the model has a context; picture T - 1 is not used.
        """
        led_to_BT = ops.concatenate([ops.full_like(actions_BT[:, :1], self.no_action), actions_BT[:, :-1]], axis=1)
        before_past, before_next = None, None
        if self.embed_picture is not None:
            before_next = self.embed_picture(pictures[:, :-1])
            before_past = ops.concatenate([self.embed_picture(ops.zeros_like(pictures[:, :1])), before_next[:, :-1]], axis=1)
        past_x = self.placed(past_BTND, led_to_BT[:, :-1], before_past)
        next_x = self.placed(next_BTND, led_to_BT[:, 1:], before_next)
        x = ops.concatenate([past_x, next_x], axis=1)
        back = distances(past_BTND.shape[1])
        distance = ops.concatenate([back, back + 1], axis=0)  # next frame t attends to past frames up to t - 1
        for block in self.blocks[:-1]:
            x = self._in_training(lambda x, block=block: block(x, distance=distance)["x"], x)
        past_x, next_x = ops.split(x, 2, axis=1)  # the last block's output for the past frames is not needed
        last = self.blocks[-1]
        return self._features(last(next_x, past=last.remember(past_x), distance=back + 1)["x"])

    def _features(self, x_BTND):
        return self.norm(x_BTND[:, :, 1:])

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
        x = self.placed(self.embed_past(tokens_BN[:, None]), led_by_B[:, None], self._embedded(context))
        distance, new = slot_distances(past), []
        for block, seen in zip(self.blocks[:-1], past["layers"]):
            out = block(x, past=seen, distance=distance)
            x = out["x"]
            new.append((out["keys"], out["values"]))
        new.append(self.blocks[-1].remember(x))
        return extended(past, new)

    def of_next(self, past, actions_B, head, context=None, guidance: float = 0.0):
        """A function that predicts the tokens of the next frame after `past`.

        Args:
            past: The cache.
            actions_B: int32 (B,), the action that leads to the frame.
            head: From features (B, 1, N, D) to the prediction (B, 1, N, …).
            context: As in `extend`.
            guidance: How much the difference is exaggerated that the action makes to the prediction; 0 for not at all. It doubles
                the work.

        Returns:
            A function from what is known of the frame, embedded tokens (B, N, D), to the prediction (B, N, …).

        Reference:
            Ho and Salimans 2022, arXiv 2207.12598, for guidance.
        """
        distance, before = slot_distances(past), self._embedded(context)

        def under(actions_B, x_BND):
            x = self.placed(x_BND[:, None], actions_B[:, None], before)
            for block, seen in zip(self.blocks, past["layers"]):
                x = block(x, past=seen, distance=distance)["x"]
            return head(self._features(x))[:, 0]

        def predict(x_BND):
            predicted = under(actions_B, x_BND)
            if guidance:
                predicted = predicted + guidance * (predicted - under(ops.full_like(actions_B, self.no_action), x_BND))
            return predicted

        return predict
