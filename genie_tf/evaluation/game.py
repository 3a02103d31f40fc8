"""What the game itself would have shown: recorded moments played on under other actions."""

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from genie_tf.config import RecordConfig
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorder import make_game
from genie_tf.errors import UserError
from genie_tf.files import read_json

PIXELS, LEVELS = 4, 32  # two frames look different when that many pixels differ by more than that many of 255 levels


def recorded_with(episodes: Episodes) -> RecordConfig | None:
    """The game that a recording was made with, None if it was made from videos.

    Raises:
        UserError: it was made with a game, and no file of its settings can be read.
    """
    files = sorted(episodes.folder.glob("shard*.json"))
    for file in files:
        try:
            return RecordConfig(**read_json(file, "record it anew", "config")["config"])
        except (UserError, TypeError):
            continue  # every shard has the same settings
    if files:
        mend = "run `./data_collect.bash` with the settings it was recorded with: it records the shard anew"
        raise UserError(f"{files[0]} is damaged, and so is every other file of settings beside it: {mend}")
    return None


def look_different(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether a person could tell frames uint8 (..., H, W, 3) apart: bool (...)."""
    far = np.abs(a.astype(np.int16) - b).max(axis=-1) > LEVELS
    return far.sum(axis=(-1, -2)) >= PIXELS


def played_moments(
    config: RecordConfig, episodes: Episodes, rows: np.ndarray, actions: np.ndarray, title: str
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Play recorded moments on in the game, one after another, each under several sequences of actions.

    The game is brought to a moment by playing the recorded actions from the beginning of its level, and set back to it afterwards.

    Args:
        config: What the episodes were recorded with.
        rows: int (M,), rows of the recording, in order.
        actions: int (M, K, H), Procgen actions, each held as the recording's are.
        title: Shown before the progress bar.

    Yields:
        The place m of each moment among the rows, and a dict: `frames` uint8 (K, H, 64, 64, 3); `alive` bool (K, H), false where
        the episode was over by then, or where the game does not come to the recorded frame (a recording of another release of it).
    """
    _, K, H = actions.shape

    def hold(env, action):
        """Hold `action` (K,), and say whose episode ended."""
        ended = np.zeros(K, bool)
        for _ in range(config.hold):
            env.act(action.astype(np.int32))
            ended |= env.observe()[2]
        return ended

    episode, step = episodes.locate(rows)
    with tqdm(total=len(rows), desc=title, unit=" moments") as progress:
        for one in np.unique(episode):
            recorded = episodes.episodes[one].rows()
            env = make_game(config, (int(recorded["level"][0]), 1), K, seed=0, threads=0)
            at = 0
            for m in np.flatnonzero(episode == one):
                for action in recorded["action"][at : step[m]]:
                    hold(env, np.full(K, action))
                at = step[m]
                states = env.callmethod("get_state")
                here = (env.observe()[1]["rgb"] == recorded["frame"][at]).all(axis=(1, 2, 3))
                frames, alive = np.zeros((K, H, 64, 64, 3), np.uint8), np.zeros((K, H), bool)
                for t in range(H):
                    here &= ~hold(env, actions[m, :, t])
                    frames[:, t], alive[:, t] = env.observe()[1]["rgb"], here
                env.callmethod("set_state", states)
                progress.update()
                yield m, {"frames": frames, "alive": alive}
            env.close()


def play_on(config: RecordConfig, episodes: Episodes, rows: np.ndarray, actions: np.ndarray, title: str) -> dict[str, np.ndarray]:
    """All that `played_moments` yields, together: `frames` uint8 (M, K, H, 64, 64, 3) and `alive` bool (M, K, H)."""
    played = [each for _, each in sorted(played_moments(config, episodes, rows, actions, title), key=lambda one: one[0])]
    return {name: np.stack([each[name] for each in played]) for name in ("frames", "alive")}
