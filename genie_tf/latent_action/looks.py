"""Find the avatar in a recording without labels: the one thing that is always there and whose movement nothing foretells.

The avatar is the figure that the keys move. It is found in these steps:

1. *Looks.* Patches of 3 x 3 pixels of many frames are grouped. A group is a look, and every patch has the nearest look.
2. *Place.* If the patches of a look cover one small part of a frame, the look has a place there.
3. *Avatar.* The look of the avatar has a place in many frames. From one frame to the next, the place moves a little, differently
   from the whole picture, and the step before does not tell how. Scenery has many places, or moves with the picture. Other things
   come and go, or move evenly.
4. Further looks belong to the avatar if they are where it is: its other sides, or the same side between other pixels.
"""

import functools
from dataclasses import dataclass

import numpy as np
from keras import ops
from tqdm import tqdm

from genie_tf.episodes.dataset import Episodes
from genie_tf.layers.registration import register
from genie_tf.training.backend import compiled, in_batches

SIDE = 3  # pixels of a patch
LOOKS = 128
OWN = 8  # maximum number of looks of the avatar
LEARNED = 1024  # maximum number of transitions
DRAWN = 32  # patches of each of them
EVEN = 1e-5  # weight of a patch that does not change, beside its mean squared change
ROUNDS = 12  # of k-means
TRIES = 3  # the looks come from a random beginning, and the best avatar counts
SMALL = 1 / 28  # largest standard deviation of the patches of one place, as a part of the frame's height
NEAR = 10 / 64  # longest step of the avatar in columns and in rows, as a part of the frame's height
APART = 1 / 64  # least difference between a step of the avatar and the shift of the picture, as a part of the frame's height
SURPRISE = 4 / 64  # an unforeseen part of a step of this length counts in full, as a part of the frame's height
FEWEST = 30  # what happens in fewer transitions is no evidence
TOGETHER = 0.95  # least share of the places of a further look that are within a step of the first one
BATCH = 16


