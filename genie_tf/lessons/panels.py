"""Panels that the figures of the notebooks share."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

WIDTH = 10.0  # inches


def picture(axes: Axes, frame: np.ndarray, title: str = "", **options) -> None:
    """Show one picture (H, W, 3), or (H, W) with a colour map, without axes."""
    axes.imshow(frame, interpolation="nearest", **options)
    axes.set_title(title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


def pictures(rows: dict[str, list[np.ndarray]], titles: list[str], side: float = 1.1) -> Figure:
    """Rows of pictures with a name each, and a title above each column.

    Args:
        rows: From the name of a row to its pictures, (H, W, 3). A row may be shorter than the titles.
        titles: One for each column.
        side: Width of a picture, in inches.
    """
    first = next(iter(rows.values()))[0]
    height = side * first.shape[0] / first.shape[1]
    figure = Figure(figsize=(1.0 + side * len(titles), 0.25 + (height + 0.08) * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, (name, frames) in zip(panels, rows.items()):
        for axes in line:
            axes.axis("off")
        for axes, frame in zip(line, frames):
            picture(axes, frame)
            axes.axis("on")
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    for axes, title in zip(panels[0], titles):
        axes.set_title(title, fontsize=8)
    return figure


def bars(axes: Axes, heights: np.ndarray, marked: float | None = None, colour: str = "tab:blue") -> None:
    """A distribution as bars. `marked` is a place on its axis."""
    axes.bar(np.arange(len(heights)), heights, width=1.0, color=colour)
    if marked is not None:
        axes.axvline(marked, color="tab:red")
    axes.set_yticks([])
    axes.tick_params(labelsize=7)


def left_out(why: str) -> Figure:
    """In place of a figure, a line that says why there is none, so that the notebook goes on."""
    figure = Figure(figsize=(WIDTH, 0.3))
    figure.text(0, 0.5, f"left out: {why}", va="center", fontsize=9)
    return figure


def film(gif: str, width: int):
    """A GIF as an animated PNG, which notebooks show everywhere, `width` pixels wide."""
    from IPython.display import Image as Shown  # only available in a notebook

    file = io.BytesIO()
    with Image.open(gif) as images:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(images)]
        duration = images.info["duration"]
    frames[0].save(file, format="png", save_all=True, append_images=frames[1:], duration=duration, loop=0)
    return Shown(file.getvalue(), format="png", width=width)


class Table:
    """Shown as a table in a notebook, and as lines elsewhere."""

    def __init__(self, rows: dict[str, dict[str, str]]):
        self.rows, self.columns = rows, list(next(iter(rows.values())))

    def _repr_markdown_(self) -> str:
        head = f"| | {' | '.join(self.columns)} |\n|---|{'---|' * len(self.columns)}\n"
        return head + "\n".join(f"| {name} | {' | '.join(row[c] for c in self.columns)} |" for name, row in self.rows.items())

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {', '.join(f'{c} {row[c]}' for c in self.columns)}" for name, row in self.rows.items())
