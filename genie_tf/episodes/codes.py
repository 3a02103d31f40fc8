"""A cache of values that are computed once for every frame of a recording."""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genie_tf.episodes.dataset import Episodes
from genie_tf.errors import UserError
from genie_tf.files import read_array, read_json, write_json, write_whole
from genie_tf.hosts import main_process_first


def fingerprint(path: Path) -> str:
    """SHA-256 hash of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@main_process_first()
def cached_codes(name: str, episodes: Episodes, folder: Path, made_by: str, codes: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
    """Write values of every row of a recording to a cache file, or read them from it if the cache is still valid.

    The cache is valid if the fingerprint of the recording and `made_by` have not changed and the file is not damaged.

    Args:
        name: Name of the values: "tokens", "motion" or "latent_actions". It is shown and is part of the file's name.
        episodes: The recording, R rows.
        folder: Folder of the cache file.
        made_by: What computes the values: the fingerprint of the weights, or the name of the function if it has no weights.
        codes: Yields a first row, and values (n, ...) of this row and the n - 1 after it, in any order, until every row has some.

    Returns:
        Array (R, ...), memory-mapped from the file.
    """
    file = folder / f"{name}_{episodes.folder.parent.name}_{episodes.folder.name}.npy"
    facts = file.with_suffix(".json")
    truth = {"model": made_by, "recording": episodes.fingerprint, "rows": len(episodes)}
    with contextlib.suppress(OSError, ValueError, UserError):
        known = read_array(file, mmap_mode="r")
        if read_json(facts, "it is made anew") == truth and len(known) == len(episodes):
            return known
    facts.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)

    def write(unfinished):
        begin = None
        with tqdm(total=len(episodes), desc=f"{name} of {episodes.folder}", unit=" frames") as progress:
            for row, some in codes:
                if begin is None:
                    shape = (len(episodes), *some.shape[1:])
                    np.lib.format.write_array_header_1_0(
                        unfinished, {"descr": np.lib.format.dtype_to_descr(some.dtype), "fortran_order": False, "shape": shape}
                    )
                    begin = unfinished.tell()
                unfinished.seek(begin + row * some[0].nbytes)
                unfinished.write(some.tobytes())
                progress.update(len(some))

    write_whole(file, write)
    write_json(facts, truth)
    return np.load(file, mmap_mode="r", allow_pickle=False)


def read_codes(codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Read the values of `rows`, int of any shape, from the cache file.

    The file is mapped anew each time. Otherwise all that was ever read would count as memory of the process.
    """
    return np.array((np.load(str(codes.filename), mmap_mode="r") if isinstance(codes, np.memmap) else codes)[rows])


def codes_of_rows(
    episodes: Episodes, length: int, compute, batch_size: int = 256, worker: int = 0, workers: int = 1
) -> Iterator[tuple[int, np.ndarray]]:
    """Values of rows that depend on a few rows after them, for `cached_codes`.

    Args:
        episodes: The recording.
        length: Number of rows that `compute` reads, starting at each row. Rows too close to the end of their episode get zeros.
        compute: Function from rows (B,) to an array (B, ...). It is always called with `batch_size` rows.
        batch_size: B, rows per call.
        worker: Number of this worker, from 0.
        workers: Number of workers that share the batches.
    """
    some_row = episodes.windows(length)[:1]
    for begin in range(worker * batch_size, len(episodes), workers * batch_size):
        rows = np.arange(begin, min(begin + batch_size, len(episodes)))
        episode, step = episodes.locate(rows)
        whole = step + length <= episodes.lengths[episode]
        full = np.pad(np.where(whole, rows, some_row), (0, batch_size - len(rows)), mode="edge")  # one shape: compiled once
        codes = np.array(compute(full))[: len(rows)]
        codes[~whole] = 0
        yield begin, codes


def codes_of_films(
    episodes: Episodes, memory, compute, batch_size: int = 64, block: int = 16, worker: int = 0, workers: int = 1
) -> Iterator[tuple[int, np.ndarray]]:
    """Values of frames that depend on all frames of the episode before them, for `cached_codes`.

    Args:
        episodes: The recording.
        memory: Function from a batch size B to the memory before an episode's first frame.
        compute: Function from the frames of B rows, as from `Episodes.groups`, these rows (B,) and the memory to an array (B, ...)
            and the next memory.
        batch_size: Largest number of episodes that are read together. They have about the same length.
        block: Frames of an episode that are read at once.
        worker: Number of this worker, from 0.
        workers: Number of workers that share the episodes.
    """
    size = min(batch_size, len(episodes.episodes))
    order = np.argsort(-episodes.lengths, kind="stable")
    for first in range(worker * size, len(order), workers * size):
        some = order[np.minimum(np.arange(first, first + size), len(order) - 1)]  # one shape: compiled once
        state = memory(size)
        for begin in range(0, int(episodes.lengths[some].max()), block):
            steps = np.minimum(begin + np.arange(block), episodes.lengths[some][:, None] - 1)
            rows, codes = episodes.starts[some][:, None] + steps, []
            frames = episodes.groups(rows)
            for t in range(block):
                value, state = compute(frames[:, t], rows[:, t], state)
                codes.append(value)
            whole = np.stack(codes, axis=1)
            for i, episode in enumerate(some[: len(order) - first]):
                if (left := episodes.lengths[episode] - begin) > 0:
                    yield int(episodes.starts[episode] + begin), whole[i, :left]
