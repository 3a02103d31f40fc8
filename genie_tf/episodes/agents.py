"""Who plays while the recorder films: agents by name."""

from pathlib import Path

import numpy as np

from genie_tf.config import RecordConfig
from genie_tf.errors import UserError

ALL = np.arange(15)  # Procgen's actions; six to nine of them do nothing in CoinRun
ORIGINAL = np.array([1, 2, 3, 4, 5, 7, 8])  # left, up-left, down, none, up, right, up-right
POLICY = "agent.zip"


class RandomAgent:
    """Draws from `actions`, each as likely, and keeps what it has drawn with probability `keep` (a sticky agent).

    Args:
        actions: int (K,), Procgen actions.
        keep: Probability that an environment's last action is taken once more.
        environments: E.
        rng: Its chance.
    """

    def __init__(self, actions: np.ndarray, keep: float, environments: int, rng: np.random.Generator):
        self.actions, self.keep, self.rng = actions, keep, rng
        self.last = rng.choice(actions, environments)

    def act(self, frames: np.ndarray, due: np.ndarray) -> np.ndarray:
        """Choose for some of the environments.

        Args:
            frames: uint8 (E, 64, 64, 3), what all environments show.
            due: int (D,), those that need an action.

        Returns:
            int32 (D,).
        """
        drawn = self.actions[self.rng.integers(len(self.actions), size=len(due))]
        if self.keep:
            drawn = np.where(self.rng.random(len(due)) < self.keep, self.last[due], drawn)
        self.last[due] = drawn
        return drawn.astype(np.int32)


class TrainedAgent:
    """A PPO policy kept by `agent_training.py`; it draws from its own probabilities.

    Args:
        policy: The file.
        seed: Seed of what it draws.

    Raises:
        UserError: stable-baselines3 is not installed, or the file is no policy.
    """

    def __init__(self, policy: Path, seed: int):
        torch, ppo = import_ppo()
        if not policy.is_file():
            raise UserError(f"no policy {policy}: train one with `python agent_training.py`, or name it with --record.policy")
        torch.set_num_threads(1)  # the workers use the cores; and the same sums whatever their number
        try:
            self.model = ppo.load(policy, device="cpu")
        except Exception as error:  # whatever zip, pickle and torch make of a bad file
            raise UserError(f"{policy} is no policy of agent_training.py ({type(error).__name__}): train it again") from error
        torch.manual_seed(seed)  # loading has set the seed of the training

    def act(self, frames: np.ndarray, due: np.ndarray) -> np.ndarray:
        """As `RandomAgent.act`."""
        return self.model.predict(frames[due])[0].astype(np.int32)


def import_ppo():
    """Modules torch and stable_baselines3.PPO.

    Raises:
        UserError: the extra is not installed.
    """
    try:
        import torch
        from stable_baselines3 import PPO
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install -r requirements-agent.txt") from error
    return torch, PPO


def make_agent(config: RecordConfig, policy: Path, environments: int, seed: list[int]):
    """The agent that `record.agent` names, for a vector of environments.

    Args:
        policy: The trained agent's file.
        seed: Seed of its chance; the same seed and frames give the same actions.
    """
    if config.agent == "trained":
        return TrainedAgent(policy, int(np.random.SeedSequence(seed).generate_state(1)[0]))
    actions = ALL if config.agent == "uniform" else ORIGINAL
    keep = config.keep if config.agent == "sticky" else 0.0
    return RandomAgent(actions, keep, environments, np.random.default_rng(seed))
