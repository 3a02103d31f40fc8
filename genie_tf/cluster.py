"""Share work among the machines of a Ray cluster: recording, importing and exporting videos, tokenizing."""

import contextlib
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from genie_tf.errors import UserError

Share = TypeVar("Share")
ROOT = Path(__file__).parent.parent
SHARES = 8  # for each processor of the cluster, so that a share that is done again is a small one
PATIENCE = 10.0  # seconds
RETRIES = 5  # of a share whose process or machine is lost


@contextlib.contextmanager
def cluster_at(address: str):
    """Join a Ray cluster, and leave it at the end. Gives the module `ray`.

    Args:
        address: Address of the cluster: "auto" for the one of this machine, "local" for one that ends with this process.

    Raises:
        UserError: Ray is not installed, or there is no cluster at this address.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray: Ray is not installed here, pip install -r requirements-cluster.txt") from error
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = {"PYTHONPATH": path} | {name: os.environ[name] for name in ("KERAS_BACKEND",) if name in os.environ}
    try:
        if host := re.fullmatch(r"(?:ray://)?(.+):(\d+)", address):  # Ray itself tries for a quarter of an hour
            socket.create_connection((host[1], int(host[2])), PATIENCE).close()
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, runtime_env={"env_vars": variables})
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"--ray {address}: there is no cluster here, start one with `ray start --head`") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def on_cluster(address: str, work: Callable[[int, int], Share], workers: int = 1) -> Iterator[Share]:
    """Call `work(worker, workers)` for every worker, in processes of the cluster, and yield what the calls return, as they end.

    The current folder and the project must be on a file system that all machines share, under the same path. A share whose process
    or machine is lost is done again by another one.

    Args:
        address: Address of the cluster: see `cluster_at`.
        work: Does one worker's share of the work. It is a function of a module, or `functools.partial` of one.
        workers: Number of shares. 1: 8 for each processor of the cluster.

    Raises:
        UserError: Ray is not installed, there is no cluster at this address, or a share can't be done.
    """
    folder = os.getcwd()

    def share(worker: int, workers: int):
        os.chdir(folder)
        return work(worker, workers)

    with cluster_at(address) as ray:
        try:
            processors = int(ray.cluster_resources().get("CPU", 1))
            workers = workers if workers > 1 else SHARES * processors
            start = ray.remote(num_cpus=1, max_retries=RETRIES)(share)
            waiting = [start.remote(worker, workers) for worker in range(workers)]
            with tqdm(total=workers, desc=f"{processors} processors of the cluster", unit=" shares") as progress:
                while waiting:
                    done, waiting = ray.wait(waiting)
                    yield from ray.get(done)
                    progress.update(len(done))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise UserError(str(error.cause)) from error
            raise
        except ray.exceptions.RayError as error:
            raise UserError(f"--ray {address}: a share was lost {RETRIES} times; the same command goes on from there") from error
