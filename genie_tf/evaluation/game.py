"""Play the real game from recorded moments under other actions."""

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from genie_tf.config import RecordSettings
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorder import make_game

PIXELS, LEVELS = 4, 32  # two frames look different if at least PIXELS pixels differ by more than LEVELS, of 255


def look_different(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether two frames uint8 (..., H, W, 3) differ visibly: bool (...)."""
    far = np.abs(a.astype(np.int16) - b).max(axis=-1) > LEVELS
    return far.sum(axis=(-1, -2)) >= PIXELS


def played_moments(
    config: RecordSettings, episodes: Episodes, rows: np.ndarray, actions: np.ndarray, title: str
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Continue recorded moments in the game, one after another, each under several sequences of actions.

    To reach a moment, the game plays the recorded actions from the beginning of the level. Afterwards its state is restored to this
    moment.

    Args:
        config: Settings of the recording.
        episodes: The recording.
        rows: int (M,), sorted rows of the recording.
        actions: int (M, K, T), actions of the game, each held for as many steps as in the recording.
        title: Title of the progress bar.

    Yields:
        The index m of each moment in `rows`, and a dict: `frames` uint8 (K, T, H, W, 3); `alive` bool (K, T), false after the end
        of the episode, or if the game did not reproduce the recorded frame (for example with another release of the game).
    """
    _, K, T = actions.shape

    def hold(env, action):
        """Hold `action` (K,). Returns whether each episode ended: bool (K,)."""
        ended = np.zeros(K, bool)
        for _ in range(config.hold):
            env.act(action)
            ended |= env.observe()["first"]
        return ended

    episode, step = episodes.locate(rows)
    with tqdm(total=len(rows), desc=title, unit=" moments") as progress:
        for one in np.unique(episode):
            recorded = episodes.episodes[one].rows()
            env = make_game(config, (int(recorded["level"][0]), 1), K, seed=0, threads=0)
            env.observe()
            at = 0
            for m in np.flatnonzero(episode == one):
                for action in recorded["action"][at : step[m]]:
                    hold(env, np.full(K, action))
                at = step[m]
                state = env.get_state()
                here = (env.frames() == recorded["frame"][at]).all(axis=(1, 2, 3))
                frames, alive = np.zeros((K, T, *episodes.frame_size, 3), np.uint8), np.zeros((K, T), bool)
                for t in range(T):
                    here &= ~hold(env, actions[m, :, t])
                    frames[:, t], alive[:, t] = env.frames(), here
                env.set_state(state)
                env.observe()
                progress.update()
                yield m, {"frames": frames, "alive": alive}
            env.close()


def play_on(config: RecordSettings, episodes: Episodes, rows: np.ndarray, actions: np.ndarray, title: str) -> dict[str, np.ndarray]:
    """All results of `played_moments`, stacked: `frames` uint8 (M, K, T, H, W, 3) and `alive` bool (M, K, T)."""
    played = [each for _, each in sorted(played_moments(config, episodes, rows, actions, title), key=lambda one: one[0])]
    return {name: np.stack([each[name] for each in played]) for name in ("frames", "alive")}
