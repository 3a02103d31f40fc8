"""What is computed once of every frame of a recording, and kept."""

import hashlib
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genie_tf.episodes.dataset import Episodes, Windows
from genie_tf.episodes.format import write_json, write_whole


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_codes(
    name: str, episodes: Episodes, folder: Path, made_by: str, rows: Windows, compute, batch_size: int = 256
) -> np.ndarray:
    """`compute(rows)` for all `rows`, in batches, read from a file if that is still true.

    The file carries the fingerprint of the recording, and `made_by`; where either has changed it is computed anew.

    Args:
        name: What is computed, "tokens", "motion" or "latent_actions"; shown, and part of the file's name.
        episodes: The recording.
        folder: Where the file lies.
        made_by: Fingerprint of the weights that `compute` uses, or its name if it has none.
        rows: R rows of the recording.
        compute: Function of rows (B,) to an array (B, ...); always called with `batch_size` rows.

    Returns:
        Array (R, ...), mapped from the file: it takes no memory.
    """
    file = folder / f"{name}_{episodes.folder.parent.name}_{episodes.folder.name}.npy"
    facts = file.with_suffix(".json")
    truth = {"model": made_by, "recording": episodes.fingerprint, "rows": len(rows)}
    if file.exists() and facts.exists() and json.loads(facts.read_text()) == truth:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    facts.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)

    def write(unfinished):
        for begin in tqdm(range(0, len(rows), batch_size), desc=f"{name} of {episodes.folder}", unit=" batches"):
            chunk = rows[begin : begin + batch_size]
            full = np.pad(chunk, (0, batch_size - len(chunk)), mode="edge")  # one shape, one compiled function
            codes = np.asarray(compute(full))[: len(chunk)]
            if begin == 0:
                shape = (len(rows), *codes.shape[1:])
                description = {"descr": codes.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(unfinished, description)
            unfinished.write(codes.tobytes())

    write_whole(file, write)
    write_json(facts, truth)
    return np.load(file, mmap_mode="r", allow_pickle=False)
