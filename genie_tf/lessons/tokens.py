"""Figures of the third notebook: what the tokens of a frame say, and what gets lost."""

import time

import keras
import numpy as np
from keras import ops
from matplotlib.figure import Figure
from tqdm import tqdm

from genie_tf.config import Config
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.recorded import recorded_with
from genie_tf.episodes.recorder import colours_of
from genie_tf.evaluation.metrics import psnr
from genie_tf.evaluation.reconstruction import coloured_pixels, reconstruct
from genie_tf.kinds import class_of
from genie_tf.layers.pixels import to_pixels
from genie_tf.lessons.panels import WIDTH, left_out, pictures
from genie_tf.stages import actions_for_tokenizer, load_tokenizer
from genie_tf.training.optimizer import make_optimizer

GRIDS = 9  # token grids of a film, the first of which is given
CROP = 20  # pixels around a small thing


def films(config: Config, count: int, seed: int = 0, split: str = "validation") -> dict[str, np.ndarray]:
    """Films of held-out episodes through the world's tokenizer.

    Returns:
        A dict: `frames` uint8 (n, L, H, W, 3), recorded; `pictures`, the same reconstructed; `tokens` (n, G, N); `actions`
        (n, G - 1), which the tokenizer sees.
    """
    tokenizer, _ = load_tokenizer(config)
    recording = Episodes(config.record_folder(split), tokenizer.stride)
    grids = min(GRIDS, int(recording.lengths.max()))
    rows = np.sort(recording.windows(grids).draw(np.random.default_rng(seed), count))
    frames = recording.films(rows, grids)
    actions = actions_for_tokenizer(config, tokenizer, {split: recording})[split][rows[:, None] + np.arange(grids - 1)].astype(int)
    tokens, shown = reconstruct(tokenizer, frames, actions)
    return {"frames": frames, "pictures": shown, "tokens": tokens, "actions": actions}


def difference(one: np.ndarray, other: np.ndarray, gain: int) -> np.ndarray:
    """The largest difference of a channel of two pictures (..., 3), times `gain`, as a grey picture uint8 (..., 3)."""
    most = np.abs(one.astype(int) - other).max(axis=-1, keepdims=True)
    return np.minimum(gain * most, 255).astype(np.uint8).repeat(3, axis=-1)


def reconstruction(config: Config) -> Figure:
    """A film, its reconstruction, and where the two differ."""
    film = films(config, 1)
    at = np.unique(np.linspace(0, film["frames"].shape[1] - 1, GRIDS).astype(int))
    frames, shown = film["frames"][0, at], film["pictures"][0, at]
    rows = {"recorded": list(frames), "from tokens": list(shown), "difference": list(difference(frames, shown, 2))}
    return pictures(rows, ["given" if t == 0 else f"{psnr(shown[i], frames[i]):.1f} dB" for i, t in enumerate(at)], 1.0)


def changed_tokens(config: Config, count: int = 6) -> Figure:
    """What one token says: replace it by another code, decode, and look where the picture changes."""
    tokenizer, _ = load_tokenizer(config)
    film, rng = films(config, 1, seed=1), np.random.default_rng(0)
    last = film["tokens"].shape[1] - 1
    memory = tokenizer.memory(1)

    def decode(tokens, k):
        led_by = ops.convert_to_tensor(film["actions"][:, max(k - 1, 0)].astype(np.int32))
        return tokenizer.decode(ops.convert_to_tensor(tokens.astype(np.int32)), memory, led_by)

    first = film["frames"][:, :1]
    frames = first[:, 0] if tokenizer.stride == 1 else first.repeat(tokenizer.stride, axis=1)
    led_by = ops.convert_to_tensor(np.zeros(1, np.int32))
    memory = decode_given(tokenizer, frames, memory, led_by)
    for k in range(1, last):
        memory = decode(film["tokens"][:, k], k)["memory"]

    def shown(tokens):
        pictures = ops.convert_to_numpy(decode(tokens, last)["frames"])
        return pictures.reshape(-1, *tokenizer.frame_size, 3)[-1]

    own = film["tokens"][:, last]
    places = np.linspace(0, tokenizer.tokens - 1, count).astype(int)
    changed = []
    for place in places:
        other = own.copy()
        other[0, place] = (own[0, place] + rng.integers(1, tokenizer.codes)) % tokenizer.codes
        changed.append(shown(other))
    before = shown(own)
    differences = [difference(one, before, 3) for one in changed]
    blank = np.full_like(before, 255)
    titles = ["as encoded", *(f"token {place + 1} of {tokenizer.tokens}" for place in places)]
    return pictures({"decoded": [before, *changed], "change": [blank, *differences]}, titles)


