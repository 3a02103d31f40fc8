"""The training loop of all models: fit, save checkpoints, resume interrupted trainings."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import keras
from keras import ops
from tqdm.auto import tqdm

from genie_tf import signals
from genie_tf.episodes.dataset import batches
from genie_tf.errors import UserError
from genie_tf.files import write_whole
from genie_tf.hosts import ONE, Devices, lost, own_part, processes
from genie_tf.training.checkpoints import KEEP_EVERY, PART, Start, discard, find_start, load_model, save_checkpoint
from genie_tf.training.devices import distributed, evenly, shared_among
from genie_tf.training.live import LiveFigure, Look, show
from genie_tf.training.optimizer import make_optimizer, schedule_of


class _Keeper(keras.callbacks.Callback):
    """Writes history.csv and a checkpoint after each epoch.

    The previous checkpoint is deleted, except every `KEEP_EVERY` epochs. A loss that is no number ends the training.
    """

    def __init__(self, title, folder, prefix, facts, start, steps_per_epoch):
        super().__init__()
        self.title, self.folder, self.prefix, self.facts, self.history = title, folder, prefix, facts, start.history
        self.epoch, self.steps_per_epoch = start.epoch, steps_per_epoch

    def save_part(self, model: keras.Model) -> None:
        """Save an epoch that was stopped between its first step and its last."""
        done = int(model.optimizer.iterations) - self.epoch * self.steps_per_epoch
        if processes.number or not 0 < done < self.steps_per_epoch:
            return
        chance, metrics = _chance_of(model), model.metrics_variables
        part = {
            "step": done,
            "chance": [ops.convert_to_numpy(state).tolist() for state in chance],
            "metrics": [ops.convert_to_numpy(value).tolist() for value in metrics],
        }
        facts = self.facts | {"history": self.history, "part": part}
        print(f"\n{self.title}: saving step {done} of epoch {self.epoch + 1}", flush=True)
        discard(self.folder / f"{self.prefix}_{self.epoch}{PART}", self.prefix)
        save_checkpoint(model, self.folder, self.prefix, self.epoch, facts, PART)

    def failure(self, when: str) -> UserError:
        """The error of a loss that is no number."""
        kept = f"{self.folder / self.prefix}_{len(self.history)} is kept" if self.history else "no epoch was finished"
        return UserError(
            f"{self.title}: the loss is not a finite number {when}: {kept}; "
            "continue with a lower learning_rate, or with another seed"
        )

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if signals.received:
            raise KeyboardInterrupt  # again: Keras may have swallowed it
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise self.failure(f"in step {batch + 1} of epoch {self.epoch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        if not all(math.isfinite((logs or {}).get(name, 0.0)) for name in ("loss", "val_loss")):
            raise self.failure(f"after epoch {epoch + 1}")  # its weights are not kept
        self.history.append({"epoch": epoch + 1} | {name: float(value) for name, value in (logs or {}).items()})
        if processes.number:
            return
        save_checkpoint(self.model, self.folder, self.prefix, epoch + 1, self.facts | {"history": self.history})
        discard(self.folder / f"{self.prefix}_{epoch}{PART}", self.prefix)
        if epoch % KEEP_EVERY:
            discard(self.folder / f"{self.prefix}_{epoch}", self.prefix)
        write_history(self.folder / f"{self.prefix}_history.csv", self.history)


def _chance_of(model: keras.Model) -> list:
    """The random states of dropout, which the model's file does not contain."""
    return [variable for variable in model.variables if variable.name == "seed_generator_state"]


class _Epochs(keras.callbacks.Callback):
    """Resets the random state of dropout at each epoch, so that it depends only on the epoch.

    A part of an epoch goes on with the random state and the metrics that the stopped run had.
    """

    def __init__(self, part: dict):
        super().__init__()
        self.part = part

    def on_epoch_begin(self, epoch, logs=None):
        for layer, state in enumerate(_chance_of(self.model)):
            state.assign(self.part["chance"][layer] if self.part else [layer, epoch << 20])
        for variable, value in zip(self.model.metrics_variables, self.part.get("metrics", [])):
            variable.assign(value)
        self.part = {}


class _Averages(keras.callbacks.SwapEMAWeights):
    """Puts the averaged weights into the model from each validation until the next epoch begins.

    So the checkpoint's model has the averages. Its optimizer has the weights that the training goes on from.

    Args:
        resumed: Whether the model comes from a checkpoint, so that it begins with the averages.
    """

    def __init__(self, resumed: bool):
        super().__init__(swap_on_epoch=True)
        self._ema_weights_in_model = resumed

    def on_test_end(self, logs=None):
        pass  # the checkpoint is written after it

    def on_epoch_end(self, epoch, logs=None):
        pass  # they are in the model already


class _Progress(keras.callbacks.Callback):
    """One progress bar over all epochs, with the remaining time."""

    def __init__(self, title, done, total):
        super().__init__()
        self.bar = tqdm(total=total, initial=done, desc=title, unit=" steps", mininterval=1.0, disable=processes.number > 0)

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self.bar.set_postfix({name: f"{value:.4g}" for name, value in (logs or {}).items()}, refresh=False)


