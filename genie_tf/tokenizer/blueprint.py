"""Blueprints: a network from frames to a grid, or back, as a list of blocks.

A blueprint is a list of `[block, options]`, in YAML for example `- [downsample, {space: 2}]`. All options are whole numbers.

- `causal_conv`: a causal convolution. Options `channels`, `kernel` (3).
- `residual`: residual blocks. Options `channels`, `repeats` (1). In the decoder, the tokens adapt their input.
- `space_time_attention`: a transformer block. Options `heads` (4), and `window` (8), the frames that a place attends to.
- `downsample`, in the encoder: blur and take every n-th pixel or frame. Options `space` (1), `time` (1).
- `upsample`, in the decoder: the opposite. Options `space` (1), `time` (1).
- `projection`: a linear layer of each place. Option `channels`.

Without `channels`, their number stays.
"""

import math
from dataclasses import dataclass

from keras import layers

from genie_tf.errors import UserError
from genie_tf.layers.causal_conv import CausalConv
from genie_tf.layers.frame_norm import AdaptiveNorm
from genie_tf.layers.resample import Downsample, Upsample
from genie_tf.layers.residual import ResidualBlock
from genie_tf.layers.space_time_attention import SpaceTimeAttention

OPTIONS: dict[str, dict[str, int | None]] = {
    "causal_conv": {"channels": None, "kernel": 3},
    "residual": {"channels": None, "repeats": 1},
    "space_time_attention": {"heads": 4, "window": 8},
    "downsample": {"space": 1, "time": 1},
    "upsample": {"space": 1, "time": 1},
    "projection": {"channels": None},
}


@dataclass
class Step:
    """One block of a blueprint.

    Args:
        block: Its name.
        options: All options; `channels` are those of its output.
        inputs: Height, width and channels of its input.
        outputs: Those of its output.
    """

    block: str
    options: dict[str, int]
    inputs: tuple[int, int, int]
    outputs: tuple[int, int, int]


def read_blueprint(part: str, blueprint: list, shape: tuple[int, int, int]) -> list[Step]:
    """Check a blueprint and complete its options.

    Args:
        part: "encoder" or "decoder".
        blueprint: List of `[block, options]`.
        shape: Height, width and channels of the input.

    Raises:
        UserError: a block or an option is unknown, or a shape is impossible. The error names the place in the blueprint.
    """
    if not blueprint:
        raise UserError(f"tokenizer.{part}: it has no block")
    steps: list[Step] = []
    for i, entry in enumerate(blueprint):
        steps.append(_read_step(part, f"tokenizer.{part}[{i}]", entry, steps[-1].outputs if steps else shape))
    return steps


def _read_step(part: str, place: str, entry, inputs: tuple[int, int, int]) -> Step:
    if not (isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[1], dict)):
        raise UserError(f"{place}: {entry}: write [block, {{option: number}}]")
    block, given = entry
    if block not in list(OPTIONS):
        raise UserError(f"{place}: there is no block {block}; there are {', '.join(OPTIONS)}")
    elsewhere = {"downsample": "encoder", "upsample": "decoder"}.get(block, part)
    if elsewhere != part:
        raise UserError(f"{place}: {block} is a block of the {elsewhere}")
    for name, value in given.items():
        if name not in OPTIONS[block]:
            raise UserError(f"{place}: {block}: there is no option {name}; there are {', '.join(OPTIONS[block])}")
        if type(value) is not int or value < 1:
            raise UserError(f"{place}: {block}: {name} {value}: it must be a whole number, 1 or more")
    height, width, channels = inputs
    options = {name: given.get(name, channels if default is None else default) for name, default in OPTIONS[block].items()}
    if block == "causal_conv" and options["kernel"] % 2 == 0:
        raise UserError(f"{place}: {block}: kernel {options['kernel']} is not an odd number")
    if block == "space_time_attention" and channels % options["heads"]:
        raise UserError(f"{place}: {block}: {options['heads']} heads do not divide {channels} channels")
    space = options.get("space", 1)
    if block == "downsample":
        if height % space or width % space:
            raise UserError(f"{place}: {block}: space {space} does not divide a grid of {height} x {width}")
        height, width = height // space, width // space
    elif block == "upsample":
        height, width = height * space, width * space
    return Step(block, options, inputs, (height, width, options.get("channels", channels)))


def stride_of(steps: list[Step]) -> int:
    """Frames that a token grid stands for: the product of all factors in time."""
    return math.prod(step.options.get("time", 1) for step in steps)


def make_blocks(steps: list[Step], name: str, style: int = 0) -> list[layers.Layer]:
    """Make and build the blocks of a checked blueprint.

    Args:
        steps: From `read_blueprint`.
        name: First part of the blocks' names.
        style: Size of the style vectors that adapt the input of residual blocks; 0 for none.
    """
    blocks: list[layers.Layer] = []

    def add(kind, inputs, *arguments):
        blocks.append(kind(*arguments, name=f"{name}_{len(blocks)}"))
        blocks[-1].build((None, None, *inputs))

    for step in steps:
        options = step.options
        if step.block == "causal_conv":
            add(CausalConv, step.inputs, options["channels"], options["kernel"])
        elif step.block == "projection":
            add(CausalConv, step.inputs, options["channels"], 1)
        elif step.block == "space_time_attention":
            add(SpaceTimeAttention, step.inputs, options["heads"], options["window"])
        elif step.block == "residual":
            if style:
                add(AdaptiveNorm, step.inputs, style)
            for repeat in range(options["repeats"]):
                add(ResidualBlock, step.outputs if repeat else step.inputs, options["channels"])
        else:
            add(Downsample if step.block == "downsample" else Upsample, step.inputs, options["space"], options["time"])
    return blocks