def decode_given(tokenizer, frames: np.ndarray, memory, led_by):
    """The tokenizer's memory after the first frames of a film."""
    encoded = tokenizer.encode(ops.convert_to_tensor(frames), memory, led_by)
    return tokenizer.decode(encoded["tokens"], encoded["memory"], led_by)["memory"]


def small_things(config: Config, count: int = 6) -> Figure:
    """Enlarged pieces of recorded frames with small things of the game, and the same pieces from tokens."""
    game = recorded_with(Episodes(config.record_folder("test")))
    colours = colours_of(game) if game is not None else {}
    if not colours:
        return left_out("this game names no colours of small things")
    film = films(config, 192, split="test")
    rows: dict[str, list[np.ndarray]] = {}
    for thing, colour in colours.items():
        pixels = coloured_pixels(film["frames"], colour)
        recorded, shown = [], []
        for n in np.argsort(-pixels[:, -1].sum(axis=(1, 2)))[:count]:
            if not pixels[n, -1].any():
                break
            middle = np.median(np.argwhere(pixels[n, -1]), axis=0).astype(int)
            begin = [int(np.clip(m - CROP // 2, 0, side - CROP)) for m, side in zip(middle, pixels.shape[2:])]
            piece = (slice(begin[0], begin[0] + CROP), slice(begin[1], begin[1] + CROP))
            recorded.append(film["frames"][n, -1][piece])
            shown.append(film["pictures"][n, -1][piece])
        if recorded:
            rows |= {f"{thing}: recorded": recorded, "from tokens" + " " * len(rows): shown}
    return pictures(rows, [""] * count) if rows else left_out("the films show none of the small things of this game")


def families(config: Config, kinds: dict[str, dict], steps: int = 100) -> Figure:
    """Train several tokenizers for a few steps each, in memory, and show the same held-out frames through each.

    Args:
        config: The world.
        kinds: From a name to settings of the section `tokenizer`: `kind`, and what differs from its defaults.
        steps: Steps of each training.
    """
    recordings = {split: Episodes(config.record_folder(split)) for split in ("train", "validation")}
    rows: dict[str, list[np.ndarray]] = {}
    labels = []
    progress = tqdm(total=len(kinds) * steps, unit=" steps", leave=False)
    for name, chosen in kinds.items():
        model_class = class_of("tokenizer", chosen["kind"])
        settings = model_class.Settings(**{key: value for key, value in chosen.items() if key != "quantizer"})
        if "quantizer" in chosen:
            settings.quantizer = class_of("quantizer", chosen["quantizer"]["kind"]).Settings(**chosen["quantizer"])
        settings.steps_per_epoch, settings.epochs = steps, 1
        keras.utils.set_random_seed(0)
        model = model_class.from_settings(settings, recordings["train"].frame_size, 0)
        model.build()
        model.compile(optimizer=make_optimizer(settings))
        draw = model_class.examples(recordings["train"], settings, np.zeros(0)).draw
        held_out = model_class.examples(recordings["validation"], settings, np.zeros(0)).spread(8)
        rng, begin = np.random.default_rng(0), time.perf_counter()
        for _ in range(steps):
            progress.set_description(name)
            model.train_on_batch(draw(rng, settings.batch_size))
            progress.update()
        seconds = time.perf_counter() - begin
        out = model(held_out, training=False)
        shown = ops.convert_to_numpy(to_pixels(out["reconstruction"]))[:, -1]
        rows.setdefault("recorded", list(held_out[:, -1]))
        rows[name] = list(shown)
        sharp, size = psnr(shown, held_out[:, -1]).mean(), f"{model.tokens} tokens, {model.count_params():,} parameters"
        labels.append(f"{name}: {sharp:.1f} dB after {seconds:.0f} s, {size}")
    progress.close()
    figure = pictures(rows, [""] * 8)
    figure.supxlabel("\n".join(labels), fontsize=8)
    return figure


def use_of_codes(config: Config) -> Figure:
    """How often each code occurs in held-out films. A flat line is a codebook that is used well."""
    tokenizer, _ = load_tokenizer(config)
    given = max(tokenizer.given, 0)
    tokens = films(config, 64)["tokens"][:, given:]
    counts = np.sort(np.bincount(tokens.ravel(), minlength=tokenizer.codes))[::-1]
    figure = Figure(figsize=(WIDTH / 2, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(1, len(counts) + 1), np.maximum(counts, 0.5))
    axes.set_yscale("log")
    axes.set_xlabel(f"codes, the most frequent first: {(counts > 0).sum()} of {tokenizer.codes} occur", fontsize=8)
    axes.set_ylabel("occurrences", fontsize=8)
    return figure
