"""The shift between every frame of a recording and the next one, computed once."""

from pathlib import Path

import numpy as np
from keras import ops

from genie_tf.episodes.codes import cached_codes, codes_of_rows
from genie_tf.episodes.dataset import Episodes
from genie_tf.layers.registration import REACH, register
from genie_tf.training.backend import compiled


def motion_of(recording: Episodes, folder: Path) -> np.ndarray:
    """Output of `register` for every row and its next row, cached in `folder`: float32 (R, 3), 0 at an episode's last row."""
    compare = compiled(register)

    def compute(rows):
        frames = recording.frames(rows[:, None] + np.arange(2))
        return ops.convert_to_numpy(compare(*(ops.convert_to_tensor(frames[:, i]) for i in range(2))))

    return cached_codes("motion", recording, folder, f"{register.__name__} {REACH}", codes_of_rows(recording, 2, compute))
