"""Conversion of pressed or written keys to the names of the keymap. A digit is the number of a latent action, from 1."""

from genie_tf.errors import UserError
from genie_tf.latent_action.keymap import KEYS

USE = "use w, a, d, . for none, [wd] for both at once, 1 to 8 for a latent action by its number"
DIGITS = "12345678"


def keys_of(text: str) -> list[str]:
    """The key of each step: "d.w" -> ["d", "none", "w"]. Brackets contain keys that are pressed together: "[wd]" -> ["dw"].

    Raises:
        UserError: a letter is no key, a bracket is open, or there are no keys.
    """
    keys, held = [], None
    for place, letter in enumerate(text):
        if letter == "[" and held is None:
            held = ""
        elif letter == "]" and held is not None:
            keys.append(key_name(held))
            held = None
        elif letter in DIGITS and held is None:
            keys.append(letter)
        elif letter in "wad.":
            if held is None:
                keys.append(key_name(letter))
            else:
                held += letter
        else:
            raise UserError(f"unknown key {letter!r} at place {place + 1} of {text!r}: {USE}")
    if held is not None or not keys:
        raise UserError(f"{text!r} holds no keys or an open bracket: {USE}")
    return keys


def key_name(pressed: str) -> str:
    """The keymap's name for a set of pressed keys. Left and right together count as neither."""
    held = set(pressed) & set("wad")
    if {"a", "d"} <= held:
        held -= {"a", "d"}
    name = "".join(sorted(held)) or "none"
    assert name in KEYS
    return name
