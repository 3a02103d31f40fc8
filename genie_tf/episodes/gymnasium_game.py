"""`gymnasium`: any Gymnasium environment with discrete actions that draws its frames (`render_mode="rgb_array"`)."""

import contextlib
import importlib
import re
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from genie_tf.config import RecordSettings
from genie_tf.episodes.controls import NONE, chord
from genie_tf.episodes.resize import resized
from genie_tf.errors import UserError
from genie_tf.quiet import quiet

PACKAGES = ("ale_py", "minigrid")  # they register environments when they are imported: requirements-games.txt
WORDS = {"UP": "w", "DOWN": "s", "LEFT": "a", "RIGHT": "d", "FIRE": "space"}  # of `get_action_meanings`
KEYS = {" ": "space", "\r": "return", "\t": "tab"}  # of `get_keys_to_action`
ARROWS = {  # the codes of the arrow keys in pygame 1 and in pygame 2
    276: "a", 275: "d", 273: "w", 274: "s", 1073741904: "a", 1073741903: "d", 1073741906: "w", 1073741905: "s",
}  # fmt: skip
SPARE_ENVIRONMENTS: dict[tuple[str, str], list] = defaultdict(list)  # of closed games: to make one takes longer than to play it
LETTERS = "fghjklzxcvbnmtyiop"  # keys of the actions of a game that names neither keys nor meanings; no key here has a direction


@dataclass
class GymnasiumSettings(RecordSettings):
    """Settings of the recording of a Gymnasium environment.

    Args:
        source: "gymnasium".
        game: Name of the environment, such as ALE/Pong-v5. Frames are its drawings, resized to `height` and `width`.
        arguments: Arguments of the environment, such as {"frameskip": 1}.
        agent: The agent that plays. controls draws uniformly from the controls. sticky does too, but repeats its last action
            with probability `keep`. uniform draws from all actions. trained is the policy of agent_training.py. human is you.
    """

    source: Literal["gymnasium"] = "gymnasium"
    game: str = "MountainCar-v0"
    arguments: dict[str, Any] = field(default_factory=dict)
    agent: Literal["controls", "uniform", "sticky", "trained", "human"] = "controls"


def make_environment(settings: GymnasiumSettings):
    """Make one environment.

    Raises:
        UserError: it does not exist, is not installed, draws no pictures, or its actions are not a few discrete ones.
    """
    for package in PACKAGES:
        with contextlib.suppress(ImportError), quiet():
            module = importlib.import_module(package)
            if package == "ale_py":
                module.ALEInterface.setLoggerMode(module.LoggerMode.Error)  # no banner
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an error says what matters
            env = gymnasium.make(settings.game, render_mode="rgb_array", **settings.arguments)
    except gymnasium.error.Error as error:
        raise UserError(
            f"record.game {settings.game}: {_first_line(error)}; "
            "the extra games need `make games` (pip install -r requirements-games.txt)"
        ) from error
    except Exception as error:  # an environment can raise anything
        advice = "check its name and record.arguments; its class must take render_mode"
        raise UserError(f"record.game {settings.game} can't be made ({_first_line(error)}): {advice}") from error
    modes = env.metadata.get("render_modes") or ()
    if "rgb_array" not in modes:
        raise UserError(f"record.game {settings.game}: it draws no pictures (render_mode rgb_array): choose another")
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Discrete) or space.start != 0 or not 2 <= space.n <= 255:
        raise UserError(f"record.game {settings.game}: its actions are {space}, and a game here has 2 to 255 discrete ones")
    return env


def _same(env):
    return env


def _first_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


