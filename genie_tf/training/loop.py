"""One loop for all stages: fit, keep checkpoints, go on where a stopped run left off."""

import contextlib
import importlib
import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
from tqdm.auto import tqdm

from genie_tf.episodes.dataset import batches
from genie_tf.errors import UserError
from genie_tf.files import UNFINISHED, read_json, write_whole
from genie_tf.training.plot import plot_history

KEEP_EVERY = 10  # epochs
PLOT_EVERY = 5.0  # seconds
WEIGHTS, FACTS = "model.keras", "training.json"


def checkpoints(folder: Path, prefix: str) -> dict[int, Path]:
    """The checkpoint folders `<prefix>_<epoch>`, by epoch."""
    found = {int(m[1]): path for path in folder.glob(f"{prefix}_*") if (m := re.fullmatch(rf"{prefix}_(\d+)", path.name))}
    return dict(sorted(found.items()))


def latest_checkpoint(folder: Path, prefix: str) -> Path | None:
    """The checkpoint of the highest epoch, or None."""
    found = checkpoints(folder, prefix)
    return found[max(found)] if found else None


def load_checkpoint(folder: Path | str, prefix: str, made_by: str, optimizer: bool = False):
    """Load the latest model.

    Args:
        folder: `model/<world>`.
        prefix: First part of the checkpoint's name, such as "VQVAE_Model".
        made_by: The script that makes it, for the error.
        optimizer: Whether to load that too, to go on training: it takes twice the memory of the weights.

    Returns:
        The model, and the path of its file.

    Raises:
        UserError: there is none, or it can't be read.
    """
    folder = Path(folder)
    checkpoint = latest_checkpoint(folder, prefix)
    if checkpoint is None:
        raise UserError(f"no {prefix}_* in {folder}: train one with `python {made_by} --world {folder.name}`")
    file = checkpoint / WEIGHTS
    try:
        with zipfile.ZipFile(file) as archive:
            module = json.loads(archive.read("config.json"))["module"]
        if module.split(".")[0] == __package__.split(".")[0]:
            importlib.import_module(module)  # Keras knows a class once its module is imported
        return keras.saving.load_model(file, compile=optimizer), file
    except Exception as error:  # whatever zip, JSON, HDF5 and Keras make of a bad file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"can't read {file} ({reason[:200]}): {again(checkpoint, made_by)}") from error


def again(checkpoint: Path, made_by: str) -> str:
    """What to do about a damaged checkpoint."""
    return f"delete {checkpoint} and run `python {made_by} --world {checkpoint.parent.name}` again"


def load_facts(checkpoint: Path, made_by: str) -> dict:
    """What a checkpoint says of its training: `settings`, `inputs` and `history`.

    Raises:
        UserError: the file is missing or damaged.
    """
    return read_json(checkpoint / FACTS, again(checkpoint, made_by), "settings", "inputs", "history")


