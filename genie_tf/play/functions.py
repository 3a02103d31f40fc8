"""The keys of the window itself: what each does, beside the keys of the game."""

from collections.abc import Iterable
from dataclasses import dataclass

from genie_tf.episodes.controls import NONE, keys_in
from genie_tf.play.keys import DIGITS


@dataclass(frozen=True)
class Function:
    """Something that the window does.

    Args:
        name: Its name in the program.
        keys: The keys that start it. Those that the game uses are left out.
        text: What it does, for the user.
    """

    name: str
    keys: tuple[str, ...]
    text: str


FUNCTIONS = (
    Function("help", ("h", "f1"), "show or hide this help"),
    Function("pause", ("space", "f2"), "pause, and go on"),
    Function("step", (".",), "one step while paused"),
    Function("back", ("backspace",), "back by one step; held: further"),
    Function("faster", ("+",), "faster"),
    Function("slower", ("-",), "slower"),
    Function("new", ("r",), "a new prompt"),
    Function("real", ("tab", "f3"), "dream or real game"),
    Function("both", ("b", "f4"), "dream and real game, side by side"),
    Function("record", ("f5",), "record, and stop recording"),
    Function("calibrate", ("c", "f6"), "name the latent actions by eye"),
    Function("overlay", ("o", "f7"), "show or hide figures"),
    Function("wait", ("k", "f8"), "step only while a key is down"),
    Function("quit", ("q",), "quit"),
)


def functions_of(controls: Iterable[str]) -> dict[str, str]:
    """The function of each key, by name. The keys of the game always stay the game's.

    Args:
        controls: Names of the controls of the game.
    """
    of_game = frozenset().union(*map(keys_in, controls))
    return {key: function.name for function in FUNCTIONS for key in function.keys if key not in of_game}


def help_rows(controls: Iterable[str], actions: int, without: Iterable[str] = ()) -> list[tuple[str, str]]:
    """The help, as pairs of keys and what they do.

    Args:
        controls: Names of the controls of the game.
        actions: Number of actions of the world.
        without: Names of the functions that this world does not have.
    """
    names = list(controls)
    works = functions_of(names)
    play = " ".join(name for name in names if name != NONE)
    rows = [(play, "play")] if play else []
    rows.append((f"1-{min(actions, len(DIGITS))}", "latent actions"))
    for function in FUNCTIONS:
        if function.name not in set(without):
            rows.append((" ".join(key for key in function.keys if works.get(key) == function.name), function.text))
    return rows
