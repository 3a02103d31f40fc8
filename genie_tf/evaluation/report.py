"""`report.html`: all figures on one self-contained page."""

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from genie_tf.evaluation.game import LEVELS, PIXELS
from genie_tf.evaluation.latent_actions import LEVEL_SETS
from genie_tf.files import write_whole
from genie_tf.pictures import grid

ROWS = {  # rollouts, baselines and upper bounds: end of the metric's name, label, colour
    "_tokenizer": ("the tokenizer's picture of the true frame: the ceiling", "#7f7f7f"),
    "_teacher_forced": ("each frame from the true ones before it", "#8c564b"),
    "_guided": ("trained on true actions", "#2ca02c"),
    "": ("the dream", "#1f77b4"),
    "_keys": ("true actions by way of the keymap", "#9467bd"),
    "_random": ("random latent actions", "#ff7f0e"),
    "_copy": ("the last frame repeated: the floor", "#d62728"),
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { margin-bottom: 0 }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; margin: 1rem 0; font-size: .85em }
td, th { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #eee }
td:first-child, th:first-child { text-align: left }
.interval { color: #888; font-size: .85em }
.cards { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.5rem 0 }
.card { flex: 1 14rem; background: #f5f7fa; border-radius: .5rem; padding: .8rem 1rem }
.card b { font-size: 1.5rem; display: block; white-space: nowrap }
figure { margin: 1rem 0 }
img { image-rendering: pixelated; max-width: 100% }
svg { max-width: 100%; height: auto }
.films { display: flex; flex-wrap: wrap; gap: 1rem }
.films figure { margin: 0; text-align: center }
figcaption, .note { color: #555; font-size: .9em }
"""


@dataclass
class Findings:
    """The content of a report.

    Args:
        title: Name of the world.
        guided: Whether it was trained on true actions.
        figures: The content of evaluation.json.
        left_out: Reasons for missing figures.
        frames: uint8 (M, 14, H, W, 3), the windows: 4 prompt frames and the 10 frames after them.
        pictures: uint8 (M, 14, H, W, 3), the windows reconstructed by the tokenizer.
        dream: uint8 (M, 10, H, W, 3), the rollouts.
        order: int (M,), the windows from the worst rollout to the best.
        actions: uint8 (A, T, H, W, 3), one prompt under each action.
        held: uint8 (M', K, 10, H, W, 3), rollouts of the first moments under each key, or None.
        game: The same in the game, or None.
        lasting: uint8 (M', 200, H, W, 3), long rollouts.
        controls: Names of the controls, in the order of `held` and `game`.
    """

    title: str
    guided: bool
    figures: dict
    left_out: list[str]
    frames: np.ndarray
    pictures: np.ndarray
    dream: np.ndarray
    order: np.ndarray
    actions: np.ndarray
    held: np.ndarray
    game: np.ndarray | None
    lasting: np.ndarray
    controls: list[str]


# Pieces of a page ----------------------------------------------------------------------------------


def page(title: str, body: str) -> str:
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>{body}</html>"
    )


def drawing(figure: Figure) -> str:
    """A matplotlib figure as SVG."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg")
    return f"<figure>{file.getvalue()[file.getvalue().index('<svg') :]}</figure>"


def image(data: bytes, kind: str, caption: str, width: int | None = None) -> str:
    """A picture of a kind such as "png", `width` pixels wide."""
    encoded = base64.b64encode(data).decode()
    source = f'src="data:image/{kind};base64,{encoded}"' + (f" width={width}" if width else "")
    return f'<figure><img alt="{html.escape(caption)}" {source}><figcaption>{caption}</figcaption></figure>'


def film(frames: np.ndarray, caption: str, scale: int = 2) -> str:
    """Frames uint8 (T, H, W, 3) as a film without loss, each pixel shown as `scale` x `scale` pixels."""
    images = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    options = dict(duration=150, loop=0, lossless=True, quality=0, method=0)  # the fastest: GIF takes eight times as long
    images[0].save(file, format="webp", save_all=True, append_images=images[1:], **options)
    return image(file.getvalue(), "webp", caption, scale * frames.shape[2])


def strips(rows: list[np.ndarray], caption: str) -> str:
    """A `grid` with its caption."""
    file = io.BytesIO()
    grid(rows).save(file, format="png")
    return image(file.getvalue(), "png", caption)


def number(figure: dict) -> str:
    """A figure with its confidence interval, as HTML."""
    digits = 3 if abs(figure["value"]) < 2 else 2 if abs(figure["value"]) < 100 else 0
    value, low, high = (f"{figure[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} <span class=interval>[{low}, {high}]</span>"


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in heads) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def curve(axes, figures: dict, name: str, label: str, colour: str) -> None:
    """Plot the figures `<name>.1`, `<name>.2`, … with their confidence intervals as a band."""
    steps = sorted(int(key[len(name) + 1 :]) for key in figures if key.startswith(name + ".") and key[len(name) + 1 :].isdigit())
    if steps:
        value, low, high = ([figures[f"{name}.{t}"][part] for t in steps] for part in ("value", "low", "high"))
        axes.plot(steps, value, marker=".", label=label, color=colour)
        axes.fill_between(steps, low, high, alpha=0.15, color=colour, linewidth=0)


# Sections ------------------------------------------------------------------------------------------


def cards(figures: dict) -> str:
    wanted = {
        "dynamics.psnr.1": "dB, the first dreamt frame",
        "dynamics.delta_psnr_last": "dB lost at four frames when the last action is another",
        "latent_action.probe_accuracy": "of true directions named by the latent action alone",
        "obey.direction_f1.1": "F1 of the direction that was asked for, read off the first dreamt frame",
        "counterfactual.match.1": "of first frames nearer to what the game does under that key than under another",
        "play.frames_per_second": "frames a second, one player",
    }
    shown = [f"<div class=card><b>{number(figures[name])}</b>{text}</div>" for name, text in wanted.items() if name in figures]
    return f"<div class=cards>{''.join(shown)}</div>"


def sharpness(figures: dict) -> str:
    figure = Figure(figsize=(10, 7), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True)
    for column, (group, words) in enumerate((("dynamics", "4 frames of prompt"), ("dynamics.prompt1", "1 frame of prompt"))):
        for row, metric in enumerate(("psnr", "ssim")):
            axes = grid[row, column]
            for suffix, (label, colour) in ROWS.items():
                curve(axes, figures, f"{group}.{metric}{suffix}", label, colour)
            axes.set(title=f"{metric.upper()}, {words}", ylabel="dB" if metric == "psnr" else "")
            axes.grid(alpha=0.3)
            axes.set(xlabel="frames dreamt") if row else None
    grid[0, 0].legend(fontsize=7)
    rows = []
    for group, words in (("dynamics", "4"), ("dynamics.prompt1", "1")):
        for suffix, (label, _) in ROWS.items():
            if f"{group}.psnr{suffix}.1" in figures:
                cells = [number(figures[f"{group}.{metric}{suffix}.{t}"]) for metric in ("psnr", "ssim") for t in (1, 4, 10)]
                rows.append([f"{label}, prompt {words}", *cells, number(figures[f"{group}.frechet_blocks{suffix}"])])
    heads = ["", *(f"{metric} at {t}" for metric in ("PSNR", "SSIM") for t in (1, 4, 10)), "Fréchet distance, blocks"]
    return drawing(figure) + table(heads, rows)


def worth(figures: dict) -> str:
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for axes, (group, words) in zip(figure.subplots(1, 2, sharey=True), (("dynamics", "4"), ("dynamics.prompt1", "1"))):
        curve(axes, figures, f"{group}.delta_psnr_genie", "against random actions throughout (Genie)", "#1f77b4")
        curve(axes, figures, f"{group}.delta_psnr_last", "against another last action (GenieRedux)", "#2ca02c")
        axes.axhline(0, color="#888", linewidth=0.8)
        axes.set(title=f"ΔPSNR, prompt {words}", xlabel="frames dreamt", ylabel="dB")
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    return drawing(figure)


def obedience(figures: dict) -> str:
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for row, words, colour in (("_game", "the game itself", "#7f7f7f"), ("", "the dream", "#1f77b4")):
        curve(left, figures, f"obey.direction_f1{row}", f"direction, {words}", colour)
        curve(left, figures, f"obey.key_f1{row}", f"key, {words}", "#2ca02c" if row == "" else "#bbbbbb")
    left.set(xscale="log", xlabel="frames dreamt", ylim=(0, 1), title="F1 of what was asked for, as a judge reads it")
    for name, words, colour in (
        ("match_tokenizer", "the tokenizer's picture of the game", "#7f7f7f"),
        ("match", "the dream", "#1f77b4"),
        ("match_copy", "the last frame repeated", "#d62728"),
        ("chance", "chance", "#222222"),
    ):
        curve(right, figures, f"counterfactual.{name}", words, colour)
    right.set(xlabel="frames dreamt", ylim=(0, 1), title="nearest to the game under the same key")
    for axes in (left, right):
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    steps = [t for t in (1, 4, 10) if f"counterfactual.match.{t}" in figures]
    keys = parts_after("counterfactual.match.1.", figures)
    cell = {(key, t): figures.get(f"counterfactual.match.{t}.{key}") for key in keys for t in steps}
    rows = [[key, *(number(one) if (one := cell[key, t]) else "" for t in steps)] for key in keys]
    judged = {"key_accuracy": "the key of", "visible.key_accuracy": "where it shows, of", "probe_accuracy": "the direction of"}
    named = [f"{words} {number(figures[f'judge.{name}'])}" for name, words in judged.items() if f"judge.{name}" in figures]
    trust = f"<p>On recorded frames the judge names {', '.join(named)}.</p>"
    return drawing(figure) + trust + table(["nearest to the game, key", *(f"at {t}" for t in steps)], rows)


def parts_after(start: str, figures: dict) -> list[str]:
    """The different next parts of the figures' names that begin with `start`, in their order."""
    return list(dict.fromkeys(name.removeprefix(start).split(".")[0] for name in figures if name.startswith(start)))


def codes(figures: dict) -> str:
    start = "latent_action.code_given_key."
    keys = parts_after(start, figures)
    count = len(parts_after(f"{start}{keys[0]}.", figures))
    share = np.array([[figures[f"{start}{key}.{code}"]["value"] for code in range(count)] for key in keys])
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(share):
        axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", color="white" if value > 0.5 else "black", fontsize=8)
    axes.set_xticks(range(count), [str(code + 1) for code in range(count)])
    axes.set_yticks(range(len(keys)), keys)
    axes.set(
        xlabel="latent action (its number key)",
        ylabel="key that did it",
        title="of 100 transitions under a key, how many have each code",
    )
    rows = []
    for metric, words in (
        ("nmi", "NMI with the true action"), ("mi", "mutual information, bits"), ("nmi_effect", "NMI with its effect"),
        ("mi_effect", "mutual information with its effect, bits"), ("probe_accuracy", "true direction from the code"),
        ("majority_accuracy", "the commonest direction"), ("key_accuracy", "true key from the code"),
    ):  # fmt: skip
        columns = [f"{who}{where}.{metric}" for who in ("latent_action", "judge") for where in ("", ".visible")]
        rows.append([words, *(number(figures[name]) if name in figures else "" for name in columns)])
    heads = ["", "latent actions, all", "visible effect", "supervised, all", "visible effect"]
    return drawing(figure) + table(heads, rows) + meanings(figures)


def meanings(figures: dict) -> str:
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for name, one in figures.items():
        if name.startswith("latent_action.means."):
            _, _, code, key, number_of_set = name.split(".")
            cells.setdefault((code, key), {})[number_of_set] = number(one)
    sets = [str(i + 1) for i in range(LEVEL_SETS)]
    rows = [[str(int(code) + 1), key, *(of_set.get(i, "") for i in sets)] for (code, key), of_set in sorted(cells.items())]
    nmi = [number(figures[name]) if (name := f"latent_action.set.{i}.nmi") in figures else "" for i in sets]
    heads = ["latent action", "commonest key in training", *(f"its share, levels {i}" for i in sets)]
    words = "<p>Does a latent action mean the same in every level? Five disjoint sets of held-out levels.</p>"
    return words + table(heads, [*rows, ["NMI with the true action", "", *nmi]])


def lasting(figures: dict) -> str:
    figure = Figure(figsize=(10, 3), layout="constrained")
    panels = (("change", "mean change from frame to frame, levels"), ("frozen", "share that stand still for ten frames"),
              ("frechet_blocks", "Fréchet distance to recorded frames, blocks"))  # fmt: skip
    for axes, (name, words) in zip(figure.subplots(1, 3), panels):
        curve(axes, figures, f"lasting.{name}", "the dream", "#1f77b4")
        recorded = figures[f"lasting.{name}_recorded"]
        axes.axhline(recorded["value"], color="#7f7f7f", label="recorded")
        axes.axhspan(recorded["low"], recorded["high"], color="#7f7f7f", alpha=0.15, linewidth=0)
        axes.set(xscale="log", xlabel="frames dreamt", title=words, ylim=(0, 1 if name == "frozen" else None))
        axes.title.set_fontsize(9)
        axes.legend(fontsize=8)
    return drawing(figure)


def everything(figures: dict) -> str:
    rows = [[name, number(one), str(one["n"])] for name, one in figures.items()]
    return f"<details><summary>all {len(rows)} figures</summary>{table(['figure', '', 'n'], rows)}</details>"


def protocol(findings: Findings) -> str:
    prompt = (
        "recorded actions"
        if findings.guided
        else "latent actions that were inferred from the frames themselves, the frames to come included"
    )
    return f"""
<p>{len(findings.frames)} windows of 14 frames, one an episode, drawn by a fixed seed from levels that no model was trained
on; they are listed in <code>windows.json</code>. The first four frames (or only the fourth) are the prompt, the ten that
follow are dreamt, each from the dreamt ones before it, under {prompt}. Rollouts that are compared draw the same chance and
differ by their actions alone. PSNR and SSIM are taken for each frame and averaged over windows. Equal frames count as 89
dB. Brackets and bands are 95 % intervals: Student's over windows; Jeffreys' for shares; for statistics of pooled data a
bootstrap over episodes, for Fréchet distances a jackknife over windows.</p>
<p><i>Fréchet distance, blocks</i>: of the means and deviations of each 8 × 8 block of pixels and channel, in
0 … 1. It is not FID: nothing in it is learnt, so any two worlds of the same game can be compared.</p>
<p><i>ΔPSNR</i> with inferred latent actions also rewards codes that carry scenery instead of the action, since the codes
have seen the frame that they help to predict. The counterfactuals do not: there the key is chosen, and nothing of the
future is seen.</p>
<p><i>Obedience</i>: a judge, a supervised network trained on the recorded actions of other levels, reads each key off five
frames. F1 is averaged over classes. Step 1 is the first frame under each key, from the same moments; the others
are dreams under keys drawn at random, and pool the ten frames that end there. The game's own frames under the same keys,
judged the same way, are the ceiling: a jump in the air shows nowhere.</p>
<p><i>Counterfactuals</i>: the game is brought to the same moment and played on under each key, held for ten
frames; so is the dream. Two pictures look different where {PIXELS} pixels or more differ by more than {LEVELS} of 255
levels. A dream under a key matches if it is nearer (mean squared error) to the game under that key than to the game under
every other key whose picture looks different. Chance takes one of the different pictures at random.</p>
<p><i>Visible effect</i>: recorded transitions, played once more under every key, of which no other key (for directions:
none of another direction) would have led to a picture that looks like what was recorded.</p>"""


def write_report(path: Path, findings: Findings) -> None:
    """Write the page."""
    figures, frames = findings.figures, findings.frames
    sections = [f"<h1>{html.escape(findings.title)}</h1><p class=note>held-out levels, 95 % intervals</p>", cards(figures)]
    sections += ["<h2>Is it sharp?</h2>", sharpness(figures), "<h2>What are the actions worth?</h2>", worth(figures)]
    if findings.game is not None:
        sections += ["<h2>Does it obey?</h2>", obedience(figures)]
        moment = int(np.argmax([len(np.unique(game[:, -1].reshape(len(game), -1), axis=0)) for game in findings.game[:16]]))
        pairs = [row for pair in zip(findings.game[moment], findings.held[moment]) for row in pair]
        sections.append(
            strips(
                pairs,
                f"One moment under {', '.join(findings.controls)}, each held for ten frames: the game above, the dream below.",
            )
        )
    films = [film(one, f"action {number + 1}") for number, one in enumerate(findings.actions)]
    sections.append(f"<h2>One prompt under each action</h2><div class=films>{''.join(films)}</div>")
    if any(name.startswith("latent_action.code_given_key.") for name in figures):
        sections += ["<h2>What do the latent actions hold?</h2>", codes(figures)]
    sections += ["<h2>Does it last?</h2>", lasting(figures)]
    at = np.minimum([1, 5, 10, 25, 50, 75, 100, 125, 150, 175, 200], findings.lasting.shape[1]) - 1
    sections.append(strips([one[at] for one in findings.lasting[:4]], "Four long dreams at frames 1, 5, 10, 25, 50, 75, … 200."))
    for words, some in (("best", findings.order[::-1][:3]), ("worst", findings.order[:3])):
        sections.append(f"<h2>The {words} dreams</h2>")
        for i in some:
            prompt_and_dream = np.concatenate([frames[i, :4], findings.dream[i]])
            sections.append(
                strips(
                    [frames[i], findings.pictures[i], prompt_and_dream],
                    "recorded · the tokenizer's picture of it · prompt and dream",
                )
            )
    sections += ["<h2>How it was measured</h2>", protocol(findings)]
    if findings.left_out:
        sections.append("<p>Left out: " + "; ".join(map(html.escape, findings.left_out)) + ".</p>")
    sections.append(everything(figures))
    write_whole(path, lambda file: file.write(page(findings.title, "".join(sections)).encode()))
