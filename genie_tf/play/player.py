"""What the keys of the window do, and when. Nothing here knows the screen, the model or the clock."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from genie_tf.config import PlayConfig
from genie_tf.episodes.controls import NONE, keys_in
from genie_tf.play.functions import functions_of, help_rows
from genie_tf.play.keys import DIGITS, pressed_in
from genie_tf.play.scene import Moment
from genie_tf.play.session import Step
from genie_tf.play.window import Keys

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times play.frames_per_second
NEWS = 4.0  # seconds for which news are shown
FOREVER = float("inf")
HOLD = 0.4  # seconds after which a held backspace goes further back
Work = Callable[[], Moment]


class Pace:
    """When the next step may begin.

    Steps begin at the rate of play, and the frames of each are shown as soon as they are ready. A new key does not wait for this
    rate: its step may begin up to one step's time early, and its frames take the place of those of the last step that are not
    shown yet. The step after it does not come earlier for that, so the rate of play is kept on average. A key so waits for one step
    of the model, or for two if the model is at work when it is pressed.

    Args:
        frames_per_second: The rate of play.
        stride: Frames of a step.
    """

    def __init__(self, frames_per_second: float, stride: int):
        self.frames_per_second, self.stride = frames_per_second, stride
        self.speed = 1.0
        self.due = 0.0  # when the next step under the same key begins

    @property
    def frame(self) -> float:
        """Seconds for which a frame is shown."""
        return 1 / (self.frames_per_second * self.speed)

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return self.stride * self.frame

    def allows(self, now: float, new_key: bool) -> bool:
        return now >= self.due - self.step * new_key

    def begin(self, now: float) -> None:
        """A step begins. Lateness of up to a quarter of a step is made up for."""
        self.due = max(self.due, now - self.step / 4) + self.step


@dataclass
class Shot:
    """Frames that are shown together: of the dream, and of the real game, each uint8 (H, W, 3)."""

    dream: np.ndarray
    real: np.ndarray | None = None
    step: Step | None = None
    over: bool = False
    asked: float | None = None  # when the key was pressed to which it is the answer


class Player:
    """What the keys do: which work comes next, and what is shown.

    Args:
        play: Settings of play.
        scene: What is played. Its methods are the work; they are not called here.
        threshold: Probability below which the model is guessing.
    """

    def __init__(self, play: PlayConfig, scene: Any, threshold: float = 0.0):
        self.scene, self.threshold = scene, threshold
        self.pace = Pace(play.frames_per_second, scene.session.world.stride)
        self.left = self.calibrates = False
        self.paused = self.waits = self.helps = self.measures = False
        self.single = False  # whether one step is made while paused
        self.view = "dream"
        self.wanted: deque[Work] = deque()  # work that a key asked for
        self.down: set[str] = set()
        self.tapped: set[str] = set()  # keys of the game since the last step began
        self.key: str | None = None  # of the last step
        self.asked: float | None = None  # time of the first key in `tapped`
        self.answers: float | None = None  # the same of the step that is computed
        self.at_once = False  # whether its frames take the place of those that are not shown yet
        self.back_at = 0.0  # when a held backspace goes further back
        self.shot = Shot(scene.session.frame)
        self.queue: deque[Shot] = deque()
        self.next_at = 0.0  # when the next frame of the same step is shown
        self.changed = True  # since the last drawing
        self.news, self.news_until = "one moment, the model gets ready", FOREVER
        self.latencies: deque[float] = deque(maxlen=100)  # seconds from a key to its picture
        self.shown: deque[float] = deque(maxlen=30)  # times of the last frames
        self.learn_keys()

    def learn_keys(self) -> None:
        """Read the keymap of the world."""
        world = self.scene.session.world
        self.known, self.actions = world.keymap, world.actions
        self.of_game = frozenset().union(*map(keys_in, self.known)) | set(DIGITS[: self.actions])
        self.functions = functions_of(self.known)

    def say(self, news: str, now: float) -> None:
        """Show news for some seconds, or, with the time `FOREVER`, until the work is done that they announce."""
        self.news, self.news_until, self.changed = news, now + NEWS, True

    def press(self, keys: Keys, now: float) -> None:
        """Keys were pressed, or are held."""
        self.down = keys.down
        for key in sorted(keys.tapped):
            if key in self.of_game:
                self.tapped.add(key)
                self.asked = now if self.asked is None else self.asked
            elif key in self.functions:
                self._start(self.functions[key], now)
                self.changed = True

    def _start(self, function: str, now: float) -> None:
        match function:
            case "help":
                self.helps = not self.helps
            case "pause":
                self.paused = not self.paused
            case "step":
                self.single = self.paused
            case "back":
                self.wanted.append(self.scene.back)
                self.back_at = now + HOLD
            case "faster" | "slower":
                at = SPEEDS.index(self.pace.speed) + (1 if function == "faster" else -1)
                self.pace.speed = SPEEDS[min(max(at, 0), len(SPEEDS) - 1)]
            case "new":
                self.wanted.append(partial(self.scene.reset, self.view != "dream"))
            case "real" | "both":
                self.view = function if self.view != function else "dream"
                if self.view != "dream":
                    self.wanted.append(self.scene.meet)
                    self.say("the real game comes", FOREVER)
            case "record":
                self.wanted.append(self.scene.record)
                if self.scene.recording is not None:
                    self.say("writing the film", FOREVER)
            case "calibrate" if self.scene.no_calibration:
                self.say(self.scene.no_calibration, now)
            case "calibrate":
                if self.scene.recording is not None:
                    self.wanted.append(self.scene.record)  # a film has one keymap
                self.calibrates = True
            case "overlay":
                self.measures = not self.measures
            case "wait":
                self.waits = not self.waits
            case "quit":
                self.left = True

    def next_work(self, now: float) -> Work | None:
        """The next work for the model, which has nothing to do; None if it is not yet time for any."""
        if self.wanted:
            return self.wanted.popleft()
        rewinds = "backspace" in self.down
        if rewinds or self.helps or (self.paused and not self.single):
            self.tapped, self.asked = set(), None
            if rewinds and now >= self.back_at:
                self.back_at = now + self.pace.step / 2
                return self.scene.back
            return None
        if self.scene.replay is not None:
            return self._begin(self.scene.replay_step, now, False) if self.single or self.pace.allows(now, False) else None
        down = self.tapped | (self.down & self.of_game)
        key = pressed_in(down, self.known, self.actions)
        if key is None or (self.waits and not down and not self.single):  # some games have no control for no key
            return None
        new_key = key != self.key or self.asked is not None
        if not self.single and not self.pace.allows(now, new_key):
            return None
        self.key = key
        return self._begin(partial(self.scene.step, key), now, new_key)

    def _begin(self, work: Work, now: float, new_key: bool) -> Work:
        self.pace.begin(now)
        self.at_once = new_key
        self.answers, self.asked, self.tapped, self.single = self.asked, None, set(), False
        return work

    def take(self, moment: Moment, now: float) -> None:
        """Take the result of the last work."""
        if moment.news or (self.news_until == FOREVER and not self.wanted):
            self.say(moment.news, now)
        if moment.dream is None:
            return
        if moment.step is None or self.at_once:
            self.queue.clear()
            self.next_at = 0.0
        if moment.step is None:
            self.asked = None  # a key that waited for it says nothing about the pace of play
        for t, dream in enumerate(moment.dream):
            real = moment.real[t] if moment.real is not None else None
            answered = self.answers if moment.step is not None and t == 0 else None
            self.queue.append(Shot(dream, real, moment.step, moment.over and t == len(moment.dream) - 1, answered))
        if moment.real is None and not self.wanted:
            self.view = "dream"

    def advance(self, now: float) -> None:
        """Show the next frame if it is time."""
        if self.queue and now >= self.next_at:
            self.shot, self.changed = self.queue.popleft(), True
            self.next_at = now + self.pace.frame if self.queue else now
            self.shown.append(now)

    def drawn(self, now: float) -> None:
        """The present frame has reached the screen."""
        self.changed = False
        if self.shot.asked is not None:
            self.latencies.append(now - self.shot.asked)
            self.shot.asked = None

    def look(self, now: float) -> dict[str, Any]:
        """What to draw, the arguments of `Window.draw`."""
        shot, step = self.shot, self.shot.step
        frames = [shot.dream]
        if shot.real is not None and self.view != "dream":
            frames = [shot.real] if self.view == "real" else [shot.dream, shot.real]
        red = self.view != "real" and step is not None and step.probability < self.threshold
        rows = self._help() if self.helps else self._figures(now) if self.measures else []
        key = step.key if step is not None else NONE
        return {"frames": frames, "key": key, "text": self._text(now), "rows": rows, "centred": self.helps, "red": red}

    def _state(self) -> list[str]:
        """What is done now."""
        said = {
            "paused": self.paused,
            "recording": self.scene.recording is not None,
            "replay": self.scene.replay is not None,
            "waits for a key": self.waits,
        }
        return [word for word, holds in said.items() if holds]

    def _text(self, now: float) -> str:
        said = {
            f"x{self.pace.speed:g}": self.pace.speed != 1,
            "real game": self.view == "real",
            "dream | real game": self.view == "both",
            "the real level is over": self.view != "dream" and self.shot.over,
        }
        words = [*self._state(), *(word for word, holds in said.items() if holds)]
        if self.news and now < self.news_until:
            return "   ".join([*words, self.news])
        named = " ".join(name for name in self.known if name != NONE) or f"keys 1-{min(self.actions, len(DIGITS))}"
        aid = next(key for key in ("h", "f1") if self.functions.get(key) == "help")
        return "   ".join([*words, named, f"{aid} help", "q quit"])

    def _help(self) -> list[tuple[str, str]]:
        without = {"calibrate"} if self.scene.no_calibration else set()
        return help_rows(self.known, self.actions, without | ({"real", "both"} if self.scene.game is None else set()))

    def _figures(self, now: float) -> list[tuple[str, str]]:
        recent = [at for at in self.shown if now - at < 3]
        rate = (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 2 else 0.0
        latency = ""
        if self.latencies:
            median, high = (round(1000 * float(np.quantile(self.latencies, share))) for share in (0.5, 0.95))
            latency = f"{median} ms, 95 % below {high}"
        step = self.shot.step
        return [
            ("frames/s", f"{rate:.1f} at x{self.pace.speed:g}"),
            ("key to picture", latency),
            ("key", step.key if step is not None else ""),
            ("code", str(step.action + 1) if step is not None else ""),
            ("sure", f"{100 * step.probability:.0f} %" if step is not None else ""),
            ("state", ", ".join(self._state()) or "plays"),
        ]
