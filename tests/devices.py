"""Train every model on one device and on two, with the same batches, and compare the weights. On JAX, also split the weights.

python -m tests.devices
KERAS_BACKEND=jax python -m tests.devices dynamics tokenizer
"""

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"

import keras
import numpy as np

from genie_tf.config import Training
from genie_tf.hosts import Devices
from genie_tf.quiet import quiet
from genie_tf.training.checkpoints import WEIGHTS
from genie_tf.training.loop import train

STEPS = 20
sys.path.insert(0, str(Path(__file__).parent))


@dataclass
class Settings(Training):
    epochs: int = 2
    steps_per_epoch: int = STEPS // 2
    optimizer: Literal["adamw", "muon"] = "muon"
    batch_size: int = 4
    seed: int = 7
    ema: float = 0.9


def two_devices() -> None:
    """Make two devices of the processor. Comes before anything else uses TensorFlow. JAX does it by `XLA_FLAGS`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # it takes longer than these few steps
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def batch(name: str, rng: np.random.Generator, size: int):
    """Examples for a model of tests/test_backends.py."""
    from test_backends import MODELS

    if name in ("dynamics", "causal", "diffusion"):
        truth = rng.integers(0, 16, (size, 4, 9))
        noise = MODELS[name][0].noise(rng, truth, 16, 0.2, 0.1)
        return {"tokens": truth, "actions": rng.integers(0, 3, (size, 4)), **noise}
    length = 4 if name in ("avatar", "hypotheses") else 3 if "latent" in name else 2
    films = rng.integers(0, 256, (size, length, 64, 64, 3)).astype(np.uint8)
    films[: size // 2, 1:, 32:] = films[: size // 2, :1, 32:]  # on one device less changes than on the other
    if name == "avatar":
        films[:, 1:, 20:24, 30:34] = 255
    if name == "latent_action":
        return {"frames": films, "motion": (rng.uniform(-1, 1, (size, 4, 3)) * [10, 20, 0.01]).astype(np.float32)}
    if name == "st_latent_action":
        return {"frames": films}
    return {"frames": films, "actions": rng.integers(0, 3, (size, 2)).astype(np.int32)} if name == "delta" else films


def trained(name: str, devices: Devices, folder: Path) -> list[np.ndarray]:
    """The weights of a model after `STEPS` steps."""
    from test_backends import built, without_noise

    def draw(rng, size):
        return batch(name, rng, size)

    def make():
        model = built(name)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0  # the replicas of TensorFlow drop other values than one device
        if devices.split > 1:
            held = [(weight.value.addressable_shards[0].data.nbytes, weight.value.nbytes) for weight in model.weights]
            assert sum(part for part, _ in held) < 0.6 * sum(whole for _, whole in held), "a device holds about half of the weights"
        return model

    validation = draw(np.random.default_rng(0), 6)
    with without_noise():
        checkpoint = train(name, make, draw, validation, folder, "Model", "x.py", Settings(), {}, devices=devices)
    return [np.array(weight) for weight in keras.saving.load_model(checkpoint / WEIGHTS).weights]


def differences(name: str) -> dict[str, float]:
    """Largest difference of a weight from one device's, as a share of the largest weight of its array, by the way of training."""
    ways = {"two devices": Devices(2)}
    if keras.backend.backend() == "jax":
        ways["weights that two devices split"] = Devices(2, 2)
    with tempfile.TemporaryDirectory() as folder:
        one, *others = (
            trained(name, devices, Path(folder) / str(number)) for number, devices in enumerate([Devices(), *ways.values()])
        )

    def from_one(weights) -> float:
        return max(float(np.abs(a - b).max() / (np.abs(a).max() + 1e-3)) for a, b in zip(one, weights, strict=True))

    return dict(zip(ways, map(from_one, others)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of models of tests/test_backends.py (default: all)")
    options = parser.parse_args()
    with quiet():
        two_devices()
        from test_backends import MODELS
    for name in options.models or MODELS:
        for way, difference in differences(name).items():
            print(f"{name}: {way} differ by {difference:.1e} of their size", flush=True)


if __name__ == "__main__":
    main()
