"""Every setting of a world, in sections: one YAML file serves every script."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

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
class TokenizerConfig:
    """Frames to tokens.

    Args:
        codes: Size of the codebook.
        code_dim: Size of a code.
        width: Channels of the network at 8 x 8.
        blocks: Residual blocks at 8 x 8 on either side of the codebook.
        epochs: Epochs to train.
        steps_per_epoch: Batches in an epoch.
        batch_size: Frames in a batch.
        learning_rate: Highest learning rate.
        seed: Seed of weights and batches.
    """

    codes: int = 1024
    code_dim: int = 32
    width: int = 128
    blocks: int = 1
    epochs: int = 20
    steps_per_epoch: int = 125
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 1


@dataclass
class LatentActionConfig:
    """The unsupervised action model.

    Args:
        kind: "motion_rank", which 2 cores train in minutes, or "st_transformer", the paper's.
        codes: Number of latent actions; for motion_rank even: half as many for the columns, times two for the rows.
        code_dim: Size of a code (st_transformer).
        depth: Blocks of the encoder, and of the decoder (st_transformer).
        heads: Attention heads (st_transformer).
        patch: Pixels to a side of a patch (st_transformer).
        length: Frames of a training sequence (st_transformer).
        width: Channels of the networks at their coarsest grid.
        epochs: Epochs to train.
        steps_per_epoch: Batches in an epoch.
        batch_size: Transitions in a batch.
        learning_rate: Highest learning rate.
        seed: Seed of weights and batches.
    """

    kind: Literal["motion_rank", "st_transformer"] = "motion_rank"
    codes: int = 6
    code_dim: int = 32
    depth: int = 4
    heads: int = 4
    patch: int = 16
    length: int = 8
    width: int = 128
    epochs: int = 30
    steps_per_epoch: int = 120
    batch_size: int = 128
    learning_rate: float = 1e-3
    seed: int = 1


@dataclass
class JudgeConfig:
    """The supervised action model, which reads from a dream what was asked for.

    Args:
        width: Channels of the network at its coarsest grid.
        epochs: Epochs to train.
        steps_per_epoch: Batches in an epoch.
        batch_size: Transitions in a batch.
        learning_rate: Highest learning rate.
        seed: Seed of weights and batches.
    """

    width: int = 128
    epochs: int = 10
    steps_per_epoch: int = 125
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 1


@dataclass
class CloneConfig:
    """The policies that are cloned from an expert's films.

    Args:
        width: Channels of the network at its coarsest grid.
        epochs: Epochs to train.
        steps_per_epoch: Batches in an epoch.
        batch_size: Frames in a batch.
        learning_rate: Highest learning rate.
        seed: Seed of weights and batches of the first; each further one has the next.
    """

    width: int = 128
    epochs: int = 10
    steps_per_epoch: int = 100
    batch_size: int = 128
    learning_rate: float = 1e-3
    seed: int = 1


@dataclass
class DynamicsConfig:
    """The world model proper.

    Args:
        actions: "latent", or "true" for the guided variant on recorded actions.
        width: Width of the transformer.
        depth: Number of blocks.
        heads: Attention heads.
        window: Frames that a token sees in one block, its own included.
        length: Frames of a training sequence.
        corruption: Share of a sequence's past tokens made wrong in training, at most.
        epochs: Epochs to train.
        steps_per_epoch: Batches in an epoch.
        batch_size: Sequences in a batch.
        learning_rate: Highest learning rate.
        seed: Seed of weights, batches, masks.
    """

    actions: Literal["latent", "true"] = "latent"
    width: int = 128
    depth: int = 4
    heads: int = 4
    window: int = 4
    length: int = 8
    corruption: float = 0.1
    epochs: int = 20
    steps_per_epoch: int = 105
    batch_size: int = 8
    learning_rate: float = 1e-3
    seed: int = 1


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
        tokenizer: Frames to tokens.
        latent_action: The unsupervised action model.
        judge: The supervised action model that the evaluation trains.
        dynamics: The world model proper.
        play: How it is played and measured.
        clone: The policies of clone_agent.py.
    """

    world: str = "coinrun_plain"
    record: RecordConfig = field(default_factory=RecordConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    latent_action: LatentActionConfig = field(default_factory=LatentActionConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    play: PlayConfig = field(default_factory=PlayConfig)
    clone: CloneConfig = field(default_factory=CloneConfig)

    @property
    def model_folder(self) -> Path:
        return Path("model") / self.world

    def record_folder(self, split: str) -> Path:
        return Path("record") / self.world / split
