"""Pictures made of frames."""

import numpy as np
from PIL import Image

GAP = 2  # white pixels between two frames


def grid(rows: list[np.ndarray], scale: int = 1) -> Image.Image:
    """Rows of frames, each uint8 (T, H, W, 3), one below the other. A pixel of a frame becomes `scale` x `scale` pixels."""
    longest, lines = max(map(len, rows)), []
    for row in rows:
        framed = np.pad(row, ((0, longest - len(row)), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
        lines.append(framed.swapaxes(0, 1).reshape(framed.shape[1], -1, 3))
    return Image.fromarray(np.concatenate(lines).repeat(scale, 0).repeat(scale, 1))
