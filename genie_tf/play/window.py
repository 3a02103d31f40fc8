"""A window that shows pictures and text, and reads keys."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from genie_tf.episodes.controls import keys_in
from genie_tf.errors import UserError
from genie_tf.play.keys import DIGITS
from genie_tf.quiet import quiet

LINE = 24  # height of the line of text, in screen pixels
KEY = 52  # width of the key's name in this line
GAP = 4  # between two pictures
FONT, SMALLEST = 22, 13  # sizes of the text: it is made smaller where it does not fit
ARROWS = {"up": "w", "left": "a", "down": "s", "right": "d"}  # they count as letters
SIGNS = ("+", "-", ".")  # keys of the window that are elsewhere on other keyboards
RED = (230, 30, 30)


@dataclass
class Keys:
    """Names of keys. `tapped`: pressed since the last call of `Window.keys`. `down`: tapped or held now."""

    down: set[str]
    tapped: set[str]


class Window:
    """A context manager that opens and closes the window. Its user can resize it.

    The pictures are enlarged by the largest whole number that fits, so that every pixel has the same size.

    Args:
        title: Title of the window.
        frame_size: Height and width of the frames.
        scale: Side of a pixel of a frame at the beginning, in screen pixels.
        controls: Names of the controls. Their keys, the digits and the arrow keys are watched.
        instead: Advice for a user without a display, for the error message.

    Raises:
        UserError: there is no display.
    """

    def __init__(self, title: str, frame_size: tuple[int, int], scale: int, controls: Iterable[str], instead: str):
        self.title, self.instead = title, instead
        self.frame_size, self.scale = frame_size, scale
        self.closed = False  # whether the user has closed it
        self.stale = True  # whether it must be drawn again, for example in another size
        self.alone = 0  # width before it was made wider for a second picture
        self.fonts: dict = {}
        self.watch(controls)

    def watch(self, controls: Iterable[str]) -> None:
        """Watch the keys of these controls from now on."""
        self.watched = frozenset().union(*map(keys_in, controls))

    def __enter__(self):
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        # With OpenGL, SDL loads Mesa's LLVM. It conflicts with TensorFlow's LLVM and causes a segmentation fault.
        os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
        import pygame

        self.pygame = pygame
        height, width = (self.scale * side for side in self.frame_size)
        with quiet():  # SDL says what each kind of display lacks that it tries
            try:
                pygame.display.init()
                if pygame.display.get_driver() == "offscreen" and "SDL_VIDEODRIVER" not in os.environ:
                    raise pygame.error("SDL found none")  # it would draw where nobody sees it
                pygame.display.set_mode((width, height + LINE), pygame.RESIZABLE)
            except pygame.error as error:
                pygame.quit()
                raise UserError(f"no display ({error}): {self.instead}") from error
        pygame.font.init()
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
                self.closed = True
                tapped.add("q")
            elif event.type == pygame.KEYDOWN:
                tapped.add(_name(getattr(event, "unicode", ""), pygame.key.name(event.key)))
            elif event.type in (pygame.WINDOWRESIZED, pygame.WINDOWEXPOSED):
                self.stale = True
        held = pygame.key.get_pressed()
        names = (*self.watched, *ARROWS, *DIGITS, "backspace")
        down = {ARROWS.get(name, name) for name in names if held[pygame.key.key_code(name)]}
        return Keys(tapped | down, tapped)

    def widen(self, pictures: int) -> None:
        """Make room for one or two pictures at the present scale, as far as the screen is wide enough."""
        pygame = self.pygame
        width, height = pygame.display.get_window_size()
        scale = self._scale(1, width, height - LINE)
        if pictures == 2 and not self.alone:
            self.alone = width
            width = max(width, min(2 * self.frame_size[1] * scale + GAP, pygame.display.get_desktop_sizes()[0][0]))
        elif pictures == 1 and self.alone:
            width, self.alone = self.alone, 0
        if width != pygame.display.get_window_size()[0]:
            pygame.display.set_mode((width, height), pygame.RESIZABLE)
        self.stale = True

    def _scale(self, pictures: int, width: int, height: int) -> int:
        """The largest whole number by which so many pictures, side by side, can be enlarged."""
        rows, columns = self.frame_size
        return max(min((width - GAP * (pictures - 1)) // (pictures * columns), height // rows), 1)

    def draw(
        self, frames: Sequence[np.ndarray], key: str, text: str, rows: Iterable[tuple[str, str]] = (), centred=False, red=False
    ) -> None:
        """Draw pictures and text.

        Args:
            frames: One or two pictures to show side by side, each uint8 (H, W, 3).
            key: Name of the key, the first word of the line below the pictures; "" for none.
            text: The rest of this line.
            rows: Pairs of words, a table to show over the pictures.
            centred: Whether the table is in the middle, instead of the corner.
            red: Whether the first picture has a red border.
        """
        pygame = self.pygame
        screen = pygame.display.get_surface()
        width, height = screen.get_size()
        height -= LINE
        scale = self._scale(len(frames), width, height)
        size = (self.frame_size[1] * scale, self.frame_size[0] * scale)
        left, top = (width - len(frames) * size[0] - GAP * (len(frames) - 1)) // 2, (height - size[1]) // 2
        screen.fill("black")
        for place, frame in enumerate(frames):
            picture = pygame.transform.scale(pygame.surfarray.make_surface(frame.swapaxes(0, 1)), size)
            screen.blit(picture, (left + place * (size[0] + GAP), top))
        if red:
            pygame.draw.rect(screen, RED, (left, top, *size), max(scale // 2, 2))
        rows = list(rows)
        if rows:
            self._table(screen, rows, (width, height), centred)
        screen.fill("black", (0, height, width, LINE))  # a picture larger than the window lies below it
        begin = KEY if key else 6
        screen.blit(self._font(FONT).render(key, True, "white"), (6, height + 5))
        screen.blit(self._fitting(text, width - begin - 6).render(text, True, "white"), (begin, height + 5))
        pygame.display.flip()
        self.stale = False

    def show(self, frame: np.ndarray, text: str, frames_per_second: float) -> None:
        """Show a frame uint8 (H, W, 3) and a line of text, and wait for the end of the frame's time."""
        self.draw([frame], "", text)
        self.clock.tick(frames_per_second)

    def _table(self, screen, rows: list[tuple[str, str]], room: tuple[int, int], centred: bool) -> None:
        """Draw two columns of words on a dark ground, in the largest letters that fit into the `room`, its width and height."""
        for points in range(FONT, SMALLEST - 1, -1):
            font = self._font(points)
            first = max(font.size(left)[0] for left, _ in rows) + points
            width = first + max(font.size(right)[0] for _, right in rows) + points
            step = font.get_linesize() + 2
            height = step * len(rows) + points // 2
            if width <= room[0] and height <= room[1]:
                break
        left, top = ((room[0] - width) // 2, (room[1] - height) // 2) if centred else (4, 4)
        ground = self.pygame.Surface((width, height), self.pygame.SRCALPHA)
        ground.fill((0, 0, 0, 190))
        for row, words in enumerate(rows):
            for word, x, colour in zip(words, (points // 2, points // 2 + first), ("gold", "white")):
                ground.blit(font.render(word, True, colour), (x, points // 4 + 1 + row * step))
        screen.blit(ground, (max(left, 0), max(top, 0)))

    def _font(self, points: int):
        if points not in self.fonts:
            self.fonts[points] = self.pygame.font.Font(None, points)
        return self.fonts[points]

    def _fitting(self, text: str, width: int):
        """The largest font in which a text is not wider than `width`."""
        sizes = range(FONT, SMALLEST, -1)
        return self._font(next((points for points in sizes if self._font(points).size(text)[0] <= width), SMALLEST))


def _name(typed: str, key: str) -> str:
    """The name of a key, from the sign that it types and pygame's name for it."""
    if typed in SIGNS:
        return typed
    if len(key) == 3 and key[0] + key[2] == "[]":  # of the block of digits
        key = key[1]
    return {"=": "+"}.get(key, ARROWS.get(key, key))  # + is = with the shift key
