"""Files: written whole or not at all, refused in one line when they are damaged; and folders in which one run at a time works."""

import contextlib
import errno
import fcntl
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from genie_tf.errors import UserError

UNFINISHED = ".tmp"
_held: set[Path] = set()  # claims of this process


def write_whole(path: Path, write: Callable) -> None:
    """Call `write(file)` on a temporary file, then rename it to `path`: a reader sees the whole file or none."""
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with open(unfinished, "wb") as file:
            write(file)
        os.replace(unfinished, path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is None:  # NumPy's own word for a write that was cut short
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array as `.npy`."""
    write_whole(path, lambda file: np.save(file, array, allow_pickle=False))


def write_json(path: Path, data) -> None:
    """Write what JSON can hold."""
    write_whole(path, lambda file: file.write(json.dumps(data, indent=1).encode()))


def read_json(path: Path, mend: str, *names: str) -> dict:
    """Read a JSON object.

    Args:
        path: The file.
        mend: What a person can do if it can't be read; the end of the error's line.
        names: Names that the object must have.

    Raises:
        UserError: the file is missing, truncated, empty, or holds something else.
    """
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {mend}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())[:100]}): {mend}") from error
    if not isinstance(data, dict) or not set(names) <= data.keys():
        raise UserError(f"{path} is damaged (it lacks {', '.join(names) or 'an object'}): {mend}")
    return data


@contextlib.contextmanager
def claimed(folder: Path, name: str, busy: str, leftovers: str) -> Iterator[None]:
    """Keep other processes away from what is made under `name` in `folder`, which is made if it is not there.

    What a killed process left half done is cleared away first. A process may claim what it holds already.

    Args:
        busy: The error's line.
        leftovers: Pattern of the temporary files and folders that belong to the claim.

    Raises:
        UserError: another process has the claim.
    """
    folder.mkdir(parents=True, exist_ok=True)
    claim = (folder / (name + UNFINISHED)).absolute()
    if claim in _held:
        yield
        return
    with open(claim, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(busy) from error
        _held.add(claim)
        try:
            for leftover in folder.glob(leftovers):
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                elif leftover.absolute() != claim:
                    leftover.unlink(missing_ok=True)
            yield
        finally:
            _held.discard(claim)
            claim.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()  # where nothing was made


def alone(work: Callable) -> Callable:
    """Let `work(config, …)` go on only while no other process writes to the same `model/<world>`.

    Raises:
        UserError: another process does.
    """

    @functools.wraps(work)
    def guarded(config, *args, **kwargs):
        folder = config.model_folder
        busy = f"another run is training or measuring {folder}: wait for it, or name another --world"
        with claimed(folder, "run", busy, f"**/*{UNFINISHED}"):
            return work(config, *args, **kwargs)

    return guarded
