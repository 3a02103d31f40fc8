"""Behaviour cloning through latent actions: how few labels turn what was learnt from pixels into play.

An expert's films, of which nobody has noted the actions, are labelled with latent actions; a policy is cloned on those; and a few
labelled transitions say which key each latent action stands for. It plays levels of the real game that nobody was trained on,
beside the oracle, cloned on the true actions of the same films, and beside chance.

Reference:
    Genie, section 3.3, "Training Agents", Figure 15, and Appendix E.
"""

import dataclasses
import hashlib
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure

from genie_tf.config import Config
from genie_tf.episodes.agents import ORIGINAL, RandomAgent
from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.episodes.returns import held_out_returns
from genie_tf.errors import UserError
from genie_tf.evaluation.game import recorded_with
from genie_tf.files import alone, read_json, write_json, write_whole
from genie_tf.latent_action.keymap import KEY_ACTIONS, KEY_OF_ACTION, KEYS
from genie_tf.layers.convolutions import convolutions
from genie_tf.layers.pixels import from_pixels, patchify
from genie_tf.layers.self_supervised import SelfSupervisedModel
from genie_tf.stages import VALIDATION_SAMPLES, latent_actions_of, load_latent_action
from genie_tf.training.backend import compiled
from genie_tf.training.loop import load_checkpoint, train
from genie_tf.training.precision import use_fastest_policy

LABELS = (50, 100, 200, 1000)  # transitions of the expert whose actions are known
COIN = 10.0  # reward of a level that is solved
PATCH = 2
SCRIPT = "clone_agent.py"


