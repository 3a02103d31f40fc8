"""The base of the three models: a Keras model that carries its own loss."""

import keras


class SelfSupervisedModel(keras.Model):
    """A model whose `call` returns its losses among its outputs, so that plain `fit(frames)` trains it.

    `call` returns a dict; `loss` is minimised, and the scalars named in `reported` are shown beside it.
    Losses travel in the outputs because a sublayer's `add_loss` is not seen by every Keras backend.
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
