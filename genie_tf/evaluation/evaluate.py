"""Is it sharp, and does it obey? The figures of a trained world on levels that it has not seen."""

import time
from pathlib import Path

import numpy as np
from keras import ops
from PIL import Image
from tqdm import tqdm

from genie_tf.config import Config
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import write_json, write_whole
from genie_tf.errors import UserError
from genie_tf.evaluation.metrics import (
    DIRECTIONS,
    bootstrap_figure,
    mean_figure,
    normalized_mutual_information,
    probe,
    psnr,
)
from genie_tf.stages import latent_actions_of
from genie_tf.world import World

HORIZON = 10  # frames dreamt after the prompt
DELTA_AT = 4  # the horizon of delta PSNR
BATCH = 32  # windows dreamt at once
IN_USE = 0.03  # share of the transitions from which a latent action counts as used
PLAY_STEPS = 100


def evaluation_windows(episodes: Episodes, length: int, count: int, seed: int) -> np.ndarray:
    """First rows of at most `count` windows, one an episode, so that they are independent.

    Raises:
        UserError: fewer than two episodes are that long.
    """
    rng = np.random.default_rng(seed)
    starts = rng.permutation(episodes.windows(length)[:])
    _, first_of_episode = np.unique(episodes.locate(starts)[0], return_index=True)
    chosen = rng.permutation(starts[first_of_episode])[:count]
    if len(chosen) < 2:
        raise UserError(f"{episodes.folder} has fewer than 2 episodes of {length} frames: record more test frames")
    return np.sort(chosen)


def rollout(world: World, prompt: np.ndarray, prompt_actions: np.ndarray, actions: np.ndarray, progress: tqdm) -> np.ndarray:
    """Dream `actions` (M, H) on from `prompt` (M, P, 64, 64, 3): uint8 (M, H, 64, 64, 3)."""
    dreams = []
    for begin in range(0, len(prompt), BATCH):
        part = np.minimum(np.arange(begin, begin + BATCH), len(prompt) - 1)  # one shape, one compiled function
        world.reset(prompt[part], prompt_actions[part])
        frames = []
        for t in range(actions.shape[1]):
            frames.append(world.step(actions[part, t]))
            progress.update()
        dreams.append(np.stack(frames, axis=1))
    return np.concatenate(dreams)[: len(prompt)]


