"""Write a dream as a picture that moves: .gif, .mp4, or a folder of .png."""

from pathlib import Path

import numpy as np
from PIL import Image

from genie_tf.episodes.video import encode_video
from genie_tf.errors import UserError
from genie_tf.files import write_whole


def enlarge(frames: np.ndarray, scale: int) -> np.ndarray:
    """Each pixel of uint8 (T, H, W, 3) becomes `scale` x `scale`."""
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)


def check_target(path: Path) -> None:
    """Refuse a name that no film can be written to, before any work is done.

    Raises:
        UserError: an unknown ending, or a folder that does not exist.
    """
    if path.suffix not in (".gif", ".mp4", ""):
        raise UserError(f"can't write {path}: end the name in .gif or .mp4, or name a folder for .png files")
    if path.suffix and not path.parent.is_dir():
        raise UserError(f"can't write {path}: there is no folder {path.parent}")


def write_film(path: Path, frames: np.ndarray, frames_per_second: float) -> None:
    """Write uint8 (T, H, W, 3) as `check_target` allows; a film appears under its name once it is whole."""
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
