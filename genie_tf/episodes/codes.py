"""What a model says of every frame of a recording, computed once and kept beside the model."""

import hashlib
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import save_array, write_json


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_codes(name: str, episodes: Episodes, model_file: Path, rows: np.ndarray, compute, batch_size: int = 256) -> np.ndarray:
    """`compute(rows)` for all `rows`, in batches, read from beside the model if it is still true.

    The cache carries fingerprints of the model's file and of the recording; where either has changed it is computed anew.

    Args:
        name: What is computed, "tokens" or "latent_actions"; shown, and part of the file's name.
        episodes: The recording.
        model_file: The weights that `compute` uses.
        rows: int (R,), rows of the recording.
        compute: Function of rows (B,) to an array (B, ...); always called with `batch_size` rows.

    Returns:
        Array (R, ...).
    """
    file = model_file.parent / f"{name}_{episodes.folder.name}.npy"
    facts = file.with_suffix(".json")
    truth = {"model": fingerprint(model_file), "recording": episodes.fingerprint, "rows": len(rows)}
    if file.exists() and facts.exists() and json.loads(facts.read_text()) == truth:
        return np.load(file, allow_pickle=False)
    facts.unlink(missing_ok=True)
    parts = []
    for begin in tqdm(range(0, len(rows), batch_size), desc=f"{name} of {episodes.folder}", unit=" batches"):
        chunk = rows[begin : begin + batch_size]
        full = np.pad(chunk, (0, batch_size - len(chunk)), mode="edge")  # one shape, one compiled function
        parts.append(np.asarray(compute(full))[: len(chunk)])
    codes = np.concatenate(parts)
    save_array(file, codes)
    write_json(facts, truth)
    return codes