class GymnasiumGame:
    """A vector of Gymnasium environments: see `genie_tf.episodes`. A level is the seed of an episode.

    Args:
        settings: Section `record`.
        levels: First seed and number of seeds.
        environments: Number of environments that are played at once.
        seed: Seed of the order of the seeds.
        threads: Not used: the environments of one worker run one after another.
    """

    Settings = GymnasiumSettings

    def __init__(self, settings: GymnasiumSettings, levels: tuple[int, int], environments: int, seed: int, threads: int = 0):
        self.size, self.first_level, self.num_levels = (settings.height, settings.width), *levels
        self.spare = SPARE_ENVIRONMENTS[settings.game, repr(settings.arguments)]
        made = [self.spare.pop() if self.spare else make_environment(settings) for _ in range(environments)]
        self.env = gymnasium.vector.SyncVectorEnv([partial(_same, one) for one in made], autoreset_mode=AutoresetMode.DISABLED)
        self.steps_per_second = float(self.env.metadata.get("render_fps") or 30)
        self.rng = np.random.default_rng(seed)
        self.level = np.zeros(environments, np.int32)
        self.played: list[list[int]] = [[] for _ in range(environments)]  # actions of each episode, with which it can be repeated
        self.reward = np.zeros(environments)
        self._reset(np.ones(environments, bool))

    @staticmethod
    def check(settings: GymnasiumSettings) -> None:
        """Raises an error if the environment can't be recorded."""
        make_environment(settings).close()

    @staticmethod
    def colours(settings: GymnasiumSettings) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
        return {}

    @staticmethod
    def count_actions(settings: GymnasiumSettings) -> int:
        env = make_environment(settings)
        env.close()
        return int(env.action_space.n)

    @staticmethod
    def default_controls(settings: GymnasiumSettings) -> dict[str, int]:
        """The controls from `get_keys_to_action`, else from `get_action_meanings`, else one letter for each action."""
        env = make_environment(settings)
        try:
            count, bare = env.action_space.n, env.unwrapped
            meanings = list(bare.get_action_meanings()) if hasattr(bare, "get_action_meanings") else []
            controls: dict[str, int] = {}
            if hasattr(bare, "get_keys_to_action"):
                for keys, action in bare.get_keys_to_action().items():
                    idle = meanings[action : action + 1] == ["NOOP"]
                    controls.setdefault(NONE if idle else chord(_key(key) for key in keys), int(action))
            elif meanings and all(re.fullmatch(rf"NOOP|({'|'.join(WORDS)})+", meaning) for meaning in meanings):
                for action, meaning in enumerate(meanings):
                    controls.setdefault(chord(WORDS[word] for word in re.findall("|".join(WORDS), meaning)), action)
            if len(controls) < 2:
                if count > len(LETTERS):
                    raise UserError(f"record.game {settings.game} names no keys for its {count} actions: give record.controls")
                controls = dict(zip(LETTERS, range(count)))
            return dict(sorted(controls.items(), key=lambda one: one[0] != NONE))
        finally:
            env.close()

    def _reset(self, at: np.ndarray, levels: np.ndarray | None = None) -> None:
        """Begin new episodes in the environments `at`, bool (E,)."""
        if levels is None:
            levels = self.first_level + self.rng.integers(0, self.num_levels, len(at))
        self.level[at] = levels[at]
        self.env.reset(seed=[int(level) for level in levels], options={"reset_mask": at})
        for i in np.flatnonzero(at):
            self.played[i] = []
        self.first = at.copy()

    def observe(self) -> dict[str, np.ndarray]:
        return {"reward": self.reward, "first": self.first}

    def frames(self) -> np.ndarray:
        return np.stack([resized(np.ascontiguousarray(frame), self.size) for frame in self.env.render()])

    def levels(self) -> np.ndarray:
        return self.level.copy()

    def act(self, actions: np.ndarray) -> None:
        _, reward, terminated, truncated, _ = self.env.step(np.asarray(actions, np.int64))
        for played, action in zip(self.played, actions):
            played.append(int(action))
        self.reward, over = np.asarray(reward), terminated | truncated
        self.first = over
        if over.any():
            self._reset(over)

    def get_state(self) -> dict[str, Any]:
        """The state: that of the emulator if the environment gives it, and the episode so far, to play it again."""
        bare: list[Any] = [env.unwrapped for env in self.env.envs]
        sticky = any(env.spec.kwargs.get("repeat_action_probability") for env in bare)  # its state lacks the last action
        emulator = [env.clone_state(include_rng=True) for env in bare] if hasattr(bare[0], "clone_state") and not sticky else None
        return {"emulator": emulator, "level": self.level.copy(), "played": [list(played) for played in self.played]}

    def set_state(self, state: dict[str, Any]) -> None:
        if state["emulator"] is None:
            self._reset(np.ones(len(self.level), bool), state["level"])
            for env, played in zip(self.env.envs, state["played"]):
                for action in played:
                    env.step(action)
        else:
            for env, emulator in zip(self.env.envs, state["emulator"]):
                bare: Any = env.unwrapped
                bare.restore_state(emulator)
        self.level, self.played = state["level"].copy(), [list(played) for played in state["played"]]

    def close(self) -> None:
        self.spare.extend(self.env.envs)


def _key(key) -> str:
    """The name of a key of `get_keys_to_action`: a letter, or pygame's code."""
    letter = ARROWS.get(key) or chr(key) if isinstance(key, int) else key
    return KEYS.get(letter, letter.lower())