def moving_patches(pairs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Patches float32 (N * DRAWN, 27), 0 … 1, of the first of two frames, uint8 (N, 2, H, W, 3). Most are of those that change."""
    out = []
    for now, later in (np.asarray(pair, "float32") / 255.0 for pair in pairs):
        seen = np.lib.stride_tricks.sliding_window_view(now, (SIDE, SIDE), axis=(0, 1))  # type: ignore[call-overload]
        change = np.square(later - now).mean(axis=-1)
        change = np.lib.stride_tricks.sliding_window_view(change, (SIDE, SIDE))  # type: ignore[call-overload]
        weight = change.mean(axis=(2, 3)).ravel() + EVEN
        row, column = np.divmod(rng.choice(len(weight), DRAWN, p=weight / weight.sum()), seen.shape[1])
        out.append(seen[row, column].transpose(0, 2, 3, 1).reshape(DRAWN, -1))
    return np.concatenate(out)


def grouped(x_NE: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Centres float32 (count, E) of k-means.

    Reference:
        Lloyd 1982, "Least squares quantization in PCM".
    """
    centres = x_NE[rng.choice(len(x_NE), count)]
    for _ in range(ROUNDS):
        nearest = np.argmin(np.square(centres).sum(axis=1) - 2.0 * x_NE @ centres.T, axis=1)
        members = np.bincount(nearest, minlength=count)
        sums = np.stack([np.bincount(nearest, x_N, minlength=count) for x_N in x_NE.T], axis=1)
        elsewhere = x_NE[rng.choice(len(x_NE), count)]
        centres = np.where(members[:, None] > 0, sums / np.maximum(members, 1)[:, None], elsewhere)
    return centres.astype(np.float32)


def places(frames, looks_KE, chosen_M=None):
    """Where some looks are.

    Args:
        frames: uint8 (N, H, W, 3).
        looks_KE: float32 (K, 27), all looks.
        chosen_M: int32 (M,), indices of the looks to find; -1 is never found. By default all looks.

    Returns:
        float32 (N, M, 3): column and row, in pixels; and 1 if the look has one small place, 0 if it has none or more.
    """
    kernel = ops.transpose(ops.reshape(looks_KE, (-1, SIDE, SIDE, 3)), (1, 2, 3, 0))
    likeness = 2.0 * ops.conv(ops.cast(frames, "float32") / 255.0, kernel, padding="valid") - ops.sum(ops.square(looks_KE), axis=1)
    best = ops.max(likeness, axis=-1, keepdims=True)  # an argmax takes four times as long
    if chosen_M is not None:
        likeness = ops.where(chosen_M >= 0, ops.take(likeness, ops.maximum(chosen_M, 0), axis=-1), -np.inf)
    found = ops.cast(ops.equal(likeness, best), "float32")  # (N, rows, columns, M)
    place, spread = [], []
    for along_columns in (1, 0):
        counts = ops.sum(found, axis=1 if along_columns else 2)
        at = np.arange(counts.shape[1], dtype="float32")
        number, total, squares = ops.unstack(ops.matmul(np.stack([np.ones_like(at), at, at**2]), counts), axis=1)
        place.append(total / ops.maximum(number, 1.0))
        spread.append(squares / ops.maximum(number, 1.0) - ops.square(place[-1]))
    small = ops.logical_and(number > 0, ops.maximum(*spread) <= (SMALL * frames.shape[1]) ** 2)
    return ops.stack([*(each + SIDE // 2 for each in place), ops.cast(small, "float32")], axis=-1)


def surprise_of(place_N32: np.ndarray, shift_N2: np.ndarray, height: int) -> float:
    """How a thing moves.

    Args:
        place_N32: Its places in frames t - 1, t and t + 1 of N transitions, not a number where unknown.
        shift_N2: The shift of the picture from frame t to frame t + 1.
        height: Height of the frames.

    Returns:
        The surprise of its steps minus the share of steps that are too long for one thing, as a mean over all N. The surprise of a
        step is at most 1. It is 0 if the step before tells it exactly, if it is the shift of the picture, or if it is unknown.
    """
    steps = np.diff(place_N32, axis=1)
    before, step = steps[:, 0], steps[:, 1]
    known = ~np.isnan(steps).any(axis=(1, 2))
    short = known[:, None] & (np.abs(steps) <= NEAR * height).all(axis=2)
    fair = short.all(axis=1)
    if fair.sum() < FEWEST:
        return 0.0
    past = np.column_stack([before[fair], np.ones(fair.sum())])
    missed = step[fair] - past @ np.linalg.lstsq(past, step[fair], rcond=None)[0]
    surprise = np.minimum(np.linalg.norm(missed, axis=1) / (SURPRISE * height), 1.0)
    surprise *= np.abs(step - shift_N2)[fair].max(axis=1) >= APART * height
    return float((surprise.sum() - (known & ~short[:, 1]).sum()) / len(known))


@dataclass(frozen=True)
class Avatar:
    """What the avatar looks like.

    Args:
        looks: float32 (LOOKS, 27), all looks of the recording.
        own: int32 (OWN,), indices of the avatar's, the surest first; -1 where there are no more.
        offsets: float32 (OWN, 2), their places minus that of the first one, column and row in pixels.
        surprise: That of its steps, see `surprise_of`. It is not above 0 if there is no avatar.
    """

    looks: np.ndarray
    own: np.ndarray
    offsets: np.ndarray
    surprise: float


@functools.lru_cache(maxsize=1)  # the choice of the model and the model ask for that of the same recording
def find_avatar(recording: Episodes) -> Avatar:
    """The avatar of a recording that has a row for each held action."""
    rows = recording.windows(2, before=1).spread(LEARNED)
    frames = recording.frames(rows[:, None] + np.arange(-1, 2))
    shift = in_batches(compiled(register), lambda some: (frames[some, 1], frames[some, 2]), len(frames), BATCH)[:, :2]
    tries = tqdm(range(TRIES), desc="look for the avatar", delay=2, leave=False)
    return max((avatar_in(frames, shift, np.random.default_rng(seed)) for seed in tries), key=lambda avatar: avatar.surprise)


def avatar_in(frames: np.ndarray, shift_N2: np.ndarray, rng: np.random.Generator) -> Avatar:
    """The avatar in frames t - 1, t and t + 1 of N transitions, uint8 (N, 3, H, W, 3). For the shift see `surprise_of`."""
    looks = grouped(moving_patches(frames[:, 1:], rng), LOOKS, rng)
    flat, height = frames.reshape(-1, *frames.shape[2:]), frames.shape[2]
    find = compiled(lambda some: places(some, looks))
    found = in_batches(find, lambda some: flat[some], len(flat), BATCH)
    place = np.where(found[..., 2:] > 0, found[..., :2], np.nan).reshape(len(frames), 3, LOOKS, 2)
    surprise = [surprise_of(place[:, :, look], shift_N2, height) for look in range(LOOKS)]
    order = sorted(range(LOOKS), key=lambda look: -surprise[look])
    own, offsets = np.full(OWN, -1, "int32"), np.zeros((OWN, 2), "float32")
    own[0], count = order[0], 1
    together = first = place[:, :, order[0]]
    for look in order[1:]:
        apart = np.concatenate([place[:, i, look] - first[:, j] for i in range(3) for j in range(3) if abs(i - j) <= 1])
        apart = apart[~np.isnan(apart).any(axis=1)]
        if count < OWN and len(apart) >= FEWEST and (np.abs(apart) <= NEAR * height).all(axis=1).mean() >= TOGETHER:
            own[count], offsets[count] = look, np.median(apart, axis=0)
            together = np.where(np.isnan(together), place[:, :, look] - offsets[count], together)
            count += 1
    return Avatar(looks, own, offsets, surprise_of(together, shift_N2, height))