def save_checkpoint(model: keras.Model, folder: Path, prefix: str, epoch: int, facts: dict) -> None:
    """Write `<prefix>_<epoch>`: under a temporary name, then renamed, so that it is whole or absent."""
    unfinished = folder / (prefix + UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        model.save(unfinished / WEIGHTS)
        (unfinished / FACTS).write_text(json.dumps(facts, indent=1))
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    os.replace(unfinished, folder / f"{prefix}_{epoch}")


def discard(checkpoint: Path, prefix: str) -> None:
    """Delete a checkpoint so that a run that is killed meanwhile leaves none that lacks a part."""
    unfinished = checkpoint.with_name(prefix + UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.replace(checkpoint, unfinished)
    shutil.rmtree(unfinished, ignore_errors=True)


@keras.saving.register_keras_serializable("genie_tf")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, constant, then linear decay over the last part.

    Args:
        peak: Highest learning rate.
        steps: Steps of the whole training.
        warmup: Steps of the rise.
        decay: Share of the steps over which the rate falls to a fiftieth.
    """

    def __init__(self, peak: float, steps: int, warmup: int = 100, decay: float = 0.4):
        self.peak, self.steps, self.warmup, self.decay = peak, steps, warmup, decay

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rise = (step + 1.0) / self.warmup
        fall = (self.steps - step) / (self.decay * self.steps)
        return self.peak * keras.ops.clip(keras.ops.minimum(rise, fall), 0.02, 1.0)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup, "decay": self.decay}


def make_optimizer(schedule: Schedule) -> keras.optimizers.Optimizer:
    """What every model is trained with."""
    return keras.optimizers.AdamW(schedule, weight_decay=1e-4, beta_2=0.99, clipnorm=1.0)


class _Keeper(keras.callbacks.Callback):
    """After each epoch: history.csv, checkpoint, and the loss plot if some seconds have passed since the last.

    The checkpoint of the epoch before is deleted, unless it is one of those that stay.
    """

    def __init__(self, folder, prefix, facts, history, live):
        super().__init__()
        self.folder, self.prefix, self.facts, self.history = folder, prefix, facts, history
        self.live, self.display, self.plotted = live, None, time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self.history.append({"epoch": epoch + 1} | {name: float(value) for name, value in (logs or {}).items()})
        save_checkpoint(self.model, self.folder, self.prefix, epoch + 1, self.facts | {"history": self.history})
        if epoch % KEEP_EVERY:
            discard(self.folder / f"{self.prefix}_{epoch}", self.prefix)
        write_history(self.folder / f"{self.prefix}_history.csv", self.history)
        if epoch + 1 == self.params["epochs"] or time.monotonic() > self.plotted + PLOT_EVERY:
            self.display = plot_history(self.history, self.folder / f"{self.prefix}_loss.png", self.live, self.display)
            self.plotted = time.monotonic()


class _Chance(keras.callbacks.Callback):
    """Makes the random draws of an epoch a function of the epoch alone: a checkpoint does not hold where dropout had come to."""

    def on_epoch_begin(self, epoch, logs=None):
        states = [variable for variable in self.model.variables if variable.name == "seed_generator_state"]
        for layer, state in enumerate(states):
            state.assign([layer, epoch << 20])


class _Progress(keras.callbacks.Callback):
    """One bar over all epochs, with the time left."""

    def __init__(self, title, steps_per_epoch, initial_epoch, epochs):
        super().__init__()
        total = epochs * steps_per_epoch
        self.bar = tqdm(total=total, initial=initial_epoch * steps_per_epoch, desc=title, unit=" steps", mininterval=1.0)

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self.bar.set_postfix({name: f"{value:.4g}" for name, value in (logs or {}).items()}, refresh=False)


def write_history(path: Path, history: list[dict]) -> None:
    names = list(history[-1])
    rows = [",".join(names)] + [",".join(str(epoch.get(name, "")) for name in names) for epoch in history]
    write_whole(path, lambda file: file.write("\n".join([*rows, ""]).encode()))


def train(
    title: str,
    make: Callable[[], keras.Model],
    draw: Callable,
    validation,
    folder: Path,
    prefix: str,
    made_by: str,
    config,
    inputs: dict[str, str],
    live: bool = False,
) -> Path:
    """Train a model, or go on with one that was stopped.

    A run goes on from the last checkpoint if that was made with the same settings and inputs, and is unfinished or made longer
    (`epochs`). A finished model that other settings or inputs replace is kept aside, as `<prefix>_<epoch>.old`.

    Args:
        title: Shown before the progress bar.
        make: Function of no arguments to an unbuilt, uncompiled model; the global seed is set before it.
        draw: Function of a `numpy.random.Generator` and the batch size to a batch, as the model's `call` takes it.
        validation: Arrays that fit in memory, as the model's `call` takes them.
        folder: `model/<world>`.
        prefix: First part of the checkpoint folders' names.
        made_by: The script that calls, for errors.
        config: A `Training`.
        inputs: Fingerprints of what the training reads; other inputs make a checkpoint stale.
        live: Whether to draw the loss in a notebook while it falls.

    Returns:
        The folder of the last checkpoint.

    Raises:
        UserError: the last checkpoint is damaged.
    """
    settings = {name: value for name, value in vars(config).items() if name != "epochs"}
    facts = {"settings": settings, "inputs": inputs}
    epoch, history = 0, []
    found = checkpoints(folder, prefix)
    if found:
        last, checkpoint = found.popitem()
        known = load_facts(checkpoint, made_by)
        if {name: known[name] for name in facts} == json.loads(json.dumps(facts)):
            epoch, history = last, known["history"]
            stray = [path for at, path in found.items() if at % KEEP_EVERY]  # left by a run that was killed
        else:
            for old in folder.glob(f"{prefix}_*.old"):
                shutil.rmtree(old)
            aside = checkpoint.with_name(checkpoint.name + ".old")
            os.replace(checkpoint, aside)
            print(f"{checkpoint} was trained with other settings or on other data: kept as {aside.name}, training anew")
            stray = list(found.values())
        for path in stray:
            discard(path, prefix)
    if epoch >= config.epochs:
        print(f"{title}: done already, {checkpoint}")
        return checkpoint
    schedule = Schedule(config.learning_rate, config.epochs * config.steps_per_epoch)
    if epoch:
        model, _ = load_checkpoint(folder, prefix, made_by, optimizer=True)
        model.optimizer.learning_rate = schedule  # of a training that may have been made longer
    else:
        keras.utils.set_random_seed(config.seed)
        model = make()
        model.build()
        model.compile(optimizer=make_optimizer(schedule))
        model.optimizer.build(model.trainable_variables)  # else the first step makes them, and is traced twice for it
    progress = _Progress(title, config.steps_per_epoch, epoch, config.epochs)
    try:
        model.fit(
            batches(draw, config.batch_size, config.seed, epoch * config.steps_per_epoch),
            epochs=config.epochs,
            initial_epoch=epoch,
            steps_per_epoch=config.steps_per_epoch,
            validation_data=(validation,),
            validation_batch_size=config.batch_size,
            verbose=0,
            callbacks=[_Chance(), progress, _Keeper(folder, prefix, facts, history, live)],
        )
    finally:
        progress.bar.close()  # so that an error begins a line of its own
    return folder / f"{prefix}_{config.epochs}"
