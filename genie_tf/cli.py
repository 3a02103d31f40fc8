"""Functions of all scripts: settings from YAML and the command line, and errors in one line."""

import argparse
import dataclasses
import errno
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from genie_tf import signals
from genie_tf.config import Config, Training
from genie_tf.errors import BAD_INPUT, UserError
from genie_tf.hosts import leave
from genie_tf.kinds import TABLES, class_of, default_kind, kind_field, kinds_with

DEFAULT_CONFIG = "configs/coinrun_plain.yaml"
SECTIONS = tuple(section.name for section in dataclasses.fields(Config) if section.name != "world")
MAY_BE_ZERO = (
    "seed", "temperature", "guidance", "corruption", "action_dropout", "cold_starts", "entropy", "diversity", "commitment",
    "l1", "l4", "perceptual", "adversarial", "adversarial_after", "adversarial_regularizer", "ema", "noise", "picture_noise",
    "past_noise",
)  # fmt: skip
DEVICES = {
    "devices": {"type": int, "default": 1, "help": "GPUs of this machine among which each batch is divided"},
    "split": {"type": int, "default": 1, "help": "GPUs among which the weights are split, on JAX; a divisor of --devices"},
    "join": {
        "type": str, "default": "",
        "help": "train with other processes on JAX: auto where a launcher such as SLURM starts them, or host:port,processes,number",
    },
}  # fmt: skip
MOVED = {"tokenizer.codes": "tokenizer.quantizer.codes", "tokenizer.code_dim": "tokenizer.quantizer.code_dim"}


