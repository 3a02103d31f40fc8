"""Draw the pictures of the architecture in docs/, with the sizes of the models of configs/coinrun_plain.yaml, in 10 seconds.

The kinds of models are those of this configuration. The frames are the recorded ones at the start of docs/dream.gif.
Examples: python docs/draw.py; python docs/draw.py --latent_action.codes 8
"""

import sys
from itertools import chain, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve
from PIL import Image, ImageSequence

sys.path.insert(0, str(Path(__file__).parent.parent))

from genie_tf.cli import parse, run
from genie_tf.kinds import class_of
from genie_tf.quiet import quiet

with quiet():
    from genie_tf.dynamics.sampling import unmasking_schedule
    from genie_tf.episodes.recorder import controls_of
    from genie_tf.latent_action import FRAMES, keymap, motion_rank
    from genie_tf.latent_action.auto import as_kind
    from genie_tf.layers import pixels, registration, st_block

DOCS = Path(__file__).parent
WIDTH, LINE = 900, 17  # of a picture, and from line to line, in pixels of a page
PIXELS, TOKENS, ACTIONS = ("#DCEBFA", "#5487B5"), ("#D9F0DD", "#4F9466"), ("#FFE8C4", "#C98A2B")  # inside and border
NETWORK, FIXED, OPEN = ("#E8E0F5", "#8570B3"), ("#F1F1F1", "#8C8C8C"), ("#FFFFFF", "#BBBBBB")
MEANING = {"pixels": PIXELS, "tokens": TOKENS, "actions": ACTIONS, "network": NETWORK, "computation without weights": FIXED}
NEW, OWN = (TOKENS[1],) * 2, (NETWORK[1],) * 2


class Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float

    def border(self, x, y):
        """The point of the border from which a line goes straight to a point."""
        if self.x <= x <= self.x + self.width:
            return x, self.y if y < self.y else self.y + self.height
        return self.x if x < self.x else self.x + self.width, y


