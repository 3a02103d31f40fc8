"""Speed of training and play. The limit is the speed of the matrix products alone."""

import dataclasses
import multiprocessing
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import row
from genie_tf.cli import parse
from genie_tf.config import Config
from genie_tf.kinds import class_of
from genie_tf.quiet import quiet

WARM, LEAST, SECONDS = 2, 5, 3.0  # untimed calls at the start; minimum number of timed calls; their minimum total in seconds
PLAIN, FULL = "configs/coinrun_plain.yaml", "configs/coinrun.yaml"
CONVERTED = 256  # frames that are encoded or decoded at once
GRID, BATCH = 64, {"batch_size": 8}  # tokens per frame and sequences of the rows that vary something else


# Measuring -----------------------------------------------------------------------------------------


def times(function) -> list[float]:
    """Seconds of each call of a function, after the calls that compile it."""
    for _ in range(WARM):
        function()
    seconds: list[float] = []
    while len(seconds) < LEAST or sum(seconds) < SECONDS:
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


def beside_products(function, products, unit: str, tokens: int, count: int = 1) -> dict:
    """A row: the speed of a function, with the limit of its matrix products alone.

    Args:
        function: The function.
        products: Its `Products`.
        unit: Unit of the speed.
        tokens: Number of tokens that a call computes.
        count: What a call counts in this unit.
    """
    seconds, of_products = times(function), times(products.run)
    result = row([count / s for s in seconds], [count / s for s in of_products], f"{unit}; limit: its matrix products alone")
    held = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    return result | {
        "tokens_per_second": tokens * result["value"] / count,
        "gflops": products.flops * result["value"] / count / 1e9,
        "p95_ms": 1000 * float(np.quantile(seconds, 0.95)),
        "peak_megabytes": int(held) / 1e3,  # of this process, with its libraries; on a GPU, only the host's memory
    }


