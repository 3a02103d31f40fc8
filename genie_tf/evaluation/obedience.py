"""Controllability: rollouts are compared with the requested keys by the judge, and with the real game under the same keys."""

import numpy as np

from genie_tf.config import RecordSettings
from genie_tf.episodes.controls import Controls
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorder import controls_of
from genie_tf.evaluation.frames import SPAN
from genie_tf.evaluation.game import look_different, play_on, played_moments
from genie_tf.evaluation.latent_actions import information_figures, pooled, probes, visible_effect, visible_figures
from genie_tf.evaluation.metrics import macro_f1, mean_figure, psnr, share_figure, ssim
from genie_tf.evaluation.reconstruction import reconstruct
from genie_tf.evaluation.rollouts import HORIZON, LASTING, PROMPT, Moments
from genie_tf.latent_action import FRAMES
from genie_tf.training.backend import in_batches
from genie_tf.world import World

MATCHED = (1, 4, 10)  # steps of the counterfactual rollouts that are measured
MOMENTS_AN_EPISODE = 16  # transitions per episode that are played under every key
BATCH = 64  # films per batch of the judge


def judged_keys(infer, films: np.ndarray) -> np.ndarray:
    """The key int (...) that the judge predicts between the last two frames of films uint8 (..., 5, H, W, 3)."""
    flat = films.reshape(-1, *films.shape[-4:])
    return in_batches(infer, lambda rows: flat[rows], len(flat), BATCH).astype(int).reshape(films.shape[:-4])


def obedience_figures(
    infer,
    films: np.ndarray,
    alive: np.ndarray,
    asked: np.ndarray,
    groups: np.ndarray,
    steps: tuple[int, ...],
    row: str,
    controls: Controls,
) -> dict:
    """F1 of the keys that the judge predicts from films, compared with the requested keys.

    Args:
        infer: The method `infer` of the judge.
        films: uint8 (M, 4 + T, H, W, 3), the prompt and the frames after it.
        alive: bool (M, T), the steps that are used.
        asked: int (M, T), the requested keys, as indices of controls.
        groups: int (M,), the moment at which each film begins.
        steps: Steps that are measured. Step 1 is measured alone, later steps over the ten frames that end there.
        row: Last part of the metrics' names.
        controls: The controls.

    Returns:
        Figures `obey.key_f1<row>.<step>` over the keys and, if the controls have directions, `obey.direction_f1<row>.<step>` over
        three directions, averaged over classes. A step that fewer than two films reach is omitted.
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
        figures[f"obey.key_f1{row}.{step}"] = pooled(macro_f1, [read, wanted], groups[film])
        if controls.has_directions:
            ways = [controls.directions[read], controls.directions[wanted]]
            figures[f"obey.direction_f1{row}.{step}"] = pooled(macro_f1, ways, groups[film])
    return figures


def matching_figures(dream: np.ndarray, game: np.ndarray, alive: np.ndarray, step: int, row: str, controls: Controls) -> dict:
    """Share of rollouts that are nearest to the game under the same key.

    A rollout matches if it is nearer to the game under its key than to the game under every other key that looks different.

    Args:
        dream: uint8 (M, K, H, W, 3), the rollout under each key at one step.
        game: uint8 (M, K, H, W, 3), the game under each key at this step.
        alive: bool (M, K), whether the game reached this step.
        step: The step, for the names.
        row: Last part of the metric's name.
        controls: The controls.

    Returns:
        Figures `counterfactual.match<row>.<step>`, the share of matching keys, averaged over moments, and `….<step>.<key>` for each
        key. For row "" also `counterfactual.chance.<step>`, the share for a random choice among the game's different pictures.
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
    for index, key in enumerate(controls):
        if decidable[:, index].sum() > 1:
            figures[f"counterfactual.match{row}.{step}.{key}"] = share_figure(hit[decidable[:, index], index])
    if row == "":
        figures[f"counterfactual.chance.{step}"] = mean_figure(1 / pictures[moments])
    return figures


def play_every_key(test: Episodes, rows: np.ndarray, game: RecordSettings) -> dict:
    """Play some transitions of each episode that contains one of `rows` under every key.

    Returns:
        A dict: `rows` int (n,), the transitions; `visible`, the result of `visible_effect`; and `replayed`, whether the game
        came to any of their frames again.
    """
    chosen = []
    for episode in np.unique(test.locate(rows)[0]):
        steps = np.linspace(1, test.lengths[episode] - 2, min(MOMENTS_AN_EPISODE, test.lengths[episode] - 2)).astype(int)
        chosen.append(test.starts[episode] + steps)
    rows = np.concatenate(chosen)
    controls = controls_of(game)
    actions = np.broadcast_to(controls.first[:, None], (len(rows), len(controls), 1))
    following, true = test.frames(rows + 1), test.action[rows].astype(int)
    visible: dict[str, np.ndarray] = {}
    replayed = False
    for m, played in played_moments(game, test, rows, actions, "playing every key"):
        pictures, alive = played["frames"][None, :, 0], played["alive"][None, :, 0]
        seen = visible_effect(pictures, alive, following[m : m + 1], true[m : m + 1], controls)
        for name, one in seen.items():
            visible.setdefault(name, np.zeros(len(rows), bool))[m] = one[0]
        replayed |= bool(alive.any())
    return {"rows": rows, "visible": visible, "replayed": replayed}