def dynamics_figures(world: World, frames: np.ndarray, actions: np.ndarray, prompt: int, seed: int):
    """PSNR over the horizon, beside copying, and what the actions are worth.

    Args:
        frames: uint8 (M, P + H, 64, 64, 3).
        actions: int (M, P + H - 1), inferred from the frames, or true in a guided world.
        prompt: P.

    Returns:
        The figures, and the dream (M, H, 64, 64, 3) under the given actions.
    """
    rng = np.random.default_rng(seed)
    truth, past_actions, future = frames[:, prompt:], actions[:, : prompt - 1], actions[:, prompt - 1 :]
    some = np.unique(actions)
    random = rng.choice(some, (len(frames), DELTA_AT))
    last = future[:, :DELTA_AT].copy()
    last[:, -1] = [rng.choice(some[some != action]) for action in last[:, -1]] if len(some) > 1 else last[:, -1]
    steps = -(-len(frames) // BATCH) * (HORIZON + 2 * DELTA_AT)
    with tqdm(total=steps, desc="dreaming", unit=" steps") as progress:
        dream = rollout(world, frames[:, :prompt], past_actions, future, progress)
        dream_random = rollout(world, frames[:, :prompt], past_actions, random, progress)
        dream_last = rollout(world, frames[:, :prompt], past_actions, last, progress)
    quality = psnr(dream, truth)
    copy = psnr(np.repeat(frames[:, prompt - 1 : prompt], HORIZON, axis=1), truth)
    at = DELTA_AT - 1
    figures = {f"dynamics.psnr.{t + 1}": mean_figure(quality[:, t]) for t in range(HORIZON)}
    figures |= {f"dynamics.psnr_copy.{t + 1}": mean_figure(copy[:, t]) for t in range(HORIZON)}
    figures["dynamics.delta_psnr_genie"] = mean_figure(quality[:, at] - psnr(dream_random[:, at], truth[:, at]))
    figures["dynamics.delta_psnr_last"] = mean_figure(quality[:, at] - psnr(dream_last[:, at], truth[:, at]))
    return figures, dream


def tokenizer_figures(world: World, frames: np.ndarray):
    """Sharpness of the reconstruction, and how much of the codebook it uses.

    Returns:
        The figures, and the reconstruction (M, L, 64, 64, 3).
    """
    tokens, pictures = [], []
    for window in frames:
        tokens.append(ops.convert_to_numpy(world.tokenizer.encode(ops.convert_to_tensor(window))))
        pictures.append(ops.convert_to_numpy(world.tokenizer.decode(ops.convert_to_tensor(tokens[-1]))))
    figures = {
        "tokenizer.psnr": mean_figure(psnr(np.stack(pictures), frames).mean(axis=1)),
        "tokenizer.codes_used": bootstrap_figure(lambda some: len(np.unique(np.stack(some))), tokens, frames[..., 0, 0, 0].size),
    }
    return figures, np.stack(pictures)


def latent_action_figures(config: Config) -> dict:
    """How much of the true action the code holds: labels are read here, to measure, and nowhere in the training.

    The probe is the commonest direction of each code in the training recording; the baseline, its commonest of all. Where the
    recording has no true actions there is only the number of codes in use.
    """
    train, test = (Episodes(config.record_folder(split)) for split in ("train", "test"))
    count = config.latent_action.codes

    def grouped(labelled: bool, columns) -> tuple[list[np.ndarray], int]:
        """Columns of the transitions of each episode, and their number."""
        held_out = test.windows(2, before=1, labelled=labelled)[:]
        rows, episode = np.column_stack(columns(held_out)), test.locate(held_out)[0]
        return [rows[episode == e] for e in np.unique(episode)], len(rows)

    test_codes = latent_actions_of(config, test)
    groups, n = grouped(False, lambda rows: [test_codes[rows]])

    def in_use(some):
        codes = np.concatenate(some)[:, 0]
        return (np.bincount(codes, minlength=count) >= IN_USE * len(codes)).sum()

    figures = {"latent_action.codes_used": bootstrap_figure(in_use, groups, n)}
    if not (train.known.any() and test.known.any()):
        print(f"record/{config.world} has no true actions: no figure of how much of them the codes hold")
        return figures

    known = train.windows(2, before=1, labelled=True)[:]
    direction = probe(latent_actions_of(config, train)[known], DIRECTIONS[train.action[known]], count)
    commonest = np.bincount(DIRECTIONS[train.action[known]]).argmax()

    def judged(rows):
        codes, true = test_codes[rows], test.action[rows].astype(int)
        return [codes, true, direction[codes] == DIRECTIONS[true], commonest == DIRECTIONS[true]]

    groups, n = grouped(True, judged)

    def pooled(statistic):
        return bootstrap_figure(lambda some: statistic(np.concatenate(some)), groups, n)

    return figures | {
        "latent_action.nmi": pooled(lambda r: normalized_mutual_information(r[:, 0], r[:, 1])),
        "latent_action.probe_accuracy": pooled(lambda r: r[:, 2].mean()),
        "latent_action.majority_accuracy": pooled(lambda r: r[:, 3].mean()),
    }


def play_figures(world: World, prompt: np.ndarray, prompt_actions: np.ndarray) -> dict:
    """Speed of one player's steps."""
    world.reset(prompt, prompt_actions)
    world.step(np.zeros(1, int))
    milliseconds = np.zeros(PLAY_STEPS)
    for t in range(PLAY_STEPS):
        start = time.perf_counter()
        world.step(np.array([t % world.actions]))
        milliseconds[t] = 1000 * (time.perf_counter() - start)
    times = list(milliseconds)
    return {
        "play.frames_per_second": bootstrap_figure(lambda some: 1000 / np.mean(some), times, PLAY_STEPS),
        "play.p95_ms": bootstrap_figure(lambda some: np.quantile(some, 0.95), times, PLAY_STEPS),
    }


def save_grid(path: Path, rows: list[np.ndarray | None], scale: int = 2, gap: int = 2) -> None:
    """Write rows of frames, each uint8 (T, 64, 64, 3), as one PNG; None leaves a wider gap."""
    blank = np.full((6, 1, 3), 255, np.uint8)
    width = max(len(row) for row in rows if row is not None) * (64 + gap)
    lines = []
    for row in rows:
        if row is None:
            lines.append(np.repeat(blank, width, axis=1))
            continue
        line = np.full((64 + gap, width, 3), 255, np.uint8)
        for t, frame in enumerate(row):
            line[:64, t * (64 + gap) : t * (64 + gap) + 64] = frame
        lines.append(line)
    picture = Image.fromarray(np.concatenate(lines).repeat(scale, 0).repeat(scale, 1))
    write_whole(path, lambda file: picture.save(file, format="png"))


def show(figures: dict) -> None:
    for name, value in figures.items():
        print(f"{name:34} {value['value']:9.3f}   [{value['low']:.3f}, {value['high']:.3f}]   n {value['n']}")


def evaluate(config: Config) -> dict:
    """Measure the world `model/<world>` and write `evaluation.json`, `strips.png` and `latent_actions.png` beside it.

    Returns:
        What evaluation.json holds: name to `value`, `low`, `high` (95 %), `n`.

    Raises:
        UserError: a model or the recording is missing.
    """
    settings, guided = config.play, config.dynamics.actions == "true"
    P = settings.prompt_frames
    world = World.load(
        config.model_folder, guided, sampling_steps=settings.sampling_steps, temperature=settings.temperature, seed=settings.seed
    )
    test = Episodes(config.record_folder("test"))
    starts = evaluation_windows(test, P + HORIZON, settings.evaluation_windows, settings.seed)
    rows = starts[:, None] + np.arange(P + HORIZON)
    frames = test.frames(rows)
    actions = test.read(rows[:, :-1])["action"].astype(int) if guided else world.infer_actions(frames)

    figures, reconstruction = tokenizer_figures(world, frames)
    if not guided:
        figures |= latent_action_figures(config)
    dream_figures, dream = dynamics_figures(world, frames, actions, P, settings.seed)
    figures |= dream_figures | play_figures(world, frames[:1, :P], actions[:1, : P - 1])

    prefix = "guided_" if guided else ""
    shown = np.linspace(0, len(frames) - 1, 4).astype(int)
    strips = []
    for i in shown:
        strips += [frames[i], reconstruction[i], np.concatenate([frames[i, :P], dream[i]]), None]
    save_grid(config.model_folder / f"{prefix}strips.png", strips[:-1])
    every = np.arange(world.actions)
    world.reset(np.repeat(frames[shown[1:2], :P], len(every), axis=0), np.repeat(actions[shown[1:2], : P - 1], len(every), axis=0))
    continued = np.stack([world.step(every) for _ in range(HORIZON)], axis=1)
    save_grid(config.model_folder / f"{prefix}actions.png", list(continued))

    target = config.model_folder / f"{prefix}evaluation.json"
    write_json(target, figures)
    show(figures)
    print(f"wrote {target}, {prefix}strips.png and {prefix}actions.png beside it")
    return figures
