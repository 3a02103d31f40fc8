"""The optimizers and the learning rate of all trainings."""

import keras
from keras import ops

from genie_tf.training.backend import replicas, whole_gradients

DISCRIMINATOR = "discriminator"  # part of the path of its variables, and name of their optimizer
DISCRIMINATOR_RATE = 0.3  # its learning rate, as a share of the model's


@keras.saving.register_keras_serializable("genie_tf")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate with linear warm-up, a constant part, and linear decay.

    Args:
        peak: Highest learning rate.
        steps: Updates of the whole training.
        warmup: Updates of the warm-up.
        decay: Share of the updates over which the rate decays to a fiftieth.
    """

    def __init__(self, peak: float, steps: int, warmup: int = 100, decay: float = 0.4):
        self.peak, self.steps, self.warmup, self.decay = peak, steps, warmup, decay

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rise = (step + 1.0) / self.warmup
        fall = (self.steps - step) / (self.decay * self.steps)
        return self.peak * ops.clip(ops.minimum(rise, fall), 0.02, 1.0)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup, "decay": self.decay}


class _ClipsTheWholeBatch(keras.optimizers.Optimizer):
    """Clips the gradient of the whole batch. Keras clips that of each replica, and adds them afterwards."""

    def _clip_gradients(self, grads):
        clipped = super()._clip_gradients(whole_gradients(grads))
        # Keras adds those of the replicas, which are equal now.
        return [None if gradient is None else gradient / replicas() for gradient in clipped]


@keras.saving.register_keras_serializable("genie_tf")
class AdamW(_ClipsTheWholeBatch, keras.optimizers.AdamW):
    """Keras's AdamW, with `clipnorm` for the whole batch."""


@keras.saving.register_keras_serializable("genie_tf")
class Muon(_ClipsTheWholeBatch, keras.optimizers.Muon):
    """Muon for the kernels of all layers, convolutions included, and Adam for everything else.

    Muon replaces the update of a matrix by the nearest matrix with equal singular values, so that it moves in all directions alike.
    Keras's class does this for dense kernels only. Here the kernel (h, w, C_in, C_out) of a convolution is a matrix
    (h w C_in, C_out) too.

    Args:
        As those of `keras.optimizers.Muon`.

    Reference:
        Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the size of the update is that of Liu et al. 2025,
        arXiv 2502.16982, section 2.2.
    """

    def _should_use_adamw(self, variable):
        return not variable.path.endswith("/kernel") or any(name in variable.path for name in self.exclude_layers)

    def zeropower_via_newtonschulz5(self, x, steps):
        """The nearest matrix with equal singular values, in the precision of the layers: it is approximate anyway."""
        low = ops.cast(x, keras.mixed_precision.dtype_policy().compute_dtype)
        return ops.cast(super().zeropower_via_newtonschulz5(low, steps), x.dtype)

    def _muon_update_step(self, gradient, variable, lr, m):
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        ahead = ops.add(gradient, self.momentum * m) if self.nesterov else m
        matrix = ops.reshape(ahead, (-1, ahead.shape[-1]))
        update = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(update, ahead.shape))


def schedule_of(config, optimizer: str | None = None) -> Schedule:
    """The learning rate of the optimizer of this name."""
    share = DISCRIMINATOR_RATE if optimizer == DISCRIMINATOR else 1.0
    decay = 0.9 if config.optimizer == "muon" else 0.4  # Muon's steps stay large until the rate falls: docs/results.md
    updates = config.epochs * config.steps_per_epoch // config.accumulate
    return Schedule(share * config.learning_rate, updates, decay=decay)


def make_optimizer(config) -> keras.optimizers.Optimizer:
    """The optimizer of all models.

    The variables of a discriminator have an optimizer of their own. Separate are the learning rate, `beta_1`, the moments and the
    count of steps. `beta_1` is low, because the other network changes the loss from step to step. A discriminator's weights are not
    averaged.

    Args:
        config: A `Training`. It may have one more setting: `adversarial`, which is 0 if there is no discriminator. The optimizer
            keeps the moving average of the weights, if `ema` is not 0.

    Reference:
        Radford et al. 2016, arXiv 1511.06434, section 4, for the discriminator's `beta_1`.
    """
    shared: dict = {"weight_decay": 1e-4, "clipnorm": 1.0}
    if config.accumulate > 1:
        shared["gradient_accumulation_steps"] = config.accumulate
    # Keras averages after every batch, also between two updates
    averages = {"use_ema": config.ema > 0, "ema_momentum": config.ema ** (1 / config.accumulate)}
    optimizer: keras.optimizers.Optimizer
    if config.optimizer == "muon":
        to_adam = {"adam_weight_decay": 1e-4, "adam_beta_2": 0.99, "exclude_layers": ["to_code", "from_code"]}
        optimizer = Muon(schedule_of(config), **to_adam, **shared, **averages)
    else:
        optimizer = AdamW(schedule_of(config), beta_2=0.99, **shared, **averages)
    if not getattr(config, "adversarial", 0.0):
        return optimizer
    of_discriminator = AdamW(schedule_of(config, DISCRIMINATOR), beta_1=0.5, beta_2=0.99, **shared, name=DISCRIMINATOR)
    map_of_both = keras.optimizers.OptimizerMap(optimizer, {f".*/{DISCRIMINATOR}/.*": of_discriminator})
    return keras.optimizers.MultiOptimizer(map_of_both)
