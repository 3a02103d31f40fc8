"""The base class of all trained models: a Keras model that computes its own loss."""

import keras

from genie_tf.training.backend import replicas


class SelfSupervisedModel(keras.Model):
    """A model whose `call` returns its loss as one of its outputs, so that `fit(frames)` trains it.

    `call` returns a dict. Its `loss` is minimised, and the scalars named in `reported` or by `report` are shown as metrics. Some of
    them may be outputs in validation alone. The loss is an output, because some Keras backends ignore `add_loss` of a sublayer.
    """

    reported: tuple[str, ...] = ()

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.averages: dict[str, keras.metrics.Metric] = {}
        self.report(*self.reported)

    def report(self, *names: str) -> None:
        """Show further scalars of the outputs as metrics."""
        self.averages.update({name: keras.metrics.Mean(name=name) for name in names})

    def build_from_config(self, config):
        self.build()  # Keras's own swallows every error of it, and Ctrl-C too

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        pass  # `build` has built it; Keras's own takes a batch of the data for it if there are several replicas

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return y_pred["loss"] / replicas()  # the optimizer adds the gradients of all replicas

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        left_out = [name for name in self.averages if name not in y_pred]
        for name, average in self.averages.items():
            if name not in left_out:
                average.update_state(y_pred[name])
        return {name: value for name, value in self.get_metrics_result().items() if name not in left_out}