def judge_figures(infer, test: Episodes, transitions: dict, controls: Controls) -> dict:
    """Accuracy of the judge on the recorded transitions of `play_every_key`."""
    rows = transitions["rows"]
    around = test.transition_rows(rows, FRAMES - 2)
    keys = in_batches(infer, lambda some: test.frames(around[some]), len(rows), BATCH).astype(int)
    true, groups = test.action[rows].astype(int), test.locate(rows)[0]
    known = probes(keys, true, len(controls), controls) | {"direction": controls.directions, "key": np.arange(len(controls))}
    figures = information_figures("judge", keys, true, groups, known, controls)
    figures |= visible_figures("judge", keys, true, groups, known, controls, transitions["visible"])
    wanted = controls.of_action[true]
    figures["judge.key_f1"] = pooled(macro_f1, [keys, wanted], groups)
    if controls.has_directions:
        figures["judge.direction_f1"] = pooled(macro_f1, [controls.directions[keys], controls.directions[wanted]], groups)
    return figures


def asked_figures(infer, moments: Moments, dream: np.ndarray, asked: np.ndarray, game: RecordSettings) -> dict:
    """Controllability of long rollouts under random keys, and their PSNR and SSIM with the game under the same keys.

    Args:
        infer: The method `infer` of the judge.
        moments: The held-out windows.
        dream: uint8 (M', 200, H, W, 3), the long rollouts of the first M' moments.
        asked: int (M', 200), their keys.
        game: Settings of the recording.
    """
    count, controls = len(asked), controls_of(game)
    played = play_on(
        game, moments.episodes, moments.rows[:count] + PROMPT - 1, controls.first[asked][:, None], "the same keys in the game"
    )
    real, alive = played["frames"][:, 0], played["alive"][:, 0]
    figures: dict = {}
    for row, shown, counts in (("", dream, np.ones_like(alive)), ("_game", real, alive)):
        films = np.concatenate([moments.frames[:count, :PROMPT], shown], axis=1)
        figures |= obedience_figures(infer, films, counts, asked, np.arange(count), LASTING[1:], row, controls)
    for step in LASTING:
        at = alive[:, step - 1]
        if at.sum() > 1:
            for name, metric in (("psnr", psnr), ("ssim", ssim)):
                figures[f"lasting.{name}.{step}"] = mean_figure(metric(dream[at, step - 1], real[at, step - 1]))
    return figures


def counterfactual_figures(
    infer, moments: Moments, held: np.ndarray, codes: np.ndarray, world: World, game: RecordSettings
) -> tuple[dict, np.ndarray]:
    """Compare rollouts with the game, from the same moments under every key.

    Args:
        infer: The method `infer` of the judge. It predicts the key from the first frame of the rollouts and of the game.
        moments: The held-out windows.
        held: uint8 (M', K, 10, H, W, 3), the rollouts of the first M' moments.
        codes: int (K,), the world's action for every key.
        world: The trained world.
        game: Settings of the recording.

    Returns:
        The figures, and the frames of the game in the shape of `held`.
    """
    rows = moments.rows[: len(held)] + PROMPT - 1
    controls = controls_of(game)
    actions = np.broadcast_to(controls.first[:, None], (len(held), len(controls), HORIZON))
    played = play_on(game, moments.episodes, rows, actions, "counterfactuals in the game", between=True)
    copy = np.repeat(moments.frames[: len(held), None, PROMPT - 1], len(controls), axis=1)
    count, keys = played["alive"].shape[:2]
    prompt = np.repeat(moments.frames[:count, :PROMPT], keys, axis=0)
    pressed = np.concatenate(
        [
            np.repeat(moments.actions[:count, : PROMPT - 1], keys, axis=0),
            np.tile(np.repeat(codes[:, None], HORIZON, axis=1), (count, 1)),
        ],
        axis=1,
    )
    every, shape = moments.episodes.every, played["frames"].shape
    begin = np.repeat(moments.prompt(PROMPT, count)["prompt"], keys, axis=0)
    films = np.concatenate([begin, played["film"].reshape(-1, *played["film"].shape[2:])], axis=1)
    pictures = reconstruct(world.tokenizer, films, world.led_by[np.repeat(pressed, every // world.stride, axis=1)])[1]
    pictures = pictures[:, ::every][:, PROMPT:].reshape(shape)
    figures: dict = {}
    for step in MATCHED:
        shown, alive = played["frames"][:, :, step - 1], played["alive"][:, :, step - 1]
        for row, dream in (("", held[:, :, step - 1]), ("_tokenizer", pictures[:, :, step - 1]), ("_copy", copy)):
            figures |= matching_figures(dream, shown, alive, step, row, controls)
    asked, groups = np.tile(np.arange(keys), count)[:, None], np.repeat(np.arange(count), keys)
    for row, shown, alive in (("", held, np.ones_like(played["alive"])), ("_game", played["frames"], played["alive"])):
        films = np.concatenate([prompt, shown[:, :, 0].reshape(-1, 1, *shown.shape[3:])], axis=1)
        figures |= obedience_figures(infer, films, alive[:, :, :1].reshape(-1, 1), asked, groups, (1,), row, controls)
    return figures, played["frames"]
