"""The reconstruction losses of the tokenizers. Runs on either Keras backend."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from genie_tf import stages
from genie_tf.config import Config
from genie_tf.errors import UserError
from genie_tf.layers.pixels import from_pixels
from genie_tf.layers.self_supervised import SelfSupervisedModel
from genie_tf.tokenizer import losses
from genie_tf.tokenizer.conv import ConvSettings, ConvTokenizer
from genie_tf.tokenizer.losses import ReconstructionLoss
from genie_tf.training.backend import compiled
from genie_tf.training.optimizer import DISCRIMINATOR, AdamW, Muon, make_optimizer

VECTOR = {"kind": "vector", "codes": 32, "code_dim": 8}
ADVERSARIAL = {"adversarial": 1.0, "adversarial_frames": 8}
LAYERS = ["block1_conv2", "block2_conv1"]


def films(count=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 16, 16, 3)).astype(np.uint8)


def tokenizer(**settings):
    keras.backend.clear_session()  # so that equal weights have equal paths
    keras.utils.set_random_seed(1)
    model = ConvTokenizer(VECTOR, width=16, frame_size=(16, 16), losses=settings)
    model.build()
    return model


def after_a_step(**settings):
    """The weights after a step of plain gradient descent: they differ from those before by the gradients. By their paths."""
    model = tokenizer(**settings)
    model.compile(keras.optimizers.SGD(1.0))
    model.train_on_batch(films())
    return {weight.path: ops.convert_to_numpy(weight) for weight in model.trainable_weights}


def outputs(model, batch):
    call = compiled(lambda films: model(films))  # a new function each time: JAX keeps the weights of the first call as constants
    return {name: ops.convert_to_numpy(value) for name, value in call(batch).items()}


def split(weights):
    """Those of the discriminator, and the others."""
    of_discriminator = {path: weight for path, weight in weights.items() if DISCRIMINATOR in path}
    return of_discriminator, {path: weight for path, weight in weights.items() if path not in of_discriminator}


def test_without_weights_it_is_the_mean_squared_error_and_has_no_variables():
    model, batch = tokenizer(), films()
    assert not model.reconstruction_loss.variables and list(model.averages) == ["psnr", "perplexity"]
    with_all = tokenizer(l1=0.1, **ADVERSARIAL)
    assert list(with_all.averages) == ["psnr", "perplexity", "l1", "adversarial", "discriminator"]
    assert len(with_all.weights) == len(model.weights) + 3 + 10
    for weight, other in zip(model.weights, with_all.weights):  # those of the losses come last, and change no random draw
        np.testing.assert_array_equal(weight, other, err_msg=other.path)
    out = outputs(model, batch)
    error = np.mean(np.square(out["reconstruction"] - (batch / np.float32(255.0) - np.float32(0.5))))
    quantization = model.quantizer(model._vectors(batch[:, 0]))["loss"]
    np.testing.assert_allclose(out["loss"] - ops.convert_to_numpy(quantization), error, rtol=1e-5)
    np.testing.assert_allclose(out["psnr"], -10 * np.log10(error), rtol=1e-5)


def test_l1_and_l4_add_what_they_say():
    batch = films()
    plain, out = outputs(tokenizer(), batch), outputs(tokenizer(l1=0.3, l4=0.2), batch)
    error = np.abs(out["reconstruction"] - (batch / 255.0 - 0.5))
    l1, l4 = error.mean(), np.sqrt(np.mean(error**4, axis=(2, 3, 4))).mean()
    np.testing.assert_allclose((out["l1"], out["l4"]), (l1, l4), rtol=1e-5)
    np.testing.assert_allclose(out["loss"] - plain["loss"], 0.3 * l1 + 0.2 * l4, rtol=1e-4)


# The discriminator ---------------------------------------------------------------------------------


def test_no_gradient_of_the_discriminators_losses_reaches_the_tokenizer_nor_of_the_tokenizers_term_the_discriminator():
    plain = after_a_step()
    judge_alone, tokenizer_alone = split(after_a_step(**ADVERSARIAL, adversarial_after=9, adversarial_regularizer=0.1))
    for path, weight in tokenizer_alone.items():
        np.testing.assert_allclose(weight, plain[path], atol=1e-7, err_msg=path)
    judge, taught = split(after_a_step(**ADVERSARIAL, adversarial_regularizer=0.1))
    for path, weight in judge.items():
        np.testing.assert_allclose(weight, judge_alone[path], rtol=1e-4, atol=1e-4, err_msg=path)  # they cancel but for rounding
    assert any(np.abs(weight - plain[path]).max() > 1e-3 for path, weight in taught.items())
    untrained = {weight.path: weight for weight in tokenizer(**ADVERSARIAL).trainable_weights}
    assert all(np.abs(weight - untrained[path]).max() > 1e-6 for path, weight in judge.items())


def test_the_tokenizer_learns_to_please_a_given_discriminator():
    model = tokenizer(**ADVERSARIAL | {"adversarial": 10.0})
    model.reconstruction_loss.discriminator.trainable = False
    model.compile(keras.optimizers.Adam(1e-3))
    seen = model.fit(films(), epochs=15, batch_size=8, verbose=0).history["adversarial"]
    assert seen[-1] < seen[0] - 0.1


class Changed(SelfSupervisedModel):
    """Its reconstruction is darker than the frames in every second column. It has no weights but the discriminator's."""

    def __init__(self, **settings):
        super().__init__()
        self.reconstruction_loss = ReconstructionLoss(**settings, name="reconstruction_loss")
        self.report(*self.reconstruction_loss.parts)

    def call(self, frames, training=False):
        dark = np.tile(np.array([0.0, 0.3], "float32"), 8)[:, None]
        return self.reconstruction_loss(from_pixels(frames) - dark, frames, training=training)


