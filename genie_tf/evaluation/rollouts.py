"""Rollouts from held-out moments."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from genie_tf.config import Config
from genie_tf.episodes.controls import NONE, Controls
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import UNKNOWN
from genie_tf.episodes.recorded import controls_in
from genie_tf.errors import UserError
from genie_tf.evaluation.reconstruction import reconstruct
from genie_tf.stages import held_frames
from genie_tf.world import World

BATCH = 32  # maximum number of rollouts in a batch
HORIZON = 10  # frames predicted after the prompt
PROMPTS = {4: "dynamics", 1: "dynamics.prompt1"}  # number of prompt frames, and the first part of the figures' names
PROMPT = max(PROMPTS)
LASTING = (1, 10, 50, 200)  # steps of the long rollouts that are measured


def evaluation_windows(episodes: Episodes, length: int, count: int, seed: int) -> np.ndarray:
    """First rows of at most `count` independent windows, one per episode.

    Raises:
        UserError: fewer than two episodes are long enough.
    """
    rng = np.random.default_rng(seed)
    starts = rng.permutation(episodes.windows(length)[:])
    _, first_of_episode = np.unique(episodes.locate(starts)[0], return_index=True)
    chosen = rng.permutation(starts[first_of_episode])[:count]
    if len(chosen) < 2:
        raise UserError(f"{episodes.folder} has fewer than 2 episodes of {length} frames: record more test frames")
    return np.sort(chosen)


@dataclass
class Moments:
    """Held-out windows of 4 prompt frames and the 10 frames after them. An action is held from each of them to the next one.

    Args:
        episodes: The test recording, with a row for each held action.
        rows: int (M,), first rows of the windows.
        films: uint8 (M, 13 E + 1, H, W, 3), all recorded frames of the windows; E is `episodes.every`.
        actions: int (M, 13), the actions that the world gets: inferred from the frames, or the recorded ones in a guided world.
        true: int (M, 13), recorded actions. None if they are unknown, or if the world's keymap lacks a key.
        controls: The controls of the recorded actions. None with `true`.
    """

    episodes: Episodes
    rows: np.ndarray
    films: np.ndarray
    actions: np.ndarray
    true: np.ndarray | None
    controls: Controls | None = None

    @property
    def batch(self) -> int:
        """Number of rollouts in a batch: one for all figures, so that a step is compiled once."""
        return min(BATCH, len(self.rows))

    @property
    def frames(self) -> np.ndarray:
        """The frames at which the actions begin and end, uint8 (M, 14, H, W, 3)."""
        return self.films[:, :: self.episodes.every]

    @property
    def truth(self) -> np.ndarray:
        """The true frames after the prompt, at the ends of the actions, uint8 (M, 10, H, W, 3)."""
        return self.frames[:, PROMPT:]

    @property
    def future(self) -> np.ndarray:
        """All true frames after the prompt, uint8 (M, 10 E, H, W, 3)."""
        return self.films[:, (PROMPT - 1) * self.episodes.every + 1 :]

    def prompt(self, length: int, count: int | None = None) -> dict[str, np.ndarray]:
        """The last `length` prompt frames and their actions, for the first `count` moments, as arguments of `rollout`.

        The frames between them are included.
        """
        every = self.episodes.every
        return {
            "prompt": self.films[:count, (PROMPT - length) * every : (PROMPT - 1) * every + 1],
            "prompt_actions": self.actions[:count, PROMPT - length : PROMPT - 1],
        }


def load_moments(config: Config, world: World, guided: bool) -> Moments:
    """Load the windows for all figures of a world.

    Raises:
        UserError: the test recording is missing or too short, or a guided world needs true actions that it does not have.
    """
    test = Episodes(config.record_folder("test"), held_frames(config, guided))
    test.check_size(world.frame_size, config.model_folder)
    rows = evaluation_windows(test, PROMPT + HORIZON, config.play.evaluation_windows, config.play.seed)
    films = test.films(rows, PROMPT + HORIZON)
    true = test.action[rows[:, None] + np.arange(PROMPT + HORIZON - 1)].astype(int)
    controls = controls_in(test) if (true != UNKNOWN).all() else None
    if guided and controls is None:
        raise UserError(f"record/{config.world} has no true actions: evaluate with --dynamics.actions latent")
    if controls is not None and (strange := world.keymap.keys() - {NONE, *controls}):
        raise UserError(f"model/{config.world} knows the key {min(strange)}, which record/{config.world} has not: train it anew")
    if controls is not None and not set(controls) <= world.keymap.keys():
        controls = None
    actions = true if guided else world.infer_actions(films)[:, :: test.every // world.stride]
    return Moments(test, rows, films, actions, None if controls is None else true, controls)


def reconstructed(world: World, moments: Moments) -> dict[str, np.ndarray]:
    """The windows through the tokenizer.

    Returns:
        A dict: `tokens` (M, 1 + 13 E / S, N) of all frames; `film` uint8 (M, 13 E + 1, H, W, 3), all reconstructed frames;
        `pictures` uint8 (M, 14, H, W, 3), those at which the actions begin and end.
    """
    every = moments.episodes.every
    led_by = world.led_by[np.repeat(moments.actions, every // world.stride, axis=1)]
    tokens, film = reconstruct(world.tokenizer, moments.films, led_by)
    return {"tokens": tokens, "film": film, "pictures": film[:, ::every]}


def another(actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace each of `actions` int (...) by a different action, drawn from those that occur in `actions`."""
    some = np.unique(actions)
    place = np.searchsorted(some, actions)
    return some[(place + rng.integers(1, max(len(some), 2), actions.shape)) % len(some)]