def write_history(path: Path, history: list[dict]) -> None:
    names = list(history[-1])
    rows = [",".join(names)] + [",".join(str(epoch.get(name, "")) for name in names) for epoch in history]
    write_whole(path, lambda file: file.write("\n".join([*rows, ""]).encode()))


def _model_of(start: Start, make: Callable[[], keras.Model], made_by: str, config) -> keras.Model:
    """The model that a training goes on with, with its optimizer."""
    if start.checkpoint is not None and processes.count == 1:
        model, _ = load_model(start.checkpoint, made_by, optimizer=True)
        for optimizer in getattr(model.optimizer, "optimizers", [model.optimizer]):
            optimizer.learning_rate = schedule_of(config, optimizer.name)  # `epochs` may have changed
        return model
    keras.utils.set_random_seed(config.seed)
    model = make()
    if not model.built:
        model.build()
    model.compile(optimizer=make_optimizer(config))
    model.optimizer.build(model.trainable_variables)  # otherwise the first step is traced twice
    if start.checkpoint is not None:  # several processes must give values in the same order, and Keras loads them in any
        with distributed(None):
            known, _ = load_model(start.checkpoint, made_by, optimizer=True)
        values = [*known.weights, *known.optimizer.variables]
        for variable, value in zip([*model.weights, *model.optimizer.variables], values, strict=True):
            variable.assign(ops.convert_to_numpy(value))
    return model


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
    look: Look | None = None,
    live: bool = False,
    devices: Devices = ONE,
) -> Path:
    """Train a model, or resume an interrupted training.

    The training continues from the last checkpoint if its settings and inputs are the same and `epochs` is not reached. If
    settings or inputs have changed, the last checkpoint is renamed to `<prefix>_<epoch>.old` and the training starts again. If the
    last checkpoint is damaged, it is renamed to `<prefix>_<epoch>.damaged`, and the training continues from the one before it.

    Ctrl-C and SIGTERM save the steps of the running epoch in `<prefix>_<epoch>.part`. The next run continues with the step after
    them.

    Args:
        title: Title of the progress bar.
        make: Function without arguments that returns an uncompiled model. The global seed is set before the call.
        draw: Function from a `numpy.random.Generator` and the batch size to a batch, the input of the model's `call`.
        validation: Validation data in memory, an input of the model's `call`.
        folder: `model/<world>`.
        prefix: First part of the checkpoint folders' names.
        made_by: Name of the calling script, for error messages.
        config: A `Training`.
        inputs: Fingerprints of the training data. Other fingerprints make a checkpoint invalid.
        look: Function from the model to a caption and rows of frames, the pictures of the figure `<prefix>_loss.png`. By
            default the figure has none, and if several processes train, as all of them would have to draw.
        live: Whether to show this figure in a notebook during the training.
        devices: The devices that train. The update does not depend on them.

    Returns:
        The folder of the last checkpoint.

    Raises:
        UserError: the loss is not a finite number, the last checkpoint can't be loaded, there are fewer devices, or one of several
            processes has ended.
    """
    settings, usual = dataclasses.asdict(config), dataclasses.asdict(type(config)())
    for each in (settings, usual):
        del each["epochs"]
    facts = {"settings": settings, "inputs": inputs}
    picture = folder / f"{prefix}_loss.png"
    start = find_start(folder, prefix, made_by, facts, usual)
    own = own_part(config.batch_size)
    if start.epoch >= config.epochs:
        print(f"{title}: done already, {folder / prefix}_{start.epoch}")
        if live and picture.exists():
            show(picture)
    with shared_among(devices, config.batch_size):
        while start.epoch < config.epochs:
            model = _model_of(start, make, made_by, config)
            done = start.epoch * config.steps_per_epoch + start.step
            keeper = _Keeper(title, folder, prefix, facts, start, config.steps_per_epoch)
            progress = _Progress(title, done, config.epochs * config.steps_per_epoch)
            averages = [_Averages(resumed=done > 0 and not start.part)] if config.ema else []
            figure = LiveFigure(title, start.history, config.epochs, picture, look if processes.count == 1 else None, live)
            try:
                model.fit(
                    batches(draw, config.batch_size, config.seed, done),
                    epochs=start.epoch + 1 if start.part else config.epochs,
                    initial_epoch=start.epoch,
                    steps_per_epoch=config.steps_per_epoch - start.step,
                    validation_data=(evenly(validation, devices.count),),
                    validation_batch_size=own.stop - own.start,
                    verbose=0,
                    callbacks=[
                        _Epochs(start.part),
                        *averages,
                        progress,
                        keeper,
                        *([] if processes.number else [figure]),
                    ],
                )
            except KeyboardInterrupt:
                keeper.save_part(model)
                raise
            except (RuntimeError, ValueError) as error:
                if processes.count == 1:
                    raise
                raise lost(error) from error
            finally:
                progress.bar.close()  # an error message then begins on a new line
            start = find_start(folder, prefix, made_by, facts, usual)
    return folder / f"{prefix}_{start.epoch}"
