"""The episode: one `.npy` file, a structured array, a row a time step.

Row t's action was taken *at* frame t and led to frame t + 1; `reward` is what it earned on the way. No row
belongs to another episode. The last row's action ended the episode, or the recording.
"""

import errno
import json
import os
from pathlib import Path

import numpy as np

FRAME_SIZE = 64
EPISODE_DTYPE = np.dtype(
    [
        ("frame", np.uint8, (FRAME_SIZE, FRAME_SIZE, 3)),
        ("action", np.uint8),
        ("reward", np.float32),
        ("first", np.bool_),
        ("level", np.int32),
    ]
)
UNFINISHED = ".tmp"


def write_whole(path: Path, write) -> None:
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


def open_episode(path: Path) -> np.ndarray:
    """Map one episode into memory, read-only.

    Args:
        path: A `.npy` file written by `save_array`.

    Returns:
        Structured array (T,) of `EPISODE_DTYPE`, T ≥ 1.

    Raises:
        ValueError: the file is truncated, pickled, empty, or of another type.
    """
    try:
        episode = np.load(path, mmap_mode="r", allow_pickle=False)
    except EOFError as error:
        raise ValueError("the file is empty") from error
    if episode.dtype != EPISODE_DTYPE or episode.ndim != 1 or len(episode) == 0:
        raise ValueError(f"not an episode: {episode.dtype} of shape {episode.shape}")
    return episode
