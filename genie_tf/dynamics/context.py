"""An embedding of the picture that the tokens of a frame change."""

import keras
from keras import layers, ops

from genie_tf.layers.pixels import from_pixels, patchify, with_noise

PATCH = 4  # largest side of an input patch in pixels


@keras.saving.register_keras_serializable("genie_tf")
class PictureEmbedding(layers.Layer):
    """Embeds pictures at the places of the tokens that change them.

    Args:
        frame_size: H and W.
        grid: Rows R and columns Q of the last R Q tokens; each stands for a square of pixels. The tokens before them stand for
            the whole frame.
        tokens: N, tokens per frame.
        width: D, size of an embedding.
        noise: Noise of the pictures in training: see `with_noise`.

    Call arguments:
        pictures: uint8 (B, T, H, W, 3).
        training: Whether to add noise.

    Returns:
        Tensor (B, T, N, D). The tokens for the whole frame get the mean of the others.
    """

    def __init__(self, frame_size, grid, tokens, width, noise=0.0, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(frame_size=frame_size, grid=grid, tokens=tokens, width=width, noise=noise)
        self.frame_size, self.grid, self.whole = tuple(frame_size), tuple(grid), tokens - grid[0] * grid[1]
        side = frame_size[0] // grid[0]
        self.width, self.patch = width, min(PATCH, side // 2)
        self.cell = side // (2 * self.patch)
        self.noise, self.chance = noise, keras.random.SeedGenerator(name="chance")
        self.fine = layers.Conv2D(64, 3, padding="same", activation="relu", name="fine")
        self.coarse = layers.Conv2D(128, 4, 2, padding="same", activation="relu", name="coarse")
        self.to_width = layers.Dense(width, name="to_width")

    def build(self, input_shape=None):
        height, width = self.frame_size
        self.fine.build((None, height // self.patch, width // self.patch, 3 * self.patch**2))
        self.coarse.build((None, height // self.patch, width // self.patch, 64))
        self.to_width.build((None, *self.grid, 128 * self.cell**2))
        self.built = True

    def call(self, pictures, training=False):
        length = pictures.shape[1]
        pictures = ops.reshape(pictures, (-1, *self.frame_size, 3))
        if training and self.noise:
            pictures = with_noise(pictures, self.noise, self.chance)
        x = self.coarse(self.fine(patchify(from_pixels(pictures), self.patch)))
        x = ops.reshape(self.to_width(patchify(x, self.cell)), (-1, length, self.grid[0] * self.grid[1], self.width))
        whole = ops.repeat(ops.mean(x, axis=2, keepdims=True), self.whole, axis=2)
        return ops.concatenate([whole, x], axis=2)

    def get_config(self):
        return super().get_config() | self.config
