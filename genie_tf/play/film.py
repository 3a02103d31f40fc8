"""Write a rollout as a film: .gif, .mp4, or a folder of .png files."""

from pathlib import Path

import numpy as np
from PIL import Image

from genie_tf.episodes.video import encode_video
from genie_tf.errors import UserError
from genie_tf.files import write_whole


def enlarge(frames: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge each pixel of uint8 (T, H, W, 3) to `scale` x `scale` pixels."""
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)


def check_target(path: Path) -> None:
    """Check the name of a film before any work is done.

    Raises:
        UserError: the ending is unknown, or the folder does not exist.
    """
    if path.suffix not in (".gif", ".mp4", ""):
        raise UserError(f"can't write {path}: end the name in .gif or .mp4, or name a folder for .png files")
    if path.suffix and not path.parent.is_dir():
        raise UserError(f"can't write {path}: there is no folder {path.parent}")


def write_film(path: Path, frames: np.ndarray, frames_per_second: float) -> None:
    """Write uint8 (T, H, W, 3) to a name that `check_target` accepts. A .gif or .mp4 file appears only when it is complete."""
    if path.suffix == "":
        path.mkdir(parents=True, exist_ok=True)
        for t, frame in enumerate(frames):
            Image.fromarray(frame).save(path / f"{t:04d}.png")
    else:
        if path.suffix == ".gif":
            write_whole(path, lambda file: _gif(file, frames, frames_per_second))
        else:
            write_whole(path, lambda file: file.write(encode_video(frames, frames_per_second, crf=12)))


def _gif(file, frames: np.ndarray, frames_per_second: float) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(file, format="gif", save_all=True, append_images=images[1:], duration=1000 / frames_per_second, loop=0)
