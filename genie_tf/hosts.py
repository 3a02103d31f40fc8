"""Train with several processes, on one machine or on many: which of them this one is, and who does what."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from genie_tf.errors import UserError


@dataclass
class Processes:
    """The processes of a training: their `count`, and the `number` of this one. Number 0 writes files, and alone speaks."""

    count: int = 1
    number: int = 0


processes = Processes()


@dataclass(frozen=True)
class Devices:
    """The devices that train: their `count`, those of all processes; and how many of them `split` one copy of the weights."""

    count: int = 1
    split: int = 1


ONE = Devices()


def joined(devices: int, split: int, join: str) -> Devices:
    """Join the other processes of a training, if there are some. This comes before anything else uses JAX.

    Every process runs the same script with the same settings, and reads and writes the same `record/` and `model/`.

    Args:
        devices: The option `--devices`.
        split: The option `--split`.
        join: The option `--join`: "" for a process alone; "auto" if a launcher (SLURM, Open MPI, Kubernetes, a TPU pod) tells JAX
            the others; or the address of process 0, the number of processes, and the number of this one, such as "node1:1234,2,0".

    Returns:
        The devices. With `join`, they are those of all processes.

    Raises:
        UserError: the backend is not JAX, `join` can't be read, the other processes do not come, or the weights would be split too.
    """
    if not join:
        return Devices(devices, split)
    if split > 1:
        raise UserError(f"--split {split}: not with --join, as one process writes whole checkpoints")
    import keras

    if keras.backend.backend() != "jax":
        raise UserError(f"--join {join}: set KERAS_BACKEND=jax, as on TensorFlow a training is one process")
    import jax

    try:
        if join == "auto":
            jax.distributed.initialize()
        else:
            address, count, number = join.split(",")
            jax.distributed.initialize(address, int(count), int(number))
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--join {join}: write auto, or the host:port of process 0, their count and a number ({reason})") from error
    processes.count, processes.number = jax.process_count(), jax.process_index()
    if processes.number:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    return Devices(jax.device_count())


def own_part(examples: int) -> slice:
    """The examples of a batch that this process reads and computes."""
    each = examples // processes.count
    return slice(processes.number * each, (processes.number + 1) * each)


@contextlib.contextmanager
def main_process_first() -> Iterator[None]:
    """Process 0 does it first, and writes. Then the others do it, and find what is written."""
    if processes.number:
        barrier()
    yield
    if not processes.number:
        barrier()


def barrier() -> None:
    """Wait until every process is here.

    Raises:
        UserError: another process has ended.
    """
    if processes.count > 1:
        from jax.experimental import multihost_utils

        try:
            multihost_utils.sync_global_devices("genie_tf")
        except RuntimeError as error:
            raise lost(error) from error


def lost(error: Exception) -> UserError:
    """The error of a process that the others have left."""
    return UserError(
        "another process of this training has ended, so this one ends too: start all again, or another number of them; they "
        f"go on from the last checkpoint ({' '.join(str(error).split())[:100]})"
    )


def leave(code: int) -> NoReturn:
    """End this process with an exit code. If there are others, at once: at a usual end JAX waits for them, for minutes."""
    if processes.count > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