class Picture:
    """A white page with named boxes, arrows between them, and text. The origin is the upper left corner."""

    def __init__(self, height: int, title: str, subtitle: str = ""):
        self.canvas = FigureCanvasAgg(Figure(figsize=(WIDTH / 100, height / 100), dpi=200))
        self.named: dict[str, Box] = {}
        self.axes = self.canvas.figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0), autoscale_on=False)
        self.axes.axis("off")
        self.texts((24, 26, title), size=14, weight="bold")
        self.texts((24, 50, subtitle), size=10)
        for x, (meaning, colour) in zip((24, 112, 202, 294, 388), MEANING.items()):
            self.box(x, height - 28, 14, 14, colour)
            self.texts((x + 20, height - 21, meaning))

    def words(self) -> str:
        return "\n".join(text.get_text() for text in self.axes.texts)

    def texts(self, *texts, align="left", size=9.0, weight="normal"):
        for x, y, text in texts:
            self.axes.text(x, y, text, ha=align, va="center", fontsize=size, weight=weight, color="#222222", zorder=6)

    def box(self, x, y, width, height, colour, text="", at=0.5, bold=1, corner=8.0, **style) -> Box:
        """A rounded box with lines of text around a part of its height, the first ones bold."""
        look: dict[str, Any] = {"facecolor": colour[0], "edgecolor": colour[1], "linewidth": 1.2, "zorder": 3} | style
        rounded = f"round,pad=0,rounding_size={min(corner, height / 5)}"
        self.axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=rounded, **look))
        lines = text.split("\n")
        for i, line in enumerate(lines):
            middle = y + at * height + LINE * (i - (len(lines) - 1) / 2)
            self.texts((x + width / 2, middle, line), align="center", weight="bold" if i < bold else "normal")
        return Box(x, y, width, height)

    def boxes(self, **boxes):
        self.named |= {name: self.box(*box) for name, box in boxes.items()}

    def panel(self, x, y, height, title):
        self.box(x, y, WIDTH - 14 - x, height, OPEN, title, at=20 / height, linestyle="--", zorder=0)

    def images(self, x, y, side, *frames) -> Box:
        """Frames behind each other, the last one in front."""
        for i, frame in enumerate(frames):
            left, top, height = x + 8 * i, y + 8 * i, side * frame.shape[0] / frame.shape[1]
            self.axes.imshow(frame, extent=(left, left + side, top + height, top), aspect="auto", zorder=4)
            self.box(left, top, side, height, ("none", PIXELS[1]), corner=0, zorder=4)
        return Box(x, y, left + side - x, top + height - y)

    def cells(self, middle, y, side, colours, names=None) -> list[Box]:
        """Rows of square cells around a middle, with names."""
        at = [(middle + side * (j - len(row) / 2) + 1, y + side * i) for i, row in enumerate(colours) for j in range(len(row))]
        look: dict[str, Any] = {"bold": 0, "linewidth": 0.8, "zorder": 5}
        of_each = zip(at, chain(*colours), names or [""] * len(at))
        return [self.box(x, y, side - 2, side - 2, colour, name, **look) for (x, y), colour, name in of_each]

    def arrows(self, *routes: str, **style):
        """Lines through named boxes and points. Through boxes alone they are straight; else they turn at the points."""
        for route in routes:
            stops: list[Any] = [self.named.get(stop) or tuple(map(float, stop.split(","))) for stop in route.split()]
            if not all(isinstance(stop, Box) for stop in stops):
                ends = [end.border(*near) if isinstance(end, Box) else end for end, near in (stops[:2], stops[:-3:-1])]
                self.arrow(ends[0], *stops[1:-1], ends[1], **style)
                continue
            for a, b in pairwise(stops):
                middle = [(max(a[i], b[i]) + min(a[i] + a[i + 2], b[i] + b[i + 2])) / 2 for i in (0, 1)]
                self.arrow(a.border(*middle), b.border(*middle), **style)

    def arrow(self, *points, **style):
        """An arrow along lines with round corners."""
        path, codes = [points[0]], [Curve.MOVETO]
        for before, corner, after in zip(points, points[1:], points[2:]):
            near, far = (np.add(corner, 8 * np.sign(np.subtract(point, corner))) for point in (before, after))
            path, codes = [*path, near, corner, far], [*codes, Curve.LINETO, Curve.CURVE3, Curve.CURVE3]
        curve, head = Curve([*path, points[-1]], [*codes, Curve.LINETO]), "-|>,head_length=5,head_width=2.6"
        look: dict[str, Any] = {"color": "#555555", "linewidth": 1.4, "zorder": 2, "capstyle": "butt"} | style
        self.axes.add_patch(FancyArrowPatch(path=curve, arrowstyle=head, mutation_scale=1, **look))


def shape(*sizes) -> str:
    return f"({', '.join(map(str, sizes))})"


def weights(model, *layers: str) -> str:
    """Number of weights of the layers whose names start like these."""
    count = sum(np.prod(weight.shape) for weight in model.weights if any(f"/{name}" in weight.path for name in layers or ("",)))
    return f"{count / 1e6:.1f} M weights"


def made(arguments) -> SimpleNamespace:
    """The models of a configuration, and recorded frames uint8 (H, W, 3)."""
    c, _ = parse("", arguments=["--config", str(DOCS.parent / "configs" / "coinrun_plain.yaml"), *arguments])
    size = (c.record.height, c.record.width)
    action = motion_rank.MotionRankModel.from_settings(as_kind(c.latent_action, "motion_rank"), size)
    tokenizer = class_of("tokenizer", c.tokenizer.kind).from_settings(c.tokenizer, size, action.codes)
    sizes = tokenizer.codes, tokenizer.tokens, action.codes, {"frame_size": size, "grid": tokenizer.grid}
    dynamics = class_of("dynamics", c.dynamics.kind).from_settings(c.dynamics, *sizes)
    for model in (action, tokenizer, dynamics):
        model.build()
    film = zip(range(c.play.prompt_frames), ImageSequence.Iterator(Image.open(DOCS / "dream.gif")))
    frames = [np.array(image.convert("RGB").resize(size[::-1])) for _, image in film]
    return SimpleNamespace(c=c, size=size, action=action, tokenizer=tokenizer, dynamics=dynamics, frames=frames)


