"""Train on several devices."""

import contextlib
import platform
import re
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from genie_tf.errors import UserError
from genie_tf.hosts import Devices, own_part


class SplitWeights(keras.distribution.ModelParallel):
    """Every matrix is split along its last axis among the devices of the mesh's axis `model`, where it can be divided evenly.

    Args:
        mesh: A `keras.distribution.DeviceMesh` with the axes `batch` and `model`.
    """

    def __init__(self, mesh):
        super().__init__(layout_map=keras.distribution.LayoutMap(mesh), batch_dim_name="batch", auto_shard_dataset=False)
        self.split = mesh.shape[1]

    def get_variable_layout(self, variable):
        axes: list[str | None] = [None] * len(variable.shape)
        if len(axes) > 1 and variable.shape[-1] % self.split == 0:
            axes[-1] = "model"
        return keras.distribution.TensorLayout(axes, self.device_mesh)


@contextlib.contextmanager
def shared_among(devices: Devices, batch_size: int) -> Iterator[None]:
    """Every device computes its part of each batch. The update is that of one device with the whole batch.

    Every device has all weights, or a part of them if they are split. Dropout is an exception: on TensorFlow each device draws its
    own.

    Models that are made or loaded within are trained in this way: with `tf.distribute.MirroredStrategy` on TensorFlow, and with
    `keras.distribution` on JAX.

    Args:
        devices: The devices. The first ones of the machine are taken: its GPUs or TPUs, or its CPUs if there are none.
        batch_size: Examples of a batch.

    Raises:
        UserError: the machine has fewer devices, or a batch or the devices can't be divided evenly.
    """
    count, split = devices.count, devices.split
    if count == split == 1:
        yield
        return
    names = found()
    if not 1 <= count <= len(names):
        raise UserError(f"--devices {count}: this machine has {len(names)} for {keras.backend.backend()}: {', '.join(names)}")
    if batch_size % count:
        raise UserError(f"--devices {count}: the batch size {batch_size} must be a multiple of it")
    if split < 1 or count % split:
        raise UserError(f"--split {split}: --devices {count} must be a multiple of it")
    if keras.backend.backend() == "tensorflow":
        if split > 1:
            raise UserError(f"--split {split}: set KERAS_BACKEND=jax, as on TensorFlow every device has all weights")
        import tensorflow as tf

        # CPUs have no other way of copying whose order is the same in all of them.
        copies = tf.distribute.HierarchicalCopyAllReduce() if "CPU" in names[0] else None
        with tf.distribute.MirroredStrategy(names[:count], copies).scope():
            yield
        return
    mesh = keras.distribution.DeviceMesh((count // split, split), ["batch", "model"], names[:count])
    with distributed(SplitWeights(mesh)):
        yield


@contextlib.contextmanager
def distributed(distribution: SplitWeights | None) -> Iterator[None]:
    """Variables that are made within are divided among devices in this way. None: they are this process's own."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def found() -> list[str]:
    """Names of the devices of this machine that compute fastest."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        kinds = [tf.config.list_logical_devices(kind) for kind in ("TPU", "GPU", "CPU")]
        return [device.name for device in next(filter(None, kinds))]
    return list(keras.distribution.list_devices())


def name_of_device() -> str:
    """Name of the processor or GPU that computes, such as "AMD EPYC" or "NVIDIA H200"."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
    elif keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() != "cpu":
            return jax.devices()[0].device_kind
    with contextlib.suppress(OSError):  # only Linux has this file
        if found := re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()):
            return found[1]
    return platform.processor() or platform.machine()


def evenly(examples, devices: int):
    """The first examples, as many as can be divided among the devices. Of several processes, each gets a part of them."""
    return keras.tree.map_structure(lambda x: np.asarray(x)[own_part(len(x) // devices * devices)], examples)
