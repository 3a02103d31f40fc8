"""A window that shows one frame and one line of text, and reads keys."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from genie_tf.episodes.controls import keys_in
from genie_tf.errors import UserError
from genie_tf.play.keys import DIGITS

LINE = 24  # height of the line of text, in screen pixels
ARROWS = {"up": "w", "left": "a", "down": "s", "right": "d"}  # they count as letters


@dataclass
class Keys:
    """Names of keys. `tapped`: pressed since the last call of `Window.keys`. `down`: tapped or held now."""

    down: set[str]
    tapped: set[str]


class Window:
    """A context manager that opens and closes the window.

    Args:
        title: Title of the window.
        frame_size: Height and width of the frames.
        scale: Side of a pixel of a frame, in screen pixels.
        controls: Names of the controls. Their keys, the digits and the arrow keys are watched.
        instead: Advice for a user without a display, for the error message.

    Raises:
        UserError: there is no display.
    """

    def __init__(self, title: str, frame_size: tuple[int, int], scale: int, controls: Iterable[str], instead: str):
        self.title, self.instead = title, instead
        self.height, self.width = (scale * side for side in frame_size)
        self.watched = frozenset().union(*map(keys_in, controls))

    def __enter__(self):
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        # With OpenGL, SDL loads Mesa's LLVM. It conflicts with TensorFlow's LLVM and causes a segmentation fault.
        os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
        import pygame

        self.pygame = pygame
        try:
            pygame.display.init()
            if pygame.display.get_driver() == "offscreen" and "SDL_VIDEODRIVER" not in os.environ:
                raise pygame.error("SDL found none")  # it would draw where nobody sees it
            self.screen = pygame.display.set_mode((self.width, self.height + LINE))
        except pygame.error as error:
            pygame.quit()
            raise UserError(f"no display ({error}): {self.instead}") from error
        pygame.font.init()
        self.font = pygame.font.Font(None, 22)
        self.clock = pygame.time.Clock()
        pygame.display.set_caption(self.title)
        return self

    def __exit__(self, *error):
        self.pygame.quit()

    def keys(self) -> Keys:
        """The keys that are held now or were tapped since the last call. Closing the window counts as q."""
        pygame, tapped = self.pygame, set()
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                tapped.add("q")
            elif event.type == pygame.KEYDOWN:
                name = pygame.key.name(event.key)
                tapped.add(ARROWS.get(name, name))
        held = pygame.key.get_pressed()
        down = tapped | {name for name in (*self.watched, *ARROWS, *DIGITS) if held[pygame.key.key_code(name)]}
        return Keys({ARROWS.get(name, name) for name in down}, tapped)

    def show(self, frame: np.ndarray, text: str, frames_per_second: float) -> None:
        """Show a frame uint8 (H, W, 3) and a line of text, and wait for the end of the frame's time."""
        pygame = self.pygame
        picture = pygame.surfarray.make_surface(frame.swapaxes(0, 1))
        self.screen.fill("black")
        self.screen.blit(pygame.transform.scale(picture, (self.width, self.height)), (0, 0))
        self.screen.blit(self.font.render(text, True, "white"), (6, self.height + 5))
        pygame.display.flip()
        self.clock.tick(frames_per_second)

    @property
    def frames_per_second(self) -> float:
        """Recent number of frames shown per second."""
        return self.clock.get_fps()
