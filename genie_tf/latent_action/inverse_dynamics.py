"""The supervised action model: it predicts the control between two frames, and is trained on recorded actions.

It is the upper bound for the latent action models. It is also the judge of rollouts: it predicts the control that a rollout shows.
"""

import keras
import numpy as np
from keras import layers, ops

from genie_tf.episodes.controls import Controls
from genie_tf.episodes.dataset import Episodes, Examples
from genie_tf.latent_action import FRAMES
from genie_tf.layers.pixels import FRAME_SIZE, from_pixels
from genie_tf.layers.self_supervised import SelfSupervisedModel

CELLS = 1600  # maximum number of places on the first grid, so that larger frames take little more time


@keras.saving.register_keras_serializable("genie_tf")
class InverseDynamicsModel(SelfSupervisedModel):
    """Predicts the control between frame t and frame t + 1 from five frames: 2-D convolutions over frame t and the differences.

    The mean colour of frame t is subtracted from it. Otherwise a uniform background is a large constant in every input, and a small
    figure on it is never found. Two heads read the convolutions: the maximum over all places finds a figure that can be anywhere,
    and the coarse grid of all places reads a picture that scrolls.

    Args:
        controls: K, number of controls.
        width: Channels of the network at its coarsest grid.
        frame_size: H and W, multiples of 8.

    Call arguments:
        inputs: A dict: `frames` uint8 (B, 5, H, W, 3), frames t - 3 … t + 1; `keys` int (B,), the index of the control at frame t.

    Returns:
        A dict: `logits` float32 (B, K) over the controls, and the scalars `loss` (cross-entropy in nats) and `accuracy`.

    Reference:
        Baker et al. 2022, VPT, arXiv 2206.11795, section 2, for the task. Here all frames but one are past frames, so the model can
        also judge the first frame of a rollout.
    """

    reported = ("accuracy",)

    def __init__(self, controls=6, width=128, frame_size=FRAME_SIZE, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(controls=controls, width=width, frame_size=frame_size)
        self.frame_size = tuple(frame_size)
        height, columns = self.frame_size
        stride = next(side for side in (2, 4, 8) if height * columns <= CELLS * side**2 or side == 8)

        def convolution(channels: int, size: int = 3, stride: int = 2):
            return layers.Conv2D(channels, size, stride, padding="same", activation="relu")

        self.see = keras.Sequential(
            [convolution(width // 2, 2 * stride, stride), convolution(width // 2), convolution(width)], name="see"
        )
        self.anywhere = layers.GlobalMaxPooling2D(name="anywhere")
        self.everywhere = keras.Sequential([convolution(width), layers.Flatten()], name="everywhere")
        self.name_control = keras.Sequential(
            [layers.Dropout(0.3), layers.Dense(2 * width, activation="relu"), layers.Dense(controls, dtype="float32")],
            name="name_control",
        )

    @staticmethod
    def examples(recording: Episodes, controls: Controls) -> Examples:
        """Single transitions from the episodes with known actions."""

        def take(rows):
            read = recording.read(recording.transition_rows(rows, FRAMES - 2))
            return {"frames": np.ascontiguousarray(read["frame"]), "keys": controls.of_action[read["action"][:, -2]]}

        return Examples(recording.windows(2, labelled=True), take)

    def build(self, input_shape=None):
        frames, keys = keras.KerasTensor((1, FRAMES, *self.frame_size, 3), "uint8"), keras.KerasTensor((1,), "int32")
        self.compute_output_spec({"frames": frames, "keys": keys})

    def logits(self, frames, training=False):
        """Logits float32 (B, K) of the controls, from frames uint8 (B, 5, H, W, 3)."""
        x = from_pixels(frames)
        current = x[:, -2:-1]
        x = ops.concatenate([current - ops.mean(current, axis=(2, 3), keepdims=True), x[:, 1:] - x[:, :-1]], axis=1)
        x = ops.reshape(ops.transpose(x, (0, 2, 3, 1, 4)), (-1, *self.frame_size, 3 * FRAMES))
        seen = self.see(x)
        return self.name_control(ops.concatenate([self.everywhere(seen), self.anywhere(seen)], axis=-1), training=training)

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
        """The most probable control int32 (B,) for frames uint8 (B, 5, H, W, 3)."""
        return ops.cast(ops.argmax(self.logits(frames), axis=-1), "int32")

    def get_config(self):
        return super().get_config() | self.config