@keras.saving.register_keras_serializable("genie_tf")
class ClonedPolicy(SelfSupervisedModel):
    """What the expert would do next, from the last two frames.

    Args:
        choices: C, latent actions or keys.
        width: Channels of the network at its coarsest grid.

    Call arguments:
        inputs: A dict: `frames` uint8 (B, 2, 64, 64, 3), frames t - 1 and t; `choice` int (B,), what the expert did at frame t.

    Returns:
        A dict: `logits` float32 (B, C), and the scalars `loss` (cross-entropy in nats) and `accuracy`.
    """

    reported = ("accuracy",)

    def __init__(self, choices, width=128, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(choices=choices, width=width)
        self.see = convolutions((width // 4, width // 2, width), (2, 2, 2), 2 * width, 0.3, "see")
        self.choose = layers.Dense(choices, dtype="float32", name="choose")

    def build(self, input_shape=None):
        self.logits(ops.zeros((1, 2, 64, 64, 3), "uint8"))

    def logits(self, frames, training=False):
        """Log odds float32 (B, C) of the choices, from frames uint8 (B, 2, 64, 64, 3)."""
        seen = ops.concatenate([patchify(from_pixels(frames[:, t]), PATCH) for t in range(2)], axis=-1)
        return self.choose(self.see(seen, training=training))

    def call(self, inputs, training=False):
        choice = ops.cast(inputs["choice"], "int32")
        logits = self.logits(inputs["frames"], training)
        right = ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), choice)
        return {
            "logits": logits,
            "loss": ops.mean(keras.losses.sparse_categorical_crossentropy(choice, logits, from_logits=True)),
            "accuracy": ops.mean(ops.cast(right, "float32")),
        }

    def get_config(self):
        return super().get_config() | self.config


class ClonedAgent:
    """Plays as the policy does: draws a choice, then a key that it stands for.

    Args:
        policy: Function of frames uint8 (E, 2, 64, 64, 3) to logits (E, C).
        keys: float (C, 6), how likely each choice stands for each key.
        rng: Its chance.
    """

    def __init__(self, policy, keys: np.ndarray, rng: np.random.Generator):
        self.policy, self.keys, self.rng = policy, keys, rng
        self.before: np.ndarray | None = None

    def _draw(self, chances: np.ndarray) -> np.ndarray:
        """One of (E, C) each."""
        return (chances.cumsum(axis=1) > self.rng.random((len(chances), 1)) * chances.sum(axis=1, keepdims=True)).argmax(axis=1)

    def act(self, frames: np.ndarray, due: np.ndarray) -> np.ndarray:
        """As `RandomAgent.act`; all environments must be due."""
        films = np.stack([frames if self.before is None else self.before, frames], axis=1)
        self.before = frames.copy()
        logits = ops.convert_to_numpy(self.policy(ops.convert_to_tensor(films)))
        choice = self._draw(np.exp(logits - logits.max(axis=1, keepdims=True)))
        return KEY_ACTIONS[self._draw(self.keys[choice])].astype(np.int32)


def key_chances(codes: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
    """How likely each latent action stands for each key, counted in labelled transitions.

    Args:
        codes: int (L,).
        keys: int (L,), places in `KEYS`.
        count: A, number of latent actions. One that no label shows is taken for any key, as often as the labels have it.

    Returns:
        float (A, 6), each row's sum 1.
    """
    table = np.zeros((count, len(KEYS)))
    np.add.at(table, (codes, keys), 1)
    table[table.sum(axis=1) == 0] = table.sum(axis=0)
    return table / table.sum(axis=1, keepdims=True)


def train_policy(config: Config, expert: dict[str, Episodes], choices: dict[str, np.ndarray], count: int, kind: str, seed: int):
    """Clone a policy, or load it if it is cloned already.

    Args:
        expert: The films, of `train` and `validation`.
        choices: int (R,) for every row of either: latent actions, or keys.
        count: C, number of choices.
        kind: "latent" or "oracle".
        seed: Seed of weights and batches.

    Returns:
        A function of frames uint8 (B, 2, 64, 64, 3) to logits (B, C).
    """
    settings = dataclasses.replace(config.clone, seed=seed)
    prefix = f"Clone_{kind}_{seed}"

    def examples(split: str) -> Examples:
        films, chosen = expert[split], choices[split]

        def take(rows):
            return {"frames": films.frames(films.transition_rows(rows, 1)[:, :2]), "choice": chosen[rows]}

        return Examples(films.windows(2, labelled=True), take)

    train(
        f"clone, {kind} {seed}",
        lambda: ClonedPolicy(count, settings.width),
        examples("train").draw,
        examples("validation").spread(VALIDATION_SAMPLES),
        config.model_folder,
        prefix,
        SCRIPT,
        settings,
        {"recording": expert["train"].fingerprint, "choices": hashlib.sha256(choices["train"].tobytes()).hexdigest()},
    )
    return compiled(load_checkpoint(config.model_folder, prefix, SCRIPT)[0].logits)


@alone
def clone(config: Config, expert_world: str, seeds: int, levels: int) -> dict:
    """Clone the expert of `record/<expert_world>` through the latent actions of `model/<world>`, and let everybody play.

    Writes `cloning.json` and `cloning.png` in `model/<world>`.

    Args:
        config: The world; section `clone`.
        expert_world: Whose recording shows the expert. Of its actions no more are read than the labels, but for the oracle.
        seeds: Policies to clone of each kind.
        levels: Held-out levels that each plays.

    Returns:
        What cloning.json holds: `solved`, name to one share of the levels a seed, where names are "random", "oracle" and
        "latent.<N>"; and `expert`, the share of its recorded episodes in which it got the coin.

    Raises:
        UserError: the latent action model or the expert's recording is missing, or nobody knows the expert's actions; or so many
            levels or seeds can't be.
    """
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: 1 or more")
    folder = dataclasses.replace(config, world=expert_world).record_folder
    expert = {split: Episodes(folder(split)) for split in ("train", "validation")}
    game = recorded_with(expert["train"])
    if game is None or not expert["train"].known.all():
        raise UserError(f"record/{expert_world} has no true actions: it takes some labels, and a game to play in")
    if not 1 <= levels <= game.test_levels:
        raise UserError(f"--levels {levels}: from 1 to the {game.test_levels} test levels of record/{expert_world}")
    count = load_latent_action(config)[0].codes
    codes = latent_actions_of(config, expert)
    keys = {split: KEY_OF_ACTION[films.action] for split, films in expert.items()}
    use_fastest_policy()
    solved: dict[str, list[float]] = {}

    def play(name: str, agent) -> None:
        share = float((held_out_returns(game, agent, levels) >= COIN).mean())
        solved.setdefault(name, []).append(share)
        print(f"{name:12} solves {100 * share:5.1f} % of {levels} levels")

    transitions = expert["train"].windows(2)
    for seed in range(config.clone.seed, config.clone.seed + seeds):
        play("random", RandomAgent(ORIGINAL, 0.0, levels, np.random.default_rng(seed)))
        oracle = train_policy(config, expert, keys, len(KEYS), "oracle", seed)
        play("oracle", ClonedAgent(oracle, np.eye(len(KEYS)), np.random.default_rng(seed)))
        policy = train_policy(config, expert, codes, count, "latent", seed)
        for labels in LABELS:
            some = transitions.draw(np.random.default_rng([seed, labels]), labels)
            table = key_chances(codes["train"][some], keys["train"][some], count)
            play(f"latent.{labels}", ClonedAgent(policy, table, np.random.default_rng(seed)))
    found = {"solved": solved, "expert": coins_of(expert["train"]), "levels": levels}
    write_json(config.model_folder / "cloning.json", found)
    plot(found, config.model_folder / "cloning.png")
    print(f"wrote {config.model_folder}/cloning.png and cloning.json")
    return found


def coins_of(films: Episodes) -> float:
    """Share of the recorded episodes, of those that were not cut short, in which the coin was got."""
    mend = "run `./data_collect.bash` with the settings it was recorded with: it records the shard anew"
    shards = [read_json(file, mend, "reward", "episodes", "cut") for file in films.folder.glob("shard*.json")]
    return sum(shard["reward"] for shard in shards) / COIN / max(sum(shard["episodes"] - shard["cut"] for shard in shards), 1)


def plot(found: dict, path: Path) -> None:
    """Levels solved over the number of labels: mean and every seed; oracle and chance as bands from worst to best seed."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    solved = {name: 100 * np.array(shares) for name, shares in found["solved"].items()}
    curve = np.array([solved[f"latent.{labels}"] for labels in LABELS])
    axes.plot(LABELS, curve.mean(axis=1), marker="o", color="C0", label="cloned through latent actions")
    axes.plot(LABELS, curve, ".", color="C0", alpha=0.5)
    for color, name in (("C1", "oracle"), ("C7", "random")):
        axes.axhline(solved[name].mean(), color=color, label=name)
        axes.axhspan(solved[name].min(), solved[name].max(), color=color, alpha=0.2)
    axes.axhline(100 * found["expert"], color="black", linestyle=":", label="the expert, where it was filmed")
    axes.set(xscale="log", xticks=LABELS, xticklabels=map(str, LABELS), ylim=(0, 100))
    axes.set(xlabel="labelled transitions", ylabel=f"held-out levels solved, % of {found['levels']}")
    axes.legend()
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=120))
