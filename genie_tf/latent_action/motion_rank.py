"""`motion_rank`, a latent action model for games with a scrolling picture. Its code is the rank of the picture's movement.

The recording agent draws its actions independently of the past. The same action can cause different movements in different states,
for example on the ground and in the air. But its *rank* (quantile) among the movements that are possible after this past is
similar in every state: low ranks correspond to one direction, high ranks to the other. The model has four steps:

1. *Registration* estimates the shift between two frames, in columns and rows.
2. *Rank.* A network predicts the distribution of the shift from the past. The rank of the observed shift is its cumulative
   probability, 0 … 1. There is one rank for the rows, and one for the columns given the rows.
3. *Second network.* The rank of the shift alone is uncertain. A second network predicts the rank from the pixels of frames t and
   t + 1. The probabilities of both networks are multiplied.
4. *Codes.* The mean rank of the columns is divided into a few equal parts, that of the rows into two. The latent action is the
   pair of parts. This step has no learned parameters, so the codebook cannot collapse.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from genie_tf.config import LatentActionConfig
from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.episodes.motion import motion_of
from genie_tf.errors import UserError
from genie_tf.hosts import own_part
from genie_tf.latent_action import FRAMES
from genie_tf.latent_action.decoder import MotionDecoder
from genie_tf.layers.convolutions import convolutions
from genie_tf.layers.pixels import FRAME_SIZE, from_pixels, patchify, to_pixels
from genie_tf.layers.quantizers.codes import perplexity
from genie_tf.layers.registration import reach_in, register
from genie_tf.layers.self_supervised import SelfSupervisedModel

PATCH = 2
AXES = ("columns", "rows")
USUAL = (3 / 64, 15 / 64, 0.01)  # typical columns and rows of a registration, as parts of the frame's width and height; residual
MIRROR = np.array([-1, 1, 1], "float32")  # factors that mirror a motion horizontally
TIERS = {"columns": 12, "rows": 6}  # classes of the second network: equal parts of the rank
DOUBT = 0.25  # standard deviation of the rank of the first network
ROW_PARTS = 2  # equal parts of the rank of the rows: the rows distinguish fewer actions than the columns


def mirrored(flip: np.ndarray, frames: np.ndarray, motion: np.ndarray) -> dict[str, np.ndarray]:
    """Mirror transitions horizontally, so that left and right are swapped.

    Args:
        flip: bool (B,), which of them.
        frames: uint8 (B, 3, H, W, 3).
        motion: float32 (B, 4, 3), from `register`.

    Returns:
        A dict of `frames` and `motion`.
    """
    frames = frames.copy()
    frames[flip] = frames[flip, :, :, ::-1]
    return {"frames": frames, "motion": np.where(flip[:, None, None], motion * MIRROR, motion)}


def rank_in(logits_BS, place_B):
    """Rank of `place_B` in a distribution over S ordered places.

    Returns:
        The rank float32 (B,) in 0 … 1, the probability of all lower places plus half of its own; and the negative log likelihood
        (B,) in nats.
    """
    chances_BS = ops.softmax(logits_BS)
    at = place_B[:, None]
    own_B = ops.take_along_axis(chances_BS, at, axis=1)[:, 0]
    rank_B = ops.take_along_axis(ops.cumsum(chances_BS, axis=1), at, axis=1)[:, 0] - own_B / 2.0
    return ops.stop_gradient(rank_B), -ops.log(own_B + 1e-9)


def fused_rank(rank_B, logits_BS):
    """Mean rank (B,) under the product of two distributions: a normal one at `rank_B`, and one of logits over S parts of 0 … 1."""
    parts = logits_BS.shape[-1]
    centre_S = (ops.arange(parts, dtype="float32") + 0.5) / parts
    first_BS = -0.5 * ops.square((rank_B[:, None] - centre_S) / DOUBT)
    return ops.sum(ops.softmax(first_BS + ops.log_softmax(logits_BS)) * centre_S, axis=1)


def part_of(rank_B, parts: int):
    """Index int32 (B,) of the part that contains a rank, of `parts` equal parts of 0 … 1."""
    return ops.cast(ops.minimum(rank_B * parts, parts - 1.0), "int32")


@dataclass
class MotionRankSettings(LatentActionConfig):
    """Settings of the latent action model that uses the rank of the picture's movement.

    Args:
        kind: "motion_rank".
        codes: Number of latent actions, an even number: half of it for the columns, times two for the rows.
        width: Channels of the networks at their coarsest grid.
    """

    kind: Literal["motion_rank"] = "motion_rank"
    epochs: int = 30
    steps_per_epoch: int = 120
    batch_size: int = 128
    width: int = 128


class Transitions(Examples):
    """Transitions of a recording as inputs of `MotionRankModel`. `draw` mirrors half of them.

    Args:
        recording: The episodes.
        folder: Folder of the cached movements of all frames.
    """

    def __init__(self, recording: Episodes, folder: Path):
        super().__init__(recording.windows(2, before=1), self._take)
        self.recording, self.motion = recording, motion_of(recording, folder)

    def _take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        around = self.recording.transition_rows(rows, FRAMES - 2)
        went_on = np.diff(around)[..., None] == 1  # false before an episode's first row, which is repeated
        return {"frames": self.recording.frames(around[:, -3:]), "motion": self.motion[around[:, :-1]] * went_on}

    def draw(self, rng: np.random.Generator, size: int):
        batch = super().draw(rng, size)
        return mirrored(rng.random(size)[own_part(size)] < 0.5, **batch)


@keras.saving.register_keras_serializable("genie_tf")
class MotionRankModel(SelfSupervisedModel):
    """Assigns one of a few codes to the transition from frame t to frame t + 1.

    Args:
        codes: A, number of latent actions, an even number.
        width: Channels of the networks.
        frame_size: H and W, multiples of 8.

    Call arguments:
        inputs: A dict: `frames` uint8 (B, 3, H, W, 3), frames t - 1, t, t + 1; `motion` float32 (B, 4, 3), the output of
            `register` for each of the frames t - 3 … t and its next frame.
        training: Whether to decode only 16 of the transitions.

    Returns:
        A dict: `codes` int32 (B,); `prediction` of frame t + 1, float (B, H, W, 3) in about -0.5 … 0.5, from frames t - 1, t and
        the code only; and the scalars `loss`, `psnr` in dB over the batch, `surprise` (negative log likelihood of the movement in
        nats), `naming` (cross-entropy of its rank in nats) and `perplexity` of the codes.

    Reference:
        Genie, section 2.1, "Latent Action Model", for the task. Rosenblatt 1952, "Remarks on a multivariate transformation", for
        the conditional rank.
    """

    Settings = MotionRankSettings
    reported = ("surprise", "naming", "psnr", "perplexity")

    def __init__(self, codes=6, width=128, frame_size=FRAME_SIZE, **kwargs):
        super().__init__(**kwargs, autocast=False)
        self.config = dict(codes=codes, width=width, frame_size=frame_size)
        self.codes, self.frame_size = codes, tuple(frame_size)
        self.reach = reach_in(self.frame_size)
        height, columns = self.frame_size
        self.usual = np.array([USUAL[0] * columns, USUAL[1] * height, USUAL[2]], "float32")
        self.parts = {"columns": codes // ROW_PARTS, "rows": ROW_PARTS}
        self.places = {axis: 2 * self.reach[axis] + 1 for axis in AXES}
        quarter, size = width // 4, 3 * width // 2
        self.see_place = convolutions((quarter, 3 * quarter // 2), (2, 2), size, 0.4, "see_place")
        self.expect = keras.Sequential(
            [
                layers.Dense(2 * width, activation="relu"),
                layers.Dropout(0.2),
                layers.Dense(size, activation="relu"),
                layers.Dropout(0.2),
            ],
            name="expect",
        )
        self.expect_rows = layers.Dense(self.places["rows"], dtype="float32", name="expect_rows")
        self.rows_gain = layers.Embedding(self.places["rows"], size, embeddings_initializer="ones", name="rows_gain")
        self.rows_offset = layers.Embedding(self.places["rows"], size, embeddings_initializer="zeros", name="rows_offset")
        self.expect_columns = keras.Sequential(
            [layers.Dense(size, activation="relu"), layers.Dense(self.places["columns"], dtype="float32")], name="expect_columns"
        )
        channels = 3 * width // 8
        self.see_change = convolutions((channels, channels, width // 2), (1, 2, 2), width, 0.3, "see_change")
        self.tell = {axis: layers.Dense(TIERS[axis], dtype="float32", name=f"tell_{axis}") for axis in AXES}
        self.decoder = MotionDecoder(codes, width, self.frame_size, name="decoder")

    @classmethod
    def from_settings(cls, settings: MotionRankSettings, frame_size: tuple[int, int]) -> "MotionRankModel":
        """Make the model.

        Raises:
            UserError: the number of codes is odd.
        """
        if settings.codes % ROW_PARTS:
            reason = "each part of the columns is paired with two of the rows: take an even number"
            raise UserError(f"--latent_action.codes {settings.codes}: {reason}")
        return cls(settings.codes, settings.width, frame_size)

    @staticmethod
    def examples(recording: Episodes, folder: Path, settings: MotionRankSettings) -> Transitions:
        """Single transitions, with their past movements."""
        return Transitions(recording, folder)

    @staticmethod
    def transitions(recording: Episodes, folder: Path):
        """A function from rows to the inputs of `code`."""
        return Transitions(recording, folder).take

    def build(self, input_shape=None):
        frames, motion = keras.KerasTensor((1, 3, *self.frame_size, 3), "uint8"), keras.KerasTensor((1, FRAMES - 1, 3), "float32")
        self.compute_output_spec({"frames": frames, "motion": motion}, training=True)  # in training, one orientation is looked at

    def _rank(self, place, motion, training):
        """The last movement among those that the past allows. The rows are ranked given the past, the columns given both.

        Returns:
            A dict: of each axis `expected`, the distribution (B, 2 R + 1), and `rank` (B,) in it; the scalar `surprise`.
        """
        at = {
            axis: ops.cast(ops.clip(ops.round(motion[:, -1, i]), -self.reach[axis], self.reach[axis]) + self.reach[axis], "int32")
            for i, axis in enumerate(AXES)
        }
        past = ops.reshape(motion[:, :-1] / self.usual, (-1, 3 * (FRAMES - 2)))
        seen = ops.cast(self.see_place(place, training=training), "float32")
        h = self.expect(ops.concatenate([seen, past], axis=1), training=training)
        of_rows = self.expect_rows(h)
        rows, surprise_rows = rank_in(of_rows, at["rows"])
        h = h * self.rows_gain(at["rows"]) + self.rows_offset(at["rows"])
        of_columns = self.expect_columns(h)
        columns, surprise_columns = rank_in(of_columns, at["columns"])
        return {
            "expected": {"rows": ops.softmax(of_rows), "columns": ops.softmax(of_columns)},
            "rank": {"rows": rows, "columns": columns},
            "surprise": ops.mean(surprise_rows + surprise_columns),
        }

    def _fused_ranks(self, frames, motion, training):
        """The ranks from both networks.

        Returns:
            A dict: of each axis `rank` (B,), from both networks; `first` (B,), from the first one alone; `expected` (B, 2 R + 1),
            see `_rank`; `told` (B, P), the second network's distribution over P equal parts of the rank; the scalars `surprise`
            and `naming`.
        """
        current, following = (patchify(from_pixels(frames[:, t]), PATCH) for t in (-2, -1))
        first = self._rank(current, motion, training)
        rank = first["rank"]
        seen = self.see_change(ops.concatenate([current, following], axis=-1), training=training)
        logits = {axis: self.tell[axis](seen) for axis in AXES}
        told = {axis: part_of(rank[axis], TIERS[axis]) for axis in AXES}
        naming = sum(keras.losses.sparse_categorical_crossentropy(told[axis], logits[axis], from_logits=True) for axis in AXES)
        fused = {axis: fused_rank(rank[axis], logits[axis]) for axis in AXES}
        return {
            "rank": fused,
            "first": rank,
            "expected": first["expected"],
            "told": {axis: ops.softmax(logits[axis]) for axis in AXES},
            "surprise": first["surprise"],
            "naming": ops.mean(naming),
        }

    def _codes(self, inputs, training=False):
        """The outputs of `call` that do not come from the decoder."""
        frames, motion = inputs["frames"], ops.cast(inputs["motion"], "float32")
        look = self._fused_ranks(frames, motion, training)
        rank = look["rank"]
        if not training:  # the mean over both orientations is more accurate
            mirror = self._fused_ranks(ops.flip(frames, axis=3), motion * MIRROR, training)["rank"]
            rank = {"columns": (rank["columns"] + 1.0 - mirror["columns"]) / 2.0, "rows": (rank["rows"] + mirror["rows"]) / 2.0}
        part = {axis: part_of(rank[axis], self.parts[axis]) for axis in AXES}
        codes = part["columns"] * ROW_PARTS + part["rows"]
        return {"codes": codes, "perplexity": perplexity(codes, self.codes), "surprise": look["surprise"], "naming": look["naming"]}

    def call(self, inputs, training=False):
        out = self._codes(inputs, training)
        decoded = self.decoder(inputs["frames"], out["codes"], training=training)
        loss = out["surprise"] + out["naming"] + 10.0 * decoded["error"]
        return out | {"prediction": decoded["prediction"], "psnr": decoded["psnr"], "loss": loss}

    def code(self, inputs):
        """Latent action int32 (B,), from the same inputs as `call`."""
        return self._codes(inputs)["codes"]

    def explain(self, inputs):
        """What the code of a transition is made of, without the mirrored orientation: the dict of `_fused_ranks`."""
        return self._fused_ranks(inputs["frames"], ops.cast(inputs["motion"], "float32"), training=False)

    def infer(self, frames):
        """Latent action int32 (B,) between frames t and t + 1, from frames t - 3 … t + 1, uint8 (B, 5, H, W, 3)."""
        pairs = (ops.reshape(each, (-1, *self.frame_size, 3)) for each in (frames[:, :-1], frames[:, 1:]))
        motion = ops.reshape(register(*pairs), (-1, FRAMES - 1, 3))
        return self.code({"frames": frames[:, -3:], "motion": motion})

    def predict_next(self, frames, codes):
        """Predict frame t + 1, uint8 (B, H, W, 3), under the latent actions `codes` int32 (B,).

        `frames` is uint8 (B, 5, H, W, 3), frames t - 3 … t + 1. Frame t + 1 is not used.
        """
        return to_pixels(self.decoder.predict(frames[:, -3:-1], codes))

    def get_config(self):
        return super().get_config() | self.config
