"""The pictures in the figure of each training: what the model does with held-out frames.

Each function here returns a function from the model to a caption and rows of frames.
"""

from collections.abc import Callable

import numpy as np
from keras import ops

from genie_tf.episodes.dataset import Episodes
from genie_tf.latent_action import FRAMES
from genie_tf.layers.pixels import to_pixels
from genie_tf.training.backend import compiled
from genie_tf.training.live import Look
from genie_tf.world import World

SHOWN = 10  # pictures in a row
FILMS = 2  # rollouts below each other
TRANSITIONS = 2


def reconstructions(films) -> Look:
    """Of a tokenizer: the last frames of `films`, an input of its `call`, and their reconstructions."""
    frames = films["frames"] if isinstance(films, dict) else films

    def look(model):
        pictures = ops.convert_to_numpy(to_pixels(model(films, training=False)["reconstruction"]))
        return "recorded frames, and below them their reconstructions from tokens", [frames[:, -1], pictures[:, -1]]

    return look


def predictions(recording: Episodes) -> Look:
    """Of a latent action model: two frames, and its prediction of the second from the first under each latent action."""
    rows = recording.windows(2, before=1).spread(TRANSITIONS + 2)[1:-1]  # those at the ends are seldom typical
    frames = recording.frames(recording.transition_rows(rows, FRAMES - 2))
    predict: list[Callable] = []  # one, compiled when the model is known

    def look(model):
        if not predict:
            predict.append(compiled(model.predict_next))
        shown = [frames[:, -2], frames[:, -1]]
        for code in range(model.codes):
            codes = ops.convert_to_tensor(np.full(len(frames), code, np.int32))
            shown.append(ops.convert_to_numpy(predict[0](ops.convert_to_tensor(frames), codes)))
        caption = f"a frame, the next one, and predictions of the next one under the latent actions 1 to {model.codes}"
        return caption, list(np.stack(shown, axis=1))

    return look


def dreams(recording: Episodes, actions: np.ndarray, length: int, tokenizer, led_by: np.ndarray | None) -> Look:
    """Of a dynamics: films, and below each a rollout from its first half under the same actions.

    Args:
        recording: The recording, with a row for each token grid.
        actions: int (R,), of every row.
        length: Rows of a film.
        tokenizer: The trained tokenizer.
        led_by: As for `World`.
    """
    rows = recording.windows(length).spread(FILMS + 2)[1:-1]
    films, given = recording.films(rows, length), max(length // 2, 1)
    acted = actions[rows[:, None] + np.arange(length - 1)]
    shown, stride = films[:, :: recording.every], recording.every
    worlds: list[World] = []  # one, made when the model is known

    def look(model):
        if not worlds:
            worlds.append(World(tokenizer, None, model, {}, led_by=led_by))
        (world,) = worlds
        world.reset(films[:, : (given - 1) * stride + 1], acted[:, : given - 1])
        dream = np.stack([world.step(acted[:, t], last=True) for t in range(given - 1, length - 1)], axis=1)
        both = [row for film, dreamt in zip(shown, dream) for row in (film, np.concatenate([film[:given], dreamt]))]
        return f"recorded frames, and below them a rollout under the same actions: its first {given} frames are given", both

    return look
