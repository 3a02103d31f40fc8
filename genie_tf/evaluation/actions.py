"""What the latent actions hold, and does the world obey? Labels are read here, to measure, and nowhere in the training."""

import numpy as np
from keras import ops

from genie_tf.evaluation.frames import SPAN
from genie_tf.evaluation.game import look_different
from genie_tf.evaluation.metrics import (
    DIRECTIONS,
    bootstrap_figure,
    macro_f1,
    mean_figure,
    mutual_information,
    normalized_mutual_information,
    perplexity,
    probe,
    share_figure,
)
from genie_tf.latent_action.inverse_dynamics import FRAMES
from genie_tf.latent_action.keymap import KEY_OF_ACTION, KEYS, TRUE_KEYMAP

IN_USE = 0.03  # share of the transitions from which a latent action counts as used
KEY_ACTIONS = np.array([TRUE_KEYMAP[key] for key in KEYS])  # the Procgen action of each key
KEY_DIRECTIONS = DIRECTIONS[KEY_ACTIONS]
DIRECTION_METRICS = (".probe_accuracy", ".majority_accuracy")
BATCH = 64


def pooled(statistic, columns: list[np.ndarray], groups: np.ndarray) -> dict:
    """A statistic of columns (n,), with an interval over the episodes that `groups` (n,) names."""
    parts = [np.flatnonzero(groups == one) for one in np.unique(groups)]

    def of(some):
        rows = np.concatenate(some)
        return statistic(*(column[rows] for column in columns))

    return bootstrap_figure(of, parts, len(groups))


def use_figures(codes: np.ndarray, groups: np.ndarray, count: int) -> dict:
    """How many of `count` latent actions are in use, of codes int (n,) grouped by episode (n,)."""
    return {
        "latent_action.codes_used": pooled(lambda c: (np.bincount(c, minlength=count) >= IN_USE * len(c)).sum(), [codes], groups),
        "latent_action.perplexity": pooled(perplexity, [codes], groups),
    }


def information_figures(
    name: str, codes: np.ndarray, actions: np.ndarray, groups: np.ndarray, probed: dict[str, np.ndarray]
) -> dict:
    """How much of the true action a code holds.

    Args:
        name: First part of the figures' names.
        codes: int (n,).
        actions: int (n,), Procgen's.
        groups: int (n,), the episode of each.
        probed: The commonest `direction` and `key` of each code in the training recording, int (A,), and the commonest
            direction and key of all, `majority` and `majority_key`.

    Returns:
        Figures: mutual information in bits (`mi`, `nmi`) with the action, and with its effect, the key that does the same
        (`mi_effect`, `nmi_effect`); accuracy of the direction and of the key read off the code, beside that of always guessing the
        commonest.
    """
    keys, directions = KEY_OF_ACTION[actions], DIRECTIONS[actions]
    return {
        f"{name}.nmi": pooled(normalized_mutual_information, [codes, actions], groups),
        f"{name}.mi": pooled(mutual_information, [codes, actions], groups),
        f"{name}.nmi_effect": pooled(normalized_mutual_information, [codes, keys], groups),
        f"{name}.mi_effect": pooled(mutual_information, [codes, keys], groups),
        f"{name}.probe_accuracy": pooled(np.mean, [probed["direction"][codes] == directions], groups),
        f"{name}.majority_accuracy": pooled(np.mean, [probed["majority"] == directions], groups),
        f"{name}.key_accuracy": pooled(np.mean, [probed["key"][codes] == keys], groups),
        f"{name}.majority_key_accuracy": pooled(np.mean, [probed["majority_key"] == keys], groups),
    }


