"""Information in the latent actions about the true actions. Labels are used for this evaluation only, never in the training."""

import numpy as np

from genie_tf.config import Config
from genie_tf.episodes.controls import Controls
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorded import controls_in
from genie_tf.evaluation.game import LEVELS, look_different
from genie_tf.evaluation.metrics import (
    bootstrap_figure,
    macro_f1,
    mutual_information,
    normalized_mutual_information,
    perplexity,
    probe,
    psnr,
    share_figure,
)
from genie_tf.latent_action import FRAMES
from genie_tf.stages import held_frames, latent_actions_of, load_latent_action, recordings
from genie_tf.training.backend import compiled, in_batches

LEVEL_SETS = 5  # disjoint sets of held-out levels; a latent action should mean the same in each
DECODED = 1024  # maximum number of transitions that are decoded
IN_USE = 0.03  # minimum share of the transitions of a latent action that counts as used
DIRECTION_METRICS = (".probe_accuracy", ".majority_accuracy")


def pooled(statistic, columns: list[np.ndarray], groups: np.ndarray) -> dict:
    """A statistic of columns (n,), with a bootstrap interval over episodes. `groups` (n,) is the episode of each row."""
    parts = [np.flatnonzero(groups == one) for one in np.unique(groups)]

    def of(some):
        rows = np.concatenate(some)
        return statistic(*(column[rows] for column in columns))

    return bootstrap_figure(of, parts, len(groups))


def use_figures(codes: np.ndarray, groups: np.ndarray, count: int) -> dict:
    """Number of latent actions in use, of `count`, and perplexity, from codes int (n,) and their episodes `groups` (n,)."""
    return {
        "latent_action.codes_used": pooled(lambda c: (np.bincount(c, minlength=count) >= IN_USE * len(c)).sum(), [codes], groups),
        "latent_action.perplexity": pooled(perplexity, [codes], groups),
    }


def information_figures(
    name: str, codes: np.ndarray, actions: np.ndarray, groups: np.ndarray, probed: dict[str, np.ndarray], controls: Controls
) -> dict:
    """Information about the true action in the codes.

    Args:
        name: First part of the figures' names.
        codes: int (n,).
        actions: int (n,), recorded actions.
        groups: int (n,), the episode of each transition.
        probed: From `probes`: the most frequent `direction` and `key` of each code in the training recording, int (A,), and the
            most frequent direction and key of all transitions, `majority` and `majority_key`.
        controls: The controls of the recording.

    Returns:
        Figures: mutual information in bits (`mi`) and normalized (`nmi`) with the action; the same with the key that has the
        effect of the action (`mi_effect`, `nmi_effect`); accuracy of the direction and of the key predicted from the code
        (`probe_accuracy`, `key_accuracy`), and the key's macro F1 score (`probe_f1`); and the accuracy of the most frequent
        direction and key as baselines. Without directions among the controls, their figures are omitted.
    """
    keys, directions = controls.of_action[actions], controls.direction_of(actions)
    figures = {
        f"{name}.nmi": pooled(normalized_mutual_information, [codes, actions], groups),
        f"{name}.mi": pooled(mutual_information, [codes, actions], groups),
        f"{name}.nmi_effect": pooled(normalized_mutual_information, [codes, keys], groups),
        f"{name}.mi_effect": pooled(mutual_information, [codes, keys], groups),
        f"{name}.probe_accuracy": pooled(np.mean, [probed["direction"][codes] == directions], groups),
        f"{name}.majority_accuracy": pooled(np.mean, [probed["majority"] == directions], groups),
        f"{name}.key_accuracy": pooled(np.mean, [probed["key"][codes] == keys], groups),
        f"{name}.probe_f1": pooled(macro_f1, [probed["key"][codes], keys], groups),
        f"{name}.majority_key_accuracy": pooled(np.mean, [probed["majority_key"] == keys], groups),
    }
    return {each: one for each, one in figures.items() if controls.has_directions or not each.endswith(DIRECTION_METRICS)}


def probes(codes: np.ndarray, actions: np.ndarray, count: int, controls: Controls) -> dict[str, np.ndarray]:
    """Direction and key of each code, from codes (n,) and actions (n,) of the training recording: see `information_figures`."""
    directions, keys = controls.direction_of(actions), controls.of_action[actions]
    return {
        "direction": probe(codes, directions, count),
        "key": probe(codes, keys, count),
        "majority": np.argmax(np.bincount(directions), keepdims=True),
        "majority_key": np.argmax(np.bincount(keys), keepdims=True),
    }


def table_figures(codes: np.ndarray, actions: np.ndarray, count: int, controls: Controls) -> dict:
    """Table of codes by key: the share of each code among the transitions of each key."""
    figures: dict = {}
    for index, key in enumerate(controls):
        chosen = codes[controls.of_action[actions] == index]
        if len(chosen):
            figures |= {f"latent_action.code_given_key.{key}.{code}": share_figure(chosen == code) for code in range(count)}
    return figures


def level_set_figures(
    codes: np.ndarray, actions: np.ndarray, levels: np.ndarray, groups: np.ndarray, probed: dict, controls: Controls
) -> dict:
    """Measure whether a code means the same in all levels.

    Args:
        codes, actions, groups, probed, controls: As in `information_figures`.
        levels: int (n,), the level of each transition.

    Returns:
        Figures for each set i of levels: `latent_action.set.<i>.nmi` with the action; and for each code
        `latent_action.means.<code>.<key>.<i>`, the share of the key that is most frequent for this code in the training recording.
    """
    keys, names = controls.of_action[actions], controls.names
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


