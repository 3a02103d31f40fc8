"""Speed and size of recording and reading, with the limits of the machine."""

import dataclasses
import multiprocessing
import os
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Literal

import av
import numpy as np

from genie_tf.episodes.dataset import Episodes, Windows
from genie_tf.episodes.format import episode_dtype, write_header
from genie_tf.quiet import quiet

with quiet():
    from genie_tf.episodes.procgen_game import ProcgenSettings
    from genie_tf.episodes.recorder import ENVIRONMENTS, SHARDS, make_game, record_shard, shard_game
    from genie_tf.episodes.video import encode_video

Format = Literal["npy", "b2nd"]
CORES = len(os.sched_getaffinity(0))
REPEATS = 3
FRAMES = 32_000  # frames that each worker records in one run
BARE_STEPS = 1_000  # steps of each vector of environments
WINDOW, BATCH, BATCHES = 16, 36, 60
TEN_MILLION = 10_000_000
MANY = 5_000  # files
PAPER = ProcgenSettings(
    distribution_mode="hard", use_backgrounds=True, restrict_themes=False, agent="uniform", hold=1, train_frames=FRAMES * SHARDS
)
VIDEO_RATE = 10
SPARSE_EPISODE = 600  # frames of an episode
ROW = episode_dtype((PAPER.height, PAPER.width))


def row(values: list[float], limits: list[float], unit: str) -> dict:
    """A row: median and spread of several runs, and the median of the limits."""
    value, limit = float(np.median(values)), float(np.median(limits))
    return {"value": value, "unit": unit, "limit": limit, "ratio": value / limit, "spread": [min(values), max(values)]}


class Silent:
    def update(self, count: int = 1) -> None:
        pass


def together(work, *arguments) -> float:
    """Seconds of `work(k, *arguments)` on all cores at once. `work` is a generator whose first yield means that it is ready."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(CORES + 1), context.Barrier(CORES + 1)
    processes = [context.Process(target=_worker, args=(ready, done, work, k, arguments)) for k in range(CORES)]
    for process in processes:
        process.start()
    ready.wait()
    start = time.perf_counter()
    done.wait()
    seconds = time.perf_counter() - start
    for process in processes:
        process.join()
    return seconds


def _worker(ready, done, work, k: int, arguments) -> None:
    steps = work(k, *arguments)
    next(steps)
    ready.wait()
    for _ in steps:
        pass
    done.wait()


def bare_worker(k: int):
    env = shard_game(PAPER, "train", k % SHARDS).env
    actions = np.random.default_rng(k).integers(0, 15, (BARE_STEPS, ENVIRONMENTS)).astype(np.int32)
    env.observe()
    yield
    for action in actions:
        env.act(action)
        env.observe()
    yield


def record_worker(k: int, folder: str, file_format: Format):
    shard_game(PAPER, "train", k % SHARDS).close()  # loads the game's pictures; a long recording hardly notices this second
    yield
    own = Path(folder) / str(k)
    own.mkdir()
    record_shard(dataclasses.replace(PAPER, format=file_format), "train", k % SHARDS, own, Path(), 0, Silent())
    yield


def bare_frames_per_second() -> float:
    """Speed of the game alone: the faster of one process per core and one process with one thread per core."""
    apart = CORES * ENVIRONMENTS * BARE_STEPS / together(bare_worker)
    env = make_game(PAPER, (0, 1000), CORES * ENVIRONMENTS, 1, threads=CORES).env
    actions = np.random.default_rng(0).integers(0, 15, (BARE_STEPS, CORES * ENVIRONMENTS)).astype(np.int32)
    env.observe()
    start = time.perf_counter()
    for action in actions:
        env.act(action)
        env.observe()
    at_once = actions.size / (time.perf_counter() - start)
    env.close()
    return max(apart, at_once)


def recording(file_format: Format) -> dict:
    """Frames per second recorded to disk with one worker per core, hold 1, hard CoinRun in full graphics."""
    values, limits = [], []
    for _ in range(REPEATS):
        limits.append(bare_frames_per_second())
        with tempfile.TemporaryDirectory() as folder:
            values.append(CORES * FRAMES / together(record_worker, folder, file_format))
    return row(values, limits, f"frames/s, {CORES} workers; limit: the game alone")


@cache
def sample(file_format: Format) -> tempfile.TemporaryDirectory:
    """About 1 GB of frames, recorded with the settings of the paper."""
    folder = tempfile.TemporaryDirectory()
    config = dataclasses.replace(PAPER, format=file_format, train_frames=10_500 * SHARDS)
    for shard in range(SHARDS):
        record_shard(config, "train", shard, Path(folder.name), Path(), 0, Silent())
    return folder


def on_one_core(measure) -> float:
    """Frames per second of `measure(rng)` on one core. `measure` returns the number of frames that it has read."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        rng, start = np.random.default_rng(0), time.perf_counter()
        count = sum(measure(rng) for _ in range(BATCHES))
        return count / (time.perf_counter() - start)
    finally:
        os.sched_setaffinity(0, cores)


