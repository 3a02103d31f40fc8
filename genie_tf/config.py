"""Every setting of a world, in sections: one YAML file serves every script."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from genie_tf.errors import UserError

TOKENIZER, IDM_MODEL, JUDGE = "VQVAE_Model", "IDM_Model", "Judge_Model"  # checkpoints are <name>_<epoch>


def world_model(guided: bool) -> str:
    """Name of the dynamics' checkpoints: the guided variant stands beside the other."""
    return "guided_world_model" if guided else "world_model"


@dataclass
class RecordConfig:
    """Where frames come from.

    Args:
        game: Procgen game.
        distribution_mode: Procgen's difficulty; not every game has every one.
        use_backgrounds: Whether pictures hang behind the level.
        restrict_themes: Whether all levels share one theme of blocks.
        paint_vel_info: Whether the game paints the agent's velocity into a corner of the frame.
        agent: Who plays: uniform draws from all 15 actions, original from the seven that CoinRun knows, sticky as original but
            keeps its last action with probability `keep`, trained is the policy of agent_training.py, human is you.
        keep: Probability that the sticky agent takes its last action once more.
        policy: The trained agent's file; empty for model/<world>/agent.zip.
        format: npy is read fastest and by anything; b2nd is compressed without loss to a tenth or less.
        hold: Game steps for which an action is held; one frame is recorded each time.
        train_frames: Frames to record for training.
        validation_frames: Frames to record for watching the training.
        test_frames: Frames to record for the figures.
        train_levels: Levels for training, from level 0 on.
        validation_levels: Levels for validation, right after those for training.
        test_levels: Levels for the figures, right after those for validation.
        seed: Seed of the agent and of the game.
    """

    game: str = "coinrun"
    distribution_mode: Literal["easy", "hard", "extreme", "memory"] = "easy"
    use_backgrounds: bool = False
    restrict_themes: bool = True
    paint_vel_info: bool = False
    agent: Literal["uniform", "original", "sticky", "trained", "human"] = "original"
    keep: float = 0.75
    policy: str = ""
    format: Literal["npy", "b2nd"] = "npy"
    hold: int = 5
    train_frames: int = 48000
    validation_frames: int = 2048
    test_frames: int = 8192
    train_levels: int = 10000
    validation_levels: int = 1000
    test_levels: int = 1000
    seed: int = 1


@dataclass
class Training:
    """How a model is trained.

    Args:
        epochs: Epochs to train.
        steps_per_epoch: Batches in an epoch.
        batch_size: Examples in a batch: frames, transitions or sequences.
        learning_rate: Highest learning rate.
        seed: Seed of the weights and of the batches.
    """

    epochs: int = 10
    steps_per_epoch: int = 125
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 1


@dataclass
class DynamicsConfig(Training):
    """What every kind of dynamics has.

    Args:
        actions: "latent", or "true" for the guided variant, which learns from recorded actions.
        length: Frames of a training sequence.
    """

    actions: Literal["latent", "true"] = "latent"
    length: int = 8


@dataclass
class JudgeConfig(Training):
    """The supervised action model, which reads from a dream what was asked for.

    Args:
        width: Channels of the network at its coarsest grid.
    """

    width: int = 128


@dataclass
class CloneConfig(Training):
    """The policies that are cloned from an expert's films; each further policy has the next seed.

    Args:
        width: Channels of the network at its coarsest grid.
    """

    steps_per_epoch: int = 100
    batch_size: int = 128
    width: int = 128


@dataclass
class PlayConfig:
    """How a trained world is played and measured.

    Args:
        prompt_frames: Recorded frames that a dream begins with.
        sampling_steps: MaskGIT steps a frame: more are better and slower.
        temperature: Of the drawn tokens; 0 takes the likeliest.
        scale: Screen pixels to a side of a dreamt pixel.
        frames_per_second: Speed of the window, at most, and of a written video.
        evaluation_windows: Held-out windows that the figures are taken over.
        seed: Seed of prompts and sampling.
    """

    prompt_frames: int = 4
    sampling_steps: int = 4
    temperature: float = 0.5
    scale: int = 8
    frames_per_second: float = 10.0
    evaluation_windows: int = 256
    seed: int = 1


@dataclass
class Config:
    """A world: its name and the sections of its making.

    Args:
        world: Name; data go to record/<world>, models to model/<world>.
        record: Where frames come from.
        tokenizer: Frames to tokens: the settings of one kind of `genie_tf.tokenizer`.
        latent_action: The unsupervised action model: the settings of one kind of `genie_tf.latent_action`.
        judge: The supervised action model that the evaluation trains.
        dynamics: The world model proper: the settings of one kind of `genie_tf.dynamics`.
        play: How it is played and measured.
        clone: The policies of clone_agent.py.
    """

    world: str = "coinrun_plain"
    record: RecordConfig = field(default_factory=RecordConfig)
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
