"""Choose the fastest precision on this machine by a measurement, which is kept."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import keras
from keras import layers, ops

from genie_tf.errors import UserError
from genie_tf.files import read_json, write_json
from genie_tf.hosts import main_process_first
from genie_tf.training.devices import name_of_device

KEPT = "arithmetic.json"  # in model/<world>: seconds of a training step, by machine and policy
POLICIES = ("float32", "mixed_bfloat16")


def seconds_of_a_step(policy: str) -> float:
    """Seconds in which a small network trains a step."""
    keras.mixed_precision.set_global_policy(policy)
    model = keras.Sequential(
        [layers.Conv2D(96, 3, padding="same", activation="relu"), layers.Dense(384, activation="relu"), layers.Dense(96)]
    )
    model.compile("sgd", "mse")
    x = ops.ones((32, 16, 16, 96))
    for _ in range(2):
        model.train_on_batch(x, x)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        model.train_on_batch(x, x)
        times.append(time.perf_counter() - start)
    return min(times)


def measured() -> dict[str, float]:
    """Seconds of a training step under each policy. A processor without bfloat16 units emulates bfloat16 and is slower."""
    return {policy: seconds_of_a_step(policy) for policy in POLICIES}


def fastest(seconds: dict[str, float]) -> str:
    """The policy with the fewest seconds."""
    return min(POLICIES, key=lambda policy: seconds[policy])


@main_process_first()
def kept_policy(folder: Path) -> str:
    """The policy under which a small network trains fastest on this machine.

    The measurement takes a few seconds. It is kept in `model/<world>`, so that a later training there computes in the same way.
    """
    file, machine = folder / KEPT, f"{name_of_device()}, {keras.backend.backend()}, Keras {keras.__version__}"
    known: dict = {}
    with contextlib.suppress(UserError):
        known = read_json(file, "it is measured again")
    try:
        return fastest(known[machine])
    except (KeyError, TypeError):  # not measured, or damaged
        known[machine] = measured()
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, known)
    return fastest(known[machine])


@contextlib.contextmanager
def under_policy(policy: str) -> Iterator[None]:
    """Set Keras's global policy for the models that are built or loaded inside, and afterwards the one from before."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def use_policy(precision: str, folder: Path) -> None:
    """Set Keras's global policy for all models built afterwards: `precision`, or the fastest one for "auto"."""
    policy = kept_policy(folder) if precision == "auto" else precision
    keras.mixed_precision.set_global_policy(policy)
    print(f"arithmetic: {policy}{f', the faster here by {folder / KEPT}' if precision == 'auto' else ''}")
