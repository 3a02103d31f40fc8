"""`procgen`: the 16 games of Procgen (Cobbe et al. 2019, arXiv 1912.01588)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from procgen import ProcgenGym3Env
from procgen.env import ENV_NAMES

from genie_tf.config import RecordSettings
from genie_tf.episodes.resize import resized
from genie_tf.errors import UserError

SIZE = 64  # of the observation; other sizes are made from a picture of 512 x 512
ACTIONS = 15  # left-down 0, left, left-up, down, none 4, up, right-down, right, right-up 8, and six keys
MODES = {  # in addition to easy and hard, which every game has
    "extreme": ("chaser", "dodgeball", "leaper", "starpilot"),
    "memory": ("caveflyer", "dodgeball", "heist", "jumper", "maze", "miner"),
}

# Actions with the same effect are one control: `python -m genie_tf.episodes.find_controls` plays all from the same states.
Keys = dict[str, tuple[int, ...]]
WALK: Keys = {"none": (4, 3), "a": (1, 0), "d": (7, 6), "w": (5,), "aw": (2,), "dw": (8,)}
FLY: Keys = {
    "none": (4,), "a": (1,), "d": (7,), "w": (5,), "s": (3,), "aw": (2,), "dw": (8,), "as": (0,), "ds": (6,),
}  # fmt: skip
STEP: Keys = {"none": (4,), "a": (1, 0, 2), "d": (7, 6, 8), "w": (5,), "s": (3,)}
SLIDE: Keys = {"none": (4, 3, 5), "a": (1, 0, 2), "d": (7, 6, 8)}
FIRE: Keys = {"space": (9,)}
CONTROLS: dict[str, Keys] = {
    **dict.fromkeys(("coinrun", "climber", "jumper"), WALK),
    **dict.fromkeys(("bigfish", "chaser", "heist"), FLY),
    **dict.fromkeys(("leaper", "maze", "miner"), STEP),
    **dict.fromkeys(("bossfight", "caveflyer", "dodgeball"), FLY | FIRE),
    **dict.fromkeys(("fruitbot", "plunder"), SLIDE | FIRE),
    "ninja": WALK | {"space": (9, 13, 14), "j": (10,), "k": (11,), "l": (12,)},
    "starpilot": FLY | {"space": (9, 11, 12, 13, 14), "j": (10,)},
}

# Lowest and highest colour of small things in plain graphics, where nothing else has it.
COLOURS: dict[str, dict[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "coinrun": {"coin": ((181, 151, 0), (255, 255, 89)), "enemy": ((80, 130, 0), (150, 215, 80))},
}


@dataclass
class ProcgenSettings(RecordSettings):
    """Settings of the recording of a Procgen game.

    Args:
        source: "procgen".
        game: Procgen game.
        distribution_mode: Procgen's difficulty. Some games have only some of the difficulties.
        use_backgrounds: Whether the levels have background pictures.
        restrict_themes: Whether all levels use the same theme of blocks.
        paint_vel_info: Whether the game paints the agent's velocity into a corner of the frame.
        agent: The agent that plays. controls draws uniformly from the controls. sticky does too, but repeats its last action
            with probability `keep`. uniform draws from all actions, original from the seven actions of CoinRun. trained is the
            policy of agent_training.py. human is you.
    """

    source: Literal["procgen"] = "procgen"
    game: str = "coinrun"
    distribution_mode: Literal["easy", "hard", "extreme", "memory"] = "easy"
    use_backgrounds: bool = False
    restrict_themes: bool = True
    paint_vel_info: bool = False
    agent: Literal["controls", "uniform", "original", "sticky", "trained", "human"] = "controls"
    hold: int = 5


class ProcgenGame:
    """A vectorised Procgen game: see `genie_tf.episodes`.

    Args:
        settings: Section `record`.
        levels: First level and number of levels. The number must be 1 or more, because Procgen ignores the first level if it is 0.
        environments: Number of environments that are played at once.
        seed: Seed of the order of levels.
        threads: Number of game threads. With 0 the game runs in the caller's thread, the fastest choice for a worker with one core.
    """

    Settings = ProcgenSettings
    steps_per_second = 15.0

    def __init__(self, settings: ProcgenSettings, levels: tuple[int, int], environments: int, seed: int, threads: int = 0):
        first_level, num_levels = levels
        self.size = (settings.height, settings.width)
        self.small = self.size == (SIZE, SIZE)
        try:
            self.env = ProcgenGym3Env(
                num=environments,
                env_name=settings.game,
                num_levels=num_levels,
                start_level=first_level,
                distribution_mode=settings.distribution_mode,
                use_backgrounds=settings.use_backgrounds,
                restrict_themes=settings.restrict_themes,
                paint_vel_info=settings.paint_vel_info,
                rand_seed=seed,
                num_threads=threads,
                **({} if self.small else {"render_mode": "rgb_array"}),
            )
        except OSError as error:  # libGL and GLib, which a system without a desktop lacks
            if "cannot load library" not in str(error):
                raise
            missing = str(error).split(":")[1].strip()
            raise UserError(f"Procgen can't be loaded, {missing} is missing: apt-get install libgl1 libglib2.0-0") from error

    @staticmethod
    def check(settings: ProcgenSettings) -> None:
        """Check settings that Procgen would misinterpret.

        Raises:
            UserError: a setting is invalid.
        """
        mode, games = settings.distribution_mode, MODES.get(settings.distribution_mode, ENV_NAMES)
        if settings.game not in ENV_NAMES:
            raise UserError(f"record.game {settings.game}: choose one of {', '.join(ENV_NAMES)}")
        if settings.game not in games:
            raise UserError(f"record.distribution_mode {mode}: only {', '.join(games)} have it; choose easy or hard")

    @staticmethod
    def default_controls(settings: ProcgenSettings) -> dict[str, tuple[int, ...]]:
        """The controls of a game. Actions without an effect are added to "none"."""
        controls = CONTROLS.get(settings.game, WALK)
        idle = set(range(ACTIONS)) - {action for some in controls.values() for action in some}
        return controls | {"none": (*controls["none"], *sorted(idle))}

    @staticmethod
    def colours(settings: ProcgenSettings) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
        plain = settings.restrict_themes and not settings.use_backgrounds
        return COLOURS.get(settings.game, {}) if plain else {}

    @staticmethod
    def count_actions(settings: ProcgenSettings) -> int:
        return ACTIONS

    def observe(self) -> dict[str, np.ndarray]:
        reward, self.observation, first = self.env.observe()
        return {"reward": reward, "first": first}

    def frames(self) -> np.ndarray:
        if self.small:
            return self.observation["rgb"]
        return np.stack([resized(info["rgb"], self.size) for info in self.env.get_info()])

    def levels(self) -> np.ndarray:
        return np.array([info["level_seed"] for info in self.env.get_info()], np.int32)

    def act(self, actions: np.ndarray) -> None:
        self.env.act(actions.astype(np.int32))

    def get_state(self):
        return self.env.callmethod("get_state")

    def set_state(self, state) -> None:
        self.env.callmethod("set_state", state)

    def close(self) -> None:
        self.env.close()
