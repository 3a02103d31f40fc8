"""Quality of the tokenizer: of whole frames, of what moves, and of things that are known by their colour."""

import numpy as np
from keras import ops

from genie_tf.config import RecordSettings
from genie_tf.episodes.recorder import colours_of
from genie_tf.evaluation.features import block_statistics
from genie_tf.evaluation.game import LEVELS
from genie_tf.evaluation.metrics import bootstrap_figure, distance_figure, mean_figure, perplexity, psnr, ssim
from genie_tf.layers.registration import register
from genie_tf.training.backend import compiled

BATCH = 32  # films that are encoded at once


def reconstruct(tokenizer, films: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encode and decode films.

    Args:
        tokenizer: The tokenizer; a token grid stands for S frames.
        films: uint8 (M, L, H, W, 3), L - 1 a multiple of S. As in play, the first grid stands for the first frame, repeated.
        actions: int (M, (L - 1) / S), those that led to each grid after the first. A tokenizer that needs none does not read them.

    Returns:
        Tokens (M, 1 + (L - 1) / S, N), and reconstructed frames uint8 (M, L, H, W, 3).
    """
    encode, decode, stride = compiled(tokenizer.encode), compiled(tokenizer.decode), tokenizer.stride
    tokens, pictures = [], []
    for first in range(0, len(films), BATCH):
        part = np.minimum(np.arange(first, first + BATCH), len(films) - 1)  # one shape: compiled once
        memory = tokenizer.memory(BATCH)
        some_tokens, some_pictures = [], []
        for t in range(0, films.shape[1], stride):  # t is the last frame of its group
            group = np.maximum(t + np.arange(1 - stride, 1), 0)
            frames = films[part[:, None], group] if stride > 1 else films[part, t]
            led_by = ops.convert_to_tensor(actions[part, max(t // stride - 1, 0)].astype(np.int32))
            encoded = encode(ops.convert_to_tensor(frames), memory, led_by)
            decoded = decode(encoded["tokens"], encoded["memory"], led_by)
            memory = decoded["memory"]
            some_tokens.append(ops.convert_to_numpy(encoded["tokens"]))
            some_pictures.append(np.reshape(ops.convert_to_numpy(decoded["frames"]), (BATCH, stride, *films.shape[2:])))
        tokens.append(np.stack(some_tokens, axis=1))
        pictures.append(np.concatenate(some_pictures, axis=1)[:, stride - 1 :])
    return np.concatenate(tokens)[: len(films)], np.concatenate(pictures)[: len(films)]


def moving_pixels(films: np.ndarray) -> np.ndarray:
    """The pixels of a film that no shift of the frame before explains: sprites, enemies, what opens or closes.

    The shift with the least squared difference is taken out, in whole pixels. A pixel counts if it then differs by more than
    `LEVELS` of 255 in a channel. Pixels that the shift brings into the picture, and those of the first frame, do not count.

    Args:
        films: uint8 (M, L, H, W, 3).

    Returns:
        bool (M, L, H, W).
    """
    shift_of, moving = compiled(register), np.zeros(films.shape[:-1], bool)
    for film, found in zip(films, moving):
        shifts = ops.convert_to_numpy(shift_of(ops.convert_to_tensor(film[:-1]), ops.convert_to_tensor(film[1:])))
        for t, (column, row) in enumerate(shifts[:, :2].round().astype(int)):
            now, before = zip(*(_overlap(shift, side) for shift, side in zip((row, column), film.shape[1:3])))
            difference = np.abs(film[t + 1][now].astype(np.int16) - film[t][before])
            found[t + 1][now] = difference.max(axis=-1) > LEVELS
    return moving


def _overlap(shift: int, side: int) -> tuple[slice, slice]:
    """Where a frame and the shifted frame before it overlap: the part of the frame, and that of the frame before."""
    return slice(max(shift, 0), side + min(shift, 0)), slice(max(-shift, 0), side + min(-shift, 0))


def coloured_pixels(films: np.ndarray, colour: tuple[tuple[int, ...], tuple[int, ...]]) -> np.ndarray:
    """The pixels bool (M, L, H, W) of films uint8 (M, L, H, W, 3) between two colours, the lowest and the highest."""
    return ((films >= np.array(colour[0], np.uint8)) & (films <= np.array(colour[1], np.uint8))).all(axis=-1)


def psnr_of_pixels(pictures: np.ndarray, films: np.ndarray, pixels: np.ndarray) -> dict | None:
    """PSNR in dB over chosen pixels of all films together. None if fewer than two films have one.

    Args:
        pictures: uint8 (M, L, H, W, 3), reconstructed.
        films: uint8 (M, L, H, W, 3).
        pixels: bool (M, L, H, W).
    """
    groups = []
    for picture, film, chosen in zip(pictures, films, pixels):
        if chosen.any():
            groups.append((np.square(picture[chosen].astype(float) - film[chosen]).sum(), 3 * chosen.sum()))
    if len(groups) < 2:
        return None

    def of(some):
        squares, count = np.sum(some, axis=0)
        return 10 * np.log10(255.0**2 / max(squares / count, 1 / count))

    return bootstrap_figure(of, groups, int(pixels.sum()))


def tokenizer_figures(
    tokens: np.ndarray, pictures: np.ndarray, films: np.ndarray, game: RecordSettings | None, given: int = 0
) -> dict:
    """Quality of the reconstruction, and use of the codebook.

    If a token grid stands for S > 1 frames, `tokenizer.psnr.1` … `tokenizer.psnr.S` are those of its first frame to its last.

    Args:
        tokens: int (M, 1 + (L - 1) / S, N).
        pictures: uint8 (M, L, H, W, 3), reconstructed.
        films: uint8 (M, L, H, W, 3).
        game: Settings of the recorded game; None if unknown.
        given: Number of frames at the start of each film that do not count, because the tokens do not show them. If S > 1, the
            first does not count either, because its group repeats it.
    """
    given = max(given, int(films.shape[1] > tokens.shape[1]))
    tokens, pictures, films = (x[:, given:] for x in (tokens, pictures, films))
    groups, n = list(tokens), films[..., 0, 0, 0].size
    stride, quality = films.shape[1] // tokens.shape[1], psnr(pictures, films)
    of_places = {f"tokenizer.psnr.{i + 1}": mean_figure(quality[:, i::stride].mean(axis=1)) for i in range(stride)}
    figures = {
        "tokenizer.psnr": mean_figure(quality.mean(axis=1)),
        **(of_places if stride > 1 else {}),
        "tokenizer.ssim": mean_figure(ssim(pictures, films).mean(axis=1)),
        "tokenizer.psnr_moving": psnr_of_pixels(pictures, films, moving_pixels(films)),
    }
    for thing, colour in (colours_of(game) if game is not None else {}).items():
        figures[f"tokenizer.psnr_{thing}"] = psnr_of_pixels(pictures, films, coloured_pixels(films, colour))
    figures |= {
        "tokenizer.frechet_blocks": distance_figure(pictures, films, block_statistics),
        "tokenizer.codes_used": bootstrap_figure(lambda some: len(np.unique(np.stack(some))), groups, n),
        "tokenizer.perplexity": bootstrap_figure(lambda some: perplexity(np.ravel(np.stack(some))), groups, n),
    }
    return {name: value for name, value in figures.items() if value is not None}
