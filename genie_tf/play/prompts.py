"""Where rollouts start: moments of the test recording, or pictures of your own."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from genie_tf.episodes.controls import NONE
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorded import recorded_with
from genie_tf.errors import UserError
from genie_tf.world import World

PROMPTS = "prompts"  # folder of a shipped world, in place of the recording
LARGEST = 50_000_000  # pixels of a picture: a file of a few kilobytes can unpack to gigabytes


@dataclass
class Prompt:
    """Frames from which a rollout starts.

    Args:
        frames: uint8 (P, H, W, 3).
        actions: int (ceil(P / S) - 1,), the actions of a guided world between them; None if the world infers them.
        name: Name for the user.
        row: Row of the test recording that the last frame is from; None for pictures.
    """

    frames: np.ndarray
    actions: np.ndarray | None
    name: str
    row: int | None = None


class Prompts:
    """The prompts of a world.

    Args:
        world: The world that is prompted.
        folder: The test recording, `record/<world>/test`. If there is none, the prompts of a shipped world take its place.
        length: Frames of a recorded prompt.
        pictures: Files of pictures. If there are any, they are the only prompt, and no recording is needed.

    Raises:
        UserError: the recording is missing or has another frame size, or a file is no picture.
    """

    def __init__(self, world: World, folder: Path, length: int, pictures: tuple[Path, ...] = ()):
        self.world, self.length = world, length
        self.pictures = self.of_pictures([(path, str(path)) for path in pictures]) if pictures else None
        self.episodes: Episodes | None = None
        if not pictures:
            if not folder.is_dir() and (world.folder / PROMPTS).is_dir():
                folder = world.folder / PROMPTS
            self.episodes = Episodes(folder)
            self.episodes.check_size(world.frame_size, folder)
            self.windows = self.episodes.windows(length)
        self.held = self._held()  # steps over which an action is held in the recording

    def _held(self) -> int:
        if self.world.latent_action is not None:
            return self.world.span // self.world.stride
        game = recorded_with(self.episodes) if self.episodes is not None else None
        return game.hold // game.steps_per_frame // self.world.stride if game is not None else 1

    def draw(self, rng: np.random.Generator) -> Prompt:
        """A random moment of the recording; the pictures, if some were given."""
        if self.pictures is not None:
            return self.pictures
        return self._moment(self.windows.draw(rng, 1)[0])

    def gallery(self, count: int) -> list[Prompt]:
        """Up to `count` moments, spread over the recording."""
        if self.pictures is not None:
            return [self.pictures]
        return [self._moment(first) for first in self.windows.spread(count)]

    def _moment(self, first: int) -> Prompt:
        assert self.episodes is not None
        rows = self.episodes.read(first + np.arange(self.length))
        actions, stride = None, self.world.stride
        if self.world.latent_action is None:
            actions = rows["action"][-1 - stride :: -stride][::-1].astype(int)
        row = int(first) + self.length - 1
        return Prompt(rows["frame"], actions, f"frame {row} of the recording", row)

    def of_pictures(self, pictures: list[tuple[Any, str]]) -> Prompt:
        """A prompt of pictures of any size, the first one first. Several pictures show the velocity.

        Args:
            pictures: Pairs of a file, or its bytes, and its name.

        Raises:
            UserError: a file is no picture, or is too large.
        """
        frames = np.stack([read_picture(file, name, self.world.frame_size) for file, name in pictures])
        actions = None
        if self.world.latent_action is None:
            actions = np.full(-(-len(frames) // self.world.stride) - 1, self.world.keymap.get(NONE, 0))
        return Prompt(frames, actions, pictures[0][1])


def read_picture(file, name: str, size: tuple[int, int]) -> np.ndarray:
    """Read a picture, cut its middle to the shape of a frame, and resize it.

    Args:
        file: A path, or the bytes of a file.
        name: Name of the picture for messages.
        size: H and W.

    Returns:
        uint8 (H, W, 3). Transparent parts are white.

    Raises:
        UserError: the file is missing, no picture, or too large.
    """
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as picture:
            if picture.width * picture.height > LARGEST:
                raise UserError(f"{name} has {picture.width} x {picture.height} pixels: make it smaller")
            whole = ImageOps.exif_transpose(picture).convert("RGBA")
    except FileNotFoundError as error:
        raise UserError(f"there is no picture {name}: give a .png or .jpg file") from error
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{name} is no picture that can be read: give a .png or .jpg file") from error
    except UserError:
        raise
    except Exception as error:  # the decoders raise many types for a damaged file
        raise UserError(f"{name} is a damaged picture ({type(error).__name__}): save it anew as .png") from error
    opaque = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    return np.asarray(ImageOps.fit(opaque, size[::-1], Image.Resampling.LANCZOS))
