"""The commands of `extract.py`: record, import, export, describe, verify."""

import dataclasses
import functools
import os
from pathlib import Path

from genie_tf.cluster import on_cluster
from genie_tf.config import Config
from genie_tf.episodes.describe import describe_recording, verify_recording
from genie_tf.episodes.recorder import record
from genie_tf.episodes.video import VideoImport, export_videos, import_videos
from genie_tf.errors import UserError
from genie_tf.play.human import record_human


def extract(
    config: Config,
    worker: int = 0,
    workers: int = 1,
    ray: str | None = None,
    video: str | None = None,
    name: str | None = None,
    fps: float | None = None,
    crop: list[int] | None = None,
    cut: float = 0.5,
    export: str | None = None,
    crf: int = 0,
    describe: str | None = None,
    verify: str | None = None,
) -> None:
    """Record an agent or a person, import videos, or export, describe or verify a recording. Arguments: see `extract.py --help`.

    Raises:
        UserError: the arguments or the files are invalid.
    """
    config = dataclasses.replace(config, world=name or config.world)
    others = {"--video": video, "--export": export, "--describe": describe, "--verify": verify}
    asked = [option for option, value in others.items() if value]
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)} at once: give one of them")
    if not 0 <= worker < workers:
        raise UserError(f"worker {worker} of {workers}: count workers from 0")
    if ray and (describe or verify or (config.record.agent == "human" and not (video or export))):
        raise UserError("--ray records an agent, imports videos or exports them: leave it out here")
    if ray:
        work = functools.partial(extract, config, video=video, fps=fps, crop=crop, cut=cut, export=export, crf=crf)
        for _ in on_cluster(ray, work, workers):
            pass
    elif describe:
        describe_recording(Path(describe))
    elif verify:
        verify_recording(Path(verify))
    elif export:
        export_videos(config, crf, worker, workers)
    elif video:
        size = (config.record.height, config.record.width)
        options = VideoImport(config.play.frames_per_second if fps is None else fps, tuple(crop or ()), cut, size)
        import_videos(config, video, options, worker, workers, max(1, (os.cpu_count() or 1) // workers))
    elif config.record.agent == "human":
        if workers > 1:
            raise UserError("one person plays at a time: `python extract.py --record.agent human`")
        record_human(config)
    else:
        record(config.record, config.world, worker, workers)