def alone(measure, *arguments):
    """Run `measure(*arguments)` in a separate process, so that other measurements do not affect its memory and precision."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras", "benchmarks.models"])
    with quiet(), context.Pool(1) as pool:
        return pool.apply(measure, arguments)


@cache
def policy() -> str:
    """The precision policy that trainings choose on this machine."""
    return alone(_fastest_policy)


def _fastest_policy() -> str:
    from genie_tf.training.precision import fastest, measured

    return fastest(measured())


# Measured functions: each runs in a separate process and imports Keras there --------------------------


def products_of_step(model, batch):
    """The matrix products of one training step of a compiled model with a batch of tensors."""
    import keras

    from benchmarks.products import Products

    model.train_on_batch(batch)  # creates the optimizer's variables
    state = []
    if keras.backend.backend() == "jax":  # in JAX, the step takes the state as arguments
        kinds = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
        state = [model._get_jax_state(**dict.fromkeys(kinds, True))]
    return Products(model.train_step, *state, (batch,))


def training(model, batch, settings, tokens: int) -> dict:
    """One training step: forward, backward, clipping, AdamW. Making the batch is not part of the step."""
    import keras

    from genie_tf.training.optimizer import make_optimizer

    model.build()
    model.compile(optimizer=make_optimizer(settings))
    batch = keras.tree.map_structure(keras.ops.convert_to_tensor, batch)
    products = products_of_step(model, batch)
    return beside_products(lambda: model.train_on_batch(batch), products, "steps/s", tokens)


def read_config(file: str, changes: dict) -> Config:
    config = parse("", arguments=["--config", file])[0]
    return dataclasses.replace(config, dynamics=dataclasses.replace(config.dynamics, **changes))


def size_of(config: Config) -> tuple[int, int]:
    return config.record.height, config.record.width


class NoPixels:
    """A placeholder tokenizer for other numbers of tokens: its frames are the tokens."""

    given, codes, stride = 0, 1024, 1

    def __init__(self, tokens: int):
        self.tokens = tokens

    def build(self):
        pass

    def memory(self, batch):
        return ()

    def context(self, memory):
        return None

    def encode(self, frames, memory, led_by=None):
        return {"tokens": frames, "memory": memory}

    def decode(self, tokens, memory, led_by=None):
        return {"frames": tokens, "memory": memory}

    def remember(self, tokens, memory, led_by=None):
        return memory


def make_tokenizer(config: Config, tokens: int | None = None):
    """The tokenizer of the settings, or a placeholder without pixels with `tokens` tokens per frame."""
    if tokens:
        return NoPixels(tokens)
    model = class_of("tokenizer", config.tokenizer.kind)
    return model.from_settings(config.tokenizer, size_of(config), config.latent_action.codes)


def make_dynamics(config: Config, tokenizer):
    settings = config.dynamics
    context = {"frame_size": tokenizer.frame_size, "grid": tokenizer.grid} if tokenizer.given else None
    model = class_of("dynamics", settings.kind)
    return model.from_settings(settings, tokenizer.codes, tokenizer.tokens, config.latent_action.codes, context)


def random_frames(config: Config, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, *size_of(config), 3)).astype(np.uint8)


def train_tokenizer(precision: str) -> dict:
    import keras

    keras.mixed_precision.set_global_policy(precision)
    config = read_config(PLAIN, {})
    settings, tokenizer = config.tokenizer, make_tokenizer(config)
    length = getattr(settings, "length", 1)
    batch: Any = random_frames(config, settings.batch_size, length)
    grids = length // tokenizer.stride
    if tokenizer.needs_actions:
        batch = {"frames": batch, "actions": np.zeros((settings.batch_size, grids), np.int32)}
    tokens = settings.batch_size * (grids - tokenizer.given) * tokenizer.tokens
    return training(tokenizer, batch, settings, tokens)


def convert(precision: str, file: str, way: str) -> dict:
    """Encode or decode the frames of `CONVERTED` token grids at a time, as a whole recording is tokenized."""
    import keras

    from benchmarks.products import Products
    from genie_tf.training.backend import compiled

    keras.mixed_precision.set_global_policy(precision)
    config = read_config(file, {})
    tokenizer = make_tokenizer(config)
    tokenizer.build()
    shape = (CONVERTED, tokenizer.stride) if tokenizer.stride > 1 else (CONVERTED,)
    frames, memory = keras.ops.convert_to_tensor(random_frames(config, *shape)), tokenizer.memory(CONVERTED)
    led_by = keras.ops.zeros((CONVERTED,), "int32")
    encoded = tokenizer.encode(frames, memory, led_by)["tokens"]
    function, given, name = {
        "encode": (tokenizer.encode, frames, "tokens"),
        "decode": (tokenizer.decode, encoded, "frames"),
    }[way]
    run = compiled(function)
    products = Products(function, given, memory, led_by)

    def once():
        return keras.ops.convert_to_numpy(run(given, memory, led_by)[name])

    return beside_products(once, products, "frames/s", CONVERTED * tokenizer.tokens, CONVERTED * tokenizer.stride)


def train_latent_action(precision: str) -> dict:
    import keras

    from genie_tf.latent_action import FRAMES
    from genie_tf.latent_action.auto import as_kind

    keras.mixed_precision.set_global_policy(precision)
    config = read_config(PLAIN, {})
    settings = as_kind(config.latent_action, "motion_rank")
    model = class_of("latent_action", settings.kind).from_settings(settings, size_of(config))
    batch = {
        "frames": random_frames(config, settings.batch_size, 3),
        "motion": np.zeros((settings.batch_size, FRAMES - 1, 3), np.float32),
    }
    return training(model, batch, settings, settings.batch_size)  # one code per transition


def train_dynamics(precision: str, file: str, tokens: int | None, changes: dict) -> dict:
    """A training step of the dynamics of the settings' tokenizer, or with `tokens` tokens per frame."""
    import keras

    from genie_tf.dynamics.maskgit import training_masks

    keras.mixed_precision.set_global_policy(precision)
    config, rng = read_config(file, changes), np.random.default_rng(0)
    settings, tokenizer = config.dynamics, make_tokenizer(config, tokens)
    shape = (settings.batch_size, settings.length, tokenizer.tokens)
    truth = rng.integers(0, tokenizer.codes, shape).astype(np.int32)
    batch = {"tokens": truth, "actions": rng.integers(0, config.latent_action.codes, shape[:2]).astype(np.int32)}
    batch |= training_masks(rng, truth, tokenizer.codes, settings.corruption, settings.action_dropout)
    if tokenizer.given:
        batch["pictures"] = random_frames(config, *shape[:2])
    return training(make_dynamics(config, tokenizer), batch, settings, truth.size)