# fmt: off
def overview(m) -> Picture:
    """How the three models are trained, and how they play together."""
    c, t, d, A, S, keys = m.c, m.tokenizer, m.dynamics, m.action.codes, m.tokenizer.stride, list(controls_of(m.c.record))
    predicts = f"predicts the tokens\nof the next {S} frames"
    p = Picture(690, "From recorded frames to a played world")
    p.panel(14, 48, 286, "Training: one model after another, from frames without action labels")
    p.boxes(
        frames=(30, 92, 150, 224, PIXELS, f"recorded frames\nuint8 {shape('T', *m.size, 3)}\nT = {c.record.train_frames:,}", 0.78),
        action=(226, 92, 200, 54, NETWORK, f"1  latent action model\n{c.latent_action.kind}, {weights(m.action)}"),
        codes=(470, 96, 196, 46, ACTIONS, f"latent actions\n{shape(f'T / {c.latent_action.span}')}, each 0 … {A - 1}"),
        tokenizer=(226, 200, 200, 116, NETWORK, f"2  tokenizer\n{c.tokenizer.kind}, {weights(t)}\nchanges its own last picture"),
        tokens=(470, 204, 196, 46, TOKENS, f"tokens\n{shape(f'T / {S}', t.tokens)}, each 0 … {t.codes - 1:,}"),
        pictures=(470, 266, 196, 46, PIXELS, f"its own pictures\nuint8 {shape(f'T / {S}', *m.size, 3)}"),
        dynamics=(708, 92, 162, 224, NETWORK, f"3  dynamics\n{c.dynamics.kind}, {weights(d)}\n\n{predicts}"))
    p.images(57, 106, 64, *m.frames[1 : 1 + S])
    p.arrows("frames action codes dynamics", "frames tokenizer tokens dynamics", "tokenizer pictures dynamics",
             "codes 568,171 326,171 tokenizer")
    p.panel(14, 346, 298, f"Play: each key leads to {S} frames")
    p.boxes(
        key=(44, 426, 92, 62, ACTIONS, f"key\n{', '.join(keys[:3])},\n{', '.join(keys[3:])}"),
        keymap=(160, 426, 92, 62, FIXED, f"keymap\nlearnt from\n≤ {keymap.LABELS} labels"),
        code=(276, 426, 104, 62, ACTIONS, f"latent action\n0 … {A - 1}"),
        dynamics=(404, 426, 146, 62, NETWORK, f"dynamics\n{c.play.sampling_steps} MaskGIT steps"),
        tokens=(574, 426, 62, 62, TOKENS, f"tokens\n{shape(t.tokens)}"),
        decoder=(660, 426, 96, 62, NETWORK, "tokenizer's\ndecoder", 0.5, 2),
        prompt=(44, 546, 132, 46, PIXELS, f"prompt\n{c.play.prompt_frames} recorded frames"),
        models=(202, 546, 160, 46, NETWORK, "latent action model,\ntokenizer", 0.5, 2),
        past=(430, 540, 104, 58, TOKENS, f"past\nkeys, values of\n{d.window - 1} token grids"),
        last=(648, 546, 120, 46, PIXELS, f"last picture\nuint8 {shape(*m.size, 3)}"))
    p.named["frames"] = p.images(780, 418, 56, *m.frames[-2 * S - 1 : -S - 1])
    p.arrows("key keymap code dynamics tokens decoder frames", "code 328,408 708,408 decoder", "prompt models", "last decoder",
             "models 417,569 dynamics", "models 282,612 708,612 last", "past 460,488", "dynamics 504,540", "last 541,569 dynamics",
             "frames 820,569 last", "frames 852,632 28,632 28,457 key")
    p.texts((774, 583, "the last one"), (44, 530, "start of a rollout"), (44, 620, "the player looks and presses a key"))
    p.texts((814, 384, "next frames"), align="center", weight="bold")
    p.texts((814, 402, f"uint8 {shape(S, *m.size, 3)}"), align="center")
    return p


