"""All settings of a world, in sections. One YAML file is used by all scripts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from genie_tf.errors import UserError

TOKENIZER, IDM_MODEL, JUDGE = "VQVAE_Model", "IDM_Model", "Judge_Model"  # checkpoints are <name>_<epoch>


def world_model(guided: bool) -> str:
    """Name of the dynamics' checkpoints. The guided variant has its own name, so both can exist in one folder."""
    return "guided_world_model" if guided else "world_model"


MADE_BY = {IDM_MODEL: "idm_training.py", TOKENIZER: "tokenizer_training.py", world_model(False): "dream_train_tf.py"}
SHIPPED = "shipped"  # folder in model/ with the worlds that come with the repository


@dataclass
class RecordSettings:
    """Settings of the recording of every source.

    Args:
        height: Height of the frames in pixels, a multiple of 8.
        width: Width of the frames in pixels, a multiple of 8.
        controls: Keys of the game: a dict from keys (a, aw, space, a+space, none, …) to numbers of actions, an int or a list of
            those with the same effect. Empty: those of the game.
        keep: Probability that the sticky agent repeats its last action.
        policy: File of the trained agent; empty for model/<world>/agent.zip.
        format: File format. npy is the fastest; b2nd has lossless compression to a tenth of the size or less.
        hold: Game steps for which an action is held.
        every: Game steps from one recorded frame to the next, a divisor of `hold`; 0 for one frame per held action.
        train_frames: Frames to record for training.
        validation_frames: Frames to record for validation.
        test_frames: Frames to record for evaluation.
        train_levels: Number of levels for training, from level 0 on. In a Gymnasium environment, a level is a seed.
        validation_levels: Number of levels for validation, after those for training.
        test_levels: Number of levels for evaluation, after those for validation.
        seed: Seed of the agent and of the game.
    """

    source: str = ""
    game: str = ""
    agent: str = "controls"
    height: int = 64
    width: int = 64
    controls: dict[str, int | list[int]] = field(default_factory=dict)
    keep: float = 0.75
    policy: str = ""
    format: Literal["npy", "b2nd"] = "npy"
    hold: int = 4
    every: int = 0
    train_frames: int = 48000
    validation_frames: int = 2048
    test_frames: int = 8192
    train_levels: int = 10000
    validation_levels: int = 1000
    test_levels: int = 1000
    seed: int = 1

    @property
    def steps_per_frame(self) -> int:
        """Game steps from one recorded frame to the next."""
        return self.every or self.hold


@dataclass
class Training:
    """Settings of every training.

    Args:
        epochs: Number of epochs.
        steps_per_epoch: Batches per epoch.
        batch_size: Examples per batch: frames, transitions or sequences.
        learning_rate: Highest learning rate.
        optimizer: adamw or muon.
        accumulate: Batches whose gradients are added up for one update. So a large batch needs the memory of a small one.
        ema: Decay of the moving average of the weights, 0 to 1. Validation and checkpoints use the average. 0: no average.
        precision: Arithmetic of the layers. auto takes the faster of float32 and mixed_bfloat16 on this machine.
        seed: Seed of the weights and of the batches.
    """

    epochs: int = 10
    steps_per_epoch: int = 125
    batch_size: int = 64
    learning_rate: float = 1e-3
    optimizer: Literal["adamw", "muon"] = "adamw"
    accumulate: int = 1
    ema: float = 0.0
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    seed: int = 1

    def validation_examples(self, most: int) -> int:
        """Number of examples on which an epoch is validated: at most `most`, and no more than the epoch trains on."""
        return min(most, self.steps_per_epoch * self.batch_size)


@dataclass
class LatentActionConfig(Training):
    """Settings of every kind of latent action model.

    Args:
        codes: Number of latent actions.
        span: Frames from the beginning of a latent action to its end. An episode is divided into such parts from its first frame
            on. Give as many frames as an action is held for in the recording: `record.hold` / `record.every`.
    """

    codes: int = 6
    span: int = 1


@dataclass
class DynamicsConfig(Training):
    """Settings of every kind of dynamics.

    Args:
        actions: "latent", or "true" for the guided variant, which is trained on recorded actions.
        length: Frames of a training sequence.
        corruption: Maximum share of a sequence's past tokens that are replaced by random tokens in training.
        action_dropout: Share of the actions that are hidden in training, so that play can exaggerate what an action changes.
        cold_starts: Share of the training sequences that begin as a prompt of one frame does: with a picture whose tokens are not
            known. For tokens that change the picture before; the others are always known.
    """

    actions: Literal["latent", "true"] = "latent"
    length: int = 8
    corruption: float = 0.1
    action_dropout: float = 0.1
    cold_starts: float = 0.0


@dataclass
class JudgeConfig(Training):
    """Settings of the judge, the supervised action model that evaluates rollouts.

    Args:
        width: Channels of the network at its coarsest grid.
    """

    width: int = 128


@dataclass
class CloneConfig(Training):
    """Settings of the policies that are cloned from an expert's recording. Each further policy uses the next seed.

    Args:
        width: Channels of the network at its coarsest grid.
    """

    steps_per_epoch: int = 100
    batch_size: int = 128
    width: int = 128


@dataclass
class PlayConfig:
    """Settings of play and evaluation.

    Args:
        prompt_frames: Recorded frames at the start of a rollout.
        sampling_steps: MaskGIT steps a frame. More steps are better and slower.
        temperature: Temperature of the drawn tokens; 0 takes the most probable token.
        guidance: How much the difference is exaggerated that an action makes; 0 for not at all. It makes play slower.
        scale: Side of a displayed pixel in screen pixels.
        frames_per_second: Maximum speed of the window, and speed of a written video.
        evaluation_windows: Number of held-out windows of the evaluation.
        seed: Seed of prompts and sampling.
    """

    prompt_frames: int = 4
    sampling_steps: int = 4
    temperature: float = 0.5
    guidance: float = 0.0
    scale: int = 8
    frames_per_second: float = 10.0
    evaluation_windows: int = 256
    seed: int = 1

    @property
    def sampling(self) -> dict:
        """The settings of `World.load`."""
        return {name: getattr(self, name) for name in ("sampling_steps", "temperature", "guidance", "seed")}


@dataclass
class Config:
    """A world: its name and its sections of settings.

    Args:
        world: Name. Data are in record/<world>, models in model/<world>.
        record: Settings of one source of `genie_tf.episodes`.
        tokenizer: Settings of one kind of `genie_tf.tokenizer`.
        latent_action: Settings of one kind of `genie_tf.latent_action`.
        judge: Settings of the supervised action model that the evaluation trains.
        dynamics: Settings of one kind of `genie_tf.dynamics`.
        play: Settings of play and evaluation.
        clone: Settings of the policies of clone_agent.py.
    """

    world: str = "coinrun_plain"
    record: Any = None
    tokenizer: Any = None
    latent_action: Any = None
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    dynamics: Any = None
    play: PlayConfig = field(default_factory=PlayConfig)
    clone: CloneConfig = field(default_factory=CloneConfig)

    def __post_init__(self):
        if not self.world or self.world.startswith(".") or set(self.world) & set("/\\\0"):
            raise UserError(f"--world {self.world!r}: a world has a name, such as coinrun_plain, not a path")

    @property
    def model_folder(self) -> Path:
        return Path("model") / self.world

    def record_folder(self, split: str) -> Path:
        return Path("record") / self.world / split
