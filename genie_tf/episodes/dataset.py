"""Recorded episodes as one long sequence of rows, read from disk a few frames at a time."""

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genie_tf.episodes.format import FORMATS, UNKNOWN, Episode
from genie_tf.errors import UserError


class Windows:
    """The rows at which a window may begin, in order. They are computed when needed, not stored.

    Args:
        first: int (E,), first such row of each episode.
        counts: int (E,), number of such rows in each episode.
    """

    def __init__(self, first: np.ndarray, counts: np.ndarray):
        self.first, self.ends = first, np.cumsum(counts)
        self.before = self.ends - counts

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index) -> np.ndarray:
        """First rows int (...) of the windows `index`, a slice or int (...)."""
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        episode = np.searchsorted(self.ends, index, side="right")
        return self.first[episode] + index - self.before[episode]

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw `count` of the rows uniformly: int (count,)."""
        return self[rng.integers(0, len(self), count)]

    def spread(self, count: int) -> np.ndarray:
        """At most `count` evenly spaced rows: int (≤ count,)."""
        return self[np.linspace(0, len(self) - 1, min(count, len(self))).astype(int)]


class Examples:
    """Training examples of a model. Each example begins at a row of a recording.

    Args:
        windows: The rows.
        take: Function from rows int (n,) to a batch of n examples, the input of the model's `call`.
    """

    def __init__(self, windows: Windows, take: Callable):
        self.windows, self.take = windows, take

    def draw(self, rng: np.random.Generator, size: int):
        """A training batch: `size` examples, drawn uniformly."""
        return self.take(self.windows.draw(rng, size))

    def spread(self, count: int):
        """A validation batch: at most `count` evenly spaced examples."""
        return self.take(self.windows.spread(count))


class Episodes:
    """The episodes of one folder, sorted by file name.

    Rows are numbered through all episodes: row `starts[e] + t` is step t of episode e. Frames stay on disk until they are read.
    The memory grows only with the number of episodes.

    Args:
        folder: Folder of episodes. A file that is no episode is reported, skipped and counted in `skipped`.

    Raises:
        UserError: the folder is missing or holds no episode.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.episodes: list[Episode] = []
        self.skipped = 0
        levels, known = [], []
        files = sorted(file for file in self.folder.glob("*") if file.suffix in FORMATS)
        for file in tqdm(files, desc=f"open {self.folder}", unit=" episodes", delay=2, leave=False):
            try:
                episode = Episode(file)
                if self.episodes and episode.dtype != self.episodes[0].dtype:
                    sizes = [" x ".join(map(str, one.frame_size)) for one in (episode, self.episodes[0])]
                    raise ValueError(f"its frames are {sizes[0]}, and those before it {sizes[1]}")
                row = episode.rows(0, 1)[0]
            except (ValueError, OSError, UserError) as error:
                self.skipped += 1
                tqdm.write(f"skipped {file}: {error}")
                continue
            self.episodes.append(episode)
            levels.append(row["level"])
            known.append(row["action"] != UNKNOWN)
        if not self.episodes:
            raise UserError(f"no episodes in {self.folder}: record some with ./data_collect.bash, or name another --world")
        self.levels, self.known = np.array(levels), np.array(known)
        self.lengths = np.array([len(episode) for episode in self.episodes])
        self.starts = np.cumsum(self.lengths) - self.lengths

    def __len__(self) -> int:
        return int(self.lengths.sum())

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.episodes[0].frame_size

    def check_size(self, frame_size: tuple[int, int], model: Path) -> None:
        """Check that the model in the folder `model`, for frames of `frame_size`, takes these frames.

        Raises:
            UserError: the frames have another size.
        """
        if frame_size != self.frame_size:
            sizes = [" x ".join(map(str, size)) for size in (frame_size, self.frame_size)]
            raise UserError(f"{model} is for frames of {sizes[0]}, and {self.folder} has {sizes[1]}: train it anew")

    @property
    def fingerprint(self) -> str:
        """Hash of file names, sizes and times. It changes when the recording changes."""
        stats = [(Path(episode.path).name, Path(episode.path).stat()) for episode in self.episodes]
        return hashlib.sha256(repr([(name, s.st_size, s.st_mtime_ns) for name, s in stats]).encode()).hexdigest()

    @cached_property
    def action(self) -> np.ndarray:
        """Actions uint8 (R,) of all rows, 255 where unknown. Reads the whole recording."""
        episodes = tqdm(self.episodes, desc=f"actions of {self.folder}", unit=" episodes", delay=2, leave=False)
        return np.concatenate([episode.rows()["action"].copy() for episode in episodes])  # a view would keep the frames in memory

    def locate(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Episode and step of `rows` (...), each int (...)."""
        episode = np.searchsorted(self.starts, rows, side="right") - 1
        return episode, rows - self.starts[episode]

    def windows(self, length: int, before: int = 0, labelled: bool = False) -> Windows:
        """Rows at which a window may begin. A window lies within one episode.

        Args:
            length: Rows of a window.
            before: Minimum number of steps of the episode before the window.
            labelled: Whether to leave out episodes with unknown actions.

        Raises:
            UserError: no episode is long enough.
        """
        counts = np.maximum(self.lengths - length + 1 - before, 0)
        if labelled:
            counts = counts * self.known
        if not counts.any():
            raise UserError(f"no episode in {self.folder} has {length + before} frames: record longer ones, with more frames")
        return Windows(self.starts + before, counts)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read `rows` (...) as a structured array (...) of the type of the episodes. Consecutive rows are read together."""
        flat = np.ravel(rows)
        episode, step = self.locate(flat)
        out = np.empty(len(flat), self.episodes[0].dtype)
        breaks = np.flatnonzero((np.diff(flat) != 1) | (np.diff(episode) != 0)) + 1
        for begin, end in zip([0, *breaks], [*breaks, len(flat)]):
            if end > begin:
                self.episodes[episode[begin]].read(step[begin], out[begin:end])
        return out.reshape(np.shape(rows))

    def frames(self, rows: np.ndarray) -> np.ndarray:
        """Frames uint8 (..., H, W, 3) of `rows` (...)."""
        return np.ascontiguousarray(self.read(rows)["frame"])

    def transition_rows(self, rows: np.ndarray, before: int) -> np.ndarray:
        """Rows t - before … t + 1 for each row t of `rows` (...): (..., before + 2). The first row replaces rows before it."""
        _, step = self.locate(rows)
        offsets = np.arange(-before, 2)
        return rows[..., None] + np.maximum(offsets, -step[..., None])


def batches(sample, batch_size: int, seed: int, first_step: int = 0) -> Iterator:
    """Yield batches without end. Each batch depends only on (seed, step), so a resumed training gets the same batches.

    Args:
        sample: Function from a `numpy.random.Generator` and the batch size to one batch.
        batch_size: Examples per batch.
        seed: Seed of all batches.
        first_step: Step of the first batch.
    """
    step = first_step
    while True:
        yield (sample(np.random.default_rng([seed, step]), batch_size),)
        step += 1
