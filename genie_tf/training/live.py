"""The live figure of a training: its curves, and pictures of what the model does so far."""

import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genie_tf.files import write_whole
from genie_tf.pictures import grid

SHARE = 0.03  # largest share of the training's time that the figure takes
WIDTH = 10.0  # inches

Look = Callable[[keras.Model], tuple[str, list[np.ndarray]]]  # a caption, and rows of frames, each uint8 (T, H, W, 3)


class LiveFigure(keras.callbacks.Callback):
    """Draws the figure `<prefix>_loss.png` after an epoch. In a notebook, it replaces the figure below the running cell.

    The figure has one panel for each quantity, with a curve for training and one for validation, and the pictures of `look`. If the
    figure takes more than 3 % of the training's time, epochs are left out. It is always drawn after the last epoch.

    Args:
        title: Name of the training.
        history: One dict per epoch, as in history.csv. Other code appends to it before this callback runs.
        epochs: Epochs of the whole training.
        path: PNG to write.
        look: Function from the model to the pictures. None: the figure has none.
        live: Whether to show the figure in the running notebook.
    """

    def __init__(self, title: str, history: list[dict], epochs: int, path: Path, look: Look | None, live: bool):
        super().__init__()
        self.title, self.history, self.epochs, self.path, self.look, self.live = title, history, epochs, path, look, live
        self.display, self.drawing = None, 0.0

    def on_train_begin(self, logs=None):
        self.begin, self.before = time.monotonic(), len(self.history)

    def on_epoch_end(self, epoch, logs=None):
        begin, last = time.monotonic(), epoch + 1 == self.epochs
        if not last and self.drawing > SHARE * (begin - self.begin):
            return
        per_epoch = (begin - self.begin) / (len(self.history) - self.before)
        left = "" if last else f", {remaining(per_epoch * (self.epochs - epoch - 1))} left"
        title = f"{self.title}: epoch {epoch + 1} of {self.epochs}{left}"
        figure = draw(title, self.history, *(self.look(self.model) if self.look is not None else ("", [])))
        write_whole(self.path, lambda file: figure.savefig(file, format="png", dpi=100))
        if self.live:
            self.display = show(self.path, self.display)
        self.drawing += time.monotonic() - begin


def remaining(seconds: float) -> str:
    """A duration in words."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def draw(title: str, history: list[dict], caption: str, rows: list[np.ndarray]) -> Figure:
    """The figure: the curves of `history`, and the pictures with their caption below, if there are any."""
    picture = np.asarray(grid(rows)) if rows else None
    height = WIDTH * picture.shape[0] / picture.shape[1] + 0.3 if picture is not None else 0.0
    figure = Figure(figsize=(WIDTH, 2.6 + height), layout="constrained")
    figure.suptitle(title, fontsize=10)
    parts = figure.subfigures(2 if rows else 1, 1, height_ratios=(2.2, height) if rows else None, squeeze=False)[:, 0]
    names = list(dict.fromkeys(name.removeprefix("val_") for name in history[-1] if name != "epoch"))
    for axes, name in zip(parts[0].subplots(1, len(names), squeeze=False)[0], names):
        for curve, label in ((name, "training"), (f"val_{name}", "validation")):
            points = [(epoch["epoch"], epoch[curve]) for epoch in history if curve in epoch]
            if points:
                axes.plot(*zip(*points), marker="." if len(points) < 20 else None, label=label)
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=7)
    parts[0].axes[0].legend(fontsize=7)
    if picture is not None:
        axes = parts[1].subplots()
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(caption, fontsize=9)
        axes.axis("off")
    return figure


def show(path: Path, display=None):
    """Show a PNG in the running notebook, in place of the display of an earlier call. Returns the display."""
    from IPython.display import Image  # only available in a notebook
    from IPython.display import display as show_here

    picture = Image(filename=str(path))
    if display is None:
        return show_here(picture, display_id=True)
    display.update(picture)
    return display
