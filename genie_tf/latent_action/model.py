"""The unsupervised action model: what moved, beyond what was to be expected, in one of a few codes.

Three ideas keep the codes about the action, and not about the scene or the phase of a jump:

- *Innovation.* A second network predicts the encoder's vector from the past alone. Only the difference is quantized: what the past
  foretells, such as the phase of a jump, needs no code; and what changed little stays near one quiet code.
- *Motion first.* The decoder explains frame t + 1 by shifting frame t, and paints what no shift explains afterwards.
- *Half resolution.* An action moves many pixels; a quarter of them shows it, in a quarter of the time.
"""

import keras
from keras import layers, ops

from genie_tf.layers.norm import rms_normalize
from genie_tf.layers.pixels import from_pixels, patchify, unpatchify
from genie_tf.layers.self_supervised import SelfSupervisedModel
from genie_tf.layers.vector_quantizer import VectorQuantizer

SIDE = 32  # pixels to a side, after averaging 2 x 2
PATCH = 2
REACH = {"rows": 13, "columns": 6}  # how far a frame may shift at half resolution


def shift_matrix(weights_BS):
    """Shifts along one axis as a matrix: (B, SIDE, SIDE) from the weights (B, 2 R + 1) of the shifts -R … R."""
    reach = (weights_BS.shape[-1] - 1) // 2
    place = ops.arange(SIDE, dtype="int32")
    shift = place[:, None] - place[None, :] + reach
    inside = ops.cast(ops.logical_and(shift >= 0, shift <= 2 * reach), weights_BS.dtype)
    return ops.take(weights_BS, ops.clip(shift, 0, 2 * reach), axis=1) * inside


