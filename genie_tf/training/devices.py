"""Train on several devices of one machine."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np

from genie_tf.errors import UserError


@contextlib.contextmanager
def shared_among(devices: int, batch_size: int) -> Iterator[None]:
    """Every device has all weights, and computes its part of each batch. The update is that of one device with the whole batch.

    Dropout is an exception: on TensorFlow each device draws its own.

    Models that are made or loaded within are trained in this way: with `tf.distribute.MirroredStrategy` on TensorFlow, and with
    `keras.distribution.DataParallel` on JAX.

    Args:
        devices: Number of devices. The first ones of the machine are taken: its GPUs or TPUs, or its CPUs if there are none.
        batch_size: Examples of a batch.

    Raises:
        UserError: the machine has fewer devices, or a batch can't be divided evenly.
    """
    if devices == 1:
        yield
        return
    names = found()
    if not 1 <= devices <= len(names):
        raise UserError(f"--devices {devices}: this machine has {len(names)} for {keras.backend.backend()}: {', '.join(names)}")
    if batch_size % devices:
        raise UserError(f"--devices {devices}: the batch size {batch_size} must be a multiple of it")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # CPUs have no other way of copying whose order is the same in all of them.
        copies = tf.distribute.HierarchicalCopyAllReduce() if "CPU" in names[0] else None
        with tf.distribute.MirroredStrategy(names[:devices], copies).scope():
            yield
        return
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=names[:devices], auto_shard_dataset=False))
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


def evenly(examples, devices: int):
    """The first examples, as many as can be divided among the devices."""
    return keras.tree.map_structure(lambda x: np.asarray(x)[: len(x) // devices * devices], examples)
