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
    config: RecordSettings, episodes: Episodes, rows: np.ndarray, actions: np.ndarray, title: str, between: bool = False
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Continue recorded moments in the game, one after another, each under several sequences of actions.

    To reach a moment, the game plays the recorded actions from the beginning of the level. Afterwards its state is restored to this
    moment.

    Args:
        config: Settings of the recording.
        episodes: The recording, with a row for each held action.
        rows: int (M,), sorted rows of the recording.
        actions: int (M, K, T), actions of the game, each held for as many steps as in the recording.
        title: Title of the progress bar.
        between: Whether to return the frames between the ends of the actions too.

    Yields:
        The index m of each moment in `rows`, and a dict: `frames` uint8 (K, T, H, W, 3), at the ends of the actions; `alive` bool
        (K, T), false after the end of the episode, or if the game did not reproduce the recorded frame (for example with another
        release of the game); with `between`, `film` uint8 (K, T E, H, W, 3), the E frames of every action.
    """
    _, K, T = actions.shape
    every = episodes.every

    def hold(env, action, shown=None):
        """Hold `action` (K,). Returns whether each episode ended: bool (K,). Fills `shown` (K, E, H, W, 3)."""
        ended = np.zeros(K, bool)
        for step in range(1, config.steps_per_frame * every + 1):
            env.act(action)
            ended |= env.observe()["first"]
            if shown is not None and step % config.steps_per_frame == 0:
                shown[:, step // config.steps_per_frame - 1] = env.frames()
        return ended

    episode, step = episodes.locate(rows)
    with tqdm(total=len(rows), desc=title, unit=" moments") as progress:
        for one in np.unique(episode):
            recorded = episodes.episodes[one].rows()[:: episodes.every]
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
                film = np.zeros((K, T, every, *episodes.frame_size, 3), np.uint8) if between else None
                for t in range(T):
                    here &= ~hold(env, actions[m, :, t], None if film is None else film[:, t])
                    frames[:, t], alive[:, t] = env.frames(), here
                env.set_state(state)
                env.observe()
                progress.update()
                all_frames = {} if film is None else {"film": film.reshape(K, -1, *frames.shape[2:])}
                yield m, {"frames": frames, "alive": alive} | all_frames
            env.close()


def play_on(
    config: RecordSettings, episodes: Episodes, rows: np.ndarray, actions: np.ndarray, title: str, between: bool = False
) -> dict[str, np.ndarray]:
    """All results of `played_moments`, stacked: `frames` uint8 (M, K, T, H, W, 3), `alive` bool (M, K, T), and `film`."""
    moments = played_moments(config, episodes, rows, actions, title, between)
    played = [each for _, each in sorted(moments, key=lambda one: one[0])]
    return {name: np.stack([each[name] for each in played]) for name in played[0]}
