"""The base class of all trained models: a Keras model that computes its own loss."""

import keras


class SelfSupervisedModel(keras.Model):
    """A model whose `call` returns its loss as one of its outputs, so that `fit(frames)` trains it.

    `call` returns a dict. Its `loss` is minimised, and the scalars named in `reported` are shown as metrics. The loss is an output,
    because some Keras backends ignore `add_loss` of a sublayer.
    """

    reported: tuple[str, ...] = ()

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.averages = {name: keras.metrics.Mean(name=name) for name in self.reported}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return y_pred["loss"]

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        for name, average in self.averages.items():
            average.update_state(y_pred[name])
        return self.get_metrics_result()
