"""Which latent action is which key: learnt from a few labelled transitions, after the training."""

from pathlib import Path

import numpy as np

from genie_tf.errors import UserError
from genie_tf.files import read_json, write_json

KEYS = {"none": (3, 4), "a": (1,), "d": (7,), "w": (5,), "aw": (2,), "dw": (8,)}  # Procgen actions that a key press stands for
KEY_OF_ACTION = np.array([1, 1, 4, 0, 0, 3, 2, 2, 5] + [0] * 6)  # index into KEYS of each of Procgen's 15 actions, by its effect
TRUE_KEYMAP = {"none": 4, "a": 1, "d": 7, "w": 5, "aw": 2, "dw": 8}  # what a guided world takes
DIRECTIONS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2] + [1] * 6)  # left, none, right of Procgen's 15 actions
KEY_ACTIONS = np.array([TRUE_KEYMAP[key] for key in KEYS])  # the Procgen action of each key
KEY_DIRECTIONS = DIRECTIONS[KEY_ACTIONS]
LABELS = 200  # transitions at most
FILE = "keymap.json"


def learn_keymap(codes: np.ndarray, actions: np.ndarray, latent_actions: int) -> dict[str, int]:
    """For each key the code that is seen often under it and seldom under the others, by smoothed counts.

    Args:
        codes: int (L,), latent actions of labelled transitions, L ≤ 200.
        actions: int (L,), the recorded actions.
        latent_actions: A, number of codes.

    Returns:
        From each key in `KEYS` to a code.
    """
    table = np.zeros((len(KEYS), latent_actions))
    for row, true_actions in enumerate(KEYS.values()):
        chosen = codes[np.isin(actions, true_actions)]
        table[row] = np.bincount(chosen, minlength=latent_actions)
    of_key = (table + 0.5) / (table.sum(axis=1, keepdims=True) + 0.5 * latent_actions)  # P(code | key)
    lift = of_key / of_key.mean(axis=0)
    score = np.log(of_key) + np.log(lift)  # seen often under this key, and not under the others
    return {key: int(score[row].argmax()) for row, key in enumerate(KEYS)}


def save_keymap(checkpoint: Path, keymap: dict[str, int], labels: int) -> None:
    """Keep a keymap with the latent action model in whose codes it speaks."""
    write_json(checkpoint / FILE, {"codes": keymap, "labelled_transitions": labels})


def load_keymap(checkpoint: Path, latent_actions: int) -> dict[str, int]:
    """From keys to codes.

    Args:
        checkpoint: Folder of the latent action model.
        latent_actions: A, number of codes of the model.

    Raises:
        UserError: there is none, it is damaged, or it names a code that the model has not.
    """
    file = checkpoint / FILE
    mend = f"delete it and run `python idm_training.py --world {checkpoint.parent.name}`"
    keymap = read_json(file, mend, "codes")["codes"]
    if not isinstance(keymap, dict) or "none" not in keymap:
        raise UserError(f'{file} is damaged (it names no code for "none"): {mend}')
    for key, code in keymap.items():
        if code not in range(latent_actions):
            raise UserError(f"{file} gives the key {key} the latent action {code}, of 0 to {latent_actions - 1}: {mend}")
    return keymap
