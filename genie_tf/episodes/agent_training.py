"""Train the recording agent: PPO (Schulman et al. 2017, arXiv 1707.06347) from stable-baselines3, on the training levels.

Only this module needs the packages of requirements-agent.txt.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize
from tqdm import tqdm

from genie_tf.config import Config, RecordSettings
from genie_tf.episodes.agents import POLICY, make_agent
from genie_tf.episodes.recorder import check, controls_of, level_range, make_game
from genie_tf.episodes.returns import held_out_returns
from genie_tf.files import alone, write_whole
from genie_tf.kinds import class_of

ENVIRONMENTS = 64
ROLLOUT = 128  # decisions of each environment between two updates
KEEP_EVERY = 10  # updates
LEVELS = 200  # number of held-out levels for the reported returns
PPO_SETTINGS: dict[str, Any] = {  # as in Procgen's paper (arXiv 1912.01588), with a lower gamma for held actions
    "n_steps": ROLLOUT, "batch_size": 1024, "n_epochs": 3, "learning_rate": 5e-4, "gamma": 0.99, "gae_lambda": 0.95,
    "ent_coef": 0.01, "clip_range": 0.2, "vf_coef": 0.5, "max_grad_norm": 0.5,
}  # fmt: skip


class HeldGame(VecEnv):
    """A vectorised game for stable-baselines3. A step is one decision; its action is held as in the recorder."""

    def __init__(self, env, environments: int, actions: int, settings: RecordSettings):
        frame = gymnasium.spaces.Box(0, 255, (settings.height, settings.width, 3), np.uint8)
        super().__init__(environments, frame, gymnasium.spaces.Discrete(actions))
        self.env, self.hold = env, settings.hold

    def reset(self):
        self.env.observe()
        return self.env.frames()

    def step_async(self, actions):
        self.actions = np.asarray(actions, np.int32)

    def step_wait(self):
        """Hold the action. If an episode ends meanwhile, the next episode begins under the rest of the held action."""
        total, done = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)
        for _ in range(self.hold):
            self.env.act(self.actions)
            seen = self.env.observe()
            total += seen["reward"].astype(np.float32) * ~done
            done |= seen["first"]
        return self.env.frames(), total, done, [{} for _ in range(self.num_envs)]

    def close(self):
        self.env.close()

    def seed(self, seed=None):
        return [None] * self.num_envs

    def get_attr(self, attr_name, indices=None):
        return [None] * self.num_envs

    def set_attr(self, attr_name, value, indices=None):
        raise NotImplementedError

    def env_method(self, method_name, *args, indices=None, **kwargs):
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * self.num_envs


class Keep(BaseCallback):
    """Shows the progress and saves the policy every ten updates."""

    def __init__(self, file: Path, progress: tqdm):
        super().__init__()
        self.file, self.progress, self.updates = file, progress, 0

    def _on_step(self) -> bool:
        self.progress.update(self.training_env.num_envs)
        return True

    def _on_rollout_start(self) -> None:
        if self.updates and self.updates % KEEP_EVERY == 0:
            self.keep()
        self.updates += 1
        if self.model.ep_info_buffer:
            self.progress.set_postfix({"return": f"{np.mean([info['r'] for info in self.model.ep_info_buffer]):.2f}"})

    def keep(self) -> None:
        write_whole(self.file, lambda file: self.model.save(file))


@alone
def train_agent(config: Config, steps: int) -> None:
    """Train PPO on the training levels, save `model/<world>/agent.zip`, and report returns.

    An interrupted training continues from the last saved policy.

    Args:
        config: The world; section `record`.
        steps: Number of decisions, including those of earlier runs.

    Raises:
        UserError: a setting is invalid.
    """
    check(config.record)
    file = config.model_folder / POLICY
    file.parent.mkdir(parents=True, exist_ok=True)
    game = make_game(config.record, level_range(config.record, "train"), ENVIRONMENTS, config.record.seed, os.cpu_count() or 1)
    held = HeldGame(game, ENVIRONMENTS, class_of("record", config.record.source).count_actions(config.record), config.record)
    learn(held, file, steps, PPO_SETTINGS, config.record.seed, "agent")
    report(config.record, file)


def learn(game: VecEnv, file: Path, steps: int, settings: dict[str, Any], seed: int, title: str) -> None:
    """Train PPO up to a number of decisions, from the policy in `file` on if there is one, and save it there. Closes the game.

    Args:
        game: What it plays.
        file: The policy.
        steps: Number of decisions, including those of earlier runs.
        settings: Arguments of `PPO`.
        seed: Seed of a new policy.
        title: Title of the progress bar.
    """
    env = VecNormalize(VecMonitor(game), norm_obs=False, gamma=settings["gamma"])
    model = PPO.load(file, env=env, device="cpu") if file.exists() else PPO("CnnPolicy", env, seed=seed, device="cpu", **settings)
    if model.num_timesteps < steps:
        with tqdm(total=steps, initial=model.num_timesteps, desc=title, unit=" decisions") as progress:
            callback = Keep(file, progress)
            model.learn(steps - model.num_timesteps, callback=callback, reset_num_timesteps=False)
            callback.keep()
    else:
        print(f"done already: {file} has {model.num_timesteps} decisions; give more --steps to go on")
    env.close()


def report(config: RecordSettings, file: Path) -> None:
    """Print the returns of the trained agent and of the random agents, with 95 % confidence intervals."""
    for name in ("uniform", "controls", "sticky", "trained"):
        agent = make_agent(dataclasses.replace(config, agent=name), controls_of(config), file, LEVELS, [0])
        returns = held_out_returns(config, agent, LEVELS)
        reach = 1.96 * returns.std(ddof=1) / np.sqrt(len(returns))
        print(f"{name:9} return {returns.mean():5.2f} ± {reach:.2f} over {len(returns)} held-out levels")
