"""What the latent actions hold. Labels are read here, to measure, and nowhere in the training."""

import numpy as np

from genie_tf.config import Config
from genie_tf.episodes.dataset import Episodes
from genie_tf.evaluation.game import look_different
from genie_tf.evaluation.metrics import (
    bootstrap_figure,
    mutual_information,
    normalized_mutual_information,
    perplexity,
    probe,
    psnr,
    share_figure,
)
from genie_tf.latent_action import FRAMES
from genie_tf.latent_action.keymap import DIRECTIONS, KEY_DIRECTIONS, KEY_OF_ACTION, KEYS
from genie_tf.stages import latent_actions_of, load_latent_action
from genie_tf.training.backend import compiled, in_batches

LEVEL_SETS = 5  # disjoint sets of held-out levels, in each of which a latent action should mean the same
DECODED = 1024  # transitions
IN_USE = 0.03  # share of the transitions from which a latent action counts as used
DIRECTION_METRICS = (".probe_accuracy", ".majority_accuracy")


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


def level_set_figures(codes: np.ndarray, actions: np.ndarray, levels: np.ndarray, groups: np.ndarray, probed: dict) -> dict:
    """Whether a code means the same thing in every level.

    Args:
        codes, actions, groups, probed: As `information_figures` takes them.
        levels: int (n,), the level of each.

    Returns:
        Figures for each set i of levels: `latent_action.set.<i>.nmi` with the action, and for each code and the key that is
        commonest under it in the training recording, `latent_action.means.<code>.<key>.<i>`, the share of that key.
    """
    keys, names = KEY_OF_ACTION[actions], list(KEYS)
    figures: dict = {}
    for number, some in enumerate(np.array_split(np.unique(levels), LEVEL_SETS), 1):
        at = np.isin(levels, some)
        if at.any():
            figures[f"latent_action.set.{number}.nmi"] = pooled(normalized_mutual_information, [codes[at], actions[at]], groups[at])
        for code in np.unique(codes[at]):
            meant = probed["key"][code]
            hits = keys[at & (codes == code)] == meant
            figures[f"latent_action.means.{code}.{names[meant]}.{number}"] = share_figure(hits)
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


def decoder_figures(model, episodes: Episodes, rows: np.ndarray, codes: np.ndarray) -> dict:
    """What the model's own decoder makes of its codes.

    Args:
        model: The latent action model.
        episodes: The recording.
        rows: int (n,), of which a few hundred are decoded.
        codes: int (n,), their latent actions.

    Returns:
        Figures: `latent_action.psnr` of frame t + 1 told from the past and the code, in dB; `latent_action.copy_psnr`, had frame t
        been shown again; `latent_action.delta_psnr`, what is lost in dB if the code is another transition's.
    """
    predict = compiled(model.predict_next)
    some = np.linspace(0, len(rows) - 1, min(DECODED, len(rows))).astype(int)
    other = np.random.default_rng(0).permutation(codes[some])
    around = episodes.transition_rows(rows[some], FRAMES - 2)
    truth = episodes.frames(around[:, -1])

    def sharpness(led):
        predicted = in_batches(predict, lambda at: (episodes.frames(around[at]), led[at].astype(np.int32)), len(some), 64)
        return psnr(predicted, truth)

    told, shuffled = (sharpness(led) for led in (codes[some], other))
    copied = psnr(episodes.frames(around[:, -2]), truth)
    groups = episodes.locate(rows[some])[0]
    return {
        "latent_action.psnr": pooled(np.mean, [told], groups),
        "latent_action.copy_psnr": pooled(np.mean, [copied], groups),
        "latent_action.delta_psnr": pooled(np.mean, [told - shuffled], groups),
    }


def latent_action_figures(config: Config, transitions: dict | None = None) -> dict:
    """How much of the true action the code holds, on every held-out transition, and on those of which more is known.

    Args:
        transitions: From `play_every_key`, those whose effect is known to be seen or not.
    """
    train, test = (Episodes(config.record_folder(split)) for split in ("train", "test"))
    model, _ = load_latent_action(config)
    count, of = model.codes, latent_actions_of(config, {"train": train, "test": test})
    codes = of["test"]
    rows = test.windows(2, before=1)[:]
    figures = use_figures(codes[rows], test.locate(rows)[0], count) | decoder_figures(model, test, rows, codes[rows])
    if not (train.known.any() and test.known.any()):
        return figures
    known = train.windows(2, before=1, labelled=True)[:]
    probed = probes(of["train"][known], train.action[known].astype(int), count)
    rows = test.windows(2, before=1, labelled=True)[:]
    true = test.action[rows].astype(int)
    figures |= information_figures("latent_action", codes[rows], true, test.locate(rows)[0], probed)
    figures |= table_figures(codes[rows], true, count)
    episode = test.locate(rows)[0]
    figures |= level_set_figures(codes[rows], true, test.levels[episode], episode, probed)
    if transitions is not None:
        some = transitions["rows"]
        figures |= visible_figures(
            "latent_action", codes[some], test.action[some].astype(int), test.locate(some)[0], probed, transitions["visible"]
        )
    return figures
