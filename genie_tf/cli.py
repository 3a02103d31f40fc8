"""What every script shares: settings from YAML and the command line, and errors in one line."""

import argparse
import contextlib
import errno
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable

from genie_tf.config import Config
from genie_tf.errors import UserError

BAD_INPUT, INTERRUPTED = 2, 130
MAY_BE_ZERO = ("seed", "temperature", "corruption")


def parse(description: str, options: dict[str, dict] | None = None, arguments: list[str] | None = None):
    """Read `--config`, then the overrides: the result has `Config`'s fields and the script's own options.

    Args:
        description: The script's docstring, shown by `--help`.
        options: The script's own options: name to keywords of `add_argument`.
        arguments: The command line, by default the process's own.

    Raises:
        UserError: a setting is unknown, of another type, or a number that makes no sense.
    """
    import jsonargparse

    class Help(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Keeps the lines of the description, and the examples in it."""

    parser = jsonargparse.ArgumentParser(description=description, exit_on_error=False, formatter_class=Help)
    parser.add_argument("--config", action="config", help="YAML file of settings (default: configs/coinrun_plain.yaml)")
    for name, keywords in (options or {}).items():
        parser.add_argument(f"--{name}", **keywords)
    parser.add_class_arguments(Config, as_group=False)
    arguments = sys.argv[1:] if arguments is None else arguments
    if not any(argument.split("=")[0] == "--config" for argument in arguments):
        arguments = ["--config", "configs/coinrun_plain.yaml", *arguments]
    try:
        settings = parser.parse_args(arguments)
    except (jsonargparse.ArgumentError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{reason[:400]} (see --help)") from error
    values = parser.instantiate_classes(settings)
    config = Config(**{name: values[name] for name in Config.__dataclass_fields__})
    for part, section in vars(config).items():
        if part in ("world", "record"):  # the recorder knows its limits better
            continue
        for name, value in vars(section).items():
            if isinstance(value, (int, float)) and value <= 0 and name not in MAY_BE_ZERO:
                raise UserError(f"--{part}.{name} {value}: it must be more than 0")
    return config, {name: values[name] for name in options or {}}


@contextlib.contextmanager
def quiet():
    """Swallow what libraries print to stderr as they load; an exception brings it back."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(terminal, said.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def run(main: Callable[[], None]) -> None:
    """Call `main`; what the user can put right ends in one line on stderr and exit code 2, Ctrl-C in 130."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every new batch size
    try:
        main()
    except KeyboardInterrupt:
        print("\nstopped: what was finished is kept, and the same command goes on from there", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: can't write{where}: {error.strerror}; make room and run the same command again", file=sys.stderr)
        sys.exit(BAD_INPUT)
