"""Change the size of pictures."""

import numpy as np
from PIL import Image


def resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize uint8 (H, W, 3) to `size`, height and width, by means over areas. A picture of this size is returned as it is."""
    if frame.shape[:2] == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BOX))
