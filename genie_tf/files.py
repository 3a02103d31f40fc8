"""Safe file access: atomic writing, one-line errors for damaged files, and locks for folders."""

import contextlib
import errno
import fcntl
import functools
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from genie_tf.errors import UserError
from genie_tf.hosts import processes

UNFINISHED = ".tmp"
BLOCK = 1 << 20  # bytes read at once
_held: set[Path] = set()  # locks of this process


def write_whole(path: Path, write: Callable) -> None:
    """Call `write(file)` on a temporary file, then rename it to `path`. A reader never sees an incomplete file."""
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with open(unfinished, "wb") as file:
            write(file)
        os.replace(unfinished, path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is None:  # NumPy raises this for an incomplete write
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def checksum(path: Path) -> str:
    """CRC-32 of a file, in eight hexadecimal digits."""
    value = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array as `.npy`."""
    write_whole(path, lambda file: np.save(file, array, allow_pickle=False))


def read_array(path: Path, **options) -> np.ndarray:
    """Read an array from `.npy`. No object in it is unpickled.

    Args:
        path: The file.
        options: Of `numpy.load`.

    Raises:
        OSError: the file is missing.
        ValueError: the file is damaged.
    """
    try:
        array = np.load(path, allow_pickle=False, **options)
    except OSError:
        raise
    except Exception as error:  # the parser of its header raises many types
        raise ValueError(f"{path} is damaged ({type(error).__name__})") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} holds several arrays")
    return array


def write_json(path: Path, data) -> None:
    """Write data as JSON."""
    write_whole(path, lambda file: file.write(json.dumps(data, indent=1).encode()))


def read_json(path: Path, mend: str, **types: type) -> dict:
    """Read a JSON object.

    Args:
        path: The file.
        mend: Advice if the file can't be read, for the end of the error message.
        types: Names that the object must have, and the types of their values.

    Raises:
        UserError: the file is missing or damaged, or the object lacks a name.
    """
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {mend}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())[:100]}): {mend}") from error
    if not isinstance(data, dict) or not all(isinstance(data.get(name), type_) for name, type_ in types.items()):
        raise UserError(f"{path} is damaged (it lacks {', '.join(types) or 'an object'}): {mend}")
    return data


@contextlib.contextmanager
def claimed(folder: Path, name: str, busy: str, leftovers: str) -> Iterator[None]:
    """Lock the name `name` in `folder` for this process. The folder is created if it does not exist.

    Temporary files of an interrupted process are deleted first. A process may lock a name again that it has already locked.

    Args:
        folder: The folder.
        name: Name of the lock.
        busy: The error message.
        leftovers: Pattern of the temporary files and folders that belong to the lock.

    Raises:
        UserError: another process holds the lock.
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
                folder.rmdir()  # succeeds only if the folder is empty


def alone(work: Callable) -> Callable:
    """Decorate `work(config, …)` so that only one process at a time writes to `model/<world>`.

    Raises:
        UserError: another process is writing to this folder.
    """

    @functools.wraps(work)
    def guarded(config, *args, **kwargs):
        if processes.number:  # the first process has claimed it for all
            return work(config, *args, **kwargs)
        folder = config.model_folder
        busy = f"another run is training or measuring {folder}: wait for it, or name another --world"
        with claimed(folder, "run", busy, f"**/*{UNFINISHED}"):
            return work(config, *args, **kwargs)

    return guarded
