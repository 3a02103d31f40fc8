"""A small convolutional network that ends in a vector."""

import keras
from keras import layers


def convolutions(widths: tuple[int, ...], strides: tuple[int, ...], size: int, dropout: float, name: str):
    """A small network from patches to a vector.

    Args:
        widths: Channels of each convolution.
        strides: Stride of each convolution.
        size: Size of the vector.
        dropout: Dropout rate before the last layer.
        name: Name of the network.
    """
    return keras.Sequential(
        [
            *(layers.Conv2D(width, 3, stride, padding="same", activation="relu") for width, stride in zip(widths, strides)),
            layers.Flatten(),
            layers.Dropout(dropout),
            layers.Dense(size, activation="relu"),
        ],
        name=name,
    )
