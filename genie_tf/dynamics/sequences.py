"""Training sequences of tokens and actions, as all dynamics take them."""

from collections.abc import Callable

import numpy as np

from genie_tf.config import DynamicsConfig
from genie_tf.episodes.codes import read_codes
from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.hosts import own_part


class Sequences(Examples):
    """Sequences of tokens and actions. Each draw uses new random noise.

    Args:
        recording: The episodes, R rows.
        films: A structured array (R,) of every row: `tokens` (N,); and, if the model has a context, `picture` uint8 (H, W, 3), the
            picture of the row that the tokens of the next row change.
        actions: int (R,), action of every row.
        settings: Settings of the model.
        codes: K, size of the tokenizer's codebook.
        noise: Function from a random generator, tokens int (B, T, N), K, and the largest shares of random tokens and of hidden
            actions, to further inputs of the model. Both shares are 0 for validation.
    """

    def __init__(
        self,
        recording: Episodes,
        films: np.ndarray,
        actions: np.ndarray,
        settings: DynamicsConfig,
        codes: int,
        noise: Callable,
    ):
        def take(rows):
            at = rows[:, None] + np.arange(settings.length)
            some = read_codes(films, at)
            pictures = {"pictures": some["picture"].copy()} if "picture" in films.dtype.names else {}
            return {"tokens": some["tokens"].astype(np.int32), "actions": actions[at].astype(np.int32)} | pictures

        super().__init__(recording.windows(settings.length), take)
        self.settings, self.codes, self.noise = settings, codes, noise

    def draw(self, rng: np.random.Generator, size: int):
        batch, own = super().draw(rng, size), own_part(size)
        tokens = np.zeros((size, *batch["tokens"].shape[1:]), np.int32)
        tokens[own] = batch["tokens"]
        noise = self.noise(rng, tokens, self.codes, self.settings.corruption, self.settings.action_dropout)
        if "pictures" in batch:  # the tokens of a given frame are 0
            noise["past"][rng.random(size) < self.settings.cold_starts, 0] = 0
        return batch | {name: values[own] for name, values in noise.items()}

    def spread(self, count: int):
        batch = super().spread(count)
        return batch | self.noise(np.random.default_rng(0), batch["tokens"], self.codes, 0.0, 0.0)


def past_with_errors(
    rng: np.random.Generator, tokens_BTN: np.ndarray, codes: int, corruption: float, dropout: float
) -> dict[str, np.ndarray]:
    """Draw the corrupted past and the hidden actions of a training step.

    Args:
        rng: Random generator of this batch, so that a resumed training draws the same.
        tokens_BTN: int (B, T, N).
        codes: K, size of the tokenizer's codebook.
        corruption: Maximum share of a sequence's past tokens that are replaced by random tokens. In play the past consists of
            predictions with errors; corruption trains the model for them.
        dropout: Share of the actions that are hidden.

    Returns:
        A dict: `past` int (B, T, N), the corrupted tokens; `told` bool (B, T), false where the action is hidden.
    """
    B, T, N = tokens_BTN.shape
    wrong = rng.random((B, T, N)) < corruption * rng.random((B, 1, 1))
    return {
        "past": np.where(wrong, rng.integers(0, codes, (B, T, N)), tokens_BTN).astype(tokens_BTN.dtype),
        "told": rng.random((B, T)) >= dropout,
    }
