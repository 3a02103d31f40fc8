"""Find the controls of a game: play every action from the same states, and compare the frames.

Prints the groups of actions that have the same effect.
Examples: python -m genie_tf.episodes.find_controls --config configs/pong.yaml
python -m genie_tf.episodes.find_controls --record.game bigfish
"""

import numpy as np

from genie_tf.cli import parse, run
from genie_tf.config import RecordSettings
from genie_tf.episodes.recorder import check, make_game
from genie_tf.kinds import class_of

STATES_A_LEVEL = 20
RARE = 0.05  # actions that lead to different frames from fewer of the states have the same effect


def same_effects(settings: RecordSettings, states: int = 150, steps: int = 6, first_level: int = 20_000) -> list[list[int]]:
    """Groups of actions with the same effect.

    Each state is reached by random actions. Every action is then held for some steps. Two actions have the same effect if all
    frames are equal, from nearly all states.

    Args:
        settings: Section `record`.
        states: Number of states.
        steps: Game steps for which an action is held.
        first_level: The first level that is played.
    """
    count = class_of("record", settings.source).count_actions(settings)
    differ, seen, level, rng = np.zeros((count, count)), 0, first_level, np.random.default_rng(0)
    while seen < states:
        game = make_game(settings, (level, 1), count, seed=0)
        level += 1
        for _ in range(STATES_A_LEVEL):
            for action in rng.integers(count, size=rng.integers(1, 8)).repeat(rng.integers(1, 6)):
                game.act(np.full(count, action))
            game.observe()
            state, frames, over = game.get_state(), [], np.zeros(count, bool)
            for _ in range(steps):
                game.act(np.arange(count))
                over |= game.observe()["first"]
                frames.append(game.frames())
            if not over.any():
                films = np.stack(frames, axis=1).reshape(count, -1)
                differ += (films[:, None] != films[None]).any(axis=-1)
                seen += 1
            game.set_state(state)
        game.close()
    groups: list[list[int]] = []
    for action in range(count):
        for group in groups:
            if differ[group[0], action] < RARE * seen:
                group.append(action)
                break
        else:
            groups.append([action])
    return groups


def main() -> None:
    settings = parse(__doc__ or "", sections=("record",))[0].record
    check(settings)
    print(f"{settings.game}: {same_effects(settings)}")


if __name__ == "__main__":
    run(main)
