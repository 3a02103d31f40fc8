"""What the notebooks begin with: the settings, from the project's folder, and errors in one line."""

import os
from pathlib import Path

from genie_tf.cli import leave_out_messages, parse
from genie_tf.config import Config
from genie_tf.errors import UserError

PROJECT = Path(__file__).parent.parent
STOPPED = "stopped: what was finished is kept, and the same cell goes on from there"


def settings(file: str, *options: str) -> Config:
    """Read the settings of a world, and prepare the running notebook.

    Paths are then those of the project's folder, as for the scripts. An error that the user can mend is shown in one line, and so
    is an interrupted cell.

    Args:
        file: A file in `configs/`. The environment variable `GENIE_CONFIG` names another one for all notebooks, and `GENIE_FOLDER`
            another folder in place of the project's.
        *options: As on the command line of a script, such as "--dynamics.epochs", "40".

    Returns:
        The settings, with all sections.

    Raises:
        UserError: a setting is unknown or has a wrong value.
    """
    from IPython.core.getipython import get_ipython  # only available in a notebook

    leave_out_messages()
    os.chdir(os.environ.get("GENIE_FOLDER", PROJECT))
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((KeyboardInterrupt, UserError), _in_one_line)
        shell.run_line_magic("matplotlib", "inline")
    return parse("notebook", arguments=["--config", os.environ.get("GENIE_CONFIG", file), *options])[0]


def _in_one_line(shell, kind, error, traceback, tb_offset=None):
    line = STOPPED if issubclass(kind, KeyboardInterrupt) else f"error: {error}"
    print(line)
    return [line]