def memory_copy() -> float:
    """Frames per second of copying random windows of an array in memory."""
    film = np.zeros((84_000, 64, 64, 3), np.uint8)
    out = np.zeros((BATCH, WINDOW, 64, 64, 3), np.uint8)

    def measure(rng) -> int:
        for window, start in zip(out, rng.integers(0, len(film) - WINDOW, BATCH)):
            window[:] = film[start : start + WINDOW]
        return BATCH * WINDOW

    on_one_core(measure)
    return on_one_core(measure)


def reading(file_format: Format, length: int = WINDOW) -> dict:
    """Frames per second of random windows from a recording in the page cache, on one core."""
    episodes = Episodes(sample(file_format).name)
    windows = episodes.windows(length)

    def measure(rng) -> int:
        episodes.frames(windows.draw(rng, BATCH)[:, None] + np.arange(length))
        return BATCH * length

    on_one_core(measure)
    values = [on_one_core(measure) for _ in range(REPEATS)]
    return row(values, [memory_copy()], f"frames/s, random windows of {length}, one core; limit: memory copy")


def video_of_sample(folder: Path) -> tuple[Path, int, float]:
    """Write one lossless video of an eighth of the sample. Returns the file, its frames, and frames per second on one core."""
    episodes = Episodes(sample("npy").name)
    frames = episodes.frames(np.arange(len(episodes) // 8))
    target = folder / "sample.mp4"
    start = time.perf_counter()
    target.write_bytes(encode_video(frames, VIDEO_RATE))
    return target, len(frames), len(frames) / (time.perf_counter() - start)


def reading_video() -> dict:
    """As `reading`, for a lossless video, by seeking."""
    with tempfile.TemporaryDirectory() as folder:
        file, length, _ = video_of_sample(Path(folder))
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            stream.thread_count = 1

            def measure(rng) -> int:
                first = int(rng.integers(0, length - WINDOW))
                container.seek(int(first / VIDEO_RATE / float(stream.time_base or 1)), stream=stream)
                read = 0
                for frame in container.decode(stream):
                    if frame.time * VIDEO_RATE >= first - 0.5:
                        frame.to_ndarray(format="rgb24")
                        read += 1
                    if read == WINDOW:
                        return read
                return read

            values = [on_one_core(measure) for _ in range(REPEATS)]
    return row(values, [memory_copy()], "frames/s, random windows of 16, one core; limit: memory copy")


def size(files: list[Path], frames: int) -> dict:
    """Gigabytes of ten million frames, extrapolated from a sample. The limit is a disk of 40 GB."""
    gigabytes = sum(file.stat().st_size for file in files) / frames * TEN_MILLION / 1e9
    return row([gigabytes], [40.0], "GB for 10 M frames; limit: 40 GB")


def size_of_episodes(file_format: Format) -> dict:
    """As `size`, for a recording."""
    episodes = Episodes(sample(file_format).name)
    return size([Path(episode.path) for episode in episodes.episodes], len(episodes))


def size_of_video() -> dict:
    """As `size`, for a lossless video."""
    with tempfile.TemporaryDirectory() as folder:
        file, length, _ = video_of_sample(Path(folder))
        return size([file], length)


def writing_video() -> dict:
    """Frames per second of writing a lossless video of a recording, on one core."""
    with tempfile.TemporaryDirectory() as folder:
        values = [video_of_sample(Path(folder))[2] for _ in range(REPEATS)]
    return row(values, [bare_frames_per_second() / CORES], "frames/s, export, one core; limit: the game alone")


def peak_memory(frames: int) -> float:
    """Peak memory in megabytes of a process that reads random windows of a recording of `frames` frames.

    The files are sparse. They take no disk space and are read like other files.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number in range(-(-frames // SPARSE_EPISODE)):
            with open(Path(folder) / f"{number:06d}.npy", "wb") as file:
                write_header(file, ROW, SPARSE_EPISODE)
                file.truncate(file.tell() + SPARSE_EPISODE * ROW.itemsize)
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        process = context.Process(target=_read_windows, args=(folder, queue))
        process.start()
        megabytes = queue.get()
        process.join()
    return megabytes


def _read_windows(folder: str, queue) -> None:
    episodes = Episodes(folder)
    windows, rng = episodes.windows(WINDOW), np.random.default_rng(0)
    for _ in range(200):
        episodes.frames(windows.draw(rng, BATCH)[:, None] + np.arange(WINDOW))
    status = Path("/proc/self/status").read_text()  # getrusage would include the parent's memory at the fork
    queue.put(int(status.split("VmHWM:")[1].split()[0]) / 1e3)


def memory() -> dict:
    """Peak memory with 10^6 frames. The limit is the peak memory with 10^4 frames."""
    return row([peak_memory(1_000_000)], [peak_memory(10_000)], "MB reading 10^6 frames; limit: 10^4 frames")


def drawing(episodes: int) -> float:
    """Milliseconds to draw the windows of a batch from a collection of `episodes` files, whose lengths are known."""
    lengths = np.random.default_rng(0).integers(WINDOW, 2 * SPARSE_EPISODE, episodes)
    windows, rng = Windows(np.cumsum(lengths) - lengths, lengths - WINDOW + 1), np.random.default_rng(1)
    start = time.perf_counter()
    for _ in range(BATCHES):
        windows.draw(rng, BATCH)
    return 1000 * (time.perf_counter() - start) / BATCHES


def drawing_of_many() -> dict:
    """Time to draw a batch from ten million files: a dry run of a large collection. The limit is that of a thousand files."""
    values, limits = ([drawing(count) for _ in range(REPEATS)] for count in (TEN_MILLION, 1000))
    return row(values, limits, "ms to draw the windows of a batch from 10^7 files; limit: from 10^3 files")


def opening() -> dict:
    """Files that `Episodes` opens in a second. The limit is opening and reading them without a check."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(MANY):
            with open(Path(folder) / f"{number:06d}.npy", "wb") as file:
                write_header(file, ROW, WINDOW)
                file.truncate(file.tell() + WINDOW * ROW.itemsize)
        values, limits = [], []
        for _ in range(REPEATS):
            start = time.perf_counter()
            Episodes(folder)
            values.append(MANY / (time.perf_counter() - start))
            start = time.perf_counter()
            for path in Path(folder).iterdir():
                with open(path, "rb") as file:
                    file.read(ROW.itemsize)
            limits.append(MANY / (time.perf_counter() - start))
    return row(values, limits, "files/s opened by Episodes; limit: opened and read")


ROWS = {
    "record": lambda: recording("npy"),
    "record.b2nd": lambda: recording("b2nd"),
    "export.mp4": writing_video,
    "load": lambda: reading("npy"),
    "load.b2nd": lambda: reading("b2nd"),
    "load.mp4": reading_video,
    "load.1": lambda: reading("npy", 1),
    "load.1.b2nd": lambda: reading("b2nd", 1),
    "load.memory": memory,
    "load.draw": drawing_of_many,
    "load.open": opening,
    "size.npy": lambda: size_of_episodes("npy"),
    "size.b2nd": lambda: size_of_episodes("b2nd"),
    "size.mp4": size_of_video,
}
