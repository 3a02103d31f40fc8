"""Feature spaces for Fréchet distances between sets of frames or videos."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from genie_tf.errors import UserError
from genie_tf.training.precision import under_policy

BATCH = 32
HOW_TO_GET_FID = (
    "no FID: Keras could not download the weights of its InceptionV3; download "
    "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5 from Keras's releases elsewhere and name it with --inception_weights"
)


def block_statistics(frames: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each 8 x 8 block and channel: uint8 (n, H, W, 3) to float32 (n, H W / 64 · 6), in 0 … 1.

    These features are not learnt, so they are the same for every world.
    """
    in_blocks, parts = (frames.shape[1] // 8, 8, frames.shape[2] // 8, 8, 3), []
    for begin in range(0, len(frames), BATCH):
        blocks = frames[begin : begin + BATCH].reshape(-1, *in_blocks).astype(np.float32) / 255
        parts.append(np.stack([blocks.mean(axis=(2, 4)), blocks.std(axis=(2, 4))], axis=-1).reshape(len(blocks), -1))
    return np.concatenate(parts)


def load_inception(weights: Path | str | None) -> keras.Model | None:
    """Load Keras's InceptionV3 up to its global average pooling, trained on ImageNet.

    Args:
        weights: The `notop` weights file. By default Keras downloads it once.

    Returns:
        A model from float (n, 299, 299, 3) in -1 … 1 to (n, 2048). None if no weights are given and the download fails.

    Raises:
        UserError: `weights` can't be read.
    """
    model = None
    try:
        with under_policy("float32"):  # FID is defined on float32 features
            model = keras.applications.InceptionV3(
                include_top=False, pooling="avg", weights=weights or "imagenet", input_shape=(299, 299, 3)
            )
    except Exception as error:  # the network, a proxy or a damaged file can raise many types
        if weights is not None:
            reason = str(error).splitlines()[0][:200]
            raise UserError(
                f"can't read InceptionV3 weights from {weights} ({reason}): name the notop .h5 file of Keras"
            ) from error
    return model


def inception_features(model: keras.Model, frames: np.ndarray, progress: tqdm) -> np.ndarray:
    """Features (n, 2048) of frames uint8 (n, H, W, 3), enlarged bilinearly to 299 x 299."""
    features = []
    for begin in range(0, len(frames), BATCH):
        part = np.minimum(np.arange(begin, begin + BATCH), len(frames) - 1)  # one shape: compiled once
        x = ops.image.resize(ops.cast(frames[part], "float32"), (299, 299), interpolation="bilinear")
        features.append(model.predict_on_batch(x / 127.5 - 1.0))
        progress.update()
    return np.concatenate(features)[: len(frames)]


def load_video_features(name: str):
    """Load the user's function from videos uint8 (n, T, H, W, 3) to features (n, D).

    Args:
        name: `file.py:function`.

    Raises:
        UserError: there is no such file or function.
    """
    file, _, function = name.partition(":")
    try:
        spec = importlib.util.spec_from_file_location("video_features", file)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        return getattr(module, function)
    except (AttributeError, ImportError, OSError, SyntaxError) as error:
        raise UserError(f"can't load --video_features {name} ({error}): name a function as file.py:function") from error
