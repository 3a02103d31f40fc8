"""Conversion of written keys to the names of the keymap. A digit is the number of a latent action, from 1."""

from collections.abc import Collection, Iterable

from genie_tf.episodes.controls import NONE, chord, control_of, keys_in
from genie_tf.errors import UserError

DIGITS = "123456789"


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


def pressed_in(down: set[str], names: Collection[str], actions: int) -> str | None:
    """The key of a step: the lowest digit that is down, or the control of the keys that are down.

    Args:
        down: Names of the keys that are down.
        names: The keys of a keymap.
        actions: Number of actions.

    Returns:
        The key, or None if no key is down and the keymap has none for that.
    """
    numbers = sorted(down & set(DIGITS[:actions]))
    return numbers[0] if numbers else control_of(down & frozenset().union(*map(keys_in, names)), names)
