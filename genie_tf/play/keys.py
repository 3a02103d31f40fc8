"""Conversion of written keys to the names of the keymap. A digit is the number of a latent action, from 1."""

from collections.abc import Iterable

from genie_tf.episodes.controls import NONE, chord, keys_in
from genie_tf.errors import UserError

DIGITS = "12345678"


def written(name: str) -> str:
    """How a key is written: "a" -> "a", "none" -> ".", "dw" -> "[dw]"."""
    return "." if name == NONE else name if len(name) == 1 else f"[{name}]"


def written_keys(names: Iterable[str], actions: int) -> str:
    """The keys of a keymap as they are written, for messages."""
    return f"use {', '.join(map(written, names))}, or 1 to {min(actions, len(DIGITS))} for a latent action by its number"


def keys_of(text: str) -> list[str]:
    """The key of each step: "d.w" -> ["d", "none", "w"]. Brackets hold keys that are pressed together: "[wd]" -> ["dw"].

    Raises:
        UserError: a letter is no key, a bracket is open, or there are no keys.
    """
    keys, place = [], 0
    while place < len(text):
        end = text.find("]", place) if text[place] == "[" else place
        key = text[place : end + 1]
        try:
            keys.append(NONE if key == "." else key if key and key in DIGITS else chord(keys_in(key.removeprefix("[").rstrip("]"))))
        except UserError as error:
            what = f"unknown key {key!r}" if key else "an open bracket"
            raise UserError(
                f"{what} at place {place + 1} of {text!r}: write letters, . for none, [wd] or [a+space] for chords"
            ) from error
        place = end + 1
    if not keys:
        raise UserError(f"{text!r} holds no keys: write letters, . for none, [wd] for two at once")
    return keys
