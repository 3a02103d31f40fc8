"""The dream as an environment of Gymnasium, alone and in a batch."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from PIL import Image

import genie_tf  # noqa: F401, it registers the environment
from genie_tf.cli import parse
from genie_tf.errors import UserError
from genie_tf.play.environment import progress


@pytest.fixture
def make(tiny, monkeypatch):
    monkeypatch.chdir(tiny.folder)
    settings = {"world": "model/tiny", "sampling_steps": 2, "length": 6}
    return lambda **more: gymnasium.make("genie_tf/Dream-v0", **(settings | more))


def test_the_environment_passes_the_check(make):
    env = make(render_mode="rgb_array")
    check_env(env.unwrapped)
    assert env.unwrapped.keys[env.action_space.n - 1] and env.action_space.n == len(env.unwrapped.keys)
    assert make(actions="latent").action_space.n == 6


def test_the_same_seed_and_actions_give_the_same_frames_and_a_state_comes_back(make):
    films = []
    for seed in (3, 3, 4):
        env = make(reward=progress).unwrapped
        first, _ = env.reset(seed=seed)
        films.append([first, *(env.step(action)[0] for action in (0, 1, 2, 1))])
    assert (np.array(films[0]) == films[1]).all() and (films[0][0] != films[2][0]).any()
    state = env.get_state()
    after = [env.step(action) for action in (1, 0)]
    assert [step[3] for step in after] == [False, True] and all(isinstance(step[1], float) for step in after)
    env.set_state(state)
    again = [env.step(action) for action in (1, 0)]
    assert all((a[0] == b[0]).all() and a[1] == b[1] and 0 < a[4]["probability"] <= 1 for a, b in zip(after, again))
    env.reset(seed=4)
    assert (env.step(0)[0] == films[2][1]).all(), "a new rollout after the end"


def test_a_batch_restarts_each_rollout_at_its_end(tiny, monkeypatch):
    monkeypatch.chdir(tiny.folder)
    envs = gymnasium.make_vec("genie_tf/Dream-v0", num_envs=3, world="model/tiny", sampling_steps=2, length=4, reward=progress)
    first, _ = envs.reset(seed=[5, 6, 7])
    assert first.shape == (3, 64, 64, 3) and envs.action_space.shape == (3,)
    envs.step([0, 1, 2])
    begun, _ = envs.reset(seed=[9, None, None], options={"reset_mask": np.array([True, False, False])})
    over = [envs.step([0, 1, 2])[3].tolist() for _ in range(3)]
    assert over == [[False] * 3, [False] * 3, [False, True, True]]
    frames, rewards, _, truncated, _ = envs.step([0, 1, 2])
    assert truncated.tolist() == [True, False, False] and (rewards[1:] == 0).all(), "two have just begun"
    assert (frames[1] != begun[1]).any()
    frames, _, _, truncated, _ = envs.step([0, 1, 2])
    assert not truncated.any() and frames.dtype == np.uint8


def test_the_reward_is_how_far_the_camera_moved_to_the_right():
    wide = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    before, right, left = wide[:, 12:76], wide[:, 17:81], wide[:, 8:72]
    assert progress(np.stack([before, before, before]), np.stack([right, left, before])).round(1).tolist() == [5, -4, 0]


def test_a_picture_is_a_prompt_and_bad_settings_are_named(make, tmp_path):
    Image.fromarray(np.full((90, 200, 3), 77, np.uint8)).save(tmp_path / "grey.png")
    frame, _ = make(prompts=str(tmp_path / "grey.png")).reset()
    assert (frame == 77).all()
    for settings, words in (({"world": "model/none"}, "idm_training|tokenizer_training"), ({"actions": "words"}, "keys or latent"),
                            ({"prompts": "gone.png"}, "no picture gone.png")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            make(**settings)


@pytest.mark.slow
def test_an_agent_trains_in_the_dream_and_is_tried_in_the_real_game(copy, monkeypatch, capsys):
    pytest.importorskip("stable_baselines3")
    from genie_tf.play import dream_agent

    monkeypatch.chdir(copy.folder)
    for name, value in (("ENVIRONMENTS", 3), ("ROLLOUT", 4), ("LENGTH", 3), ("LEVELS", 4)):
        monkeypatch.setattr(dream_agent, name, value)
    monkeypatch.setattr(dream_agent, "SETTINGS", dream_agent.SETTINGS | {"n_steps": 4, "batch_size": 6})
    config = parse("test", arguments=["--config", "tiny.yaml"])[0]
    for steps in (12, 24):  # the second time goes on
        dream_agent.train_in_dream(config, steps)
        said = capsys.readouterr().out
        assert said.count("4 held-out levels") == 2 and "random" in said and "of the dream" in said
    dream_agent.train_in_dream(config, 24)
    assert "done already" in capsys.readouterr().out
    agent = copy.folder / "model" / "tiny" / "dream_agent.zip"
    assert "5 dreamt" in copy.make("dream_play_tf.py", "--policy", str(agent), "--steps", "5", "--out", "agent.gif")
