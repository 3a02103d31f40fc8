"""The agents that play while the recorder records, by name."""

from pathlib import Path

import numpy as np

from genie_tf.config import RecordSettings
from genie_tf.episodes.controls import Controls
from genie_tf.errors import UserError

ORIGINAL = np.array([1, 2, 3, 4, 5, 7, 8])  # CoinRun's left, up-left, down, none, up, right, up-right
POLICY = "agent.zip"


class RandomAgent:
    """Draws uniformly from `actions`. With probability `keep` it repeats its last action (a sticky agent).

    Args:
        actions: int (K,), actions of the game.
        keep: Probability that an environment's last action is repeated.
        environments: E, number of environments.
        rng: Random generator of the actions.
    """

    def __init__(self, actions: np.ndarray, keep: float, environments: int, rng: np.random.Generator):
        self.actions, self.keep, self.rng = actions, keep, rng
        self.last = rng.choice(actions, environments)

    def act(self, frames: np.ndarray, due: np.ndarray) -> np.ndarray:
        """Choose actions for some of the environments.

        Args:
            frames: uint8 (E, H, W, 3), current frames of all environments.
            due: int (D,), the environments that need an action.

        Returns:
            Actions int32 (D,).
        """
        drawn = self.actions[self.rng.integers(len(self.actions), size=len(due))]
        if self.keep:
            drawn = np.where(self.rng.random(len(due)) < self.keep, self.last[due], drawn)
        self.last[due] = drawn
        return drawn.astype(np.int32)


class TrainedAgent:
    """A PPO policy saved by `agent_training.py`. It samples actions from its probabilities.

    Args:
        policy: File of the policy.
        seed: Seed of the samples.

    Raises:
        UserError: stable-baselines3 is not installed, or the file contains no policy.
    """

    def __init__(self, policy: Path, seed: int):
        torch, ppo = import_ppo()
        if not policy.is_file():
            raise UserError(f"no policy {policy}: train one with `python agent_training.py`, or name it with --record.policy")
        torch.set_num_threads(1)  # the workers use all cores; with one thread, the sums do not depend on the number of workers
        try:
            self.model = ppo.load(policy, device="cpu")
        except Exception as error:  # zip, pickle and torch raise many types for a bad file
            raise UserError(f"{policy} is no policy of agent_training.py ({type(error).__name__}): train it again") from error
        torch.manual_seed(seed)  # loading has set the seed of the training instead

    def act(self, frames: np.ndarray, due: np.ndarray) -> np.ndarray:
        """See `RandomAgent.act`."""
        return self.model.predict(frames[due])[0].astype(np.int32)


def import_ppo():
    """Import torch and stable_baselines3.PPO.

    Raises:
        UserError: the packages of requirements-agent.txt are not installed.
    """
    try:
        import torch
        from stable_baselines3 import PPO
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install -r requirements-agent.txt") from error
    return torch, PPO


def make_agent(config: RecordSettings, controls: Controls, policy: Path, environments: int, seed: list[int]):
    """Make the agent `record.agent` for a vector of environments.

    Args:
        config: Section `record`.
        controls: The controls of the game.
        policy: File of the trained agent.
        environments: Number of environments.
        seed: Seed of the actions. The same seed and frames give the same actions.

    Raises:
        UserError: there is no policy.
    """
    if config.agent == "trained":
        return TrainedAgent(policy, int(np.random.SeedSequence(seed).generate_state(1)[0]))
    actions = {"uniform": np.arange(controls.count), "original": ORIGINAL}.get(config.agent, controls.first)
    keep = config.keep if config.agent == "sticky" else 0.0
    return RandomAgent(actions, keep, environments, np.random.default_rng(seed))
