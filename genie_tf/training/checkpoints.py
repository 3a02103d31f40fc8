"""Checkpoints on the disk: save, load, find the one that a training goes on from."""

import contextlib
import dataclasses
import importlib
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import keras

from genie_tf.errors import UserError
from genie_tf.files import UNFINISHED, read_json
from genie_tf.hosts import main_process_first
from genie_tf.layers.self_supervised import SelfSupervisedModel
from genie_tf.training.devices import distributed
from genie_tf.training.precision import under_policy

KEEP_EVERY = 10  # epochs
WEIGHTS, FACTS = "model.keras", "training.json"
CONFIG = "config.json"  # of the model, in the zip archive WEIGHTS
SMALL, EXPANSION = 10_000_000, 20  # a larger part, in bytes, that takes so much less room in its archive is no model's
PART = ".part"  # ends the folder of a run that was stopped in an epoch


def checkpoints(folder: Path, prefix: str) -> dict[int, Path]:
    """The checkpoint folders `<prefix>_<epoch>`, by epoch."""
    found = {int(m[1]): path for path in folder.glob(f"{prefix}_*") if (m := re.fullmatch(rf"{prefix}_(\d+)", path.name))}
    return dict(sorted(found.items()))


def latest_checkpoint(folder: Path, prefix: str) -> Path | None:
    """The checkpoint of the highest epoch, or None."""
    found = checkpoints(folder, prefix)
    return found[max(found)] if found else None


def checkpoint_file(folder: Path | str, prefix: str, made_by: str) -> Path:
    """The file of the latest model.

    Raises:
        UserError: there is no checkpoint.
    """
    folder = Path(folder)
    checkpoint = latest_checkpoint(folder, prefix)
    if checkpoint is None:
        raise UserError(f"no {prefix}_* in {folder}: train one with `python {made_by} --world {folder.name}`")
    return checkpoint / WEIGHTS


def load_checkpoint(folder: Path | str, prefix: str, made_by: str):
    """Load the latest model, to use it. It computes in float32, even if a training in this process uses bfloat16.

    Args:
        folder: `model/<world>`.
        prefix: First part of the checkpoint's name, such as "VQVAE_Model".
        made_by: Name of the script that trains the model, for error messages.

    Returns:
        The model, and the path of its file.

    Raises:
        UserError: there is no checkpoint, or it can't be read.
    """
    with under_policy("float32"):
        return load_model(checkpoint_file(folder, prefix, made_by).parent, made_by, optimizer=False)


def load_model(checkpoint: Path, made_by: str, optimizer: bool):
    """The model of a checkpoint, and the path of its file. `optimizer`: load its optimizer too, which takes twice the memory."""
    file = checkpoint / WEIGHTS
    try:
        with zipfile.ZipFile(file) as archive:
            for part in archive.infolist():
                if part.file_size > max(SMALL, part.compress_size * EXPANSION):
                    raise ValueError(f"its part {part.filename} unpacks to {part.file_size} bytes")
            module = json.loads(archive.read(CONFIG))["module"]
        if module.split(".")[0] == __package__.split(".")[0]:
            importlib.import_module(module)  # registers the class with Keras
        model = keras.saving.load_model(file, compile=optimizer)
        if not isinstance(model, SelfSupervisedModel):
            raise TypeError(f"it holds a {type(model).__name__}")
        return model, file
    except Exception as error:  # zip, JSON, HDF5 and Keras raise many types for a bad file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"can't read {file} ({reason[:200]}): {again(file.parent, made_by)}") from error


def again(checkpoint: Path, made_by: str) -> str:
    """Advice for a damaged checkpoint, for error messages."""
    return f"delete {checkpoint} and run `python {made_by} --world {checkpoint.parent.name}` again"


def damage(checkpoint: Path, made_by: str) -> str:
    """What is damaged in a checkpoint, or "". The model's file is a zip archive, which has a checksum of each of its parts."""
    try:
        load_facts(checkpoint, made_by)
        with zipfile.ZipFile(checkpoint / WEIGHTS) as archive:
            bad = archive.testzip()
    except UserError as error:
        return str(error).split(":")[0]
    except Exception as error:  # zip and zlib raise many types for a bad file
        return f"{checkpoint / WEIGHTS} is damaged ({type(error).__name__})"
    return f"{checkpoint / WEIGHTS} is damaged ({bad})" if bad else ""