def probes(codes: np.ndarray, actions: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """What `information_figures` reads off codes (n,), learnt from the actions (n,) of the training recording."""
    directions, keys = DIRECTIONS[actions], KEY_OF_ACTION[actions]
    return {
        "direction": probe(codes, directions, count),
        "key": probe(codes, keys, count),
        "majority": np.argmax(np.bincount(directions), keepdims=True),
        "majority_key": np.argmax(np.bincount(keys), keepdims=True),
    }


def table_figures(codes: np.ndarray, actions: np.ndarray, count: int) -> dict:
    """The code-by-action table: the share of each code among the transitions of each key."""
    figures: dict = {}
    for index, key in enumerate(KEYS):
        chosen = codes[KEY_OF_ACTION[actions] == index]
        if len(chosen):
            figures |= {f"latent_action.code_given_key.{key}.{code}": share_figure(chosen == code) for code in range(count)}
    return figures


def visible_effect(pictures: np.ndarray, alive: np.ndarray, following: np.ndarray, actions: np.ndarray) -> dict[str, np.ndarray]:
    """Which recorded transitions show what was pressed.

    Args:
        pictures: uint8 (M, 6, 64, 64, 3), what the game would have shown under each key.
        alive: bool (M, 6), where it would have shown anything.
        following: uint8 (M, 64, 64, 3), what was recorded.
        actions: int (M,), the recorded action.

    Returns:
        A dict of bool (M,): `key`, where no other key would have led to what was recorded; `direction`, where none of another
        direction would have.
    """
    same = alive & ~look_different(pictures, following[:, None])
    known = alive.all(axis=1)
    other_key = np.arange(len(KEYS)) != KEY_OF_ACTION[actions][:, None]
    other_direction = DIRECTIONS[actions][:, None] != KEY_DIRECTIONS
    return {"key": known & ~(same & other_key).any(axis=1), "direction": known & ~(same & other_direction).any(axis=1)}


def visible_figures(name: str, codes, actions, groups, probed, visible: dict[str, np.ndarray]) -> dict:
    """`information_figures` on the transitions whose effect can be seen.

    Accuracies of the direction are taken where the direction shows, everything else where the key does.
    """
    figures: dict = {}
    for seen, at in visible.items():
        figures[f"{name}.visible.{seen}_share"] = share_figure(at)
        if at.sum() > 1:
            some = information_figures(f"{name}.visible", codes[at], actions[at], groups[at], probed)
            figures |= {each: one for each, one in some.items() if each.endswith(DIRECTION_METRICS) == (seen == "direction")}
    return figures


def judged_keys(infer, films: np.ndarray) -> np.ndarray:
    """The key int (...) that a judge reads off films uint8 (..., 5, 64, 64, 3), between the last two frames of each."""
    flat = films.reshape(-1, *films.shape[-4:])
    keys = np.zeros(len(flat), int)
    for first in range(0, len(flat), BATCH):
        part = np.minimum(np.arange(first, first + BATCH), len(flat) - 1)  # one shape, one compiled function
        keys[part] = ops.convert_to_numpy(infer(ops.convert_to_tensor(flat[part])))
    return keys.reshape(films.shape[:-4])


def obedience_figures(infer, films: np.ndarray, alive: np.ndarray, asked: np.ndarray, steps: tuple[int, ...], row: str) -> dict:
    """F1 of the keys that a judge reads off films, against those that were asked for.

    Args:
        infer: The judge's.
        films: uint8 (M, 4 + H, 64, 64, 3), prompt and what followed.
        alive: bool (M, H), which steps count.
        asked: int (M, H), indices into `KEYS`.
        steps: Those at which to look: the first alone, else the ten that end there.
        row: Last part of the metrics' names.

    Returns:
        Figures `obey.key_f1<row>.<step>` over the six keys and `obey.direction_f1<row>.<step>` over three directions, each class
        counting the same; left out where fewer than two films last that long.
    """
    figures: dict = {}
    for step in steps:
        at = np.arange(max(step - SPAN, 0) if step > 1 else 0, step)
        film, t = np.nonzero(alive[:, at])
        t = at[t]
        if len(np.unique(film)) < 2:
            continue
        read = judged_keys(infer, films[film[:, None], t[:, None] + np.arange(FRAMES)])
        wanted = asked[film, t]
        figures[f"obey.key_f1{row}.{step}"] = pooled(macro_f1, [read, wanted], film)
        figures[f"obey.direction_f1{row}.{step}"] = pooled(macro_f1, [KEY_DIRECTIONS[read], KEY_DIRECTIONS[wanted]], film)
    return figures


def matching_figures(dream: np.ndarray, game: np.ndarray, alive: np.ndarray, step: int, row: str) -> dict:
    """How often the dream under a key is nearer to the game under that key than to the game under any other that looks different.

    Args:
        dream: uint8 (M, 6, 64, 64, 3), each key's dream at one step.
        game: uint8 (M, 6, 64, 64, 3), what the game shows there.
        alive: bool (M, 6).
        step: For the names.
        row: Last part of the metric's name.

    Returns:
        Figures `counterfactual.match<row>.<step>`, the mean over moments of the share of keys, and `….<step>.<key>`; for the row ""
        also `counterfactual.chance.<step>`, that of a dream that takes one of the game's different pictures at random.
    """
    K = alive.shape[1]
    both = alive[:, :, None] & alive[:, None, :]
    different = both & look_different(game[:, :, None], game[:, None, :])
    decidable = different.any(axis=2)
    error = np.stack(
        [np.square(dream[:, :, None].astype(np.float32)[..., c] - game[:, None, ..., c]).mean(axis=(-1, -2)) for c in range(3)]
    ).mean(axis=0)
    own = np.take_along_axis(error, np.arange(K)[None, :, None], axis=2)
    hit = decidable & (own < np.where(different, error, np.inf)).all(axis=2)
    pictures = np.array([len(np.unique(~d[a][:, a], axis=0)) if a.any() else 1 for d, a in zip(different, alive)])

    figures: dict = {}
    moments = decidable.any(axis=1)
    if moments.sum() < 2:
        return {}
    share = hit.sum(axis=1)[moments] / decidable.sum(axis=1)[moments]
    figures[f"counterfactual.match{row}.{step}"] = mean_figure(share)
    for index, key in enumerate(KEYS):
        if decidable[:, index].sum() > 1:
            figures[f"counterfactual.match{row}.{step}.{key}"] = share_figure(hit[decidable[:, index], index])
    if row == "":
        figures[f"counterfactual.chance.{step}"] = mean_figure(1 / pictures[moments])
    return figures
