"""`avatar`, a latent action model that follows the figure that the keys move. Its code is what the past does not tell of its step.

1. *Avatar.* `find_avatar` finds the looks of the one thing that is always there and moves unpredictably.
2. *Place.* A network learns where the avatar is, from single frames. The looks mark it in some frames. In others it is at most a
   step away from its mark in the frames before and after.
3. *Step.* The step of the avatar is the difference of its places in frames t + 1 and t. A second network predicts the mean of it,
   from the steps before and from what is around the avatar.
4. *Code.* The latent action is the nearest of a few code vectors to the difference of step and mean.
5. *Decoder.* The mean and the code vector tell where the avatar goes. The decoder sees frame t moved by this step.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
from keras import layers, ops

from genie_tf.config import LatentActionConfig
from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.errors import UserError
from genie_tf.latent_action import FRAMES
from genie_tf.latent_action.decoder import MotionDecoder, stepped
from genie_tf.latent_action.hypotheses import shares
from genie_tf.latent_action.looks import LOOKS, NEAR, OWN, SIDE, SMALL, find_avatar, places
from genie_tf.layers.pixels import FRAME_SIZE, from_pixels, to_pixels
from genie_tf.layers.quantizers.codes import perplexity
from genie_tf.layers.self_supervised import SelfSupervisedModel

SEEN = 4  # frames t - 2 … t + 1 of the FRAMES are used
CELL = 2  # pixels of a side of a cell: the network tells the cell of the avatar
SHARED = 0.1  # weight of the shares: they keep every code in use, and do not move it far
UNIT = 1 / 16  # unit of the steps, as a part of the frame's height
FASTER = 5.0  # the code vectors are this many times their weights, so that they learn faster than the networks


@dataclass
class AvatarSettings(LatentActionConfig):
    """Settings of the latent action model that follows the figure that the keys move.

    Args:
        kind: "avatar".
        codes: Number of latent actions: at least that of the game's controls.
        width: Channels of the network that tells the place of the figure.
    """

    kind: Literal["avatar"] = "avatar"
    epochs: int = 10
    steps_per_epoch: int = 60
    batch_size: int = 64
    learning_rate: float = 2e-3
    width: int = 32


@keras.saving.register_keras_serializable("genie_tf")
class AvatarModel(SelfSupervisedModel):
    """Assigns one of a few codes to the transition from frame t to frame t + 1.

    Args:
        codes: A, number of latent actions.
        width: Channels of the network that tells the place of the avatar.
        frame_size: H and W, multiples of 8.

    Call arguments:
        frames: uint8 (B, 4, H, W, 3), frames t - 2 … t + 1.
        training: Whether to decode only 16 of the transitions.

    Returns:
        A dict: `codes` int32 (B,); `prediction` of frame t + 1, float (B, H, W, 3) in about -0.5 … 0.5, from frames t - 1, t and
        the code only; and the scalars `loss`, `tracking` (cross-entropy of the place in nats), `missed` (root mean square of the
        distance between step and code, in pixels), `psnr` in dB over the batch and `perplexity` of the codes.

    Reference:
        Genie, section 2.1, "Latent Action Model", for the task. Choi et al. 2019, arXiv 1811.01483, for the place of the
        controllable figure; they learn it from the actions. Rupprecht et al. 2017, arXiv 1612.00197, section 3.2, for the nearest
        code that learns most, and the others that learn a little.
    """

    Settings = AvatarSettings
    reported = ("tracking", "missed", "psnr", "perplexity")

    def __init__(self, codes=6, width=32, frame_size=FRAME_SIZE, **kwargs):
        super().__init__(**kwargs, autocast=False)
        self.config = dict(codes=codes, width=width, frame_size=frame_size)
        self.codes, self.frame_size = codes, tuple(frame_size)
        self.grid = tuple(side // CELL for side in frame_size)
        self.unit, self.near = UNIT * frame_size[0], NEAR * frame_size[0]
        self.see = keras.Sequential(
            [layers.Conv2D(width, 3, stride, padding="same", activation="relu") for stride in (CELL, 1, 1)], name="see"
        )
        self.locate = layers.Conv2D(1, 1, use_bias=False, dtype="float32", name="locate")
        self.expect = keras.Sequential(
            [*(layers.Dense(64, activation="relu") for _ in range(2)), layers.Dense(2, dtype="float32")], name="expect"
        )
        self.decoder = MotionDecoder(codes, 4 * width, self.frame_size, moves=True, name="decoder")

    @classmethod
    def from_settings(cls, settings: AvatarSettings, frame_size: tuple[int, int]) -> "AvatarModel":
        """Make the model. `adapt` is called before its training."""
        return cls(settings.codes, settings.width, frame_size)

    @staticmethod
    def examples(recording: Episodes, folder: Path, settings: AvatarSettings) -> Examples:
        """Single transitions. `folder` is not used."""
        return Examples(recording.windows(2, before=1), AvatarModel.transitions(recording, folder))

    @staticmethod
    def transitions(recording: Episodes, folder: Path):
        """A function from rows to the inputs of `code`: frames t - 2 … t + 1 for each row t."""
        return lambda rows: recording.frames(recording.transition_rows(rows, SEEN - 2))

    def adapt(self, recording: Episodes) -> None:
        """Build the model, and find the avatar in the recording for training.

        Raises:
            UserError: there is none.
        """
        avatar = find_avatar(recording)
        if avatar.surprise <= 0.0:
            reason = "nothing that is always there, once, moves in it: choose another --latent_action.kind"
            raise UserError(f"no avatar in {recording.folder}: {reason}")
        self.build()
        self.looks_KE.assign(avatar.looks)
        self.own_M.assign(avatar.own)
        self.offsets_M2.assign(avatar.offsets)

    def build(self, input_shape=None):
        found = {"initializer": "zeros", "trainable": False, "autocast": False}
        self.looks_KE = self.add_weight(shape=(LOOKS, 3 * SIDE**2), dtype="float32", name="looks", **found)
        self.own_M = self.add_weight(shape=(OWN,), dtype="int32", name="own", **found)
        self.offsets_M2 = self.add_weight(shape=(OWN, 2), dtype="float32", name="offsets", **found)
        normal = keras.initializers.RandomNormal(stddev=1.0 / FASTER, seed=0)
        self.code_A2 = self.add_weight(shape=(self.codes, 2), initializer=normal, dtype="float32", autocast=False, name="code")
        self.compute_output_spec(keras.KerasTensor((1, SEEN, *self.frame_size, 3), "uint8"), training=True)

    def _place(self, frames):
        """Where the network sees the avatar in single frames, uint8 (N, H, W, 3).

        Returns:
            `logits` (N, R * Q) of its cell; `place` (N, 2), column and row in pixels; `around` (N, width), the features there.
        """
        seen = self.see(from_pixels(frames))
        logits_NRQ = self.locate(seen)[..., 0]
        rows, columns = self.grid
        logits = ops.reshape(logits_NRQ, (-1, rows * columns))
        best = ops.cast(ops.argmax(logits, axis=1), "int32")[:, None]
        row, column = (ops.arange(side, dtype="int32") for side in self.grid)
        close_rows, close_columns = ops.abs(row - best // columns) <= 1, ops.abs(column - best % columns) <= 1
        close = ops.logical_and(close_rows[:, :, None], close_columns[:, None, :])
        here = ops.reshape(ops.softmax(ops.reshape(ops.where(close, logits_NRQ, -1e4), (-1, rows * columns))), (-1, rows, columns))
        along = (
            ops.sum(here * ops.cast(column, "float32"), axis=(1, 2)),
            ops.sum(here * ops.cast(row, "float32")[:, None], axis=(1, 2)),
        )
        return {
            "logits": logits,
            "place": CELL * ops.stack(along, axis=-1) + (CELL - 1) / 2,
            "around": ops.einsum("nrq,nrqc->nc", here, ops.cast(seen, "float32")),
        }

    def _marks(self, frames):
        """Where the surest look marks the avatar: its place (N, 2), column and row in pixels, and whether it does, bool (N,)."""
        found = places(frames, self.looks_KE, self.own_M)
        surest = ops.argmax(found[..., 2], axis=1)[:, None, None]
        place = ops.take_along_axis(found[..., :2] - self.offsets_M2, surest, axis=1)[:, 0]
        return place, ops.max(found[..., 2], axis=1) > 0

    def _cells(self, place, weight):
        """Weights (N, R * Q) of the cells: those of their rows and columns, functions of the distance in pixels, multiplied."""
        row, column = (
            weight(place[:, i, None] - (CELL * ops.arange(side, dtype="float32") + (CELL - 1) / 2))
            for i, side in zip((1, 0), self.grid)
        )
        return ops.reshape(row[:, :, None] * column[:, None, :], (-1, self.grid[0] * self.grid[1]))

    def _tracking(self, logits, frames):
        """Cross-entropy of the avatar's cell in the third of frames uint8 (B, 4, H, W, 3), in nats, as a mean over the batch."""
        log = ops.log_softmax(logits, axis=1)
        marks = [self._marks(frames[:, t]) for t in range(SEEN)]
        place, known = marks[2]
        exact = self._cells(place, lambda off: ops.maximum(0.0, 1.0 - ops.abs(off) / CELL))  # its mean is the place
        near = 1.0
        for steps, (other, other_known) in zip((2, 1, 0, 1), marks):
            if steps:
                reach = steps * self.near
                within = self._cells(other, lambda off, reach=reach: ops.cast(ops.abs(off) <= reach, "float32"))
                near = near * ops.where(other_known[:, None], within, 1.0)
        somewhere = -ops.logsumexp(log + ops.log(near + 1e-6), axis=1)
        return ops.mean(ops.where(known, -ops.sum(exact * log, axis=1), somewhere))

    def _past(self, frames):
        """What frames t - 2, t - 1 and t tell, uint8 (B, 3, H, W, 3).

        Returns:
            A dict: `logits` of frame t, see `_place`; the `place` (B, 2) of the avatar in it; and `mean` (B, 2), the mean of the
            step to come, in sixteenths of the frame's height.
        """
        seen = self._place(frames[:, 2])
        first, second = (ops.stop_gradient(self._place(frames[:, t])["place"]) for t in (0, 1))
        here, around = ops.stop_gradient(seen["place"]), ops.stop_gradient(seen["around"])
        past = [self._step(first, second), self._step(second, here), here / self.frame_size[0], around]
        return {"logits": seen["logits"], "place": here, "mean": self.expect(ops.concatenate(past, axis=-1))}

    def _step(self, first, last):
        return ops.clip(last - first, -self.near, self.near) / self.unit

    def _codes(self, frames):
        """What the past does not tell of the step, and the codes of it.

        Returns:
            The dict of `_past`, and `missed` (B, 2), step minus mean, in sixteenths of the frame's height; `errors` (B, A), its
            squared distance to each code vector.
        """
        past = self._past(frames)
        missed = self._step(past["place"], ops.stop_gradient(self._place(frames[:, 3])["place"])) - past["mean"]
        errors = ops.sum(ops.square(ops.stop_gradient(missed)[:, None] - FASTER * self.code_A2), axis=-1)
        return past | {"missed": missed, "errors": errors}

    def _moved(self, current, past, codes):
        """What the decoder sees of the step under the latent actions `codes`: float (B, H, W, 5), see `MotionDecoder`.

        `current` is frame t, uint8 (B, H, W, 3), and `past` is the dict of `_past`.
        """
        step = self.unit * ops.stop_gradient(past["mean"] + FASTER * ops.take(self.code_A2, codes, axis=0))
        step = ops.clip(step, -self.near, self.near)
        height, width = self.frame_size
        pixels = ops.arange(width, dtype="float32"), ops.arange(height, dtype="float32")
        maps = []
        for place in (past["place"], past["place"] + step):
            column, row = (
                ops.exp(-0.5 * ops.square((at - place[:, axis, None]) / (SMALL * height))) for axis, at in enumerate(pixels)
            )
            maps.append(row[:, :, None] * column[:, None, :])
        moved = stepped(from_pixels(current), step, int(self.near) + 1)
        return ops.concatenate([moved, ops.cast(ops.stack(maps, axis=-1), moved.dtype)], axis=-1)

    def call(self, frames, training=False):
        out = self._codes(frames)
        tracking = self._tracking(out["logits"], frames)
        surprise = ops.sum(ops.square(out["missed"]), axis=1)
        shared = ops.sum(shares(out["errors"], surprise) * out["errors"], axis=1)
        fit = ops.min(out["errors"], axis=1) + SHARED * shared
        codes = ops.cast(ops.argmin(out["errors"], axis=1), "int32")
        decoded = self.decoder(frames[:, 1:], codes, self._moved(frames[:, 2], out, codes), training=training)
        return {
            "codes": codes,
            "prediction": decoded["prediction"],
            "loss": tracking + ops.mean(surprise + fit) + 10.0 * decoded["error"],
            "tracking": tracking,
            "missed": self.unit * ops.sqrt(ops.mean(ops.min(out["errors"], axis=1))),
            "psnr": decoded["psnr"],
            "perplexity": perplexity(codes, self.codes),
        }

    def code(self, frames):
        """Latent action int32 (B,), from the same input as `call`."""
        return ops.cast(ops.argmin(self._codes(frames)["errors"], axis=1), "int32")

    def infer(self, frames):
        """Latent action int32 (B,) between frames t and t + 1, from frames t - 3 … t + 1, uint8 (B, 5, H, W, 3)."""
        return self.code(frames[:, FRAMES - SEEN :])

    def predict_next(self, frames, codes):
        """Predict frame t + 1, uint8 (B, H, W, 3), under the latent actions `codes` int32 (B,).

        `frames` is uint8 (B, 5, H, W, 3), frames t - 3 … t + 1. Frame t + 1 is not used.
        """
        before = frames[:, FRAMES - SEEN : -1]
        return to_pixels(self.decoder.predict(before[:, 1:], codes, self._moved(before[:, 2], self._past(before), codes)))

    def get_config(self):
        return super().get_config() | self.config
