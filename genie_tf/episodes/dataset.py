"""Recorded episodes as one long film, read through memory maps."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genie_tf.episodes.format import open_episode
from genie_tf.errors import UserError


class Episodes:
    """The episodes of one folder, in the order of their names.

    Rows are counted through all episodes: row `starts[e] + t` is step t of episode e.

    Args:
        folder: Folder of `.npy` episodes. A file that is no episode is named, skipped and counted in `skipped`.

    Raises:
        UserError: the folder is missing or holds no episode.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.files: list[Path] = []
        self.episodes: list[np.ndarray] = []
        self.skipped = 0
        for file in sorted(self.folder.glob("*.npy")):
            try:
                self.episodes.append(open_episode(file))
                self.files.append(file)
            except (ValueError, OSError) as error:
                self.skipped += 1
                tqdm.write(f"skipped {file}: {error}")
        if not self.episodes:
            raise UserError(f"no episodes in {self.folder}: record some with ./data_collect.bash, or name another --world")
        self.lengths = np.array([len(episode) for episode in self.episodes])
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self.action = np.concatenate([episode["action"] for episode in self.episodes])
        self.level = np.concatenate([episode["level"] for episode in self.episodes])
        self.episode_of_row = np.repeat(np.arange(len(self.episodes)), self.lengths)
        self.step_of_row = np.arange(len(self)) - self.starts[self.episode_of_row]

    def __len__(self) -> int:
        return int(self.lengths.sum())

    @property
    def fingerprint(self) -> str:
        """Changes whenever the recording does."""
        facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def windows(self, length: int, before: int = 0) -> np.ndarray:
        """Rows at which a window of `length` rows begins that lies within one episode, `before` steps or more from its start.

        Raises:
            UserError: no episode is that long.
        """
        remaining = self.lengths[self.episode_of_row] - self.step_of_row
        starts = np.flatnonzero((remaining >= length) & (self.step_of_row >= before))
        if not len(starts):
            raise UserError(f"no episode in {self.folder} has {length + before} frames: record longer ones, with more frames")
        return starts

    def frames(self, rows: np.ndarray) -> np.ndarray:
        """Frames uint8 (..., 64, 64, 3) of `rows` (...)."""
        flat = np.ravel(rows)
        frames = np.stack([self.episodes[e]["frame"][t] for e, t in zip(self.episode_of_row[flat], self.step_of_row[flat])])
        return frames.reshape(*np.shape(rows), *frames.shape[1:])

    def transition_rows(self, rows: np.ndarray) -> np.ndarray:
        """Rows (..., 3) of frames t - 1, t, t + 1 around `rows` (...); at an episode's first step frame t stands for t - 1."""
        previous = rows - (self.step_of_row[rows] > 0)
        return np.stack([previous, rows, rows + 1], axis=-1)


def batches(sample, batch_size: int, seed: int, first_step: int = 0) -> Iterator:
    """Endless batches, each a function of (seed, step) alone, so that a resumed training sees what it would have seen.

    Args:
        sample: Function of a `numpy.random.Generator` and the batch size to one batch.
    """
    step = first_step
    while True:
        yield (sample(np.random.default_rng([seed, step]), batch_size),)
        step += 1
