"""A window with one frame, one line of text, and a person's keys."""

import os
from dataclasses import dataclass

import numpy as np

from genie_tf.errors import UserError
from genie_tf.play.keys import DIGITS

LINE = 24  # screen pixels of the line of text


@dataclass
class Keys:
    """Names of the keys of a moment: `down` are held or were tapped since the last look, `tapped` only the latter."""

    down: set[str]
    tapped: set[str]


class Window:
    """Opens on `with`, closes at its end.

    Args:
        title: What stands above it.
        side: Width and height of the shown frame, in screen pixels.
        instead: What a person without a display can do.

    Raises:
        UserError: there is no display.
    """

    WATCHED = ("w", "a", "s", "d", "up", "left", "down", "right", "space", *DIGITS)

    def __init__(self, title: str, side: int, instead: str):
        self.title, self.side, self.instead = title, side, instead

    def __enter__(self):
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        # SDL would draw through OpenGL; Mesa's then loads an LLVM that does not get on with TensorFlow's: a segmentation fault.
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
        """What is pressed now, and what was tapped since the last call; closing the window counts as q."""
        pygame, tapped = self.pygame, set()
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                tapped.add("q")
            elif event.type == pygame.KEYDOWN:
                tapped.add(pygame.key.name(event.key))
        held = pygame.key.get_pressed()
        return Keys(tapped | {name for name in self.WATCHED if held[pygame.key.key_code(name)]}, tapped)

    def show(self, frame: np.ndarray, text: str, frames_per_second: float) -> None:
        """Show a frame uint8 (H, W, 3) and a line of text, and wait until its time is over."""
        pygame = self.pygame
        picture = pygame.surfarray.make_surface(frame.swapaxes(0, 1))
        self.screen.fill("black")
        self.screen.blit(pygame.transform.scale(picture, (self.side, self.side)), (0, 0))
        self.screen.blit(self.font.render(text, True, "white"), (6, self.side + 5))
        pygame.display.flip()
        self.clock.tick(frames_per_second)

    @property
    def frames_per_second(self) -> float:
        """Frames shown in a second, of late."""
        return self.clock.get_fps()