def parse(
    description: str,
    options: dict[str, dict] | None = None,
    arguments: list[str] | None = None,
    sections: tuple[str, ...] = SECTIONS,
):
    """Read the settings of `--config`, and override them by those of the command line.

    The fields of a section depend on its `kind`. Sections that the script does not read are ignored.

    Args:
        description: The script's docstring, shown by `--help`.
        options: The script's own options, a dict from names to keywords of `add_argument`.
        arguments: The command line, by default that of the process.
        sections: Names of the sections that the script reads.

    Returns:
        A `Config` whose other sections are None, and a dict of the script's own options.

    Raises:
        UserError: a setting is unknown, has the wrong type, or is out of range.
    """
    import jsonargparse

    class Help(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Keeps the line breaks of the description."""

    arguments = sys.argv[1:] if arguments is None else arguments
    values = _read_yaml(Path(_option(arguments, "config") or DEFAULT_CONFIG))
    values = {name: value for name, value in values.items() if name in ("world", *sections)}
    parser = jsonargparse.ArgumentParser(description=description, exit_on_error=False, formatter_class=Help)
    parser.add_argument("--config", default=DEFAULT_CONFIG, help="YAML file of settings")
    for name, keywords in (options or {}).items():
        parser.add_argument(f"--{name}", **keywords)
    parser.add_argument("--world", type=str, default=Config.world, help="name; data go to record/<world>, models to model/<world>")
    light = {section.name: section.type for section in dataclasses.fields(Config)}
    kinds: list[str] = []
    for section in sections:
        settings = light[section]
        if section in TABLES:
            settings = _settings_of_kind(section, default_kind(section), arguments, values.get(section, {}), kinds)
        parser.add_argument(f"--{section}", type=settings)
    if kinds:
        parser.epilog = f"Kinds: {'; '.join(kinds)}. Name one, and --help shows its settings."
    try:
        settings = parser.parse_args(arguments, namespace=parser.parse_object(values, defaults=True))
    except (jsonargparse.ArgumentError, TypeError, ValueError, OSError) as error:
        raise _bad(error) from error
    made = parser.instantiate_classes(settings)
    parts: dict[str, Any] = {section: made[section] if section in sections else None for section in SECTIONS}
    config = Config(world=made["world"], **parts)
    _check_numbers(config)
    return config, {name: made[name] for name in options or {}}


def _bad(error: Exception) -> UserError:
    return UserError(f"{' '.join(str(error).split())[:400]} (see --help)")


def _option(arguments: list[str], name: str) -> str | None:
    """The value of one option of the command line."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument(f"--{name}", dest="value")
    try:
        return first.parse_known_args(arguments)[0].value
    except argparse.ArgumentError as error:
        raise _bad(error) from error


def _settings_of_kind(path: str, default: str, arguments: list[str], values: dict, kinds: list[str]) -> type:
    """The dataclass of settings of the kind that the command line or the file names, and of the kinds within it.

    Args:
        path: A section, such as "tokenizer", or a field of one that has kinds itself, such as "tokenizer.quantizer".
        default: The kind if none is named.
        arguments: The command line.
        values: This part of the settings file. It is emptied if it names another kind than the command line, as it is written for
            that kind.
        kinds: Gets the options that choose a kind, for `--help`.
        default: The kind if none is named; by default the first of the table.

    Raises:
        UserError: the kind is unknown, or a setting belongs to another kind.
    """
    table = path.split(".")[-1]
    field = kind_field(table)
    kind = str(_option(arguments, f"{path}.{field}") or values.get(field) or default)
    if values.get(field, kind) != kind:
        values.clear()
    settings = class_of(table, kind).Settings
    kinds.append(f"--{path}.{field} {' or '.join(TABLES[table])}")
    _refuse_other_kinds(path, kind, settings, [*values, *_set_by(arguments, path)])
    inner = []
    for part in dataclasses.fields(settings):
        if part.name in TABLES:
            of_part, usual = values.get(part.name) or {}, getattr(settings(), part.name).kind
            if not isinstance(of_part, dict):
                raise UserError(f"{path}.{part.name} {of_part}: write {part.name}: {{kind: {usual}}}")
            chosen = _settings_of_kind(f"{path}.{part.name}", usual, arguments, of_part, kinds)
            inner.append((part.name, chosen, dataclasses.field(default_factory=chosen)))
    if not inner:
        return settings
    return dataclasses.make_dataclass(settings.__name__, inner, bases=(settings,), namespace={"__doc__": settings.__doc__})


def _read_yaml(file: Path) -> dict:
    """The sections of a settings file."""
    try:
        values = yaml.safe_load(file.read_text())
    except FileNotFoundError as error:
        there = ", ".join(sorted(each.name for each in file.parent.glob("*.yaml"))) or "no other settings"
        raise UserError(f"--config {file}: there is no such file; in {file.parent} there are {there}") from error
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"can't read --config {file}: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(values, dict) or not all(isinstance(part, dict) for name, part in values.items() if name != "world"):
        raise UserError(f"--config {file} holds no sections of settings: see {DEFAULT_CONFIG}")
    unknown = values.keys() - {"world", *SECTIONS}
    if unknown:
        raise UserError(f"--config {file}: there is no section {', '.join(map(str, unknown))}; there are {', '.join(SECTIONS)}")
    return values


def _set_by(arguments: list[str], section: str) -> list[str]:
    """Names of the fields of a section that the command line sets."""
    starts = f"--{section}."
    return [argument.removeprefix(starts).split("=")[0] for argument in arguments if argument.startswith(starts)]


def _refuse_other_kinds(path: str, kind: str, settings, given: list[str]) -> None:
    """Raise an error for a setting that has moved, or that only other kinds have. The error names these kinds."""
    table = path.split(".")[-1]
    field = kind_field(table)
    for name in given:
        if name in (one.name for one in dataclasses.fields(settings)):
            continue
        if f"{path}.{name}" in MOVED:
            raise UserError(f"{path}.{name} is now {MOVED[f'{path}.{name}']}")
        if others := kinds_with(table, name):
            raise UserError(
                f"{path}.{name} is a setting of {path}.{field} {' and '.join(others)}, and the {field} here is {kind}: "
                f"write {field}: {others[0]}, or leave {name} out"
            )


def _check_numbers(config: Config) -> None:
    for part, section in vars(config).items():
        if part in ("world", "record") or section is None:  # the recorder checks its own settings
            continue
        _check_numbers_of(part, section)
        if isinstance(section, Training) and section.epochs and section.steps_per_epoch:  # `auto` leaves them to its model
            batches = section.epochs * section.steps_per_epoch
            if section.accumulate > batches:
                raise UserError(f"--{part}.accumulate {section.accumulate}: it must be at most {batches}, the training's batches")


def _check_numbers_of(path: str, section) -> None:
    for name, value in vars(section).items():
        if dataclasses.is_dataclass(value):
            _check_numbers_of(f"{path}.{name}", value)
        elif (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and (value < 0 or (value == 0 and name not in MAY_BE_ZERO))
        ):
            least = "0 or more" if name in MAY_BE_ZERO else "more than 0"
            raise UserError(f"--{path}.{name} {value}: it must be {least}")
        elif name == "ema" and value >= 1:
            raise UserError(f"--{path}.ema {value}: it must be less than 1")


def leave_out_messages() -> None:
    """Leave out messages of the libraries that say nothing to a user."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # TensorFlow warns about every new batch size


def run(main: Callable[[], None]) -> None:
    """Call `main`. An error that the user can fix gives one line on stderr and exit code 2.

    Ctrl-C gives exit code 130, and the signal SIGTERM, with which a machine or a scheduler stops a process, 143.
    """
    leave_out_messages()
    signals.listen()
    try:
        try:
            main()
        except Exception as error:
            if signals.received:  # TensorFlow turns the interrupt into an error of its own while it traces a function
                raise KeyboardInterrupt from error
            raise
    except KeyboardInterrupt:
        print("\nstopped: what was finished is kept, and the same command goes on from there", file=sys.stderr)
        leave(128 + (signals.received or signal.SIGINT))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        leave(BAD_INPUT)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: can't write{where}: {error.strerror}; make room and run the same command again", file=sys.stderr)
        leave(BAD_INPUT)
