"""A person at the keys, or keys given beforehand."""

import os
import time
from pathlib import Path

import numpy as np

from genie_tf.config import Config
from genie_tf.episodes.dataset import Episodes
from genie_tf.errors import UserError
from genie_tf.play.keys import key_name, keys_of
from genie_tf.play.record import check_target, enlarge, write_film
from genie_tf.world import World


class Session:
    """One dream at a time, begun from a random held-out moment.

    Args:
        config: The world; section `play`.
    """

    def __init__(self, config: Config):
        settings = config.play
        guided = config.dynamics.actions == "true"
        self.world = World.load(
            config.model_folder,
            guided,
            sampling_steps=settings.sampling_steps,
            temperature=settings.temperature,
            seed=settings.seed,
        )
        self.episodes = Episodes(config.record_folder("test"))
        self.prompts = self.episodes.windows(settings.prompt_frames)
        self.prompt_frames = settings.prompt_frames
        self.rng = np.random.default_rng(settings.seed)

    def reset(self) -> np.ndarray:
        """Begin anew.

        Returns:
            The prompt, uint8 (P, 64, 64, 3).
        """
        rows = self.rng.choice(self.prompts) + np.arange(self.prompt_frames)
        prompt = self.episodes.frames(rows)
        self.world.reset(prompt[None], self.episodes.action[None, rows[:-1]] if self.world.latent_action is None else None)
        return prompt

    def press(self, key: str) -> np.ndarray:
        """Dream one frame under a key of the keymap.

        Returns:
            uint8 (64, 64, 3).
        """
        return self.world.step(np.array([self.world.keymap[key]]))[0]


def play_keys(config: Config, text: str, out: str) -> None:
    """Play the keys of `text` and write prompt and dream to `out`.

    Raises:
        UserError: unknown keys, a name that can't be written, a missing model.
    """
    keys, target = keys_of(text), Path(out)
    check_target(target)
    session = Session(config)
    frames = [*session.reset(), *(session.press(key) for key in keys)]
    write_film(target, enlarge(np.stack(frames), config.play.scale), config.play.frames_per_second)
    print(f"wrote {target}: {config.play.prompt_frames} frames of prompt, {len(keys)} dreamt")


def play_window(config: Config) -> None:
    """Open the window: w jumps, a and d walk, r begins a new dream, q leaves.

    Raises:
        UserError: there is no display, or a model is missing.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import pygame

    try:
        pygame.display.init()
        side = 64 * config.play.scale
        screen = pygame.display.set_mode((side, side + 24))
    except pygame.error as error:
        raise UserError(f'no display ({error}): play given keys instead, --actions "dddwwdaa" --out dream.gif') from error
    try:
        pygame.font.init()
        font = pygame.font.Font(None, 22)
        pygame.display.set_caption(f"dreaming {config.world}: loading")
        session = Session(config)
        frame = session.reset()[-1]
        session.press("none")  # compiles
        frame = session.reset()[-1]
        pygame.display.set_caption(f"dreaming {config.world}")
        clock = pygame.time.Clock()
        letters = {pygame.K_w: "w", pygame.K_a: "a", pygame.K_d: "d"}
        while True:
            tapped = set()
            for event in pygame.event.get():
                if event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key == pygame.K_q):
                    return
                if event.type == pygame.KEYDOWN and event.key == pygame.K_r:
                    frame = session.reset()[-1]
                elif event.type == pygame.KEYDOWN and event.key in letters:
                    tapped.add(letters[event.key])  # a tap between two frames counts as well
            pressed = pygame.key.get_pressed()
            key = key_name("".join(tapped | {letter for code, letter in letters.items() if pressed[code]}))
            start = time.perf_counter()
            frame = session.press(key)
            milliseconds = 1000 * (time.perf_counter() - start)
            picture = pygame.surfarray.make_surface(frame.swapaxes(0, 1))
            screen.fill("black")
            screen.blit(pygame.transform.scale(picture, (side, side)), (0, 0))
            text = f"{key:>4}  {clock.get_fps():4.1f} frames/s  {milliseconds:3.0f} ms   w jump  a d walk  r new  q quit"
            screen.blit(font.render(text, True, "white"), (6, side + 5))
            pygame.display.flip()
            clock.tick(config.play.frames_per_second)
    finally:
        pygame.quit()
