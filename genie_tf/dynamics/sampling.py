"""MaskGIT sampling: all tokens of a frame in a few steps, the most confident tokens first."""

import math

import numpy as np
from keras import ops


def unmasking_schedule(tokens: int, steps: int) -> list[int]:
    """Number of fixed tokens after each step, by the cosine schedule: few after the first step, all after the last."""
    fixed = [tokens - int(tokens * math.cos(math.pi / 2 * (i + 1) / steps)) for i in range(steps)]
    fixed[-1] = tokens
    return fixed


def uniform_noise(seeds: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """All random numbers of one frame of each row, drawn before the loop.

    A row depends on its own seed alone, so it does not matter which rows are in a batch.

    Args:
        seeds: int ≥ 0 (B, …), the seed of each row.
        shape: Shape of a row's numbers, the model's `noise_shape`.

    Returns:
        float32 (B, *shape), uniform in [0, 1).
    """
    noise = np.empty((len(seeds), *shape), np.float32)
    for seed, row in zip(seeds, noise):
        np.random.default_rng(seed).random(out=row, dtype=np.float32)
    return noise


def gumbel(uniform):
    """Gumbel noise from uniform noise: the argmax of log probabilities plus it is a draw from them."""
    return -ops.log(-ops.log(ops.clip(uniform, 1e-6, 1.0 - 1e-6)))


def sample_tokens(predict_logits, noise, mask_id: int, temperature: float):
    """Sample all tokens of one frame.

    Each step predicts all tokens, draws a token for each masked place, and fixes the tokens with the highest confidence. The
    confidence is the log probability plus noise. The noise decreases over the steps; without it, sampling tends to copy the last
    frame. Fixed tokens are inputs of later steps.

    Args:
        predict_logits: Function from tokens int32 (B, N), `mask_id` where masked, to logits float (B, N, K).
        noise: float32 (B, steps, N, K + 1) from `uniform_noise`, the last entry of a place for the order.
        mask_id: The token for "masked".
        temperature: Temperature of the drawn tokens; 0 takes the most probable token.

    Returns:
        A dict: `tokens` int32 (B, N); `probability` float32 (B,), the mean probability of the tokens when they were drawn;
        `history`, a list of the tokens after each step, `mask_id` where not yet fixed.

    Reference:
        Chang et al. 2022, MaskGIT, arXiv 2202.04200, section 3.2.
    """
    noise = gumbel(ops.swapaxes(noise, 0, 1))
    of_token, of_order = noise[..., :-1], noise[..., -1]
    steps, _, count = of_order.shape
    tokens_BN = ops.full_like(of_order[0], mask_id, dtype="int32")
    history, probability_BN = [], ops.zeros_like(of_order[0])
    for i, fixed in enumerate(unmasking_schedule(count, steps)):
        masked_BN = ops.equal(tokens_BN, mask_id)
        log_p_BNK = ops.log_softmax(ops.cast(predict_logits(tokens_BN), "float32"))
        drawn_BN = ops.cast(ops.argmax(log_p_BNK + temperature * of_token[i], axis=-1), "int32")
        log_p_BN = ops.squeeze(ops.take_along_axis(log_p_BNK, drawn_BN[..., None], axis=-1), axis=-1)
        confidence_BN = log_p_BN + (1.0 - (i + 1) / steps) * of_order[i]
        confidence_BN = ops.where(masked_BN, confidence_BN, 1e9)  # fixed tokens stay fixed
        rank_BN = ops.argsort(ops.argsort(-confidence_BN, axis=-1), axis=-1)
        now_BN = ops.logical_and(masked_BN, rank_BN < fixed)
        tokens_BN = ops.where(now_BN, drawn_BN, tokens_BN)
        probability_BN = ops.where(now_BN, ops.exp(log_p_BN), probability_BN)
        history.append(tokens_BN)
    return {"tokens": tokens_BN, "probability": ops.mean(probability_BN, axis=-1), "history": history}
