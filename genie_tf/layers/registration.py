"""Registration: the shift between two frames with the least squared difference. FFTs compute all shifts at once."""

import numpy as np
from keras import ops

REACH = {"rows": 26 / 64, "columns": 12 / 64}  # the largest shift in both directions, as a part of the frame's height and width
BLOCK = 32  # the padded picture is a multiple of it


def reach_in(frame_size: tuple[int, int]) -> dict[str, int]:
    """The largest shift in pixels: `rows`, `columns`."""
    return {axis: round(part * side) for (axis, part), side in zip(REACH.items(), frame_size)}


def whole_shift(motion_B3, frame_size: tuple[int, int]):
    """The shift of `register` in whole pixels, as one number: int32 (B,), less than `shifts_in`."""
    reach, width = reach_in(frame_size), 2 * reach_in(frame_size)["columns"] + 1
    column, row = (ops.cast(ops.round(motion_B3[:, axis]), "int32") for axis in (0, 1))
    return (row + reach["rows"]) * width + column + reach["columns"]


def shifts_in(frame_size: tuple[int, int]) -> int:
    """Number of shifts in whole pixels."""
    reach = reach_in(frame_size)
    return (2 * reach["rows"] + 1) * (2 * reach["columns"] + 1)


def shifted(x_BHWC, shift_B):
    """Shift pictures by whole pixels.

    Args:
        x_BHWC: float (B, H, W, C).
        shift_B: int32 (B,), from `whole_shift`.

    Returns:
        float (B, H, W, C + 1): the shifted pictures, 0 where the shift brings nothing into the picture, and a channel that is 1
        where it does and 0 elsewhere.
    """
    height, width = x_BHWC.shape[1:3]
    reach = reach_in((height, width))
    columns = 2 * reach["columns"] + 1
    down_B, right_B = shift_B // columns - reach["rows"], shift_B % columns - reach["columns"]
    x = ops.concatenate([x_BHWC, ops.ones_like(x_BHWC[..., :1])], axis=-1)
    x = ops.einsum("bij,bjkc->bikc", _moving(down_B, height), x)
    return ops.einsum("blk,bikc->bilc", _moving(right_B, width), x)


def _moving(by_B, side: int):
    """Matrices float32 (B, side, side) that move the entries of a vector by `by_B` places, and fill up with zeros."""
    place = ops.arange(side, dtype="int32")
    return ops.cast(ops.equal(place[:, None] - by_B[:, None, None], place), "float32")


def _overlap(frame_size: tuple[int, int]) -> np.ndarray:
    """Number of pixels in which two frames overlap under each shift: (2 R + 1 rows, 2 R + 1 columns)."""
    rows, columns = (side - np.abs(np.arange(-reach, reach + 1)) for side, reach in zip(frame_size, reach_in(frame_size).values()))
    return np.outer(rows, columns).astype(np.float32)


def _spectrum(x_BHW):
    """Fourier transform of pictures padded with zeros, so that a shift does not wrap around: real and imaginary part."""
    size = x_BHW.shape[1:]
    padding = ((0, -(-(side + reach) // BLOCK) * BLOCK - side) for side, reach in zip(size, reach_in(size).values()))
    x = ops.pad(x_BHW, ((0, 0), *padding))
    return ops.fft2((x, ops.zeros_like(x)))


def _product(x, y):
    """Spectrum of the correlation of two pictures from their spectra: the conjugate of x times y."""
    return x[0] * y[0] + x[1] * y[1], x[0] * y[1] - x[1] * y[0]


def register(first, second):
    """Estimate the shift from one frame to another, and the remaining error.

    Args:
        first: uint8 (B, H, W, 3).
        second: uint8 (B, H, W, 3).

    Returns:
        float32 (B, 3): the shift in columns and rows from `first` to `second`, in pixels with fractions, at most `reach_in` (12 and
        26 of 64) in both directions; and the remaining mean squared difference of brightness, 0 … 1. Zeros for two equal frames.

    Reference:
        Anuta 1970, "Spatial registration of multispectral and multitemporal digital imagery using fast Fourier transform
        techniques". Fractions of a pixel come from the parabola through the least difference and its neighbours.
    """
    a, b = (ops.mean(ops.cast(frames, "float32"), axis=-1) / 255.0 for frames in (first, second))
    whole = _spectrum(ops.ones_like(a[:1]))
    terms = (_product(_spectrum(a * a), whole), _product(whole, _spectrum(b * b)), _product(_spectrum(a), _spectrum(b)))
    squares = ops.ifft2(tuple(left + right - 2.0 * both for left, right, both in zip(*terms)))[0]
    up, left = reach_in(first.shape[1:3]).values()
    height, width = 2 * up + 1, 2 * left + 1
    error_BS = ops.reshape(
        ops.roll(squares, (up, left), axis=(1, 2))[:, :height, :width] / _overlap(first.shape[1:3]), (-1, height * width)
    )
    best = ops.cast(ops.argmin(error_BS, axis=1), "int32")
    row, column = best // width, best % width
    inner_row, inner_column = ops.clip(row, 1, height - 2), ops.clip(column, 1, width - 2)

    def at(rows, columns):
        return ops.take_along_axis(error_BS, (rows * width + columns)[:, None], axis=1)[:, 0]

    least = at(inner_row, inner_column)

    def part(before, after):
        curve = before - 2.0 * least + after
        return ops.where(curve > 1e-9, ops.clip(0.5 * (before - after) / ops.maximum(curve, 1e-9), -0.5, 0.5), 0.0)

    x = part(at(inner_row, inner_column - 1), at(inner_row, inner_column + 1)) + ops.cast(inner_column - left, "float32")
    y = part(at(inner_row - 1, inner_column), at(inner_row + 1, inner_column)) + ops.cast(inner_row - up, "float32")
    same = ops.all(ops.equal(first, second), axis=(1, 2, 3))[:, None]
    return ops.where(same, 0.0, ops.stack([x, y, ops.maximum(least, 0.0)], axis=1))
