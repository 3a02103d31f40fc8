"""What the window plays: the dream, the real game beside it, and the recording of the dream.

Everything here runs in the thread of the model.
"""

import gc
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genie_tf.config import Config
from genie_tf.errors import UserError
from genie_tf.play.real_game import RealGame
from genie_tf.play.recording import Recording, read_recording, replayed
from genie_tf.play.session import Session, Step


@dataclass
class Moment:
    """What a piece of work led to.

    Args:
        dream: Frames to show, uint8 (S, H, W, 3); None to go on showing the last one.
        real: The frames of the real game, of the same shape; None if it is not played.
        step: The step that led to the frames; None if they are of a prompt or of an earlier moment.
        over: Whether the episode of the real game has ended.
        news: Something to tell the user.
    """

    dream: np.ndarray | None = None
    real: np.ndarray | None = None
    step: Step | None = None
    over: bool = False
    news: str = ""


class Scene:
    """The dream, the real game in step with it, and the recording of the dream.

    Args:
        config: The world.
        session: A session of it.
        rollouts: A recording to show at first.
    """

    def __init__(self, config: Config, session: Session, rollouts: list | None = None):
        self.config, self.session = config, session
        self.replay = replayed(session, rollouts) if rollouts else None
        self.recording: Recording | None = None
        self.game: RealGame | None = None
        self.beside = False  # whether the real game is played too
        self.no_game = "no real game: the prompt is a picture"
        if session.prompts.episodes is not None:
            try:
                self.game = RealGame(session.prompts.episodes, session.world.stride, session.before.maxlen)
            except UserError as error:
                self.no_game = str(error)
        self.no_calibration = ""  # the reason against it
        if session.world.latent_action is None:
            self.no_calibration = "a guided world has true keys"
        elif session.prompts.episodes is None:
            self.no_calibration = "to calibrate, start without pictures"
        self.keys = session.keys  # of the present rollout: every rollout has a list of its own

    @classmethod
    def load(cls, config: Config, pictures: tuple[Path, ...], recording: str) -> "Scene":
        """Load the models, and start a rollout.

        Raises:
            UserError: a model, the recording of the prompts, or the recording of play is missing or damaged.
        """
        session = Session.load(config, pictures)
        rollouts = read_recording(Path(recording), session) if recording else None
        session.reset()
        return cls(config, session, rollouts)

    def prepare(self) -> Moment:
        """Compile the step, and leave the rollout as it is."""
        self.session.press("1")
        self.session.back()
        gc.freeze()  # the garbage collector would look through all that the libraries hold: a quarter of a second without a picture
        return self._here()

    def step(self, key: str) -> Moment:
        return self._after(self.session.press(key))

    def replay_step(self) -> Moment:
        """The next step of the recording that is shown."""
        assert self.replay is not None
        frames = next(self.replay, None)
        if frames is None:
            self.replay = None
            return Moment(news="the recording is over, play on")
        key, probability = self.session.keys[-1], self.session.world.probability
        assert probability is not None
        return self._after(Step(frames, key, self.session.action_of(key), float(probability[0])))

    def _after(self, step: Step) -> Moment:
        """Let the real game and the recording follow a step of the dream."""
        session, real, news = self.session, None, ""
        if self.keys is not session.keys:  # of a recording with several rollouts
            news = self._begin()
            real = self._real_frame()
        elif self.beside and self.game is not None:
            real = self.game.press(self.game.action_of(step.key, session.world.keymap))
        if self.recording is not None:
            self.recording.add(step.frames)
            news = self._save() if self.recording.full else news
        if real is not None and len(real) < len(step.frames):
            real = np.repeat(real, len(step.frames), axis=0)
        return Moment(step.frames, real, step, self._over, news)

    def back(self) -> Moment:
        """Undo the last step. A recording that is shown ends there."""
        self.replay = None
        if not self.session.back():
            return Moment(news="no earlier step is kept")
        if self.recording is not None:
            self.recording.undo()
        if self.beside and self.game is not None and not self.game.back():
            self._meet()
        return self._here()

    def reset(self, beside: bool) -> Moment:
        """Start a new rollout, `beside` the real game or alone. A recording that is shown ends."""
        self.replay, self.beside = None, beside
        self.session.reset()
        return self._here(self._begin())

    def _begin(self) -> str:
        """Let the real game and the recording follow a new rollout. Returns news."""
        self.keys = self.session.keys
        if self.recording is not None:
            self.recording.follow()
        return self._meet() if self.beside else ""

    def meet(self) -> Moment:
        """Bring the real game to the moment of the dream, unless it is there."""
        return self._here("" if self.beside else self._meet())

    def _meet(self) -> str:
        """Start the real game at the prompt, and play the keys since. Returns the reason if this is impossible."""
        self.beside, prompt = False, self.session.prompt
        if self.game is None or prompt is None or prompt.row is None:
            return self.no_game
        try:
            self.game.start(prompt.row, prompt.frames[-1])
        except UserError as error:
            return str(error)
        for key in self.session.keys:
            self.game.press(self.game.action_of(key, self.session.world.keymap))
        self.beside = True
        return ""

    def _here(self, news: str = "") -> Moment:
        """The present frames."""
        return Moment(self.session.frame[None], self._real_frame(), None, self._over, news)

    def _real_frame(self) -> np.ndarray | None:
        return self.game.frame[None] if self.beside and self.game is not None else None

    @property
    def _over(self) -> bool:
        return self.beside and self.game is not None and self.game.over

    def record(self) -> Moment:
        """Start to record the dream, or stop and write the film."""
        if self.recording is not None:
            return Moment(news=self._save())
        self.recording = Recording(self.session)
        return Moment()

    def _save(self) -> str:
        """Write the film and the file beside it. Returns news."""
        recording, self.recording = self.recording, None
        assert recording is not None
        if not recording.frames:
            return "nothing was recorded"
        folder = self.config.model_folder / "recordings"
        folder.mkdir(exist_ok=True)
        film = folder / f"{self.config.world}_{time.strftime('%Y-%m-%d_%H-%M-%S')}.mp4"
        recording.save(film, self.config.play.scale, self.config.play.frames_per_second)
        return f"recorded {film}"

    def close(self) -> Moment:
        """Write the film that is being recorded, and end the game."""
        if self.game is not None:
            self.game.close()
        return Moment(news=self._save() if self.recording is not None else "")