def changed(rate, **settings):
    keras.utils.set_random_seed(2)
    model = Changed(**ADVERSARIAL | settings)
    model.compute_output_spec(keras.KerasTensor((8, 16, 16, 3), "uint8"))  # builds it
    model.compile(keras.optimizers.Adam(rate))
    return model


def test_the_discriminator_learns_to_tell_two_sets_apart():
    model = changed(3e-3)
    before = outputs(model, films()[:, 0])
    model.fit(films(32)[:, 0], epochs=5, batch_size=8, verbose=0)
    assert before["discriminator"] > 1.5 and outputs(model, films(seed=1)[:, 0])["discriminator"] < 0.3
    assert float(model.reconstruction_loss.real_average) > 0.1 > -0.1 > float(model.reconstruction_loss.fake_average)


def test_the_regularizer_pulls_logits_to_averages_of_the_others():
    model, batch = changed(0.0, adversarial_regularizer=0.5), films()[:, 0]
    for _ in range(2):
        model.train_on_batch(batch)
    part = model.reconstruction_loss
    dark = np.tile(np.array([0.0, 0.3], "float32"), 8)[:, None]
    judged = compiled(part.discriminator)
    real, fake = (ops.convert_to_numpy(judged(from_pixels(batch) - change)) for change in (0.0, dark))
    assert real.shape == (8, 2, 2)
    kept = 1 - losses.DECAY**2  # the averages begin with 0
    np.testing.assert_allclose(float(part.real_average), kept * real.mean(), rtol=1e-4)
    np.testing.assert_allclose(float(part.fake_average), kept * fake.mean(), rtol=1e-4)
    assert int(part.steps) == 2
    out = outputs(model, batch)
    pull = np.mean((real - kept * fake.mean()) ** 2) + np.mean((fake - kept * real.mean()) ** 2)
    hinge = np.mean(np.maximum(1 - real, 0)) + np.mean(np.maximum(1 + fake, 0))
    np.testing.assert_allclose(out["discriminator"], hinge, rtol=1e-4)
    np.testing.assert_allclose(out["loss"], 0.3**2 / 2 + hinge + 0.5 * pull, rtol=1e-4)