def latent_action(m) -> Picture:
    """How `motion_rank` names the action between two frames, and how its decoder shows what the name means."""
    a, span, tiers, picture = m.action, m.c.latent_action.span, motion_rank.TIERS, shape(*m.size, 3)
    rows, columns, (upper, parts) = a.places["rows"], a.places["columns"], (a.parts["rows"], a.parts["columns"])
    see = weights(a, "see_past", "code_gain", "code_offset", "mix", "columns_shift", "rows_shift")
    p = Picture(690, f"Latent action model: {m.c.latent_action.kind}")
    p.panel(206, 464, 176, "Decoder: what does a code mean?")
    p.boxes(
        frames=(24, 52, 132, 588, PIXELS, f"frames\nuint8 {shape(FRAMES, *m.size, 3)}\n{span} frames apart", 0.07),
        older=(50, 132, 64, 64, OPEN), old=(66, 148, 64, 64, OPEN, f"t − {FRAMES - 2},\nt − {FRAMES - 3}", 0.5, 2),
        register=(216, 64, 124, 64, FIXED, f"registration\n± {a.reach['columns']} columns,\n± {a.reach['rows']} rows"),
        movement=(376, 52, 124, 44, FIXED, "movement\ncolumns, rows"),
        past=(376, 104, 124, 44, FIXED, f"past movements\n{shape(FRAMES - 2, 3)}"),
        place=(216, 176, 124, 44, NETWORK, f"see the place\n{weights(a, 'see_place')}"),
        expect=(536, 104, 124, 116, NETWORK, f"expect\nthe movement\n{weights(a, 'expect', 'rows_gain', 'rows_offset')}"),
        chart=(696, 92, 180, 148, OPEN, f"of {rows} rows; given the row,\nof {columns} columns", 0.82, 0),
        rank=(696, 270, 180, 44, FIXED, "rank, 0 … 1\nall lower + half its own"),
        change=(216, 362, 124, 44, NETWORK, f"see the change\n{weights(a, 'see_change', 'tell')}"),
        seen=(376, 352, 124, 64, FIXED, f"rank from pixels\ncolumns: {tiers['columns']} parts,\nrows: {tiers['rows']} parts"),
        fused=(536, 352, 124, 64, FIXED, "fused rank\nmean of the\nproduct"),
        code=(696, 328, 180, 112, ACTIONS, f"latent action\n\n\n\n\ncolumns: {parts} parts, rows: {upper}"),
        see=(216, 532, 112, 50, NETWORK, f"see t − 1 and t\n{see}"),
        shift=(344, 532, 136, 50, FIXED, f"shift frame t\n{rows} rows, {columns} columns"),
        paint=(496, 532, 100, 50, NETWORK, f"paint\n{weights(a, 'paint')}"),
        keep=(614, 532, 134, 50, FIXED, "keep · shifted +\n(1 − keep) · painted", 0.5, 0),
        following=(766, 532, 110, 50, PIXELS, f"frame t + 1\n{picture}"))
    for i, name in enumerate(("t − 1", "t", "t + 1")):
        p.images(58, 250 + 122 * i, 64, m.frames[span * i])
        p.texts((90, 326 + 122 * i, name), align="center", weight="bold")
    at, x, own = np.arange(columns), np.linspace(-3, 3, columns), round(0.7 * columns)  # of an example
    chance = sum(most * np.exp(-(((x - centre) / 0.5) ** 2)) for most, centre in ((1.0, -1.7), (0.7, 0.0), (1.1, 1.6)))
    colours = np.select([at < own, at == own], [NETWORK[1], ACTIONS[1]], NETWORK[0])
    p.axes.bar(706 + 160 / columns * (at + 0.5), -70 * chance, 120 / columns, 188, color=colours, zorder=4)
    names = [str(column * upper + row) for row in range(upper) for column in range(parts)]
    p.cells(786, 357, min(28, 160 / parts), [[OPEN] * parts] * upper, names)
    p.arrows("register movement", "register past expect chart rank", "place expect", "change seen fused code",
             "movement 786,74 chart", "rank 598,301 fused", "see shift paint keep following", "code 786,512 272,512 see",
             "code 786,512 546,512 paint", "shift 412,600 681,600 keep",
             "frames 216,96", "frames 216,198", "frames 216,384", "frames 216,557")
    p.arrows("rank 438,283 seen", linestyle="--")
    p.texts((181, 85, "all"), (181, 187, "t"), (181, 373, "t, t + 1"), (181, 546, "t − 1, t"), align="center")
    p.texts((452, 272, "target in training"), (216, 440, "after training: the mean over the frames and their mirror image"),
            (222, 624, "The codes do not depend on it, and play does not use it."))
    return p


