"""A window that shows one frame and one line of text, and reads keys."""

import os
from dataclasses import dataclass

import numpy as np

from genie_tf.errors import UserError
from genie_tf.play.keys import DIGITS

LINE = 24  # height of the line of text, in screen pixels


@dataclass
class Keys:
    """Names of keys. `tapped`: pressed since the last call of `Window.keys`. `down`: tapped or held now."""

    down: set[str]
    tapped: set[str]


class Window:
    """A context manager that opens and closes the window.

    Args:
        title: Title of the window.
        side: Width and height of the shown frame, in screen pixels.
        instead: Advice for a user without a display, for the error message.

    Raises:
        UserError: there is no display.
    """

    WATCHED = ("w", "a", "s", "d", "up", "left", "down", "right", "space", *DIGITS)

    def __init__(self, title: str, side: int, instead: str):
        self.title, self.side, self.instead = title, side, instead

    def __enter__(self):
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        # With OpenGL, SDL loads Mesa's LLVM. It conflicts with TensorFlow's LLVM and causes a segmentation fault.
        os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
        import pygame

        self.pygame = pygame
        try:
            pygame.display.init()
            self.screen = pygame.display.set_mode((self.side, self.side + LINE))
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
                tapped.add(pygame.key.name(event.key))
        held = pygame.key.get_pressed()
        return Keys(tapped | {name for name in self.WATCHED if held[pygame.key.key_code(name)]}, tapped)

    def show(self, frame: np.ndarray, text: str, frames_per_second: float) -> None:
        """Show a frame uint8 (H, W, 3) and a line of text, and wait for the end of the frame's time."""
        pygame = self.pygame
        picture = pygame.surfarray.make_surface(frame.swapaxes(0, 1))
        self.screen.fill("black")
        self.screen.blit(pygame.transform.scale(picture, (self.side, self.side)), (0, 0))
        self.screen.blit(self.font.render(text, True, "white"), (6, self.side + 5))
        pygame.display.flip()
        self.clock.tick(frames_per_second)

    @property
    def frames_per_second(self) -> float:
        """Recent number of frames shown per second."""
        return self.clock.get_fps()
