"""Behaviour cloning through latent actions."""

import json

import numpy as np
from conftest import COINRUN, refused

from genie_tf.cloning import ClonedAgent, key_chances

SMALL = [
    *("--clone.width", "8", "--clone.epochs", "1", "--clone.steps_per_epoch", "2", "--clone.batch_size", "8"),
    *("--seeds", "1", "--levels", "3"),
]


def test_labels_name_the_latent_actions():
    right, none = COINRUN.names.index("d"), COINRUN.names.index("none")
    table = key_chances(np.array([0, 0, 0, 0, 2]), np.array([right, right, right, none, none]), 3, len(COINRUN))
    np.testing.assert_allclose(table[0, [right, none]], [0.75, 0.25])
    assert table[2, none] == 1
    np.testing.assert_allclose(table[1, [right, none]], [0.6, 0.4])  # no label shows it: as often as the labels have it


def test_cloned_agent_plays_what_its_choices_stand_for_and_sees_the_frame_before():
    seen = []

    def policy(films):
        seen.append(np.array(films))
        return np.log(np.array([[0.5, 0.5, 1e-9]] * 400))

    table = np.zeros((3, len(COINRUN)))
    table[0, 1], table[1, [2, 3]], table[2, 0] = 1, 0.5, 1
    agent = ClonedAgent(policy, table, COINRUN, np.random.default_rng(0))
    frames = np.zeros((400, 64, 64, 3), np.uint8)
    agent.act(frames, np.arange(400))
    frames[:] = 1  # a game may show its next frame in the same place
    actions = agent.act(frames, np.arange(400))
    assert (seen[0] == 0).all() and (seen[1][:, 0] == 0).all() and (seen[1][:, 1] == 1).all()
    shares = [(actions == COINRUN.first[key]).mean() for key in (1, 2, 3, 0)]
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25, 0], atol=0.1)


def test_an_expert_is_cloned_and_plays_the_game(copy):
    refused(copy.run("clone_agent.py"), "record/tiny_expert", "data_collect.bash")
    refused(copy.run("clone_agent.py", "--expert", "tiny", "--levels", "900"), "--levels 900", "40")
    said = copy.make("clone_agent.py", "--expert", "tiny", *SMALL)
    found = json.loads((copy.folder / "model" / "tiny" / "cloning.json").read_text())
    assert set(found["solved"]) == {"random", "oracle", *(f"latent.{labels}" for labels in (50, 100, 200, 1000))}
    assert all(len(shares) == 1 and 0 <= shares[0] <= 1 for shares in found["solved"].values())
    assert 0 <= found["expert"] <= 1 and "% of 3 levels" in said
    assert (copy.folder / "model" / "tiny" / "cloning.png").stat().st_size > 1000
