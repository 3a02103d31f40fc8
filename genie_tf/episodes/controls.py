"""Controls: the keys of a game, by name, and the actions of the game that each stands for."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from genie_tf.errors import UserError

NONE = "none"  # the control of no key
NAMED = ("space", "return", "tab")  # keys that are written as a word
OPPOSITE = (("a", "d"), ("s", "w"))  # left and right, down and up: pressed together they count as neither
RESERVED = {"q", "r", "u"}  # quit, new, unsure: keys of the window itself


def keys_in(name: str) -> frozenset[str]:
    """The keys of a control: "aw" and "wa" hold a and w, "a+space" holds a and space, "none" holds no key.

    Raises:
        UserError: the name is no key and no chord.
    """
    if name == NONE:
        return frozenset()
    keys = [key for part in name.split("+") for key in ([part] if part in NAMED else part)]
    if not keys or not all(key in NAMED or (key.isascii() and key.isalpha() and key.islower()) for key in keys):
        raise UserError(f"no control {name!r}: name letters held together, as aw, and {', '.join(NAMED)}, as a+space, or none")
    return frozenset(keys)


def chord(keys: Iterable[str]) -> str:
    """The name of keys that are held together: letters in their order, then the others. Opposite keys are left out."""
    held = set(keys)
    for pair in OPPOSITE:
        if held.issuperset(pair):
            held -= set(pair)
    letters = "".join(sorted(key for key in held if len(key) == 1))
    return "+".join([letters] * bool(letters) + sorted(key for key in held if len(key) > 1)) or NONE


def control_of(pressed: Iterable[str], names: Iterable[str]) -> str | None:
    """The control among `names` that the pressed keys mean: the first in the alphabet that holds most of them, and no other key.

    Returns:
        The name. None if the keys mean nothing: this happens only if "none" is not among the names.
    """
    held = keys_in(chord(pressed))
    fitting = [name for name in names if keys_in(name) <= held]
    return max(sorted(fitting), key=lambda name: len(keys_in(name)), default=None)


class Controls(Mapping):
    """The controls of a game: a mapping from names to the actions with this effect.

    The first action of a control is the one that is played for it.

    Args:
        actions: A dict from names to the numbers of the actions, each an int or a list of int.

    Raises:
        UserError: a name is no key, two names hold the same keys, an action has two controls, or there are none.
    """

    def __init__(self, actions: Mapping[str, int | Iterable[int]]):
        self.actions = {name: (every,) if isinstance(every, int) else tuple(every) for name, every in actions.items()}
        every = [action for some in self.actions.values() for action in some]
        problems = {
            "record.controls: name at least two controls, each with an action": len(actions) < 2 or not all(self.actions.values()),
            "record.controls: two controls hold the same keys": len({keys_in(name) for name in actions}) < len(actions),
            "record.controls: an action has two controls": len(set(every)) < len(every),
            f"record.controls: {', '.join(sorted(RESERVED))} are keys of the window": any(
                RESERVED & keys_in(name) for name in actions
            ),
            "record.controls: an action is a number from 0 to 254": not all(action in range(255) for action in every),
        }
        for problem, found in problems.items():
            if found:
                raise UserError(problem)
        self.names = list(self.actions)
        self.first = np.array([some[0] for some in self.actions.values()])  # the action that is played for each control
        self.count = max(every) + 1  # number of actions of the game, as far as they are named
        self.of_action = np.full(self.count, -1)  # index of the control of each action; -1: no control has this action
        for index, some in enumerate(self.actions.values()):
            self.of_action[list(some)] = index
        held = [keys_in(name) for name in self.names]
        self.directions = np.array([1 + ("d" in keys) - ("a" in keys) for keys in held])  # 0 left, 1 none, 2 right
        self.has_directions = {0, 2} <= set(self.directions)

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return self.actions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.actions)

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def lists(self) -> dict[str, list[int]]:
        """A dict from names to lists of actions, for JSON files."""
        return {name: list(some) for name, some in self.actions.items()}

    def direction_of(self, actions: np.ndarray) -> np.ndarray:
        """Direction of actions int (...): 0 left, 1 none, 2 right."""
        return self.directions[self.of_action[actions]]
