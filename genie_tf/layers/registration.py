"""Registration: the shift between two frames with the least squared difference. Fourier transforms compute all shifts at once."""

import functools

import numpy as np
from keras import ops

REACH = {"rows": 26 / 64, "columns": 12 / 64}  # the largest shift in both directions, as a part of the frame's height and width


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


def _rows_and_columns(shift, frame_size: tuple[int, int]):
    """Rows and columns int32 (...) of shifts from `whole_shift`."""
    reach, columns = reach_in(frame_size), 2 * reach_in(frame_size)["columns"] + 1
    return shift // columns - reach["rows"], shift % columns - reach["columns"]


def vectors_of_shifts(frame_size: tuple[int, int]) -> np.ndarray:
    """Rows and columns, in pixels, of every shift from `whole_shift`: float32 (`shifts_in`, 2)."""
    return np.stack(_rows_and_columns(np.arange(shifts_in(frame_size)), frame_size), axis=-1).astype(np.float32)


def rest_of_shift(shift, part, frame_size: tuple[int, int]):
    """The shift back from where `shift` ends to where `part` ends, both int32 (...) from `whole_shift`. It is cut to the reach."""
    reach, columns = reach_in(frame_size), 2 * reach_in(frame_size)["columns"] + 1
    ends = (_rows_and_columns(each, frame_size) for each in (part, shift))
    row, column = (ops.clip(first - last, -most, most) for first, last, most in zip(*ends, (reach["rows"], reach["columns"])))
    return (row + reach["rows"]) * columns + column + reach["columns"]


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
    down_B, right_B = _rows_and_columns(shift_B, (height, width))
    x = ops.concatenate([x_BHWC, ops.ones_like(x_BHWC[..., :1])], axis=-1)
    x = ops.einsum("bij,bjkc->bikc", _moving(down_B, height), x)
    return ops.einsum("blk,bikc->bilc", _moving(right_B, width), x)


def _moving(by_B, side: int):
    """Matrices float32 (B, side, side) that move the entries of a vector by `by_B` places, and fill up with zeros."""
    place = ops.arange(side, dtype="int32")
    return ops.cast(ops.equal(place[:, None] - by_B[:, None, None], place), "float32")


@functools.cache
def _matrices(side: int, reach: int) -> dict[str, np.ndarray]:
    """What `register` multiplies the rows or the columns of a picture by, float32. N = side + reach, so that no shift wraps around.

    - `cos`, `sin` (N, side): a discrete Fourier transform of N frequencies.
    - `back_cos`, `back_sin` (2 reach + 1, N): its inverse at the shifts -reach … reach.
    - `kept` (2 reach + 1, side): 1 where the shift leaves an entry inside, 0 elsewhere.
    """
    size, shifts, place = side + reach, np.arange(-reach, reach + 1), np.arange(side)
    angle, back = (2 * np.pi / size * np.outer(one, other) for one, other in ((np.arange(size), place), (shifts, np.arange(size))))
    moved = place + shifts[:, None]
    matrices = {
        "cos": np.cos(angle), "sin": np.sin(angle), "back_cos": np.cos(back) / size, "back_sin": np.sin(back) / size,
        "kept": (moved >= 0) & (moved < side),
    }  # fmt: skip
    return {name: matrix.astype(np.float32) for name, matrix in matrices.items()}


def _spectrum(x_BHW, rows, columns):
    """Real and imaginary part (B, rows, half of the columns) of the Fourier transform of real pictures."""
    half = len(columns["cos"]) // 2 + 1
    x = ops.matmul(x_BHW, np.concatenate([columns["cos"][:half], columns["sin"][:half]]).T)
    x = ops.matmul(np.concatenate([rows["cos"], rows["sin"]]), x)
    (cos_cos, cos_sin), (sin_cos, sin_sin) = (ops.split(part, 2, axis=2) for part in ops.split(x, 2, axis=1))
    return cos_cos - sin_sin, -(sin_cos + cos_sin)


def _correlation(a_BHW, b_BHW, rows, columns):
    """The sum of products of two pictures at every shift within reach: (B, shifts in rows, shifts in columns)."""
    (a, ia), (b, ib) = (_spectrum(x, rows, columns) for x in (a_BHW, b_BHW))
    real, imaginary = a * b + ia * ib, a * ib - ia * b
    cos, sin = rows["back_cos"], rows["back_sin"]
    real, imaginary = ops.matmul(cos, real) - ops.matmul(sin, imaginary), ops.matmul(sin, real) + ops.matmul(cos, imaginary)
    size, half = len(columns["cos"]), real.shape[-1]
    twice = np.where((np.arange(half) == 0) | (2 * np.arange(half) == size), 1, 2).astype(np.float32)  # the other half is mirrored
    cos, sin = (columns[name][:, :half] * twice for name in ("back_cos", "back_sin"))
    return ops.matmul(real, cos.T) - ops.matmul(imaginary, sin.T)


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
        techniques". Here the transforms are matrix products, of the needed shifts alone. Fractions of a pixel come from the
        parabola through the least difference and its neighbours.
    """
    a, b = (ops.mean(ops.cast(frames, "float32"), axis=-1) / 255.0 for frames in (first, second))
    up, left = reach_in(first.shape[1:3]).values()
    height, width = 2 * up + 1, 2 * left + 1
    rows, columns = _matrices(first.shape[1], up), _matrices(first.shape[2], left)

    def within(x_BHW, rows, columns):
        """Sums of a picture over what it has in common with the other one, at every shift."""
        return ops.matmul(ops.matmul(rows, x_BHW), columns.T)

    squares = within(a * a, rows["kept"], columns["kept"]) + within(b * b, rows["kept"][::-1], columns["kept"][::-1])
    overlap = np.outer(rows["kept"].sum(axis=1), columns["kept"].sum(axis=1))
    error_BS = ops.reshape((squares - 2.0 * _correlation(a, b, rows, columns)) / overlap, (-1, height * width))
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
