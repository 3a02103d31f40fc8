"""The supervised action model: it predicts the key pressed between two frames, and is trained on recorded actions.

It is the upper bound for the latent action models. It is also the judge of rollouts: it predicts the key that a rollout shows.
"""

import keras
import numpy as np
from keras import layers, ops

from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.latent_action import FRAMES
from genie_tf.latent_action.keymap import KEY_OF_ACTION, KEYS
from genie_tf.layers.pixels import from_pixels, patchify
from genie_tf.layers.self_supervised import SelfSupervisedModel

PATCH = 2


@keras.saving.register_keras_serializable("genie_tf")
class InverseDynamicsModel(SelfSupervisedModel):
    """Predicts the key pressed between frame t and frame t + 1, from five frames: a temporal convolution, then 2-D convolutions.

    Args:
        width: Channels of the network at its coarsest grid.

    Call arguments:
        inputs: A dict: `frames` uint8 (B, 5, 64, 64, 3), frames t - 3 … t + 1; `keys` int (B,), the key pressed at frame t, as an
            index into `KEYS`.

    Returns:
        A dict: `logits` float32 (B, 6) over the keys, and the scalars `loss` (cross-entropy in nats) and `accuracy`.

    Reference:
        Baker et al. 2022, VPT, arXiv 2206.11795, section 2: an inverse dynamics model on a temporal convolution. Here all frames
        but one are past frames, so the model can also judge the first frame of a rollout.
    """

    reported = ("accuracy",)

    def __init__(self, width=128, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(width=width)
        self.through_time = layers.Conv3D(width // 2, (FRAMES, 3, 3), activation="relu", name="through_time")
        self.through_space = keras.Sequential(
            [layers.Conv2D(channels, 3, 2, padding="same", activation="relu") for channels in (width // 2, width, width)],
            name="through_space",
        )
        self.to_key = keras.Sequential(
            [
                layers.Flatten(),
                layers.Dropout(0.3),
                layers.Dense(2 * width, activation="relu"),
                layers.Dense(len(KEYS), dtype="float32"),
            ],
            name="to_key",
        )

    @staticmethod
    def examples(recording: Episodes) -> Examples:
        """Single transitions from the episodes with known actions."""

        def take(rows):
            read = recording.read(recording.transition_rows(rows, FRAMES - 2))
            return {"frames": np.ascontiguousarray(read["frame"]), "keys": KEY_OF_ACTION[read["action"][:, -2]]}

        return Examples(recording.windows(2, labelled=True), take)

    def build(self, input_shape=None):
        frames, keys = keras.KerasTensor((1, FRAMES, 64, 64, 3), "uint8"), keras.KerasTensor((1,), "int32")
        self.compute_output_spec({"frames": frames, "keys": keys})

    def logits(self, frames, training=False):
        """Logits float32 (B, 6) of the keys, from frames uint8 (B, 5, 64, 64, 3)."""
        x = patchify(from_pixels(ops.reshape(frames, (-1, 64, 64, 3))), PATCH)
        x = self.through_time(ops.reshape(x, (-1, FRAMES, *x.shape[1:])))
        return self.to_key(self.through_space(x[:, 0]), training=training)

    def call(self, inputs, training=False):
        keys = ops.cast(inputs["keys"], "int32")
        logits = self.logits(inputs["frames"], training=training)
        right = ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), keys)
        return {
            "logits": logits,
            "loss": ops.mean(keras.losses.sparse_categorical_crossentropy(keys, logits, from_logits=True)),
            "accuracy": ops.mean(ops.cast(right, "float32")),
        }

    def infer(self, frames):
        """The most probable key int32 (B,) for frames uint8 (B, 5, 64, 64, 3)."""
        return ops.cast(ops.argmax(self.logits(frames), axis=-1), "int32")

    def get_config(self):
        return super().get_config() | self.config
