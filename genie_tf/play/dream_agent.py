"""Train an agent inside the dream, and see what it does in the real game. PPO is that of stable-baselines3.

Only this module and `genie_tf.episodes.agent_training` need the packages of requirements-agent.txt.
"""

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from genie_tf.config import Config
from genie_tf.episodes.agent_training import PPO_SETTINGS, learn
from genie_tf.episodes.agents import RandomAgent, TrainedAgent
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorded import controls_in, recorded_with
from genie_tf.episodes.recorder import level_range, make_game
from genie_tf.errors import UserError
from genie_tf.files import alone
from genie_tf.play.environment import DreamVectorEnv, progress

POLICY = "dream_agent.zip"
ENVIRONMENTS, ROLLOUT, LENGTH = 16, 64, 50  # rollouts at once, actions between two updates, actions of a rollout
SETTINGS = PPO_SETTINGS | {"n_steps": ROLLOUT, "batch_size": 256}
LEVELS = 100  # held-out levels of the report


class DreamGame(VecEnv):
    """A batch of dreams from the training recording, for stable-baselines3. The reward is `progress`."""

    def __init__(self, config: Config):
        play, guided = config.play, config.dynamics.actions == "true"
        self.dreams = DreamVectorEnv(
            ENVIRONMENTS, str(config.model_folder), str(config.record_folder("train")), reward=progress, length=LENGTH,
            prompt_frames=play.prompt_frames, guided=guided, sampling_steps=play.sampling_steps, temperature=play.temperature,
        )  # fmt: skip
        super().__init__(ENVIRONMENTS, self.dreams.single_observation_space, self.dreams.single_action_space)

    def reset(self):
        return self.dreams.reset(seed=self._seeds[0])[0]

    def step_async(self, actions):
        self.chosen = actions

    def step_wait(self):
        """One action in every dream. A dream that ends begins anew at once."""
        frames, rewards, _, over, _ = self.dreams.step(self.chosen)
        infos = [{"TimeLimit.truncated": True, "terminal_observation": frame} if end else {} for frame, end in zip(frames, over)]
        if over.any():
            frames, _ = self.dreams.reset(options={"reset_mask": over})
        return frames, rewards, over, infos

    def close(self):
        self.dreams.close()

    def get_attr(self, attr_name, indices=None):
        return [None] * self.num_envs

    def set_attr(self, attr_name, value, indices=None):
        raise NotImplementedError

    def env_method(self, method_name, *args, indices=None, **kwargs):
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * self.num_envs


@alone
def train_in_dream(config: Config, steps: int) -> None:
    """Train PPO inside the dream on progress to the right, save `model/<world>/dream_agent.zip`, and try it in the real game.

    An interrupted training continues from the last saved policy.

    Args:
        config: The world; sections `dynamics` and `play`.
        steps: Number of actions, including those of earlier runs.

    Raises:
        UserError: a model or the recording is missing, or the recording has no game.
    """
    file = config.model_folder / POLICY
    game = DreamGame(config)
    learn(game, file, steps, SETTINGS, config.play.seed, "agent in the dream")
    report(config, game.dreams.keys)


def report(config: Config, keys: list[str]) -> None:
    """Print what the agent and a random agent do in the real game, on held-out levels, with 95 % confidence intervals.

    Args:
        config: The world.
        keys: The key of each action of the policy.

    Raises:
        UserError: the recording was not made with a game.
    """
    recording = Episodes(config.record_folder("test"))
    game, controls = recorded_with(recording), controls_in(recording)
    if game is None or controls is None:
        raise UserError(f"record/{config.world} was not made by a game: there is no real game to try the agent in")
    actions = np.array([controls[key][0] for key in keys])
    agents = {
        "random": RandomAgent(np.arange(len(keys)), 0.0, LEVELS, np.random.default_rng(0)),
        "of the dream": TrainedAgent(config.model_folder / POLICY, 0),
    }
    first, count = level_range(game, "test")
    for name, agent in agents.items():
        way, earned = _play(game, agent, actions, range(first, first + min(LEVELS, count)))
        print(f"{name:12} progress {_mean(way)} pixels in {LENGTH} actions, return {_mean(earned)}, {len(way)} held-out levels")


def _play(game, agent, actions: np.ndarray, levels: range) -> tuple[np.ndarray, np.ndarray]:
    """Progress in pixels and sum of rewards in the first `LENGTH` actions of each level, both float (L,)."""
    games = [make_game(game, (level, 1), 1, game.seed, 0) for level in levels]
    way, earned, over = np.zeros(len(games)), np.zeros(len(games)), np.zeros(len(games), bool)
    for one in games:
        one.observe()
    frames = np.concatenate([one.frames() for one in games])
    for _ in tqdm(range(LENGTH), desc="the real game", unit=" actions", leave=False):
        chosen = actions[agent.act(frames, np.arange(len(games)))]
        for _ in range(game.hold):
            for one, action in zip(games, chosen):
                one.act(np.array([action]))
            seen = [one.observe() for one in games]
            earned += np.array([each["reward"][0] for each in seen]) * ~over
            over |= np.array([each["first"][0] for each in seen])
        before, frames = frames, np.concatenate([one.frames() for one in games])
        way += progress(before, frames) * ~over
    for one in games:
        one.close()
    return way, earned


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ± {1.96 * values.std(ddof=1) / np.sqrt(len(values)):.2f}"