def visible_effect(
    pictures: np.ndarray, alive: np.ndarray, following: np.ndarray, actions: np.ndarray, controls: Controls
) -> dict[str, np.ndarray]:
    """Find the recorded transitions in which the action has a visible effect.

    Args:
        pictures: uint8 (M, K, H, W, 3), the next frames of the game under each control.
        alive: bool (M, K), whether the game reached these frames.
        following: uint8 (M, H, W, 3), the recorded next frames.
        actions: int (M,), the recorded actions.
        controls: The controls.

    Returns:
        A dict of bool (M,): `key`, true if every other key leads to a frame that looks different from the recorded one;
        `direction`, true if every key of another direction does; only if the controls have directions.
    """
    same = alive & ~look_different(pictures, following[:, None])
    known = alive.all(axis=1)
    other = {"key": np.arange(len(controls)) != controls.of_action[actions][:, None]}
    if controls.has_directions:
        other["direction"] = controls.direction_of(actions)[:, None] != controls.directions
    return {name: known & ~(same & those).any(axis=1) for name, those in other.items()}


def visible_figures(name: str, codes, actions, groups, probed, controls: Controls, visible: dict[str, np.ndarray]) -> dict:
    """`information_figures` of the transitions with a visible effect.

    The accuracy of the direction uses the transitions in which the direction is visible. All other figures use those in which the
    key is visible.
    """
    figures: dict = {}
    for seen, at in visible.items():
        figures[f"{name}.visible.{seen}_share"] = share_figure(at)
        if at.sum() > 1:
            some = information_figures(f"{name}.visible", codes[at], actions[at], groups[at], probed, controls)
            figures |= {each: one for each, one in some.items() if each.endswith(DIRECTION_METRICS) == (seen == "direction")}
    return figures


def decoder_figures(model, episodes: Episodes, rows: np.ndarray, codes: np.ndarray) -> dict:
    """Predictions of the decoder of the latent action model.

    Args:
        model: The latent action model.
        episodes: The recording.
        rows: int (n,); at most `DECODED` of them are decoded.
        codes: int (n,), latent actions of the rows.

    Returns:
        Figures in dB: `latent_action.psnr` of frame t + 1 predicted from the past and the code; `latent_action.copy_psnr` of frame
        t as a baseline; `latent_action.delta_psnr`, the PSNR lost with the code of another transition, the mean of the frames;
        `latent_action.delta_psnr_changed`, the same over the pixels of all frames together that differ from frame t.
    """
    predict = compiled(model.predict_next)
    some = np.linspace(0, len(rows) - 1, min(DECODED, len(rows))).astype(int)
    other = np.random.default_rng(0).permutation(codes[some])
    around = episodes.transition_rows(rows[some], FRAMES - 2)
    before, truth = (episodes.frames(around[:, at]) for at in (-2, -1))
    changed = (np.abs(truth.astype(np.int16) - before) > LEVELS).any(axis=-1)

    def quality(led):
        predicted = in_batches(predict, lambda at: (episodes.frames(around[at]), led[at].astype(np.int32)), len(some), 64)
        squares = np.square(predicted.astype(np.int32) - truth).sum(axis=-1)
        return psnr(predicted, truth), np.sum(squares, axis=(1, 2), where=changed)

    (told, told_changed), (shuffled, shuffled_changed) = (quality(led) for led in (codes[some], other))
    copied = psnr(before, truth)
    groups = episodes.locate(rows[some])[0]

    def ratio(least, most):
        return 10.0 * np.log10(max(most.sum(), 1) / max(least.sum(), 1))

    return {
        "latent_action.psnr": pooled(np.mean, [told], groups),
        "latent_action.copy_psnr": pooled(np.mean, [copied], groups),
        "latent_action.delta_psnr": pooled(np.mean, [told - shuffled], groups),
        "latent_action.delta_psnr_changed": pooled(ratio, [told_changed, shuffled_changed], groups),
    }


def latent_action_figures(config: Config, transitions: dict | None = None) -> dict:
    """All figures of the latent actions, on all held-out transitions and on those with a visible effect.

    Args:
        config: The world.
        transitions: From `play_every_key`. If None, the figures of visible effects are omitted.
    """
    train, test = recordings(config, "train", "test", every=held_frames(config)).values()
    model, _ = load_latent_action(config)
    count, of = model.codes, latent_actions_of(config, {"train": train, "test": test})
    codes = of["test"]
    rows = test.windows(2, before=1)[:]
    figures = use_figures(codes[rows], test.locate(rows)[0], count) | decoder_figures(model, test, rows, codes[rows])
    controls = controls_in(train)
    if controls is None or not test.known.any():
        return figures
    known = train.windows(2, before=1, labelled=True)[:]
    probed = probes(of["train"][known], train.action[known].astype(int), count, controls)
    rows = test.windows(2, before=1, labelled=True)[:]
    true = test.action[rows].astype(int)
    figures |= information_figures("latent_action", codes[rows], true, test.locate(rows)[0], probed, controls)
    figures |= table_figures(codes[rows], true, count, controls)
    episode = test.locate(rows)[0]
    figures |= level_set_figures(codes[rows], true, test.levels[episode], episode, probed, controls)
    if transitions is not None:
        some = transitions["rows"]
        figures |= visible_figures(
            "latent_action",
            codes[some],
            test.action[some].astype(int),
            test.locate(some)[0],
            probed,
            controls,
            transitions["visible"],
        )
    return figures
