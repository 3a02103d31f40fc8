"""The episode file: a structured array with one row per time step.

The action of row t was taken *at* frame t and led to frame t + 1. `reward` is the reward of this transition. All rows belong to the
same episode. The action of the last row ended the episode or the recording.

There are two file formats for the same array: `.npy`, and `.b2nd` (Blosc2) with lossless compression.
"""

import contextlib
import os
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from genie_tf.errors import UserError
from genie_tf.files import UNFINISHED, write_whole

UNKNOWN = 255  # value of an unknown action
FORMATS = (".npy", ".b2nd")
BLOCK = 64  # rows written at once
COMPRESSED = 16  # rows compressed together, the length of a window
COMPRESSION = {"codec": blosc2.Codec.ZSTD, "clevel": 1, "typesize": 1, "filters": [blosc2.Filter.NOFILTER], "nthreads": 1}


def episode_dtype(size: tuple[int, int]) -> np.dtype:
    """Type of a row with frames of this height and width."""
    return np.dtype(
        [
            ("frame", np.uint8, (*size, 3)),
            ("action", np.uint8),
            ("reward", np.float32),
            ("first", np.bool_),
            ("level", np.int32),
        ]
    )


class EpisodeWriter:
    """Writes one episode row by row. The file appears when `close` is called.

    The memory holds at most `BLOCK` rows, or the compressed episode.

    Args:
        path: The file, ending in one of `FORMATS`.
        size: Height and width of the frames.
    """

    def __init__(self, path: Path, size: tuple[int, int]):
        self.path, self.unfinished = path, path.with_name(path.name + UNFINISHED)
        self.block, self.filled, self.length = np.zeros(BLOCK, episode_dtype(size)), 0, 0
        if path.suffix == ".npy":
            self.file = open(self.unfinished, "wb")  # noqa: SIM115
            write_header(self.file, self.block.dtype, 0)  # reserves space for the final header
        else:
            self.array = blosc2.empty(
                (0,), self.block.dtype, chunks=(BLOCK,), blocks=(COMPRESSED,), cparams=COMPRESSION, contiguous=True
            )

    def append(self, frame: np.ndarray, action: int, level: int) -> None:
        """Add a time step: frame uint8 (H, W, 3), the action taken at this frame, and the level."""
        if self.filled == BLOCK:
            self._flush()
        self.block[self.filled] = (frame, action, 0.0, self.length == 0, level)
        self.filled += 1
        self.length += 1

    def earn(self, reward: float) -> None:
        """Add to the reward of the last row."""
        self.block["reward"][self.filled - 1] += reward

    def _flush(self) -> None:
        rows = self.block[: self.filled]
        if self.path.suffix == ".npy":
            self.file.write(rows.view(np.uint8).data)
        else:
            self.array.resize((self.length,))
            self.array[self.length - self.filled :] = rows
        self.filled = 0

    def close(self) -> None:
        """Finish the episode."""
        try:
            self._flush()
            if self.path.suffix == ".npy":
                self.file.seek(0)
                write_header(self.file, self.block.dtype, self.length)
                self.file.close()
                os.replace(self.unfinished, self.path)
            else:
                write_whole(self.path, lambda file: file.write(self.array.to_cframe()))
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Delete the unfinished file."""
        if self.path.suffix == ".npy":
            with contextlib.suppress(OSError):  # errors of the last write do not matter, since the file is deleted
                self.file.close()
            self.unfinished.unlink(missing_ok=True)


def write_header(file, dtype: np.dtype, length: int) -> None:
    """Write the `.npy` header of `length` rows of type `dtype`. NumPy pads it: its size does not depend on the length."""
    description = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(file, {"descr": description, "fortran_order": False, "shape": (length,)})


class Episode:
    """An episode file that is read a few rows at a time. It keeps no data in memory and no file open.

    Args:
        path: A file written by `EpisodeWriter` or by NumPy.

    Raises:
        ValueError: the file is truncated, pickled, empty, or of another type.
    """

    __slots__ = ("dtype", "length", "offset", "path")

    def __init__(self, path: Path | str):
        self.path = str(path)
        try:
            dtype, shape = self._open_npy() if self.path.endswith(".npy") else self._open_b2nd()
        except OSError:
            raise
        except Exception as error:  # the parsers of NumPy and Blosc2 raise many types
            raise ValueError("the file is empty or damaged") from error
        frame: Any = dtype["frame"].shape if dtype is not None and "frame" in (dtype.names or ()) else ()
        if len(frame) != 3 or dtype != episode_dtype(frame[:2]) or len(shape) != 1 or shape[0] == 0:
            raise ValueError(f"not an episode: {dtype} of shape {shape}")
        self.dtype, self.length = dtype, shape[0]
        if self.path.endswith(".npy") and os.path.getsize(self.path) < self.offset + self.length * dtype.itemsize:
            raise ValueError("the file is truncated")

    def _open_npy(self):
        with open(self.path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            self.offset = file.tell()
        return dtype, shape

    def _open_b2nd(self):
        array = blosc2.open(self.path, mode="r")
        return getattr(array, "dtype", None), getattr(array, "shape", ())

    def __len__(self) -> int:
        return self.length

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.dtype["frame"].shape[:2]

    def read(self, start: int, out: np.ndarray) -> None:
        """Fill `out` (n,) of type `dtype` with rows, beginning at `start`.

        Raises:
            UserError: the file has changed since it was opened, or its data are damaged.
        """
        changed = f"{self.path} can't be read any more: delete it, and run the same command again"
        if self.path.endswith(".npy"):
            with open(self.path, "rb", buffering=0) as file:
                file.seek(self.offset + start * self.dtype.itemsize)
                if file.readinto(out.view(np.uint8).data) != out.nbytes:
                    raise UserError(changed)
        else:
            try:
                out[:] = blosc2.open(self.path, mode="r")[start : start + len(out)]
            except (RuntimeError, ValueError) as error:
                raise UserError(changed) from error

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows from `start` to `stop`, by default all, as a structured array of type `dtype`."""
        out = np.empty((self.length if stop is None else stop) - start, self.dtype)
        self.read(start, out)
        return out
