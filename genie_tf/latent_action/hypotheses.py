"""`hypotheses`, a latent action model for games in which the camera stands still or moves by itself.

The past tells most of the next frame. What it does not tell is, above all, the action. The model has these steps:

1. *Expectation.* A network predicts frame t + 1 from the last three frames. This is the mean of what can happen.
2. *Hypotheses.* For each latent action, the network predicts a change of this expectation. Here it sees the expected picture alone.
   If it also saw the movement until now, a code could mean "on" and "back" instead of "up" and "down".
3. *Code.* The latent action of a transition is the one whose hypothesis is nearest to frame t + 1.
   The border of the picture does not count: what comes in there cannot be foretold, and no key brings it.
4. *Training.* A transition trains the hypothesis of its own code. In each batch the surprise is shared out evenly among the codes,
   so that none stays unused.

There is no encoder and no codebook.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
from keras import layers, ops

from genie_tf.config import LatentActionConfig
from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.latent_action import FRAMES
from genie_tf.layers.pixels import FRAME_SIZE, from_pixels, patchify, to_pixels, unpatchify
from genie_tf.layers.quantizers.codes import perplexity
from genie_tf.layers.self_supervised import SelfSupervisedModel
from genie_tf.training.backend import over_replicas

PATCH = 4
SEEN = 4  # frames t - 2 … t + 1 of the FRAMES are used
SHARPNESS = 3.0  # of the shares, per standard deviation of the errors of the codes
ROUNDS = 5  # of the iteration that shares the codes out evenly


def shares(errors_BA, surprise_B):
    """How much each code is trained on each transition.

    A code with a small error gets a large share. Over the whole batch, all codes have about the same sum of shares, weighted by the
    surprise. The weight is near 0 if nothing unexpected happens. Otherwise such transitions take most of the codes in games in
    which keys seldom have an effect. It is at most 1, so that rare large changes do not take them either.

    Args:
        errors_BA: float32 (B, A), squared error of each code.
        surprise_B: float32 (B,), squared error of the expectation.

    Returns:
        float32 (B, A), without gradient. The shares of a transition have the sum 1.

    Reference:
        Cuturi 2013, arXiv 1306.0895, for the iteration (Sinkhorn's); Caron et al. 2020, SwAV, arXiv 2006.09882, section 3.1, for
        codes that are shared out evenly in a batch.
    """

    def centred(x_BA):
        return x_BA - ops.mean(x_BA, axis=1, keepdims=True)

    whole_MA = centred(ops.stop_gradient(over_replicas(errors_BA)))
    surprise_M = ops.stop_gradient(over_replicas(surprise_B))
    ratio_M = ops.square(surprise_M / (ops.mean(surprise_M) + 1e-6))
    weight_M1 = ops.log(ratio_M / (1.0 + ratio_M) + 1e-4)[:, None]
    scale = SHARPNESS / (ops.mean(ops.std(whole_MA, axis=1)) + 1e-6)
    favour_A = ops.zeros_like(whole_MA[0])
    for _ in range(ROUNDS):
        logits_MA = ops.log_softmax(favour_A - scale * whole_MA, axis=1)
        favour_A = favour_A - ops.logsumexp(logits_MA + weight_M1, axis=0)
    return ops.softmax(favour_A - scale * centred(ops.stop_gradient(errors_BA)), axis=1)


@dataclass
class HypothesesSettings(LatentActionConfig):
    """Settings of the latent action model that predicts one next frame for each code.

    Args:
        kind: "hypotheses".
        codes: Number of latent actions: at least that of the game's controls.
        width: Channels of the network at its finest grid.
    """

    kind: Literal["hypotheses"] = "hypotheses"
    epochs: int = 10
    steps_per_epoch: int = 150
    batch_size: int = 64
    width: int = 48


@keras.saving.register_keras_serializable("genie_tf")
class HypothesesModel(SelfSupervisedModel):
    """Assigns one of a few codes to the transition from frame t to frame t + 1.

    Args:
        codes: A, number of latent actions.
        width: Channels of the network at its finest grid, of patches of 4 x 4 pixels.
        frame_size: H and W, multiples of 8.

    Call arguments:
        frames: uint8 (B, 4, H, W, 3), frames t - 2 … t + 1.

    Returns:
        A dict: `codes` int32 (B,); `prediction` of frame t + 1 under them, float (B, H, W, 3) in about -0.5 … 0.5; and the scalars
        `loss`, `psnr` in dB of the prediction over the batch, `expected_psnr` of the expectation, `perplexity` of the codes.

    Reference:
        Genie, section 2.1, "Latent Action Model", for the task. Guzman-Rivera et al. 2012, "Multiple choice learning", and
        Rupprecht et al. 2017, arXiv 1612.00197, for the hypotheses.
    """

    Settings = HypothesesSettings
    reported = ("psnr", "expected_psnr", "perplexity")

    def __init__(self, codes=6, width=48, frame_size=FRAME_SIZE, **kwargs):
        super().__init__(**kwargs, autocast=False)
        self.config = dict(codes=codes, width=width, frame_size=frame_size)
        self.codes, self.frame_size = codes, tuple(frame_size)
        size = 3 * PATCH**2

        def convolution(channels: int, name: str, stride: int = 1):
            return layers.Conv2D(channels, 3, stride, padding="same", activation="relu", name=name)

        self.fine = keras.Sequential([convolution(width, "fine_1"), convolution(width, "fine_2")], name="fine")
        self.down = convolution(2 * width, "down", 2)
        self.coarse = [convolution(2 * width, f"coarse_{i}") for i in range(2)]
        self.anywhere = layers.Dense(2 * width, name="anywhere")
        self.up = layers.Conv2DTranspose(width, 4, 2, padding="same", name="up")
        self.mix = convolution(width, "mix")
        self.expect = layers.Conv2D(size, 3, padding="same", dtype="float32", name="expect")
        # 3 x 3, so that the two sides of a figure have separate weights: their features are alike, and "left" and "right" would
        # stay one hypothesis
        self.suppose = layers.Conv2D(size * codes, 3, padding="same", dtype="float32", name="suppose")

    @classmethod
    def from_settings(cls, settings: HypothesesSettings, frame_size: tuple[int, int]) -> "HypothesesModel":
        """Make the model."""
        return cls(settings.codes, settings.width, frame_size)

    @staticmethod
    def examples(recording: Episodes, folder: Path, settings: HypothesesSettings) -> Examples:
        """Single transitions. `folder` is not used."""
        return Examples(recording.windows(2, before=1), HypothesesModel.transitions(recording, folder))

    @staticmethod
    def transitions(recording: Episodes, folder: Path):
        """A function from rows to the inputs of `code`: frames t - 2 … t + 1 for each row t."""
        return lambda rows: recording.frames(recording.transition_rows(rows, SEEN - 2))

    def build(self, input_shape=None):
        self.compute_output_spec(keras.KerasTensor((1, SEEN, *self.frame_size, 3), "uint8"))

    def _see(self, current_BRQE, movement_BRQE):
        """What the network sees at each patch of a picture and of its movement, (B, R, Q, width)."""
        h = self.fine(ops.concatenate([current_BRQE, movement_BRQE], axis=-1))
        coarse = self.down(h)
        for convolution in self.coarse:
            coarse = coarse + convolution(coarse)
        coarse = coarse + self.anywhere(ops.max(coarse, axis=(1, 2)))[:, None, None]
        h = ops.relu(h + self.up(coarse))
        return h + self.mix(h)

    def _suppose(self, past):
        """Frame t + 1, in patches, from `past` (B, 3, H, W, 3), float frames t - 2 … t.

        Returns:
            A dict: `expected` float32 (B, R, Q, E), and `supposed` (B, R, Q, A, E), what each code adds to it: 0 at the border.
        """
        current = past[:, 2] - ops.mean(past[:, 2], axis=(1, 2), keepdims=True)  # a black ground is 0, and no large constant
        current, *movement = (patchify(x, PATCH) for x in (current, past[:, 1] - past[:, 0], past[:, 2] - past[:, 1]))
        movement = 2.0 * ops.concatenate(movement, axis=-1)
        change = self.expect(self._see(current, movement))
        supposed = self.suppose(self._see(current + ops.stop_gradient(change), ops.zeros_like(movement)))
        supposed = ops.pad(supposed[:, 1:-1, 1:-1], ((0, 0), (1, 1), (1, 1), (0, 0)))
        supposed = ops.reshape(supposed, (*ops.shape(supposed)[:3], self.codes, 3 * PATCH**2))
        return {"expected": patchify(past[:, 2], PATCH) + change, "supposed": supposed}

    def _errors(self, frames):
        """The dict of `_suppose`, with the squared errors of a frame.

        These are `expected_error` (B,), `surprise` (B,), the part of it that is not at the border, and `errors` (B, A).
        """
        x = from_pixels(frames)
        out = self._suppose(x[:, :3])
        surprise = patchify(x[:, 3], PATCH) - out["expected"]
        missed = ops.stop_gradient(surprise)[:, :, :, None] - out["supposed"]
        return out | {
            "expected_error": ops.sum(ops.square(surprise), axis=(1, 2, 3)),
            "surprise": ops.sum(ops.square(surprise[:, 1:-1, 1:-1]), axis=(1, 2, 3)),
            "errors": ops.sum(ops.square(missed), axis=(1, 2, 4)),
        }

    @staticmethod
    def _predicted(out, codes):
        """Frame t + 1, float (B, H, W, 3), from the outputs of `_suppose` and codes int32 (B,)."""
        supposed = ops.take_along_axis(out["supposed"], codes[:, None, None, None, None], axis=3)[:, :, :, 0]
        return unpatchify(out["expected"] + supposed, PATCH)

    def call(self, frames, training=False):
        out = self._errors(frames)
        codes = ops.cast(ops.argmin(out["errors"], axis=1), "int32")
        fit = ops.sum(shares(out["errors"], out["surprise"]) * out["errors"], axis=1)
        values = 3 * self.frame_size[0] * self.frame_size[1]

        def psnr(errors):
            return -10.0 * ops.log10(ops.mean(errors) / values + 1e-9)

        return {
            "codes": codes,
            "prediction": self._predicted(out, codes),
            "loss": ops.mean(out["expected_error"] + fit),
            "psnr": psnr(ops.min(out["errors"], axis=1)),
            "expected_psnr": psnr(out["expected_error"]),
            "perplexity": perplexity(codes, self.codes),
        }

    def code(self, frames):
        """Latent action int32 (B,), from the same input as `call`."""
        return ops.cast(ops.argmin(self._errors(frames)["errors"], axis=1), "int32")

    def infer(self, frames):
        """Latent action int32 (B,) between frames t and t + 1, from frames t - 3 … t + 1, uint8 (B, 5, H, W, 3)."""
        return self.code(frames[:, FRAMES - SEEN :])

    def predict_next(self, frames, codes):
        """Predict frame t + 1, uint8 (B, H, W, 3), under the latent actions `codes` int32 (B,).

        `frames` is uint8 (B, 5, H, W, 3), frames t - 3 … t + 1. Frame t + 1 is not used.
        """
        past = from_pixels(frames[:, FRAMES - SEEN : -1])
        return to_pixels(self._predicted(self._suppose(past), codes))

    def get_config(self):
        return super().get_config() | self.config
