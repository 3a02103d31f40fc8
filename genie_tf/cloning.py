"""Behaviour cloning through latent actions: it measures how many action labels are needed to imitate an expert.

The latent action model labels an expert's recording. A policy learns these latent actions. A few labelled transitions show which
key each latent action corresponds to. The policy then plays held-out levels of the real game. The upper bound is an oracle, which
is cloned on the true actions of the same recording. The baseline is a random agent.

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
from genie_tf.episodes.agents import RandomAgent
from genie_tf.episodes.controls import Controls
from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.episodes.recorded import recorded_with
from genie_tf.episodes.recorder import controls_of
from genie_tf.episodes.returns import held_out_returns
from genie_tf.errors import UserError
from genie_tf.files import alone, read_json, write_json, write_whole
from genie_tf.layers.convolutions import convolutions
from genie_tf.layers.pixels import FRAME_SIZE, from_pixels, patchify
from genie_tf.layers.self_supervised import SelfSupervisedModel
from genie_tf.stages import VALIDATION_SAMPLES, codes_of, held_frames, latent_action_file, latent_actions_of
from genie_tf.training.backend import compiled
from genie_tf.training.checkpoints import load_checkpoint
from genie_tf.training.loop import train
from genie_tf.training.precision import use_policy

LABELS = (50, 100, 200, 1000)  # numbers of labelled transitions of the expert
PATCH = 2
SCRIPT = "clone_agent.py"


@keras.saving.register_keras_serializable("genie_tf")
class ClonedPolicy(SelfSupervisedModel):
    """Predicts the expert's choice from the last two frames.

    Args:
        choices: C, number of latent actions or keys.
        width: Channels of the network at its coarsest grid.
        frame_size: H and W.

    Call arguments:
        inputs: A dict: `frames` uint8 (B, 2, H, W, 3), frames t - 1 and t; `choice` int (B,), the expert's choice at frame t.

    Returns:
        A dict: `logits` float32 (B, C), and the scalars `loss` (cross-entropy in nats) and `accuracy`.
    """

    reported = ("accuracy",)

    def __init__(self, choices, width=128, frame_size=FRAME_SIZE, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(choices=choices, width=width, frame_size=frame_size)
        self.frame_size = tuple(frame_size)
        self.see = convolutions((width // 4, width // 2, width), (2, 2, 2), 2 * width, 0.3, "see")
        self.choose = layers.Dense(choices, dtype="float32", name="choose")

    def build(self, input_shape=None):
        frames, choice = keras.KerasTensor((1, 2, *self.frame_size, 3), "uint8"), keras.KerasTensor((1,), "int32")
        self.compute_output_spec({"frames": frames, "choice": choice})

    def logits(self, frames, training=False):
        """Logits float32 (B, C) of the choices, from frames uint8 (B, 2, H, W, 3)."""
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
    """An agent that draws a choice from the policy, then a key for this choice.

    Args:
        policy: Function from frames uint8 (E, 2, H, W, 3) to logits (E, C).
        keys: float (C, K), probability of each control for each choice.
        controls: The controls.
        rng: Random generator of the draws.
    """

    def __init__(self, policy, keys: np.ndarray, controls: Controls, rng: np.random.Generator):
        self.policy, self.keys, self.controls, self.rng = policy, keys, controls, rng
        self.before: np.ndarray | None = None

    def _draw(self, chances: np.ndarray) -> np.ndarray:
        """Draw one index for each row of probabilities (E, C)."""
        return (chances.cumsum(axis=1) > self.rng.random((len(chances), 1)) * chances.sum(axis=1, keepdims=True)).argmax(axis=1)

    def act(self, frames: np.ndarray, due: np.ndarray) -> np.ndarray:
        """See `RandomAgent.act`. All environments must be due."""
        films = np.stack([frames if self.before is None else self.before, frames], axis=1)
        self.before = frames.copy()
        logits = ops.convert_to_numpy(self.policy(ops.convert_to_tensor(films)))
        choice = self._draw(np.exp(logits - logits.max(axis=1, keepdims=True)))
        return self.controls.first[self._draw(self.keys[choice])].astype(np.int32)


def key_chances(codes: np.ndarray, keys: np.ndarray, count: int, controls: int) -> np.ndarray:
    """Probability of each key for each latent action, from counts of labelled transitions.

    Args:
        codes: int (L,), latent actions.
        keys: int (L,), indices of controls.
        count: A, number of latent actions. A latent action without labels gets the frequencies of the keys in all labels.
        controls: K, number of controls.

    Returns:
        float (A, K), with rows that sum to 1.
    """
    table = np.zeros((count, controls))
    np.add.at(table, (codes, keys), 1)
    table[table.sum(axis=1) == 0] = table.sum(axis=0)
    return table / table.sum(axis=1, keepdims=True)


def train_policy(config: Config, expert: dict[str, Episodes], choices: dict[str, np.ndarray], count: int, kind: str, seed: int):
    """Train a policy, or load it if it is trained already.

    Args:
        config: The world; section `clone`.
        expert: The expert's recordings `train` and `validation`.
        choices: For both recordings, int (R,) for every row: latent actions, or keys.
        count: C, number of choices.
        kind: "latent" or "oracle".
        seed: Seed of weights and batches.

    Returns:
        A function from frames uint8 (B, 2, H, W, 3) to logits (B, C).
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
        lambda: ClonedPolicy(count, settings.width, expert["train"].frame_size),
        examples("train").draw,
        examples("validation").spread(settings.validation_examples(VALIDATION_SAMPLES)),
        config.model_folder,
        prefix,
        SCRIPT,
        settings,
        {"recording": expert["train"].fingerprint, "choices": hashlib.sha256(choices["train"].tobytes()).hexdigest()},
    )
    return compiled(load_checkpoint(config.model_folder, prefix, SCRIPT)[0].logits)


