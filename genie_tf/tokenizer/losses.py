"""The reconstruction loss of all tokenizers, and the settings that all have."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from genie_tf.config import Training
from genie_tf.errors import UserError
from genie_tf.layers.discriminator import Discriminator
from genie_tf.layers.pixels import from_pixels
from genie_tf.layers.quantizers.finite_scalar import FiniteScalarSettings

HOW_TO_GET_VGG = (
    "no perceptual loss: Keras could not download the weights of its VGG16; download "
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 from Keras's releases elsewhere and name it with "
    "--tokenizer.perceptual_weights"
)
VGG: dict[tuple, keras.Model] = {}
"""VGG16, by its file and layers. No model owns it, so no checkpoint contains it."""

DECAY = 0.99  # weight of the past in the moving averages of the discriminator's logits


@dataclass
class TokenizerSettings(Training):
    """Settings of every kind of tokenizer. A loss whose weight is 0 is left out.

    Args:
        quantizer: Settings of one kind of `genie_tf.layers.quantizers`.
        l1: Weight of the mean absolute error, beside the mean squared error, whose weight is 1.
        l4: Weight of the root of the mean fourth power of a frame's errors. It counts few large errors, such as a lost coin, more
            than many small ones.
        perceptual: Weight of the distance between features of VGG16. A training then needs VGG16's weights.
        perceptual_layers: Names of VGG16's layers whose outputs are compared.
        perceptual_weights: File of VGG16's weights without its top. Empty: Keras downloads it once.
        adversarial: Weight of the discriminator's judgement of the reconstruction.
        adversarial_frames: Frames of a batch that the discriminator sees.
        adversarial_after: Steps at the start in which the discriminator learns and the tokenizer does not learn from it.
        adversarial_regularizer: Weight of the discriminator's regularizer.
    """

    quantizer: Any = field(default_factory=FiniteScalarSettings)
    l1: float = 0.0
    l4: float = 0.0
    perceptual: float = 0.0
    perceptual_layers: list[str] = field(default_factory=lambda: ["block1_conv2", "block2_conv2", "block3_conv3"])
    perceptual_weights: str = ""
    adversarial: float = 0.0
    adversarial_frames: int = 16
    adversarial_after: int = 500
    adversarial_regularizer: float = 0.01


LOSSES = (
    "l1", "l4", "perceptual", "perceptual_layers", "perceptual_weights",
    "adversarial", "adversarial_frames", "adversarial_after", "adversarial_regularizer",
)  # fmt: skip


def loss_settings(settings: TokenizerSettings) -> dict:
    """The arguments of `ReconstructionLoss`. If it needs VGG16, this is loaded.

    Raises:
        UserError: VGG16's weights can't be loaded, or it has no such layer.
    """
    if settings.perceptual:
        load_vgg(settings.perceptual_weights, tuple(settings.perceptual_layers))
    return {name: getattr(settings, name) for name in LOSSES}


def load_vgg(weights: str, names: tuple[str, ...]) -> keras.Model:
    """Keras's VGG16, trained on ImageNet, up to some layers. It is loaded once.

    Args:
        weights: The `notop` weights file. Empty: Keras downloads it once.
        names: Names of layers.

    Returns:
        A model in float32 from RGB (n, H, W, 3) in 0 … 255 to a list of the layers' outputs. It is not trainable.

    Raises:
        UserError: the weights can't be loaded, or there is no such layer.
    """

    if weights and not Path(weights).is_file():
        raise UserError(f"--tokenizer.perceptual_weights {weights}: there is no such file")

    def load():
        try:
            vgg = keras.applications.VGG16(include_top=False, weights=weights or "imagenet")
        except Exception as error:  # the network, a proxy or a damaged file can raise many types
            if not weights:
                raise UserError(HOW_TO_GET_VGG) from error
            reason = str(error).splitlines()[0][:200]
            raise UserError(f"can't read VGG16 weights from {weights} ({reason}): name the notop .h5 file of Keras") from error
        known = {layer.name: layer.output for layer in vgg.layers[1:]}
        if not names or not set(names) <= known.keys():
            raise UserError(f"--tokenizer.perceptual_layers {list(names)}: choose some of {', '.join(known)}")
        frames = keras.Input((None, None, 3))
        features = keras.Model(vgg.inputs, [known[name] for name in names])
        model = keras.Model(frames, features(keras.applications.vgg16.preprocess_input(frames)))
        model.trainable = False
        return model

    if (weights, names) not in VGG:
        # Keras may be tracing a training here. The trace and the precision belong to its thread, so another thread has neither.
        with ThreadPoolExecutor(1) as thread:
            VGG[weights, names] = thread.submit(load).result()
    return VGG[weights, names]


def perceptual_distance(vgg: keras.Model, one, other):
    """Mean squared distance of VGG16's features, scaled to unit length at each place, summed over layers. A scalar, 0 or more.

    Args:
        vgg: From `load_vgg`.
        one, other: Frames float (B, H, W, 3) in about -0.5 … 0.5.

    Reference:
        Zhang et al. 2018, arXiv 1801.03924, section 3, without learnt weights of the channels.
    """
    distance = 0.0
    for x, y in zip(*(vgg((frames + 0.5) * 255.0, training=False) for frames in (one, other))):
        x, y = (each * ops.rsqrt(ops.sum(ops.square(each), axis=-1, keepdims=True) + 1e-6) for each in (x, y))
        distance = distance + ops.mean(ops.sum(ops.square(x - y), axis=-1))
    return distance


class ReconstructionLoss(layers.Layer):
    """The loss of a reconstruction: powers of the error, perceptual distance, and a discriminator's judgement.

    The same sum of losses trains the discriminator D. No gradient of D's own losses flows to the reconstruction x. The tokenizer's
    term is D(stop_gradient(x)) - D(x). Its value is 0. It has the gradient of -D(x) with respect to x, and its gradients with
    respect to D's weights cancel. `genie_tf.training.optimizer.make_optimizer` gives D an optimizer of its own.

    The discriminator's regularizer pulls its logits for recorded frames to the moving average of its logits for reconstructed
    frames, and vice versa.

    Args: see `TokenizerSettings`.

    Call arguments:
        reconstruction: float (B, H, W, 3) in about -0.5 … 0.5.
        frames: The same frames, uint8 (B, H, W, 3).
        training: Whether to count steps and to update the moving averages of the logits.

    Returns:
        A dict of scalars: `loss`, the sum that is minimised; `psnr` in dB over the batch; and those of these that are switched on,
        without their weights, named in `parts`: `l1`, the mean absolute error; `l4`, the mean over frames of the root of the mean
        fourth power; `perceptual`, which is nan and not in `loss` in an
        evaluation without VGG16; `adversarial`, the mean of -D(x); `discriminator`, D's hinge loss.

    Reference:
        Esser et al. 2021, arXiv 2012.09841, section 3.1, for the sum of losses. Lim and Ye 2017, arXiv 1705.02894, for the hinge
        loss. Tseng et al. 2021, arXiv 2104.03310, section 3.1, for the regularizer.
    """

    def __init__(
        self,
        l1: float = 0.0,
        l4: float = 0.0,
        perceptual: float = 0.0,
        perceptual_layers: list[str] | tuple[str, ...] = (),
        perceptual_weights: str = "",
        adversarial: float = 0.0,
        adversarial_frames: int = 16,
        adversarial_after: int = 0,
        adversarial_regularizer: float = 0.0,
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32"} | kwargs)  # bfloat16 is too imprecise for small errors
        self.l1, self.l4, self.perceptual, self.adversarial = l1, l4, perceptual, adversarial
        self.vgg = (perceptual_weights, tuple(perceptual_layers))
        self.count, self.after, self.regularizer = adversarial_frames, adversarial_after, adversarial_regularizer
        self.parts: tuple[str, ...] = ()
        self.parts += ("l1",) if l1 else ()
        self.parts += ("l4",) if l4 else ()
        self.parts += ("perceptual",) if perceptual else ()
        self.parts += ("adversarial", "discriminator") if adversarial else ()
        if adversarial:
            self.discriminator = Discriminator(dtype=keras.config.dtype_policy(), name="discriminator")

    def build(self, reconstruction_shape, frames_shape):
        if self.adversarial:
            self.discriminator.build(reconstruction_shape)
            scalar = {"shape": (), "initializer": "zeros", "trainable": False}
            self.real_average = self.add_weight(**scalar, aggregation="mean", name="real_average")
            self.fake_average = self.add_weight(**scalar, aggregation="mean", name="fake_average")
            self.steps = self.add_weight(**scalar, dtype="int32", aggregation="only_first_replica", name="steps")

    def call(self, reconstruction, frames, training=False):
        target = from_pixels(frames)
        square = ops.square(reconstruction - target)
        error = ops.mean(square)
        loss, parts = error, {}
        if self.l1:
            parts["l1"] = ops.mean(ops.abs(reconstruction - target))
            loss = loss + self.l1 * parts["l1"]
        if self.l4:
            parts["l4"] = ops.mean(ops.sqrt(ops.mean(ops.square(square), axis=(1, 2, 3)) + 1e-12))
            loss = loss + self.l4 * parts["l4"]
        if self.perceptual:
            parts["perceptual"] = ops.convert_to_tensor(float("nan"))
            if training or self.vgg in VGG:
                parts["perceptual"] = perceptual_distance(load_vgg(*self.vgg), reconstruction, target)
                loss = loss + self.perceptual * parts["perceptual"]
        if self.adversarial:
            judged = self._judge(reconstruction, target, training)
            loss = loss + judged.pop("loss")
            parts |= judged
        return {"loss": loss, "psnr": -10.0 * ops.log10(error), **parts}

    def _judge(self, reconstruction, target, training):
        """The discriminator's share of the loss, and its reported parts. The frames that it sees differ from step to step."""
        rows = (ops.arange(self.count, dtype="int32") * 7919 + self.steps) % ops.shape(target)[0]
        fake, real = ops.take(reconstruction, rows, axis=0), ops.take(target, rows, axis=0)
        logits = self.discriminator(ops.concatenate([fake, ops.stop_gradient(fake), real]))
        on_fake, on_fixed, on_real = ops.split(logits, 3)
        hinge = ops.mean(ops.relu(1.0 - on_real)) + ops.mean(ops.relu(1.0 + on_fixed))
        pull = ops.mean(ops.square(on_real - self.fake_average)) + ops.mean(ops.square(on_fixed - self.real_average))
        begun = ops.cast(self.steps >= self.after, "float32")
        term = begun * (ops.mean(on_fixed) - ops.mean(on_fake))
        if training:
            for average, values in ((self.real_average, on_real), (self.fake_average, on_fixed)):
                average.assign(DECAY * average + (1.0 - DECAY) * ops.stop_gradient(ops.mean(values)))
            self.steps.assign(self.steps + 1)
        loss = self.adversarial * term + hinge + self.regularizer * pull
        return {"loss": loss, "adversarial": -ops.mean(on_fake), "discriminator": hinge}
