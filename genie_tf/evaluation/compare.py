"""Compare several worlds by the figures that `dream_evaluate_tf.py` wrote for each."""

from pathlib import Path

from matplotlib.figure import Figure

from genie_tf.errors import UserError
from genie_tf.evaluation.report import curve, drawing, number, page, table
from genie_tf.files import read_json, write_whole

CURVES = {
    "dynamics.psnr": "PSNR, dB",
    "dynamics.ssim": "SSIM",
    "dynamics.delta_psnr_last": "ΔPSNR, another last action, dB",
    "obey.direction_f1": "F1 of the direction asked for",
    "counterfactual.match": "nearest to the game under the same key",
    "lasting.frechet_blocks": "Fréchet distance to recorded frames, blocks",
}
FIGURE = ("value", "low", "high")


def compare(folders: list[str]) -> Path:
    """Print the figures of several worlds side by side, and write `comparison.html` next to the folder of the first world.

    Args:
        folders: Two or more folders `model/<world>` or files evaluation.json.

    Returns:
        Path of the page.

    Raises:
        UserError: fewer than two worlds, a world without readable figures, or no figure in common.
    """
    if len(folders) < 2:
        raise UserError("--compare takes two worlds or more: --compare model/a model/b")
    worlds: dict[str, dict] = {}
    for folder in folders:
        file = Path(folder) if Path(folder).suffix == ".json" else Path(folder) / "evaluation.json"
        mend = f"evaluate it first, `python dream_evaluate_tf.py --world {file.parent.name}`"
        try:
            worlds[folder] = {name: {part: float(one[part]) for part in FIGURE} for name, one in read_json(file, mend).items()}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{file} is damaged (it holds something else than figures): {mend}") from error
    names = [name for name in next(iter(worlds.values())) if all(name in figures for figures in worlds.values())]
    if not names:
        raise UserError(f"{' and '.join(worlds)} have no figure in common: evaluate them in the same way")
    width = max(len(name) for name in names)
    print(f"{'':{width}} " + " ".join(f"{folder:>28}" for folder in worlds))
    for name in names:
        cells = ["{value:.3f} [{low:.3f}, {high:.3f}]".format(**figures[name]) for figures in worlds.values()]
        print(f"{name:{width}} " + " ".join(f"{cell:>28}" for cell in cells))
    drawn = Figure(figsize=(10, 9), layout="constrained")
    for axes, (name, words) in zip(drawn.subplots(3, 2).flat, CURVES.items()):
        for number_of, (folder, figures) in enumerate(worlds.items()):
            curve(axes, figures, name, folder, f"C{number_of}")
        axes.set(title=words, xlabel="frames dreamt", xscale="log" if name.startswith(("obey", "lasting")) else "linear")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    rows = [[name, *(number(figures[name]) for figures in worlds.values())] for name in names]
    title = " and ".join(worlds)
    body = f"<h1>{title}</h1><p class=note>held-out levels, 95 % intervals</p>{drawing(drawn)}{table(['', *worlds], rows)}"
    target = Path(folders[0]).parent / "comparison.html" if Path(folders[0]).is_dir() else Path("comparison.html")
    write_whole(target, lambda file: file.write(page(title, body).encode()))
    print(f"wrote {target}")
    return target
