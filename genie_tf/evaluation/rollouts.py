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
    """Held-out windows of 4 prompt frames and the 10 frames after them.

    Args:
        episodes: The test recording.
        rows: int (M,), first rows of the windows.
        frames: uint8 (M, 14, H, W, 3).
        actions: int (M, 13), the actions that the world gets: inferred from the frames, or the recorded ones in a guided world.
        true: int (M, 13), recorded actions. None if they are unknown, or if the world's keymap lacks a key.
        controls: The controls of the recorded actions. None with `true`.
    """

    episodes: Episodes
    rows: np.ndarray
    frames: np.ndarray
    actions: np.ndarray
    true: np.ndarray | None
    controls: Controls | None = None

    @property
    def truth(self) -> np.ndarray:
        """The true frames after the prompt, uint8 (M, 10, H, W, 3)."""
        return self.frames[:, PROMPT:]

    def prompt(self, length: int, count: int | None = None) -> dict[str, np.ndarray]:
        """The last `length` prompt frames and their actions, for the first `count` moments, as arguments of `rollout`."""
        return {
            "prompt": self.frames[:count, PROMPT - length : PROMPT],
            "prompt_actions": self.actions[:count, PROMPT - length : PROMPT - 1],
        }


def load_moments(config: Config, world: World, guided: bool) -> Moments:
    """Load the windows for all figures of a world.

    Raises:
        UserError: the test recording is missing or too short, or a guided world needs true actions that it does not have.
    """
    test = Episodes(config.record_folder("test"))
    test.check_size(world.frame_size, config.model_folder)
    rows = evaluation_windows(test, PROMPT + HORIZON, config.play.evaluation_windows, config.play.seed)
    read = test.read(rows[:, None] + np.arange(PROMPT + HORIZON))
    frames, true = np.ascontiguousarray(read["frame"]), read["action"][:, :-1].astype(int)
    controls = controls_in(test) if (true != UNKNOWN).all() else None
    if guided and controls is None:
        raise UserError(f"record/{config.world} has no true actions: evaluate with --dynamics.actions latent")
    if controls is not None and (strange := world.keymap.keys() - {NONE, *controls}):
        raise UserError(f"model/{config.world} knows the key {min(strange)}, which record/{config.world} has not: train it anew")
    if controls is not None and not set(controls) <= world.keymap.keys():
        controls = None
    actions = true if guided else world.infer_actions(frames)
    return Moments(test, rows, frames, actions, None if controls is None else true, controls)


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
) -> dict[str, np.ndarray]:
    """Generate rollouts from prompts.

    Every call begins with the world's current random state and restores it at the end. Rollouts of two calls therefore differ only
    by their actions.

    Args:
        world: The trained world.
        prompt: uint8 (M, P, H, W, 3).
        prompt_actions: int (M, P - 1).
        actions: int (M, H).
        progress: Counts predicted frames.
        batch: Number of rollouts in a batch. The last batch is padded, so that all batches have one shape.
        instead: int (M, H), alternative last actions. The frame at step t is also predicted under `instead[:, t]`, after the same
            earlier actions.
        truth: uint8 (M, H, H, W, 3), true frames that replace each predicted frame after its step (teacher forcing).

    Returns:
        A dict: `dream` uint8 (M, H, H, W, 3) and, if `instead` is given, `instead`, of the same shape.
    """
    begin, out = world.state, []
    for first in range(0, len(prompt), batch):
        part = np.minimum(np.arange(first, first + batch), len(prompt) - 1)  # one shape: compiled once
        world.restore(begin)
        world.reset(prompt[part], prompt_actions[part])
        dream, other = [], []
        for t in range(actions.shape[1]):
            before = world.state
            if instead is not None:
                other.append(world.step(instead[part, t]))
                world.restore(before)
            dream.append(world.step(actions[part, t]))
            if truth is not None:
                world.restore(before | {"chance": world.state["chance"]})
                world.observe(truth[part, t], actions[part, t])
            progress.update(len(np.unique(part)) * (1 if instead is None else 2))
        out.append({"dream": np.stack(dream, axis=1)} | ({"instead": np.stack(other, axis=1)} if other else {}))
    world.restore(begin)
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
        each action.
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
            plan[length, "_teacher_forced"] = dict(world=world, **prompt, actions=future, truth=moments.truth)
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

    every = np.arange(world.actions) if world.latent_action is not None else np.array(list(world.keymap.values()))
    plan["each"] = from_first(1, every[:, None].repeat(2 * HORIZON, axis=1))
    plan["asked"] = from_first(len(asked), asked)
    if len(held):
        plan["held"] = from_first(len(held), held.reshape(-1, 1).repeat(HORIZON, axis=1))
    dreams = {}
    total = sum(one["actions"].size * (2 if "instead" in one else 1) for one in plan.values())
    with tqdm(total=total, desc="dreaming", unit=" frames") as progress:
        for name, one in plan.items():
            made = rollout(**one, progress=progress, batch=min(BATCH, len(moments.rows)))
            dreams[name] = made["dream"]
            if "instead" in made:
                dreams[name[0], "instead"] = made["instead"]
    if len(held):
        dreams["held"] = dreams["held"].reshape(*held.shape, HORIZON, *moments.frames.shape[2:])
    return dreams
