"""What is computed once of every frame of a recording, and kept."""

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genie_tf.episodes.dataset import Episodes
from genie_tf.files import write_json, write_whole


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_codes(
    name: str, episodes: Episodes, folder: Path, made_by: str, length: int, compute, batch_size: int = 256
) -> np.ndarray:
    """`compute(rows)` for every row of a recording, in batches, read from a file if that is still true.

    The file carries the fingerprint of the recording, and `made_by`; where either has changed, or the file is damaged, it is
    computed anew.

    Args:
        name: What is computed, "tokens", "motion" or "latent_actions"; shown, and part of the file's name.
        episodes: The recording, R rows.
        folder: Where the file lies.
        made_by: Fingerprint of the weights that `compute` uses, or its name if it has none.
        length: Rows that `compute` looks at, from each of its rows on; rows with fewer left in their episode get zeros.
        compute: Function of rows (B,) to an array (B, ...); always called with `batch_size` rows.

    Returns:
        Array (R, ...), mapped from the file: it takes no memory.
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
            full = np.pad(np.where(whole, rows, some_row), (0, batch_size - len(rows)), mode="edge")  # one shape, one function
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