@alone
def clone(config: Config, expert_world: str, seeds: int, levels: int) -> dict:
    """Clone the expert of `record/<expert_world>` through the latent actions of `model/<world>`, and evaluate all policies.

    A level is solved by a return above 0. Writes `cloning.json` and `cloning.png` to `model/<world>`.

    Args:
        config: The world; section `clone`.
        expert_world: World of the expert's recording. Only the oracle uses more of its actions than the few labels.
        seeds: Number of policies of each kind.
        levels: Number of held-out levels that each policy plays.

    Returns:
        The content of cloning.json: `solved`, a dict from "random", "oracle" and "latent.<N>" to the shares of solved levels, one
        per seed; `expert`, the share of the expert's recorded episodes that are solved; `levels`.

    Raises:
        UserError: the latent action model or the expert's recording is missing, the expert's actions are unknown, or the number of
            levels or seeds is invalid.
    """
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: 1 or more")
    folder = dataclasses.replace(config, world=expert_world).record_folder
    expert = {split: Episodes(folder(split), held_frames(config)) for split in ("train", "validation")}
    game = recorded_with(expert["train"])
    if game is None or not expert["train"].known.all():
        raise UserError(f"record/{expert_world} has no true actions: it takes some labels, and a game to play in")
    if not 1 <= levels <= game.test_levels:
        raise UserError(f"--levels {levels}: from 1 to the {game.test_levels} test levels of record/{expert_world}")
    count = codes_of(latent_action_file(config))
    codes = latent_actions_of(config, expert)
    controls = controls_of(game)
    keys = {split: controls.of_action[films.action] for split, films in expert.items()}
    use_policy(config.clone.precision, config.model_folder)
    solved: dict[str, list[float]] = {}

    def play(name: str, agent) -> None:
        share = float((held_out_returns(game, agent, levels) > 0).mean())
        solved.setdefault(name, []).append(share)
        print(f"{name:12} solves {100 * share:5.1f} % of {levels} levels")

    transitions = expert["train"].windows(2)
    for seed in range(config.clone.seed, config.clone.seed + seeds):
        play("random", RandomAgent(controls.first, 0.0, levels, np.random.default_rng(seed)))
        oracle = train_policy(config, expert, keys, len(controls), "oracle", seed)
        play("oracle", ClonedAgent(oracle, np.eye(len(controls)), controls, np.random.default_rng(seed)))
        policy = train_policy(config, expert, codes, count, "latent", seed)
        for labels in LABELS:
            some = transitions.draw(np.random.default_rng([seed, labels]), labels)
            table = key_chances(codes["train"][some], keys["train"][some], count, len(controls))
            play(f"latent.{labels}", ClonedAgent(policy, table, controls, np.random.default_rng(seed)))
    found = {"solved": solved, "expert": solved_in(expert["train"]), "levels": levels}
    write_json(config.model_folder / "cloning.json", found)
    plot(found, config.model_folder / "cloning.png")
    print(f"wrote {config.model_folder}/cloning.png and cloning.json")
    return found


def solved_in(films: Episodes) -> float:
    """Share of the complete recorded episodes with a reward."""
    mend = "run `./data_collect.bash` with the settings it was recorded with: it records the shard anew"
    shards = [read_json(file, mend, episodes=int, cut=int) for file in films.folder.glob("shard*.json")]
    rewarded = sum(float(episode.rows()["reward"].sum()) > 0 for episode in films.episodes)
    return rewarded / max(sum(shard["episodes"] - shard["cut"] for shard in shards), 1)


def plot(found: dict, path: Path) -> None:
    """Plot the solved levels over the number of labels, for each seed and the mean.

    Oracle and random agent are bands from the worst to the best seed.
    """
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
