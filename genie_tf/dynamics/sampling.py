"""MaskGIT sampling: all tokens of a frame in a few steps, the most confident tokens first."""

import math

import keras
from keras import ops


def unmasking_schedule(tokens: int, steps: int) -> list[int]:
    """Number of fixed tokens after each step, by the cosine schedule: few after the first step, all after the last."""
    fixed = [tokens - int(tokens * math.cos(math.pi / 2 * (i + 1) / steps)) for i in range(steps)]
    fixed[-1] = tokens
    return fixed


def sampling_noise(batch: int, tokens: int, codes: int, steps: int, seed):
    """All random noise of one frame, drawn before the loop: `token` Gumbel (steps, B, N, K), `order` Gumbel (steps, B, N)."""
    u = keras.random.uniform((steps, batch, tokens, codes + 1), 1e-6, 1.0 - 1e-6, seed=seed)
    gumbel = -ops.log(-ops.log(u))
    return {"token": gumbel[..., :-1], "order": gumbel[..., -1]}


def sample_tokens(predict_logits, noise, mask_id: int, temperature: float):
    """Sample all tokens of one frame.

    Each step predicts all tokens, draws a token for each masked place, and fixes the tokens with the highest confidence. The
    confidence is the log probability plus noise. The noise decreases over the steps; without it, sampling tends to copy the last
    frame. Fixed tokens are inputs of later steps.

    Args:
        predict_logits: Function from tokens int32 (B, N), `mask_id` where masked, to logits float (B, N, K).
        noise: From `sampling_noise`; its first axis is the number of steps.
        mask_id: The token for "masked".
        temperature: Temperature of the drawn tokens; 0 takes the most probable token.

    Returns:
        A dict: `tokens` int32 (B, N); `history`, a list of the tokens after each step, `mask_id` where not yet fixed.

    Reference:
        Chang et al. 2022, MaskGIT, arXiv 2202.04200, section 3.2.
    """
    steps, _, count = noise["order"].shape
    tokens_BN = ops.full_like(noise["order"][0], mask_id, dtype="int32")
    history = []
    for i, fixed in enumerate(unmasking_schedule(count, steps)):
        masked_BN = ops.equal(tokens_BN, mask_id)
        log_p_BNK = ops.log_softmax(ops.cast(predict_logits(tokens_BN), "float32"))
        drawn_BN = ops.cast(ops.argmax(log_p_BNK + temperature * noise["token"][i], axis=-1), "int32")
        log_p_BN = ops.squeeze(ops.take_along_axis(log_p_BNK, drawn_BN[..., None], axis=-1), axis=-1)
        confidence_BN = log_p_BN + (1.0 - (i + 1) / steps) * noise["order"][i]
        confidence_BN = ops.where(masked_BN, confidence_BN, 1e9)  # fixed tokens stay fixed
        rank_BN = ops.argsort(ops.argsort(-confidence_BN, axis=-1), axis=-1)
        tokens_BN = ops.where(ops.logical_and(masked_BN, rank_BN < fixed), drawn_BN, tokens_BN)
        history.append(tokens_BN)
    return {"tokens": tokens_BN, "history": history}
