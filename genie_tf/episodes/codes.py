"""A cache of values that are computed once for every frame of a recording."""

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genie_tf.episodes.dataset import Episodes
from genie_tf.files import write_json, write_whole


def fingerprint(path: Path) -> str:
    """SHA-256 hash of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_codes(
    name: str, episodes: Episodes, folder: Path, made_by: str, length: int, compute, batch_size: int = 256
) -> np.ndarray:
    """Compute `compute(rows)` for every row of a recording in batches, or read it from a cache file if the cache is still valid.

    The cache is valid if the fingerprint of the recording and `made_by` have not changed and the file is not damaged.

    Args:
        name: Name of the values: "tokens", "motion" or "latent_actions". It is shown and is part of the file's name.
        episodes: The recording, R rows.
        folder: Folder of the cache file.
        made_by: Fingerprint of the weights that `compute` uses, or the name of `compute` if it has no weights.
        length: Number of rows that `compute` reads, starting at each row. Rows too close to the end of their episode get zeros.
        compute: Function from rows (B,) to an array (B, ...). It is always called with `batch_size` rows.
        batch_size: B, rows per call.

    Returns:
        Array (R, ...), memory-mapped from the file.
    """
    file = folder / f"{name}_{episodes.folder.parent.name}_{episodes.folder.name}.npy"
    facts = file.with_suffix(".json")
    truth = {"model": made_by, "recording": episodes.fingerprint, "rows": len(episodes)}
    with contextlib.suppress(OSError, ValueError, EOFError):
        codes = np.load(file, mmap_mode="r", allow_pickle=False)
        if json.loads(facts.read_text()) == truth and len(codes) == len(episodes):
            return codes
    facts.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    some_row = episodes.windows(length)[:1]

    def write(unfinished):
        for begin in tqdm(range(0, len(episodes), batch_size), desc=f"{name} of {episodes.folder}", unit=" batches"):
            rows = np.arange(begin, min(begin + batch_size, len(episodes)))
            episode, step = episodes.locate(rows)
            whole = step + length <= episodes.lengths[episode]
            full = np.pad(np.where(whole, rows, some_row), (0, batch_size - len(rows)), mode="edge")  # one shape: compiled once
            codes = np.array(compute(full))[: len(rows)]
            codes[~whole] = 0
            if begin == 0:
                shape = (len(episodes), *codes.shape[1:])
                description = {"descr": codes.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(unfinished, description)
            unfinished.write(codes.tobytes())

    write_whole(file, write)
    write_json(facts, truth)
    return np.load(file, mmap_mode="r", allow_pickle=False)
