"""The optimizers and the learning rate of all trainings."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("genie_tf")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate with linear warm-up, a constant part, and linear decay.

    Args:
        peak: Highest learning rate.
        steps: Steps of the whole training.
        warmup: Steps of the warm-up.
        decay: Share of the steps over which the rate decays to a fiftieth.
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


@keras.saving.register_keras_serializable("genie_tf")
class Muon(keras.optimizers.Muon):
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

    def _muon_update_step(self, gradient, variable, lr, m):
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        ahead = ops.add(gradient, self.momentum * m) if self.nesterov else m
        matrix = ops.reshape(ahead, (-1, ahead.shape[-1]))
        update = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(update, ahead.shape))


def make_optimizer(name: str, schedule: Schedule) -> keras.optimizers.Optimizer:
    """Make an optimizer.

    Args:
        name: "adamw" or "muon".
        schedule: The learning rate.
    """
    shared = dict(weight_decay=1e-4, clipnorm=1.0)
    if name == "muon":
        return Muon(schedule, adam_weight_decay=1e-4, adam_beta_2=0.99, exclude_layers=["to_code", "from_code"], **shared)
    return keras.optimizers.AdamW(schedule, beta_2=0.99, **shared)
