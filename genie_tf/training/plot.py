"""Plot of the loss, as a PNG and live in a notebook."""

from pathlib import Path

from matplotlib.figure import Figure

from genie_tf.files import write_whole


def plot_history(history: list[dict], path: Path, live: bool = False, display=None):
    """Draw training and validation curves, one panel per quantity.

    Args:
        history: One dict per epoch, as in history.csv.
        path: PNG to write.
        live: Whether to show the figure in the running notebook.
        display: Return value of an earlier call. The figure of that call is replaced.

    Returns:
        The notebook's display handle, or None.
    """
    names = list(dict.fromkeys(name.removeprefix("val_") for name in history[-1] if name != "epoch"))
    figure = Figure(figsize=(4 * len(names), 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        for curve, label in ((name, "training"), (f"val_{name}", "validation")):
            points = [(epoch["epoch"], epoch[curve]) for epoch in history if curve in epoch]
            if points:
                axes.plot(*zip(*points), marker="." if len(points) < 20 else None, label=label)
        axes.set(xlabel="epoch", title=name)
        axes.legend()
    write_whole(path, lambda file: figure.savefig(file, format="png"))
    if not live:
        return None
    from IPython.display import Image  # only available in a notebook
    from IPython.display import display as show

    picture = Image(filename=str(path))
    if display is None:
        return show(picture, display_id=True)
    display.update(picture)
    return display
