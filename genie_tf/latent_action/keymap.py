"""The keymap assigns a latent action to each key. It is learnt from a few labelled transitions after the training."""

from pathlib import Path

import numpy as np

from genie_tf.errors import UserError
from genie_tf.files import read_json, write_json

KEYS = {"none": (3, 4), "a": (1,), "d": (7,), "w": (5,), "aw": (2,), "dw": (8,)}  # the Procgen actions of each key
KEY_OF_ACTION = np.array([1, 1, 4, 0, 0, 3, 2, 2, 5] + [0] * 6)  # index into KEYS of the key with the same effect, for 15 actions
TRUE_KEYMAP = {"none": 4, "a": 1, "d": 7, "w": 5, "aw": 2, "dw": 8}  # the keymap of a guided world
DIRECTIONS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2] + [1] * 6)  # direction of Procgen's 15 actions: 0 left, 1 none, 2 right
KEY_ACTIONS = np.array([TRUE_KEYMAP[key] for key in KEYS])  # the Procgen action of each key
KEY_DIRECTIONS = DIRECTIONS[KEY_ACTIONS]
LABELS = 200  # maximum number of labelled transitions
FILE = "keymap.json"


def learn_keymap(codes: np.ndarray, actions: np.ndarray, latent_actions: int) -> dict[str, int]:
    """Find for each key the code that is frequent under this key and rare under the others, from smoothed counts.

    Args:
        codes: int (L,), latent actions of labelled transitions, L ≤ 200.
        actions: int (L,), the recorded actions.
        latent_actions: A, number of codes.

    Returns:
        A dict from each key in `KEYS` to a code.
    """
    table = np.zeros((len(KEYS), latent_actions))
    for row, true_actions in enumerate(KEYS.values()):
        chosen = codes[np.isin(actions, true_actions)]
        table[row] = np.bincount(chosen, minlength=latent_actions)
    of_key = (table + 0.5) / (table.sum(axis=1, keepdims=True) + 0.5 * latent_actions)  # P(code | key)
    lift = of_key / of_key.mean(axis=0)
    score = np.log(of_key) + np.log(lift)  # high for codes that are frequent under this key and rare under the others
    return {key: int(score[row].argmax()) for row, key in enumerate(KEYS)}


def save_keymap(checkpoint: Path, keymap: dict[str, int], labels: int) -> None:
    """Write a keymap to the checkpoint folder of its latent action model."""
    write_json(checkpoint / FILE, {"codes": keymap, "labelled_transitions": labels})


def load_keymap(checkpoint: Path, latent_actions: int) -> dict[str, int]:
    """Read a keymap.

    Args:
        checkpoint: Folder of the latent action model.
        latent_actions: A, number of codes of the model.

    Returns:
        A dict from keys to codes.

    Raises:
        UserError: the keymap is missing or damaged, or it contains a code that the model does not have.
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