def tokenizer(m) -> Picture:
    """How `delta` converts a few frames to tokens, and back."""
    t, q, S, picture = m.tokenizer, m.c.tokenizer.quantizer, m.tokenizer.stride, shape(*m.size, 3)
    last, new, film = m.frames[0], m.frames[1 : 1 + S], shape(S, *m.size, 3)
    shift = registration.whole_shift(registration.register(last[None], new[-1][None]), m.size)
    moved = np.array(registration.shifted(pixels.from_pixels(last[None]), shift))[0, ..., :3]
    rest = np.array(pixels.from_pixels(new[-1])) - moved
    title = f"{t.tokens} tokens for {S} frames: what the last picture and the latent action do not tell"
    p = Picture(650, f"Tokenizer: {m.c.tokenizer.kind}", title)
    p.boxes(
        new=(24, 74, 134, 142, PIXELS, f"next {S} frames\nuint8 {film}", 0.84),
        last=(24, 258, 134, 122, PIXELS, f"last picture\nuint8 {picture}", 0.8),
        decoded=(24, 448, 134, 156, PIXELS, f"decoded frames\nuint8 {film}", 0.78),
        register=(204, 264, 116, 92, FIXED, "registration\nshifts from the\nlast picture to\neach frame"),
        shifts=(204, 382, 116, 66, TOKENS, f"{S} shifts\n0 … {registration.shifts_in(m.size) - 1:,}", 0.34),
        minus=(368, 132, 24, 24, FIXED, "−"), plus=(368, 564, 24, 24, FIXED, "+"),
        encoder=(504, 116, 112, 56, NETWORK, f"encoder\n{weights(t, 'encoder', 'to_code')}"),
        quantizer=(702, 116, 174, 56, FIXED, f"{q.kind.replace('_', ' ')} quantizer\nlevels {' · '.join(map(str, q.levels))}"),
        codes=(764, 238, 112, 160, TOKENS, f"{t.tokens - S} codes\n0 … {t.quantizer.codes - 1:,}", 0.17),
        context=(504, 274, 112, 72, NETWORK, f"context\nboth pictures\n{weights(t, 'context', 'embed_action', 'embed_place')}"),
        action=(640, 282, 104, 56, ACTIONS, f"latent action\n0 … {t.actions - 1}"),
        decoder=(504, 548, 112, 56, NETWORK, f"decoder\n{weights(t, 'from_code', 'decoder', 'upsample', 'to_patches')}"),
        between=(204, 478, 116, 54, NETWORK, f"frames 1 … {S - 1}\n{weights(t, 'between', 'embed_order')}"))
    for x, y, films in ((45, 82, new), (63, 268, [last]), (45, 456, new)):
        p.images(x, y, 56, *films)
    p.named["moved"] = p.images(352, 282, 56, np.clip(moved + 0.5, 0, 1))
    p.named["rest"] = p.images(420, 116, 56, rest / 2 + 0.5)
    p.cells(262, 424, min(18, 110 / S), [[OPEN] * S])
    p.cells(820, 288, min(24, 96 / max(t.grid)), [[OPEN] * t.grid[1]] * t.grid[0])
    p.arrows("new 368,144", "new 91,238 262,238 register", "last 204,310", "register moved context", "action context",
             "moved minus", "moved plus", "minus rest encoder quantizer codes", "context encoder", "context decoder",
             "codes 820,576 decoder", "decoder plus decoded", "register shifts between", "262,576 between",
             "last 181,362 181,492 between", "between 158,518", "decoded last")
    p.texts((180, 133, f"frame {S}"), (180, 590, f"frame {S}"), (98, 415, f"frame {S}"), (424, 564, "change"),
            (388, 347, "shifted by"), (388, 364, "the last one"),
            (420, 94, "Encoder and registration work in training and on prompts."))
    p.texts((448, 184, "what is left"), (659, 133, shape(*t.grid, t.quantizer.code_dim)), align="center")
    return p


