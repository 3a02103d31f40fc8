"""Choose the fastest precision on this machine by a measurement."""

import functools
import time

import keras
from keras import layers, ops


@functools.cache
def fastest_policy() -> str:
    """`mixed_bfloat16` if a small network trains faster with it than with `float32`, otherwise `float32`.

    A processor without bfloat16 units emulates bfloat16 and is slower. The measurement takes a few seconds, once per process.
    """
    seconds = {}
    for policy in ("float32", "mixed_bfloat16"):
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
        seconds[policy] = min(times)
    return min(seconds, key=lambda policy: seconds[policy])


def use_policy(precision: str) -> None:
    """Set Keras's global policy for all models built afterwards: `precision`, or the fastest one for "auto"."""
    policy = fastest_policy() if precision == "auto" else precision
    keras.mixed_precision.set_global_policy(policy)
    print(f"arithmetic: {policy}{', the faster here' if precision == 'auto' else ''}")