def features(width: int, name: str):
    """A small network from the patches of some frames to one vector."""
    return keras.Sequential(
        [
            layers.Conv2D(width // 2, 3, padding="same", activation="relu"),
            layers.Conv2D(width // 2, 3, 2, padding="same", activation="relu"),
            layers.Conv2D(width // 2, 3, 2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(2 * width, activation="relu"),
        ],
        name=name,
    )


@keras.saving.register_keras_serializable("genie_tf")
class LatentActionModel(SelfSupervisedModel):
    """One of a few codes for what happened between frame t and frame t + 1.

    Args:
        codes: A, number of latent actions.
        code_dim: D, size of a code.
        width: Channels of the networks.
        commitment: Weight of the loss that pulls the encoder to its codes.
        seed: Seed of the codebook.

    Call arguments:
        frames: uint8 (B, 3, 64, 64, 3), frames t - 1, t, t + 1.
        training: Whether to update the codebook.

    Returns:
        A dict: `prediction` of frame t + 1, float (B, 32, 32, 3) in about -0.5 … 0.5, from frames t - 1, t and the code alone;
        `codes` int32 (B,); and the scalars `loss`, `psnr` in dB over the batch, `perplexity`.

    Reference:
        Genie, section 2.1, "Latent Action Model"; transformation of pixels: Finn et al. 2016, arXiv 1605.07157, section 3.
    """

    reported = ("psnr", "perplexity")

    def __init__(self, codes=8, code_dim=32, width=128, commitment=0.025, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(codes=codes, code_dim=code_dim, width=width, commitment=commitment, seed=seed)
        self.codes, self.commitment = codes, commitment
        self.see_change = features(width, "see_change")
        self.to_code = layers.Dense(code_dim, dtype="float32", name="to_code")
        self.expect = keras.Sequential(
            [features(width, "see_past_to_expect"), layers.Dense(code_dim, dtype="float32")], name="expect"
        )
        self.quantizer = VectorQuantizer(codes, code_dim, dead_below=0.1, seed=seed, name="quantizer")
        self.see_past = features(width, "see_past")
        self.code_gain = layers.Dense(2 * width, name="code_gain")
        self.code_offset = layers.Dense(2 * width, name="code_offset")
        self.mix = layers.Dense(2 * width, activation="relu", name="mix")
        self.row_shift = layers.Dense(2 * REACH["rows"] + 1, dtype="float32", name="row_shift")
        self.column_shift = layers.Dense(2 * REACH["columns"] + 1, dtype="float32", name="column_shift")
        half = width // 2
        self.paint_fine = layers.Conv2D(half, 3, padding="same", activation="relu", name="paint_fine")
        self.paint_coarse = layers.Conv2D(half, 3, 2, padding="same", activation="relu", name="paint_coarse")
        self.paint_code = layers.Dense(half, name="paint_code")
        self.paint_mix = layers.Conv2D(half, 3, padding="same", activation="relu", name="paint_mix")
        self.paint_up = layers.Conv2DTranspose(half, 4, 2, padding="same", activation="relu", name="paint_up")
        self.paint = layers.Conv2D(4 * PATCH**2, 3, padding="same", dtype="float32", name="paint")

    def build(self, input_shape=None):
        self.call(ops.zeros((1, 3, 64, 64, 3), "uint8"))

    def _halved(self, frames):
        """Float (B, 32, 32, 3) for each of the three frames."""
        x = ops.reshape(from_pixels(frames), (-1, 3, SIDE, 2, SIDE, 2, 3))
        return ops.unstack(ops.mean(x, axis=(3, 5)), 3, axis=1)

    def _innovation(self, past, change):
        """What the encoder saw and the past did not foretell: (B, D); and the error of the foretelling."""
        seen_BD = rms_normalize(self.to_code(self.see_change(change)))
        foretold_BD = self.expect(past)
        error = ops.mean(ops.square(ops.stop_gradient(seen_BD) - foretold_BD))
        return seen_BD - ops.stop_gradient(foretold_BD), error

    def _predict(self, past, current, code_BD):
        """Frame t + 1 from the past and the code: shift frame t, then paint what no shift explains."""
        h = self.see_past(past)
        h = h + self.mix(ops.relu(h * (1.0 + self.code_gain(code_BD)) + self.code_offset(code_BD)))
        rows, columns = (shift_matrix(ops.softmax(head(h))) for head in (self.row_shift, self.column_shift))
        shifted = ops.einsum("bij,bjkc,blk->bilc", rows, current, columns)
        fine = self.paint_fine(ops.concatenate([patchify(shifted, PATCH), past], axis=-1))
        coarse = self.paint_coarse(fine) + self.paint_code(code_BD)[:, None, None]
        coarse = coarse + self.paint_mix(coarse)
        painted = unpatchify(self.paint(self.paint_up(coarse) + fine), PATCH)
        keep = ops.sigmoid(painted[..., :1] + 2.0)
        return keep * shifted + (1.0 - keep) * painted[..., 1:]

    def call(self, frames, training=False):
        previous, current, following = self._halved(frames)
        past = ops.concatenate([patchify(previous, PATCH), patchify(current, PATCH)], axis=-1)
        change = ops.concatenate([past, patchify(following, PATCH)], axis=-1)
        innovation, surprise = self._innovation(past, change)
        quantization = self.quantizer(innovation, training=training)
        prediction = self._predict(past, current, quantization["quantized"])
        error = prediction - following
        square = ops.mean(ops.square(error))
        return {
            "prediction": prediction,
            "codes": quantization["indices"],
            "loss": square + 0.1 * ops.mean(ops.abs(error)) + 0.5 * surprise + self.commitment * quantization["commitment"],
            "psnr": -10.0 * ops.log10(square),
            "perplexity": quantization["perplexity"],
        }

    def infer(self, frames):
        """Latent action int32 (B,) that led from frame t to frame t + 1, of frames uint8 (B, 3, 64, 64, 3)."""
        previous, current, following = self._halved(frames)
        past = ops.concatenate([patchify(previous, PATCH), patchify(current, PATCH)], axis=-1)
        change = ops.concatenate([past, patchify(following, PATCH)], axis=-1)
        return self.quantizer(self._innovation(past, change)[0])["indices"]

    def get_config(self):
        return super().get_config() | self.config