def test_the_discriminator_has_an_optimizer_of_its_own():
    model = tokenizer(**ADVERSARIAL)
    settings = ConvSettings(adversarial=1.0, ema=0.9)
    optimizer = make_optimizer(settings)
    optimizer.build(model.trainable_variables)
    judge, rest = optimizer.optimizers
    paths = [[weight.path for weight in one._trainable_variables] for one in (judge, rest)]
    assert sorted(paths[0] + paths[1]) == sorted(weight.path for weight in model.trainable_weights)
    assert all("discriminator" in path for path in paths[0]) and not any("discriminator" in path for path in paths[1])
    assert (judge.beta_1, judge.use_ema, type(rest), rest.use_ema) == (0.5, False, Muon, True)
    np.testing.assert_allclose(float(judge.learning_rate), 0.3 * float(rest.learning_rate))
    assert type(make_optimizer(ConvSettings())) is Muon
    assert type(make_optimizer(ConvSettings(optimizer="adamw"))) is AdamW


# VGG16 ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """A file of random weights, as the download is not for tests, and a model of two layers on them."""
    file = str(tmp_path_factory.mktemp("vgg") / "vgg.weights.h5")
    network = keras.applications.VGG16(include_top=False, weights=None)
    network.save_weights(file)
    return file, keras.Model(network.inputs, [network.get_layer(name).output for name in LAYERS])


def perceptual(vgg):
    return {"perceptual": 0.5, "perceptual_layers": LAYERS, "perceptual_weights": vgg[0]}


def test_perceptual_distance(vgg):
    loss = ReconstructionLoss(**perceptual(vgg))
    frames, others = films(2)[:, 0], films(2, seed=1)[:, 0]
    compare = compiled(lambda x, y: loss(x, y, training=True))  # it loads VGG16 while it is traced
    out = compare(from_pixels(others), ops.convert_to_tensor(frames))
    expected = 0.0
    given = [batch[..., ::-1] - np.array([103.939, 116.779, 123.68], "float32") for batch in (frames, others)]
    for one, other in zip(*(vgg[1].predict_on_batch(batch) for batch in given)):
        one, other = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (one, other))
        expected += np.mean(np.sum((one - other) ** 2, axis=-1))
    np.testing.assert_allclose(float(out["perceptual"]), expected, rtol=1e-3)
    error = 10 ** (-float(out["psnr"]) / 10)
    np.testing.assert_allclose(float(out["loss"]), error + 0.5 * expected, rtol=1e-3)
    same = compare(from_pixels(frames), ops.convert_to_tensor(frames))
    assert float(same["perceptual"]) < 1e-9 < 1e-3 < expected


def test_a_checkpoint_has_no_weights_of_vgg_and_loads_without_it(vgg, tmp_path, monkeypatch):
    model, batch = tokenizer(**perceptual(vgg)), films()
    count = len(model.variables)
    model.compile(keras.optimizers.Adam(1e-3))
    history = model.fit(batch, epochs=2, verbose=0, validation_data=(batch,)).history
    assert 0 < history["perceptual"][1] < history["perceptual"][0] and history["val_perceptual"][1] > 0
    assert len(model.variables) == count and not any("block1" in variable.path for variable in model.variables)
    model.save(tmp_path / "model.keras")
    assert (tmp_path / "model.keras").stat().st_size < 400_000
    monkeypatch.setattr(losses, "VGG", {})
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    out = outputs(loaded, batch)
    np.testing.assert_array_equal(out["tokens"], outputs(model, batch)["tokens"])
    assert np.isnan(out["perceptual"]) and np.isfinite(out["loss"]) and not losses.VGG


def test_missing_weights_are_named_in_one_line_before_any_work(vgg, tmp_path, monkeypatch):
    monkeypatch.setattr(losses, "VGG", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "recordings", lambda *_: {"train": SimpleNamespace(frame_size=(64, 64))})
    (tmp_path / "bad.h5").write_bytes(b"no weights")
    for settings, words in (
        ({}, "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5.*--tokenizer.perceptual_weights"),
        ({"perceptual_weights": "nowhere.h5"}, "--tokenizer.perceptual_weights nowhere.h5: there is no such file"),
        ({"perceptual_weights": "bad.h5"}, "can't read VGG16 weights from bad.h5"),
        ({"perceptual_weights": vgg[0], "perceptual_layers": ["conv9"]}, "conv9.*block1_conv1, block1_conv2"),
    ):
        with pytest.raises(UserError, match=words) as refused:
            stages.train_tokenizer(Config(tokenizer=ConvSettings(**{"perceptual": 0.1} | settings)))
        assert "\n" not in str(refused.value)
