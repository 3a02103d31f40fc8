"""A world model in the manner of Genie: record a game, train the models, and play the trained world.

`World` and `load_checkpoint` are imported at their first use, so that scripts without models start fast.
"""

import sys
from pkgutil import resolve_name
from typing import TYPE_CHECKING

try:
    import gymnasium
except ModuleNotFoundError:
    print(f"error: {sys.executable} has no gymnasium: run `make setup` and `. .venv/bin/activate` first", file=sys.stderr)
    sys.exit(2)

from genie_tf.allocator import keep_freed_memory, take_gpu_memory_as_needed

if TYPE_CHECKING:
    from genie_tf.training.checkpoints import load_checkpoint
    from genie_tf.world import World

keep_freed_memory()
take_gpu_memory_as_needed()

__all__ = ["World", "load_checkpoint"]
_HOMES = {"World": "genie_tf.world:World", "load_checkpoint": "genie_tf.training.checkpoints:load_checkpoint"}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve_name(_HOMES[name])


gymnasium.register(
    "genie_tf/Dream-v0",
    entry_point="genie_tf.play.environment:DreamEnv",
    vector_entry_point="genie_tf.play.environment:DreamVectorEnv",
)
