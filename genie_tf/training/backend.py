"""The few lines that differ between Keras's backends."""

import keras


def compiled(function):
    """Compile a function of tensors for the running backend."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function
