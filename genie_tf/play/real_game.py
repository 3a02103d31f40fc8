"""The real game, played beside the dream from the same recorded moment."""

from collections import deque
from typing import Any

import numpy as np

from genie_tf.episodes.controls import NONE
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import UNKNOWN
from genie_tf.episodes.recorded import recorded_with
from genie_tf.episodes.recorder import controls_of, make_game
from genie_tf.errors import UserError


class RealGame:
    """The real game, from a moment of a recording on.

    A step of the dream predicts S frames of the recording. In the game, a frame lasts as many game steps as in the recording, and
    the action is held over all of them. So the game and the dream are at the same moment after every step.

    Args:
        episodes: The recording.
        stride: S, frames of a step.
        kept: Number of steps that are kept to go back.

    Raises:
        UserError: the recording was not made with a game, or the game is not installed.
    """

    def __init__(self, episodes: Episodes, stride: int, kept: int | None):
        settings = recorded_with(episodes)
        if settings is None:
            raise UserError("no real game: the recording is of videos")
        self.settings, self.episodes, self.stride = settings, episodes, stride
        self.game_steps = settings.steps_per_frame * episodes.every  # of a frame
        self.controls = controls_of(settings)
        self.before: deque[tuple[Any, np.ndarray, bool]] = deque(maxlen=kept)  # state, frame and `over` before the last steps
        self.env: Any = None
        self.frame = np.zeros((*episodes.frame_size, 3), np.uint8)  # the last one
        self.over = False  # whether the episode has ended

    def start(self, row: int, expected: np.ndarray) -> None:
        """Open the level of a row, and play the recorded actions up to it.

        Args:
            row: Row of the recording.
            expected: The frame of this row, uint8 (H, W, 3).

        Raises:
            UserError: the recording lacks actions, or the game does not reproduce the moment: for example, it is another release.
        """
        self.close()
        self.before.clear()
        if not 0 <= row < len(self.episodes):
            raise UserError("no real game: the recording has changed")
        episode, step = (int(each[0]) for each in self.episodes.locate(np.array([row])))
        rows = self.episodes.episodes[episode].rows()[:: self.episodes.every]
        if (rows["action"][:step] == UNKNOWN).any():
            raise UserError("no real game: the recorded actions are unknown")
        self.env = make_game(self.settings, (int(rows["level"][0]), 1), 1, seed=0)
        self.env.observe()
        self.frame, self.over = self.env.frames()[0], False
        for action in rows["action"][:step]:
            self._show_frame(int(action))
        if self.over or (self.frame != expected).any():
            self.close()
            raise UserError("no real game: it does not reproduce this moment")

    def action_of(self, key: str, keymap: dict[str, int]) -> int:
        """The game's action for a key of the dream.

        A digit stands for the first control to which the keymap gives this latent action. If there is none, it counts as no key.
        """
        names = [name for name, action in keymap.items() if key.isdigit() and action == int(key) - 1]
        idle = NONE if NONE in self.controls else self.controls.names[0]
        name = next((name for name in (key, *names) if name in self.controls), idle)
        return self.controls[name][0]

    def press(self, action: int) -> np.ndarray:
        """Hold an action for one step of the dream. After the end of the episode its last frame stays.

        Returns:
            uint8 (S, H, W, 3).
        """
        self.before.append((None if self.over else self.env.get_state(), self.frame, self.over))
        return np.stack([self._show_frame(action) for _ in range(self.stride)])

    def _show_frame(self, action: int) -> np.ndarray:
        """Hold an action for one frame. The frame after the end of an episode is of the next one, so it is not shown."""
        for _ in range(self.game_steps):
            if not self.over:
                self.env.act(np.array([action]))
                self.over = bool(self.env.observe()["first"][0])
        if not self.over:
            self.frame = self.env.frames()[0].copy()
        return self.frame

    def back(self) -> bool:
        """Undo the last step. Returns whether there was one that is still kept."""
        if not self.before:
            return False
        state, self.frame, self.over = self.before.pop()
        if not self.over:
            self.env.set_state(state)
            self.env.observe()
        return True

    def close(self) -> None:
        if self.env is not None:
            self.env.close()
        self.env = None
