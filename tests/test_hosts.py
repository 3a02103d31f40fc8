"""Several processes that train one model: their parts of the batches, and how they join. Two real ones: see test_backends."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from genie_tf.dynamics.maskgit import MaskGitDynamics, MaskGitSettings
from genie_tf.episodes.dataset import Examples, Windows
from genie_tf.errors import UserError
from genie_tf.hosts import Devices, joined, processes


def test_each_process_draws_its_part_of_the_batch_of_one(monkeypatch):
    films = np.zeros(40, [("tokens", np.uint16, (3,)), ("picture", np.uint8, (8, 8, 3))])
    films["tokens"] = np.arange(120).reshape(40, 3)
    recording = SimpleNamespace(windows=lambda length: Windows(np.array([0]), np.array([41 - length])))
    sequences = MaskGitDynamics.examples(recording, films, np.arange(40), MaskGitSettings(length=4, cold_starts=0.5), 120)
    kinds = (Examples(recording.windows(4), lambda rows: {"rows": rows}), sequences)

    def drawn() -> list[dict]:
        return [examples.draw(np.random.default_rng(1), 6) for examples in kinds]

    whole = drawn()
    monkeypatch.setattr(processes, "count", 2)
    parts = []
    for number in range(2):
        monkeypatch.setattr(processes, "number", number)
        parts.append(drawn())
    for one, first, second in zip(whole, *parts):
        for name, values in one.items():
            assert len(first[name]) == 3
            np.testing.assert_array_equal(values, np.concatenate([first[name], second[name]]), err_msg=name)


@pytest.mark.parametrize(("backend", "join", "words"), [("tensorflow", "auto", "KERAS_BACKEND=jax"), ("jax", "a,b", "host:port")])
def test_processes_that_can_t_join(backend, join, words, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(UserError, match=words):
        joined(1, 1, join)
    with pytest.raises(UserError, match="--split 2: not with --join"):
        joined(2, 2, join)
    assert joined(4, 2, "") == Devices(4, 2)
