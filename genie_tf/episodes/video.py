"""Import videos as episodes, and export episodes as videos."""

import dataclasses
import glob
import io
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from genie_tf.config import Config
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import UNKNOWN, EpisodeWriter, episode_dtype
from genie_tf.episodes.recorder import SPLITS, check_size, claim, controls_of, recorded
from genie_tf.episodes.resize import resized
from genie_tf.errors import UserError
from genie_tf.files import checksum, read_array, save_array, write_json, write_whole

SIDECAR_DTYPE = np.dtype([(name, episode_dtype((1, 1))[name]) for name in ("action", "reward", "first", "level")])
KEYFRAME_EVERY = 16
TENTHS = (*["train"] * 8, "validation", "test")  # splits of ten videos, or of the ten parts of one video


# Export --------------------------------------------------------------------------------------------


def encode_video(frames: np.ndarray, frames_per_second: float, crf: int = 0) -> bytes:
    """Encode frames as an MP4 file, H.264.

    Args:
        frames: uint8 (T, H, W, 3).
        frames_per_second: Frame rate.
        crf: 0 is lossless (RGB). Values above 0 are the constant rate factor, 51 for the smallest file. H and W must then be even.

    Returns:
        The file's bytes.
    """
    file = io.BytesIO()  # PyAV would replace an error of writing to disk by another error
    with av.open(file, "w", format="mp4") as container:
        rate = Fraction(frames_per_second).limit_denominator(1000)
        stream = container.add_stream("libx264" if crf else "libx264rgb", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p" if crf else "rgb24"
        stream.options = {"crf": str(crf)} if crf else {"qp": "0", "preset": "veryfast"}
        stream.codec_context.gop_size = KEYFRAME_EVERY
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def export_videos(config: Config, crf: int = 0, worker: int = 0, workers: int = 1) -> None:
    """Write this worker's episodes of `record/<world>/` as videos to `record/<world>/mp4/<split>/`.

    Next to each video is a `.npy` file of the same name, the sidecar: a structured array (T,) of action, reward, first and level.
    A video that is newer than its episode is not written again.

    Args:
        config: The world; section `play` for the frame rate.
        crf: See `encode_video`.
        worker: Number of this worker, from 0.
        workers: Number of workers that share the episodes.

    Raises:
        UserError: there is no recording.
    """
    root = Path("record") / config.world
    recordings = [Episodes(root / split) for split in SPLITS if (root / split).is_dir()]
    if not recordings:
        raise UserError(f"no recording in {root}: record one with ./data_collect.bash, or name another --world")
    episodes = [(recording.folder, episode) for recording in recordings for episode in recording.episodes]
    written = 0
    for folder, episode in tqdm(episodes[worker::workers], desc=f"export, worker {worker}", unit=" episodes", position=worker):
        target = root / "mp4" / folder.name / (Path(episode.path).stem + ".mp4")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and target.stat().st_mtime_ns > Path(episode.path).stat().st_mtime_ns:
            continue
        rows = episode.rows()
        save_array(target.with_suffix(".npy"), rows[["action", "reward", "first", "level"]].astype(SIDECAR_DTYPE))
        video = encode_video(rows["frame"], config.play.frames_per_second, crf)
        write_whole(target, lambda file, video=video: file.write(video))
        written += 1
    print(f"worker {worker} wrote {written} videos to {root / 'mp4'}, {'lossy' if crf else 'lossless'}")


# Import --------------------------------------------------------------------------------------------


@dataclasses.dataclass
class VideoImport:
    """Options for the import of videos.

    Args:
        frames_per_second: Frames kept per second of video. A slower video keeps all its frames.
        crop: Left, top, width, height of the part that is kept, in pixels. Empty: the largest part in the middle with the shape of
            the frames.
        size: Height and width of the frames.
        cut: A new episode begins where more than this share of the picture changes its colour, 0 to 1. With 0, never.
    """

    frames_per_second: float
    crop: tuple[int, ...] = ()
    cut: float = 0.5
    size: tuple[int, int] = (64, 64)


def colours(frame: np.ndarray) -> np.ndarray:
    """Histogram of 64 colours of uint8 (H, W, 3), as shares: float (64,). A new scene changes it; motion hardly changes it."""
    red, green, blue = np.moveaxis(frame // 64, -1, 0).astype(int)
    return np.bincount((16 * red + 4 * green + blue).ravel(), minlength=64) / red.size


def cropped(frame: np.ndarray, crop: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    """Crop uint8 (H, W, 3) and resize it to `size`, height and width. A part that already has this size is not resized."""
    height, width = frame.shape[:2]
    high, wide = min(height, width * size[0] // size[1]), min(width, height * size[1] // size[0])
    left, top, wide, high = crop or ((width - wide) // 2, (height - high) // 2, wide, high)
    return resized(np.ascontiguousarray(frame[top : top + high, left : left + wide]), size)


def frames_of(video: Path, options: VideoImport, threads: int, progress: tqdm) -> Iterator[dict]:
    """Yield the kept frames of a video: `frame` uint8 (H, W, 3), and `index`, its number among all frames.

    Raises:
        av.FFmpegError: the file is no video, or it is truncated.
        UserError: the file has no video stream, or its frames are too small for the crop.
    """
    with av.open(str(video), metadata_errors="ignore") as container:
        if not container.streams.video:
            raise UserError("it holds no video")
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "AUTO", threads
        rate = float(stream.average_rate or options.frames_per_second)
        begins = float((stream.start_time or 0) * (stream.time_base or 0))
        slack, due = 0.5 / rate, 0  # for each due time, the nearest frame is kept
        for index, frame in enumerate(container.decode(stream)):
            progress.update()
            if rate > options.frames_per_second:
                time = index / rate if frame.time is None else frame.time - begins
                if time + slack < due / options.frames_per_second:
                    continue
                due = int((time + slack) * options.frames_per_second) + 1
            pixels = frame.to_ndarray(format="rgb24")
            if options.crop and (pixels.shape[1] < sum(options.crop[::2]) or pixels.shape[0] < sum(options.crop[1::2])):
                raise UserError(f"its frames are {pixels.shape[1]} x {pixels.shape[0]}, too small for the crop")
            yield {"frame": cropped(pixels, options.crop, options.size), "index": index}


def count_frames(video: Path) -> int:
    """Number of frames of a video, counted from its packets without decoding. 0 if the file can't be read."""
    try:
        with av.open(str(video), metadata_errors="ignore") as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))
    except (av.FFmpegError, IndexError, OSError):
        return 0


def expected_frames(video: Path) -> int:
    """Number of frames of a video according to its header, for the progress bar. 0 if the file can't be read."""
    try:
        with av.open(str(video), metadata_errors="ignore") as container:
            stream = container.streams.video[0]
            return stream.frames or int((container.duration or 0) / 1e6 * float(stream.average_rate or 0))
    except (av.FFmpegError, IndexError):
        return 0


def sidecar_of(video: Path) -> np.ndarray | None:
    """The sidecar that `export_videos` wrote next to a video, or None."""
    file = video.with_suffix(".npy")
    if not file.exists():
        return None
    try:
        rows = read_array(file)
    except (ValueError, OSError):
        rows = None
    if rows is None or rows.dtype != SIDECAR_DTYPE or rows.shape != (count_frames(video),):
        tqdm.write(f"{file} does not fit {video.name}: its actions stay unknown")
        return None
    return rows


def import_videos(config: Config, pattern: str, options: VideoImport, worker: int = 0, workers: int = 1, threads: int = 1) -> None:
    """Import this worker's videos as episodes into `record/<world>/{train,validation,test}/`.

    Actions are unknown (255), except for videos with the sidecar of their export. A video in a folder named train, validation or
    test goes to this split. Of ten other videos, eight go to train, one to validation and one to test. If there are fewer than ten
    videos, each video is divided: the first eight tenths go to train, one to validation, one to test. `level` is the number of the
    video, sorted by name. A bad video is reported and counted. Its frames before the error are kept.

    Args:
        config: The world; section `record` for the format, and for the controls of videos with a sidecar.
        pattern: Pattern of the video files.
        options: Options for the import.
        worker: Number of this worker, from 0.
        workers: Number of workers that share the videos.
        threads: Threads for decoding.

    Raises:
        UserError: no video matches, no video can be read, or the folder contains another recording.
    """
    videos = [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]
    if not videos:
        raise UserError(f"no file matches --video '{pattern}': name files, or a pattern in quotes, 'clips/*.mp4'")
    if options.crop and (len(options.crop) != 4 or min(options.crop) < 0 or min(options.crop[2:]) < 1):
        raise UserError(
            f"--crop {' '.join(map(str, options.crop))}: give left, top, width and height in pixels, such as --crop 100 0 480 480"
        )
    if not options.frames_per_second > 0 or not 0 <= options.cut <= 1:
        raise UserError("--fps must be more than 0, and --cut from 0 to 1")
    check_size(*options.size)
    root = Path("record") / config.world
    for split in SPLITS:
        (root / split).mkdir(parents=True, exist_ok=True)
    if any(root.glob("*/shard*.json")):
        raise UserError(f"{root} holds a recording of the game: give the videos a --name of their own")
    shared = json.loads(json.dumps(dataclasses.asdict(options) | {"format": config.record.format}))
    total = {"videos": 0, "episodes": 0, "frames": 0, "skipped": 0}
    own = []
    for number in range(worker, len(videos), workers):
        wanted = shared | {"video": str(videos[number]), "by_time": len(videos) < 10}
        if videos[number].with_suffix(".npy").exists():
            wanted["controls"] = controls_of(config.record).lists
        own.append((number, root / f"video{number:05d}.json", wanted))
    todo = [number for number, facts, wanted in own if recorded(facts, wanted) is None]
    frames = sum(expected_frames(videos[number]) for number in todo)
    with tqdm(total=frames, desc=f"import, worker {worker}", unit=" frames", position=worker, disable=not todo) as progress:
        for number, facts, wanted in own:
            progress.set_postfix_str(f"{videos[number].name}, {number + 1} of {len(videos)}")
            with claim(root, facts.stem):
                stats = recorded(facts, wanted)
                if stats is None:
                    write_json(facts, {"config": wanted})
                    stats = import_video(config, videos[number], number, wanted["by_time"], options, threads, progress)
                    write_json(facts, {"config": wanted, **stats})
            total["videos"] += stats["frames"] > 0
            total["skipped"] += stats["fault"] is not None and not stats["frames"]
            total["episodes"] += stats["episodes"]
            total["frames"] += stats["frames"]
    print(
        f"worker {worker}: {total['videos']} videos, {total['skipped']} skipped, {total['episodes']} episodes, "
        f"{total['frames']} frames in {root}"
    )
    if own and not total["frames"]:
        raise UserError(f"none of the videos of '{pattern}' could be read")


def import_video(
    config: Config, video: Path, number: int, by_time: bool, options: VideoImport, threads: int, progress: tqdm
) -> dict:
    """Import one video as episodes.

    Args:
        config: The world.
        video: The file.
        number: Number of the video among all videos.
        by_time: Whether the video is divided among the splits, unless its folder names a split.
        options: Options for the import.
        threads: Threads for decoding.
        progress: Counts decoded frames.

    Returns:
        Statistics: `episodes`, `frames`, `fault`, the error that ended the import, or None, and `checksums` of the episodes' files.
    """
    root, labels = Path("record") / config.world, sidecar_of(video)
    if labels is not None:
        options = dataclasses.replace(options, frames_per_second=float("inf"), cut=0.0)  # the sidecar has one row per frame
    fixed = TENTHS[number % 10] if not by_time or labels is not None else ""
    if video.parent.name in SPLITS:
        fixed = video.parent.name
    length = 0 if fixed else count_frames(video)
    stats: dict = {"episodes": 0, "frames": 0, "fault": None, "checksums": {}}
    episode, in_split, before = None, "", np.zeros(64)

    def close(episode: EpisodeWriter) -> None:
        episode.close()
        stats["checksums"][f"{episode.path.parent.name}/{episode.path.name}"] = checksum(episode.path)

    try:
        for kept in frames_of(video, options, threads, progress):
            split = fixed or TENTHS[min(10 * kept["index"] // max(length, 1), 9)]
            now = colours(kept["frame"])
            new_scene = options.cut and np.abs(now - before).sum() / 2 > options.cut
            before = now
            if episode is None or new_scene or split != in_split:
                if episode is not None:
                    close(episode)
                name, in_split = f"video{number:05d}_{stats['episodes']:04d}.{config.record.format}", split
                episode = EpisodeWriter(root / split / name, options.size)
                stats["episodes"] += 1
            if labels is None:
                episode.append(kept["frame"], UNKNOWN, number)
            else:
                row = labels[kept["index"]]
                episode.append(kept["frame"], row["action"], row["level"])
                episode.earn(row["reward"])
            stats["frames"] += 1
    except (av.FFmpegError, UserError) as error:
        stats["fault"] = str(error)
    except BaseException:
        if episode is not None:
            episode.abandon()
        raise
    if episode is not None:
        close(episode)
    if stats["fault"] is None and not stats["frames"]:
        stats["fault"] = "it has no frames"
    if stats["fault"]:
        kept_what = f"kept the {stats['frames']} frames before" if stats["frames"] else "skipped"
        tqdm.write(f"{kept_what}: {video}: {stats['fault']}")
    return stats
