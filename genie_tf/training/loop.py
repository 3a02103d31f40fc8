"""One loop for all stages: fit, keep checkpoints, go on where a stopped run left off."""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import keras
from tqdm.auto import tqdm

from genie_tf.episodes.format import write_whole
from genie_tf.errors import UserError
from genie_tf.training.plot import plot_history

KEEP_EVERY = 10  # epochs
WEIGHTS = "model.keras"


def latest_checkpoint(folder: Path, prefix: str) -> Path | None:
    """The checkpoint folder `<prefix>_<epoch>` of the highest epoch, or None."""
    epochs = {int(m[1]): path for path in folder.glob(f"{prefix}_*") if (m := re.fullmatch(rf"{prefix}_(\d+)", path.name))}
    return epochs[max(epochs)] if epochs else None


def load_checkpoint(folder: Path, prefix: str, made_by: str):
    """Load the latest model.

    Args:
        folder: `model/<world>`.
        prefix: First part of the checkpoint's name, such as "VQVAE_Model".
        made_by: The script that makes it, for the error.

    Returns:
        The model, and the path of its file.

    Raises:
        UserError: there is none, or it can't be read.
    """
    checkpoint = latest_checkpoint(folder, prefix)
    if checkpoint is None:
        raise UserError(f"no {prefix}_* in {folder}: train one with `python {made_by} --world {folder.name}`")
    try:
        return keras.saving.load_model(checkpoint / WEIGHTS), checkpoint / WEIGHTS
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"can't read {checkpoint} ({reason}): delete it and run `python {made_by}` again") from error


def save_checkpoint(model: keras.Model, folder: Path, prefix: str, epoch: int, facts: dict) -> None:
    """Write `<prefix>_<epoch>`: under a temporary name, then renamed, so that it is whole or absent."""
    unfinished = folder / f"unfinished_{prefix}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        model.save(unfinished / WEIGHTS)
        (unfinished / "training.json").write_text(json.dumps(facts, indent=1))
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    target = folder / f"{prefix}_{epoch}"
    shutil.rmtree(target, ignore_errors=True)
    os.replace(unfinished, target)


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
    """After each epoch: history.csv, loss plot, checkpoint. The checkpoint of the epoch before goes unless its turn is to stay."""

    def __init__(self, folder, prefix, facts, history, live):
        super().__init__()
        self.folder, self.prefix, self.facts, self.history = folder, prefix, facts, history
        self.live, self.display = live, None

    def on_epoch_end(self, epoch, logs=None):
        self.history.append({"epoch": epoch + 1} | {name: float(value) for name, value in (logs or {}).items()})
        save_checkpoint(self.model, self.folder, self.prefix, epoch + 1, self.facts | {"history": self.history})
        if epoch % KEEP_EVERY:
            shutil.rmtree(self.folder / f"{self.prefix}_{epoch}", ignore_errors=True)
        write_history(self.folder / f"{self.prefix}_history.csv", self.history)
        self.display = plot_history(self.history, self.folder / f"{self.prefix}_loss.png", self.live, self.display)


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
    build,
    batches_from,
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
        build: Function of no arguments to a built, uncompiled model; the global seed is set before it.
        batches_from: Function of the first step to an endless iterator of batches.
        validation: Arrays that fit in memory, as the model's `call` takes them.
        folder: `model/<world>`.
        prefix: First part of the checkpoint folders' names.
        made_by: The script that calls, for errors.
        config: Section of the configuration, with `epochs`, `steps_per_epoch`, `learning_rate`, `batch_size`.
        inputs: Fingerprints of what the training reads; other inputs make a checkpoint stale.
        live: Whether to draw the loss in a notebook while it falls.

    Returns:
        The folder of the last checkpoint.
    """
    settings = {name: value for name, value in vars(config).items() if name != "epochs"}
    facts = {"settings": settings, "inputs": inputs}
    shutil.rmtree(folder / f"unfinished_{prefix}", ignore_errors=True)
    epoch, history = 0, []
    checkpoint = latest_checkpoint(folder, prefix)
    if checkpoint is not None:
        known = json.loads((checkpoint / "training.json").read_text())
        if {name: known[name] for name in facts} == json.loads(json.dumps(facts)):
            epoch, history = int(checkpoint.name.rsplit("_", 1)[1]), known["history"]
        else:
            for old in folder.glob(f"{prefix}_*.old"):
                shutil.rmtree(old)
            aside = checkpoint.with_name(checkpoint.name + ".old")
            os.replace(checkpoint, aside)
            print(f"{checkpoint} was trained with other settings or on other data: kept as {aside.name}, training anew")
            for old in folder.glob(f"{prefix}_*[0-9]"):
                shutil.rmtree(old)
    if checkpoint is not None and epoch >= config.epochs:
        print(f"{title}: done already, {checkpoint}")
        return checkpoint
    schedule = Schedule(config.learning_rate, config.epochs * config.steps_per_epoch)
    if epoch:
        model, _ = load_checkpoint(folder, prefix, made_by)
        model.optimizer.learning_rate = schedule  # of a training that may have been made longer
    else:
        keras.utils.set_random_seed(config.seed)
        model = build()
        model.compile(optimizer=make_optimizer(schedule))
        model.optimizer.build(model.trainable_variables)  # else the first step makes them, and is traced twice for it
    progress = _Progress(title, config.steps_per_epoch, epoch, config.epochs)
    try:
        model.fit(
            batches_from(epoch * config.steps_per_epoch),
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
