"""A small convolutional network that ends in a vector."""

import keras
from keras import layers


def convolutions(widths: tuple[int, ...], strides: tuple[int, ...], size: int, dropout: float, name: str):
    """A small network from patches to a vector of `size`."""
    return keras.Sequential(
        [
            *(layers.Conv2D(width, 3, stride, padding="same", activation="relu") for width, stride in zip(widths, strides)),
            layers.Flatten(),
            layers.Dropout(dropout),
            layers.Dense(size, activation="relu"),
        ],
        name=name,
    )