def rollout(
    world: World,
    prompt: np.ndarray,
    prompt_actions: np.ndarray,
    actions: np.ndarray,
    progress: tqdm,
    batch: int,
    instead: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    every: int = 1,
    between: bool = False,
) -> dict[str, np.ndarray]:
    """Generate rollouts from prompts.

    Every call begins with the world's current random state and restores it at the end. Rollouts of two calls therefore differ only
    by their actions.

    Args:
        world: The trained world.
        prompt: uint8 (M, (P - 1) E + 1, H, W, 3).
        prompt_actions: int (M, P - 1).
        actions: int (M, H), each held for E frames.
        progress: Counts predicted frames.
        batch: Number of rollouts in a batch. The last batch is padded, so that all batches have one shape.
        instead: int (M, H), alternative last actions. The frame after action t is also predicted under `instead[:, t]`, after the
            same earlier actions.
        truth: uint8 (M, H E, H, W, 3), true frames that replace each predicted frame after its step (teacher forcing).
        every: E, frames over which an action is held.
        between: Whether to return the frames between the ends of the actions too.

    Returns:
        A dict: `dream` uint8 (M, H, H, W, 3), the frames at the ends of the actions; if `instead` is given, `instead`, of the same
        shape; with `between`, `film` (M, H E, H, W, 3), all frames, and `probability` float (M, H), mean probability of the tokens
        of each action's last step.
    """
    out, steps = [], every // world.stride

    def hold(action: np.ndarray, true: np.ndarray | None = None) -> list[np.ndarray]:
        """The frames under an action int (B,): a list of E with `between`, otherwise those at the ends of its steps."""
        frames: list[np.ndarray] = []
        for step in range(steps):
            before, shown = world.state, world.step(action, last=not between)
            frames += list(np.moveaxis(shown, 1, 0)) if between and world.stride > 1 else [shown]
            if true is not None:
                world.restore(before | {"seeds": world.state["seeds"]})
                seen = true[:, step * world.stride : (step + 1) * world.stride]
                world.observe(seen if world.stride > 1 else seen[:, 0], action)
        return frames

    for first in range(0, len(prompt), batch):
        part = np.minimum(np.arange(first, first + batch), len(prompt) - 1)  # one shape: compiled once
        # Each rollout has a seed of its own, the same under all actions: what differs is what the actions change.
        world.reset(prompt[part], np.repeat(prompt_actions[part], steps, axis=1), world.seed + part)
        shown: dict[str, list[np.ndarray]] = {"dream": [], "instead": [], "film": [], "probability": []}
        for t in range(actions.shape[1]):
            if instead is not None:
                before = world.state
                shown["instead"].append(hold(instead[part, t])[-1])
                world.restore(before)
            frames = hold(actions[part, t], None if truth is None else truth[part, t * every : (t + 1) * every])
            shown["dream"].append(frames[-1])
            if between:
                shown["film"] += frames
                assert world.probability is not None
                shown["probability"].append(world.probability)
            progress.update(len(np.unique(part)) * every * (1 if instead is None else 2))
        out.append({name: np.stack(some, axis=1) for name, some in shown.items() if some})
    return {name: np.concatenate([each[name] for each in out])[: len(prompt)] for name in out[0]}


