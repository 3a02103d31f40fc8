"""The keymap assigns a latent action to each key. It is learnt from a few labelled transitions after the training."""

from pathlib import Path

import numpy as np

from genie_tf.episodes.controls import Controls
from genie_tf.errors import UserError
from genie_tf.files import read_json, write_json

LABELS = 200  # maximum number of labelled transitions
FILE = "keymap.json"


def learn_keymap(codes: np.ndarray, actions: np.ndarray, controls: Controls, latent_actions: int) -> dict[str, int]:
    """Find for each key the code that is frequent under this key and rare under the others, from smoothed counts.

    Args:
        codes: int (L,), latent actions of labelled transitions, L ≤ 200.
        actions: int (L,), the recorded actions.
        controls: The controls of the recording.
        latent_actions: A, number of codes.

    Returns:
        A dict from the name of each control to a code.
    """
    table = np.zeros((len(controls), latent_actions))
    for row, true_actions in enumerate(controls.values()):
        chosen = codes[np.isin(actions, true_actions)]
        table[row] = np.bincount(chosen, minlength=latent_actions)
    of_key = (table + 0.5) / (table.sum(axis=1, keepdims=True) + 0.5 * latent_actions)  # P(code | key)
    lift = of_key / of_key.mean(axis=0)
    score = np.log(of_key) + np.log(lift)  # high for codes that are frequent under this key and rare under the others
    return {key: int(score[row].argmax()) for row, key in enumerate(controls)}


def save_keymap(checkpoint: Path, keymap: dict[str, int], labels: int) -> None:
    """Write a keymap to the checkpoint folder of its latent action model, or of the dynamics of a guided world."""
    write_json(checkpoint / FILE, {"codes": keymap, "labelled_transitions": labels})


def load_keymap(checkpoint: Path, actions: int, made_by: str = "idm_training.py") -> dict[str, int]:
    """Read a keymap.

    Args:
        checkpoint: Folder of the latent action model, or of the dynamics of a guided world.
        actions: A, number of latent actions of the model, or of actions of the guided dynamics.
        made_by: Name of the script that makes it, for error messages.

    Returns:
        A dict from keys to codes.

    Raises:
        UserError: the keymap is missing or damaged, or it contains a code that the model does not have.
    """
    file = checkpoint / FILE
    mend = f"delete it and run `python {made_by} --world {checkpoint.parent.name}`"
    keymap = read_json(file, mend, codes=dict)["codes"]
    if not keymap:
        raise UserError(f"{file} is damaged (it names no keys): {mend}")
    for key, code in keymap.items():
        if code not in range(actions):
            raise UserError(f"{file} gives the key {key[:50]} the latent action {str(code)[:50]}, of 0 to {actions - 1}: {mend}")
    return keymap