def dynamics(m) -> Picture:
    """How `maskgit` predicts the tokens of the next grid."""
    c, d, S, W, N, (rows, columns) = m.c, m.dynamics, m.tokenizer.stride, m.dynamics.window, m.dynamics.tokens, m.tokenizer.grid
    title = f"A grid: the latent action, {S} shifts, {rows * columns} codes. Above it, the picture that the tokens change"
    p = Picture(696, f"Dynamics: {c.dynamics.kind}", title)

    def grid(middle, y, side, colours, names=None):
        square = [colours[S + columns * row : S + columns * (row + 1)] for row in range(rows)]
        return [*p.cells(middle, y, side, [colours[:S]], names), *p.cells(middle, y + side + 4, side, square, names)]

    most = 1 / max(S, columns)
    for i in range(W):
        middle, back = 24 + 616 / W * (i + 0.5), W - 1 - i
        p.texts((middle, 78, f"grid t − {back}" if back else "next grid t"), align="center", weight="bold")
        p.named["picture"] = p.images(middle - 24, 90, 48, m.frames[min(S * i, len(m.frames) - 1)])
        p.named["grid"] = p.box(middle - 60, 156, 120, 134, (OPEN[0], NETWORK[1]))
        p.arrows("picture grid")
        p.cells(middle, 163, 20, [[ACTIONS]])
        colours = [TOKENS if back else OPEN] * N
        colours[N - columns] = NEW if back else OPEN
        cells = grid(middle, 188, min(18, 110 * most, 76 / rows), colours, None if back else ["?"] * N)
        p.named[f"{back}"] = cells[N - columns]
    end = p.named["0"].x + 8
    p.arrows(*(f"{back} {p.named[f'{back}'].x + 8},310 {end},310 0" for back in range(1, W)), zorder=4)
    p.texts((34, 330, f"temporal attention: the same place in the {W - 1} grids before"),
            (440, 330, "spatial attention: within each box"))

    T, depth, wide = c.dynamics.length, len(d.blocks), d.width * d.blocks[0].expansion
    seen = np.array(st_block.distances(T))
    p.cells(768, 96, min(22, 176 / T), [[OWN if t == 0 else NETWORK if 0 < t < W else OPEN for t in row] for row in seen])
    p.texts((768, 78, "temporal mask"), align="center", weight="bold")
    p.texts((768, 290, f"row t: grid t sees itself and {W - 1} before;"),
            (768, 307, f"{depth} blocks reach {depth * (W - 1)} grids back"),
            *((x, 384, shape(N + 1, d.width)) for x in (217, 511)), align="center")
    attention = f"spatial, temporal attention,\nfeed-forward {d.width} → {wide} → {d.width}"
    p.boxes(
        embed=(24, 356, 156, 80, NETWORK, f"embeddings\ntoken, action,\nplace, picture\n{weights(d, 'embed')}"),
        blocks=(254, 356, 220, 80, NETWORK, f"{depth} blocks, {d.heads} heads\n{attention}\n{weights(d, 'block')}"),
        head=(548, 364, 104, 64, NETWORK, f"norm, head\n{weights(d, 'norm', 'head')}"),
        logits=(700, 370, 176, 52, FIXED, f"logits of the next grid\n{shape(N, f'{d.codes:,}')}"))
    steps = c.play.sampling_steps
    p.panel(14, 466, 184, f"MaskGIT: {steps} steps fill in the {N} tokens")
    p.arrows("embed blocks head logits", "logits 788,466", "102,466 embed")
    text = "Each step draws all masked tokens and fixes the most confident, here dark. In training, a random share is masked."
    p.texts((112, 452, "fixed tokens are inputs of the next step"), (30, 508, text))
    place, space, counts = np.random.default_rng(1).permutation(N), 860 / (steps + 1), [0, 0, *unmasking_schedule(N, steps)]
    for i, (before, now) in enumerate(pairwise(counts)):
        colours = [OPEN if at >= now else TOKENS if at < before else NEW for at in place]
        grid(20 + space * (i + 0.5), 528, min(15, (space - 12) * most, 75 / rows), colours)
        p.texts((20 + space * (i + 0.5), 630, f"{now} fixed" if i else "all masked"), align="center")
    return p
# fmt: on


PICTURES = (overview, latent_action, tokenizer, dynamics)


def main(folder: Path, arguments: tuple[str, ...] = ()) -> dict[str, str]:
    """Write the pictures, for settings as on the command line, to a folder. Returns the words in each file."""
    models, words = made(arguments), {}
    for draw in PICTURES:
        picture, name = draw(models), f"{draw.__name__}.png"
        picture.canvas.draw()
        page = Image.fromarray(np.array(picture.canvas.buffer_rgba())).convert("RGB")
        page.quantize(method=Image.Quantize.MAXCOVERAGE, kmeans=2).save(folder / name, optimize=True)
        words[name] = picture.words()
    return words


if __name__ == "__main__":
    run(lambda: print("wrote", *main(DOCS, tuple(sys.argv[1:]))))