def dream_all(
    world: World, guided_world: World | None, moments: Moments, asked: np.ndarray, held: np.ndarray, teacher_forced: bool, seed: int
):
    """Generate all rollouts of the evaluation, with one progress bar.

    Args:
        world: The trained world.
        guided_world: The world trained on true actions, if it exists and is not `world`.
        moments: The held-out windows.
        asked: int (M', 200), actions of the long rollouts from the first M' moments.
        held: int (M'', K), actions. Each is held in its own rollout from each of the first M'' moments; M'' may be 0.
        teacher_forced: Whether to also predict each frame from the true frames before it.
        seed: Seed of the random actions.

    Returns:
        A dict of rollouts uint8. The keys (prompt, row) give (M, 10, H, W, 3). Their rows are "", the world's own actions;
        "instead", a different last action at each step; "_random"; "_keys", the true actions through the keymap; "_guided";
        "_teacher_forced". The other keys are "asked" (M', 200, …), "held" (M'', K, 10, …), and "each" (A, 20, …), one prompt under
        each action. And "film" (M, 10 E, …) has all frames of the rollout from four frames, and
        "probability" (M, 10) the mean probability of its tokens.
    """
    rng = np.random.default_rng(seed)
    future = moments.actions[:, PROMPT - 1 :]
    random, instead = rng.choice(np.unique(moments.actions), future.shape), another(future, rng)
    plan: dict = {}
    for length in PROMPTS:
        prompt = moments.prompt(length)
        plan[length, ""] = dict(world=world, **prompt, actions=future, instead=instead)
        plan[length, "_random"] = dict(world=world, **prompt, actions=random)
        if teacher_forced:
            plan[length, "_teacher_forced"] = dict(world=world, **prompt, actions=future, truth=moments.future)
        if moments.controls is not None and moments.true is not None and world.latent_action is not None:
            code_of = np.array([world.keymap[key] for key in moments.controls])
            pressed = moments.controls.of_action[moments.true[:, PROMPT - 1 :]]
            plan[length, "_keys"] = dict(world=world, **prompt, actions=code_of[pressed])
        if moments.true is not None and guided_world is not None:
            prompt["prompt_actions"] = moments.true[:, PROMPT - length : PROMPT - 1]
            plan[length, "_guided"] = dict(world=guided_world, **prompt, actions=moments.true[:, PROMPT - 1 :])

    def from_first(count: int, actions: np.ndarray) -> dict:
        """Arguments of rollouts from the first `count` moments, k rollouts for each, under `actions` (count * k, H)."""
        prompt = {name: np.repeat(value[:count], len(actions) // count, axis=0) for name, value in moments.prompt(PROMPT).items()}
        return dict(world=world, **prompt, actions=actions)

    own = np.arange(world.actions) if world.latent_action is not None else np.array(list(world.keymap.values()))
    plan["each"] = from_first(1, own[:, None].repeat(2 * HORIZON, axis=1))
    plan["asked"] = from_first(len(asked), asked)
    if len(held):
        plan["held"] = from_first(len(held), held.reshape(-1, 1).repeat(HORIZON, axis=1))
    dreams, every = {}, moments.episodes.every
    total = every * sum(one["actions"].size * (2 if "instead" in one else 1) for one in plan.values())
    with tqdm(total=total, desc="dreaming", unit=" frames") as progress:
        for name, one in plan.items():
            between = name == (PROMPT, "")
            made = rollout(**one, progress=progress, batch=moments.batch, every=every, between=between)
            dreams[name] = made["dream"]
            if between:
                dreams["film"], dreams["probability"] = made["film"], made["probability"]
            if "instead" in made:
                dreams[name[0], "instead"] = made["instead"]
    if len(held):
        dreams["held"] = dreams["held"].reshape(*held.shape, HORIZON, *moments.frames.shape[2:])
    return dreams
