"""Recorded episodes as one long sequence of rows, read from disk a few frames at a time."""

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genie_tf.episodes.format import FORMATS, UNKNOWN, Episode
from genie_tf.errors import UserError
from genie_tf.hosts import own_part


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
        """A training batch: `size` examples, drawn uniformly. Of several processes, each takes a part of them."""
        return self.take(self.windows.draw(rng, size)[own_part(size)])

    def spread(self, count: int):
        """A validation batch: at most `count` evenly spaced examples."""
        return self.take(self.windows.spread(count))


class Episodes:
    """The episodes of one folder, sorted by file name.

    Rows are numbered through all episodes: row `starts[e] + t` is step t of episode e. Frames stay on disk until they are read.
    The memory grows only with the number of episodes.

    Args:
        folder: Folder of episodes. A file that is no episode is reported, skipped and counted in `skipped`.
        every: Take every n-th recorded row of each episode, from its first row on. So a row can be a held action, which is recorded
            in several frames.

    Raises:
        UserError: the folder is missing or holds no episode.
    """

    def __init__(self, folder: Path | str, every: int = 1):
        self.folder, self.every = Path(folder), every
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
        self.lengths = np.array([-(-len(episode) // every) for episode in self.episodes])
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
        facts = [(name, s.st_size, s.st_mtime_ns) for name, s in stats]
        return hashlib.sha256(repr(facts if self.every == 1 else [self.every, *facts]).encode()).hexdigest()

    @cached_property
    def action(self) -> np.ndarray:
        """Actions uint8 (R,) of all rows, 255 where unknown. Reads the whole recording."""
        episodes = tqdm(self.episodes, desc=f"actions of {self.folder}", unit=" episodes", delay=2, leave=False)
        parts = [episode.rows()["action"][:: self.every].copy() for episode in episodes]  # a view would keep the frames in memory
        return np.concatenate(parts)

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
            frames = (length + before - 1) * self.every + 1
            raise UserError(f"no episode in {self.folder} has {frames} frames: record longer ones, with more frames")
        return Windows(self.starts + before, counts)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read `rows` (...) as a structured array (...) of the type of the episodes. Consecutive rows are read together."""
        episode, step = self.locate(np.ravel(rows))
        return self._read(episode, step * self.every).reshape(np.shape(rows))

    def _read(self, episode: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Read the recorded rows `step` (n,) of the episodes `episode` (n,)."""
        out = np.empty(len(step), self.episodes[0].dtype)
        breaks = np.flatnonzero((np.diff(step) != 1) | (np.diff(episode) != 0)) + 1
        for begin, end in zip([0, *breaks], [*breaks, len(step)]):
            if end > begin:
                self.episodes[episode[begin]].read(step[begin], out[begin:end])
        return out

    def frames(self, rows: np.ndarray) -> np.ndarray:
        """Frames uint8 (..., H, W, 3) of `rows` (...)."""
        return np.ascontiguousarray(self.read(rows)["frame"])

    def films(self, rows: np.ndarray, length: int) -> np.ndarray:
        """All recorded frames from each of `rows` (M,) on, those between rows included, until the film has `length` rows.

        Returns:
            uint8 (M, (length - 1) * every + 1, H, W, 3).
        """
        episode, step = (each[:, None] for each in self.locate(rows))
        steps = step * self.every + np.arange((length - 1) * self.every + 1)
        read = self._read(np.ravel(episode + np.zeros_like(steps)), np.ravel(steps))
        return np.ascontiguousarray(read["frame"]).reshape(*steps.shape, *self.frame_size, 3)

    def groups(self, rows: np.ndarray) -> np.ndarray:
        """All recorded frames that lead to each of `rows` (...): the row's own frame, and those after the row before it.

        Returns:
            uint8 (..., H, W, 3) if `every` is 1, otherwise (..., every, H, W, 3). Before an episode's first row, its first frame is
            repeated.
        """
        if self.every == 1:
            return self.frames(rows)
        episode, step = (each[..., None] for each in self.locate(rows))
        steps = np.maximum(step * self.every + np.arange(1 - self.every, 1), 0)
        read = self._read(np.ravel(episode + np.zeros_like(steps)), np.ravel(steps))
        return np.ascontiguousarray(read["frame"]).reshape(*steps.shape, *self.frame_size, 3)

    def transition_rows(self, rows: np.ndarray, before: int) -> np.ndarray:
        """Rows t - before … t + 1 for each row t of `rows` (...): (..., before + 2). The first row replaces rows before it."""
        _, step = self.locate(rows)
        offsets = np.arange(-before, 2)
        return rows[..., None] + np.maximum(offsets, -step[..., None])


def spread(values: np.ndarray, held: Episodes, onto: Episodes) -> np.ndarray:
    """Repeat a value of each held action for all rows of a recording over which the action is held.

    Args:
        values: (R',), one for each row of `held`. Those of the last rows of episodes, which no row follows, are not used.
        held: The recording with a row for each held action.
        onto: The same recording with more rows, R.

    Returns:
        (R,). The rows after the last held action of an episode get its value.
    """
    if held.every == onto.every:
        return values
    out, times = np.empty(len(onto), values.dtype), held.every // onto.every
    for at, length, first, count in zip(onto.starts, onto.lengths, held.starts, held.lengths):
        out[at : at + length] = values[first + np.minimum(np.arange(length) // times, max(count - 2, 0))]
    return out


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