def load_facts(checkpoint: Path, made_by: str) -> dict:
    """Read the training facts of a checkpoint: `settings`, `inputs` and `history`.

    Raises:
        UserError: the file is missing or damaged.
    """
    return read_json(checkpoint / FACTS, again(checkpoint, made_by), settings=dict, inputs=dict, history=list)


def save_checkpoint(model: keras.Model, folder: Path, prefix: str, epoch: int, facts: dict, ending: str = "") -> None:
    """Write `<prefix>_<epoch><ending>` under a temporary name, then rename it. A reader never sees an incomplete checkpoint."""
    unfinished = folder / (prefix + UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        with distributed(None):  # Keras makes an optimizer to see what to save, and only one of several processes saves
            model.save(unfinished / WEIGHTS)
        (unfinished / FACTS).write_text(json.dumps(facts, indent=1))
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    os.replace(unfinished, folder / f"{prefix}_{epoch}{ending}")


def set_aside(checkpoint: Path, prefix: str, ending: str) -> Path:
    """Rename a checkpoint to `<prefix>_<epoch><ending>`, in place of an earlier one of this ending. Returns its new path."""
    for earlier in checkpoint.parent.glob(f"{prefix}_*{ending}"):
        shutil.rmtree(earlier)
    aside = checkpoint.with_name(checkpoint.name + ending)
    os.replace(checkpoint, aside)
    return aside


def discard(checkpoint: Path, prefix: str) -> None:
    """Delete a checkpoint. It is renamed first, so that an interruption leaves no incomplete checkpoint."""
    unfinished = checkpoint.with_name(prefix + UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.replace(checkpoint, unfinished)
    shutil.rmtree(unfinished, ignore_errors=True)


@dataclasses.dataclass
class Start:
    """Where a training goes on.

    Args:
        checkpoint: The checkpoint that it goes on from; None for a new training.
        epoch: Finished epochs.
        history: One dict for each of them.
        part: How much of the next epoch is done: its `step`s, and the values of the `chance` and the `metrics` variables, which the
            model's file lacks. Empty at the beginning of an epoch.
    """

    checkpoint: Path | None = None
    epoch: int = 0
    history: list[dict] = dataclasses.field(default_factory=list)
    part: dict = dataclasses.field(default_factory=dict)

    @property
    def step(self) -> int:
        return self.part.get("step", 0)


@main_process_first()
def find_start(folder: Path, prefix: str, made_by: str, facts: dict, usual: dict) -> Start:
    """The last whole checkpoint of a training with these facts, and what a stopped run has done of the epoch after it.

    A checkpoint that is older than a setting was trained with the default of it, from `usual`.

    Damaged checkpoints are renamed to `<prefix>_<epoch>.damaged`, and one of a training with other facts to `<prefix>_<epoch>.old`.
    """

    def fits(known: dict) -> bool:
        known = known | {"settings": usual | known["settings"]}
        return json.dumps({name: known[name] for name in facts}, sort_keys=True) == json.dumps(facts, sort_keys=True)

    start, found = Start(), checkpoints(folder, prefix)
    while found and not start.epoch:
        epoch, checkpoint = found.popitem()
        if fault := damage(checkpoint, made_by):
            before = f"{prefix}_{max(found)}" if found else "the beginning"
            print(f"{fault}: kept as {set_aside(checkpoint, prefix, '.damaged').name}, going on from {before}")
        elif fits(known := load_facts(checkpoint, made_by)):
            start = Start(checkpoint, epoch, known["history"])
        else:
            aside = set_aside(checkpoint, prefix, ".old")
            print(f"{checkpoint} was trained with other settings or on other data: kept as {aside.name}, training anew")
            break
    for epoch, stray in found.items():  # left by an interrupted run or by another training
        if epoch % KEEP_EVERY or not start.epoch:
            discard(stray, prefix)
    for part in folder.glob(f"{prefix}_*{PART}"):
        follows = part.name == f"{prefix}_{start.epoch}{PART}"
        if follows and not damage(part, made_by) and fits(known := load_facts(part, made_by)) and known.get("part"):
            start.checkpoint, start.part = part, known["part"]
        else:
            discard(part, prefix)
    return start
