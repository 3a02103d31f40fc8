"""Which arithmetic is fastest here: found by measuring."""

import functools
import time

import keras
from keras import layers, ops


@functools.cache
def fastest_policy() -> str:
    """`mixed_bfloat16` where a small network trains faster in it than in `float32`, else `float32`.

    A processor without bfloat16 units emulates them and is slower. Takes a few seconds, once in a process.
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


def use_fastest_policy() -> None:
    """Make the fastest policy Keras's own for the models built from here on."""
    policy = fastest_policy()
    keras.mixed_precision.set_global_policy(policy)
    print(f"arithmetic: {policy}, the faster here")