def world_of(config: Config, tokens: int | None, rollouts: int):
    """An untrained world of the settings' tokenizer, or with `tokens` tokens per frame, before the first step of its rollouts."""
    from genie_tf.world import World

    tokenizer = make_tokenizer(config, tokens)
    dynamics = make_dynamics(config, tokenizer)
    tokenizer.build()
    dynamics.build()
    world = World(tokenizer, None, dynamics, {}, config.play.sampling_steps)
    world.past, world.memory, world.seeds = dynamics.empty_past(rollouts), tokenizer.memory(rollouts), np.zeros((rollouts, 2), int)
    return world


def play(precision: str, file: str, tokens: int | None, changes: dict) -> dict:
    """One step of play with one player."""
    import keras

    from benchmarks.products import Products
    from genie_tf.dynamics.sampling import uniform_noise

    keras.mixed_precision.set_global_policy(precision)
    world, action = world_of(read_config(file, changes), tokens, 1), np.zeros(1, np.int32)
    tokenizer = world.tokenizer
    noise = uniform_noise(world.seeds, world.dynamics.noise_shape(world.sampling_steps))
    products = Products(world._next_frame, world.past, world.memory, *map(keras.ops.convert_to_tensor, (action, noise)))
    return beside_products(lambda: world.step(action), products, "frames/s", tokenizer.tokens, tokenizer.stride)


def play_batch(precision: str, rollouts: int) -> dict:
    """One step of several rollouts in a batch, as in the vector environment. The limit is the same with one rollout at a time."""
    import keras

    keras.mixed_precision.set_global_policy(precision)
    config = read_config(PLAIN, {})
    together, alone_ = world_of(config, None, rollouts), world_of(config, None, 1)
    actions = np.zeros(rollouts, np.int32)
    rates = [rollouts / s for s in times(lambda: together.step(actions, last=True))]
    return row(rates, [1 / s for s in times(lambda: alone_.step(actions[:1], last=True))], "steps/s; limit: one rollout at a time")


def measured(measure, *arguments):
    return lambda: alone(measure, policy(), *arguments)


CONTEXTS, TOKENS = (4, 8, 16, 32), (16, 64, 256)
ROWS = {
    "train.tokenizer": measured(train_tokenizer),
    "encode": measured(convert, PLAIN, "encode"),
    "decode": measured(convert, PLAIN, "decode"),
    "train.latent_action": measured(train_latent_action),
    "train.dynamics": measured(train_dynamics, PLAIN, None, {}),
    "train.dynamics.256": measured(train_dynamics, PLAIN, GRID, {"width": 256, **BATCH}),
    "train.dynamics.512": measured(train_dynamics, PLAIN, GRID, {"width": 512, **BATCH}),
    "train.dynamics.coinrun": measured(train_dynamics, FULL, None, {}),
    "play": measured(play, PLAIN, None, {}),
    "play.coinrun": measured(play, FULL, None, {}),
    "play.batch": measured(play_batch, 64),
}
for length in CONTEXTS:
    ROWS[f"train.context.{length}"] = measured(train_dynamics, PLAIN, GRID, {"length": length, "window": length, **BATCH})
for number in TOKENS:
    ROWS[f"train.tokens.{number}"] = measured(train_dynamics, PLAIN, number, BATCH)
for length in CONTEXTS:
    ROWS[f"play.context.{length}"] = measured(play, PLAIN, GRID, {"window": length})
for number in TOKENS:
    ROWS[f"play.tokens.{number}"] = measured(play, PLAIN, number, {})
