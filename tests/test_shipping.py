"""Worlds that come with the repository."""

import io
import shutil
import time
import zipfile

import h5py
import numpy as np
import pytest
from conftest import Place, copied, refused

from genie_tf.config import IDM_MODEL, MADE_BY, world_model
from genie_tf.play.prompts import PROMPTS


@pytest.fixture(scope="module")
def shipped(tiny, tmp_path_factory):
    """A bare clone with a shipped world: no recording, nothing trained."""
    maker = copied(tiny.folder, tmp_path_factory.mktemp("maker") / "world")
    made = maker.run("genie_tf/shipping.py")
    assert made.returncode == 0, made.stderr
    clone = Place(tmp_path_factory.mktemp("clone"))
    shutil.copytree(maker.folder / "model" / "shipped", clone.folder / "model" / "shipped")
    return clone


def test_a_bare_clone_plays_the_shipped_world(shipped, tiny, monkeypatch):
    played = shipped.run("dream_play_tf.py", "--actions", "dd", "--out", "dream.gif")
    assert played.returncode == 0, played.stderr
    assert "this is the shipped one" in played.stdout and (shipped.folder / "dream.gif").exists()
    assert not (shipped.folder / "model" / "tiny").exists()  # git keeps what it kept

    from genie_tf.play.prompts import Prompts
    from genie_tf.play.real_game import RealGame
    from genie_tf.play.session import guess_threshold
    from genie_tf.world import World

    monkeypatch.chdir(shipped.folder)
    world = World.load("model/tiny")
    prompts = Prompts(world, shipped.folder / "record" / "tiny" / "test", 4)
    assert guess_threshold(world) >= 0 and len(prompts.gallery(8)) == 8
    prompt = prompts.draw(np.random.default_rng(0))
    game = RealGame(prompts.episodes, world.stride, None)
    game.start(prompt.row, prompt.frames[-1])  # raises if the game does not come to this frame again
    game.close()


def weights_of(file) -> dict[str, np.ndarray]:
    found = {}
    with zipfile.ZipFile(file) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
        weights.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def test_the_weights_are_those_of_the_trained_world_in_half_the_bytes(shipped, tiny, tmp_path, monkeypatch):
    from genie_tf.shipping import pack
    from genie_tf.training.checkpoints import checkpoint_file, load_checkpoint

    for prefix, made_by in MADE_BY.items():
        file, small = (
            checkpoint_file(place.folder / "model" / at, prefix, made_by)
            for place, at in ((tiny, "tiny"), (shipped, "shipped/tiny"))
        )
        assert small.parent.name == file.parent.name and small.stat().st_size < 0.6 * file.stat().st_size
        trained, packed = weights_of(file), weights_of(small)
        assert packed and packed.keys() == {name for name in trained if not name.startswith("optimizer")}
        for name, values in packed.items():
            np.testing.assert_allclose(values, trained[name], rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(time, "localtime", lambda *_: time.struct_time((2001, 1, 1, 0, 0, 0, 0, 1, 0)))
    pack(file, tmp_path / "again.keras")
    assert (tmp_path / "again.keras").read_bytes() == small.read_bytes(), "the same model at another time is the same file"
    model, _ = load_checkpoint(small.parent.parent, prefix, made_by)
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}


def test_the_card_names_the_data_the_models_and_every_printed_figure(shipped):
    card = (shipped.folder / "model" / "shipped" / "tiny" / "README.md").read_text()
    assert "1,536 frames of 64 x 64 pixels" in card and "levels of coinrun" in card
    for row in ("IDM_Model, motion_rank", "VQVAE_Model, conv", "world_model, maskgit", "8 steps", "| dynamics.psnr_after.5 |"):
        assert row in card
    assert "## Known failures\n\n- Long rollouts drift" in card and "{" not in card


def test_a_trained_world_goes_before_the_shipped_one(shipped, tiny, tmp_path):
    from genie_tf.errors import UserError
    from genie_tf.world import adopt, playable

    both = copied(shipped.folder, tmp_path / "both")
    folder = both.folder / "model" / "tiny"
    shutil.copytree(tiny.folder / "model" / "tiny", folder)
    assert playable(folder) == folder
    for checkpoint in folder.glob(f"{world_model(False)}_[0-9]*"):
        shutil.rmtree(checkpoint)
    assert playable(folder) == both.folder / "model" / "shipped" / "tiny"  # until the first epoch of the dynamics
    with pytest.raises(UserError, match="no dynamics yet"):
        adopt(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    adopt(folder)
    assert playable(folder) == folder
    assert any((folder / PROMPTS).glob("*.b2nd")), "it can be played without a recording as before"
    adopt(folder)  # once is enough
    assert len(list(folder.glob(f"{IDM_MODEL}_[0-9]*"))) == 1


def test_a_world_that_was_not_measured_is_not_packed(copy):
    (copy.folder / "model" / "tiny" / "evaluation.json").unlink()
    refused(copy.run("genie_tf/shipping.py"), "evaluation.json is missing", "dream_evaluate_tf.py")
