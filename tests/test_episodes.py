"""Recording: the invariants of the episode, of the levels and of the seed; and files that are no episodes."""

import dataclasses
import json

import numpy as np
import pytest

from genie_tf.config import RecordConfig
from genie_tf.episodes.dataset import Episodes, batches
from genie_tf.episodes.format import EPISODE_DTYPE, save_array
from genie_tf.episodes.recorder import SHARDS, SPLITS, level_range, make_environment, record, record_shard
from genie_tf.errors import UserError

SMALL = RecordConfig(
    hold=3, train_frames=128 * 90, validation_frames=128, test_frames=128, train_levels=40, validation_levels=16, test_levels=24
)


class NoBar:
    def update(self, n=1):
        pass


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shard")
    stats = record_shard(SMALL, "train", 0, folder, 1, NoBar())
    return folder, stats


def test_episode_is_one_structured_array_of_one_level(shard):
    folder, stats = shard
    files = sorted(folder.iterdir())
    episodes = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
    assert len(files) == stats["episodes"] > 16 and sum(map(len, episodes)) == stats["frames"] == 16 * 90
    for episode in episodes:
        assert episode.dtype == EPISODE_DTYPE
        assert episode["first"][0] and not episode["first"][1:].any()
        assert len(set(episode["level"])) == 1
        assert set(episode["action"]) <= set(SMALL.actions)


def test_replayed_actions_give_the_recorded_frames_and_rewards(shard):
    """Row t's action was taken at frame t and led to frame t + 1, for every row of every episode, resets included."""
    folder, _ = shard
    films = [[np.load(file) for file in sorted(folder.glob(f"*_env{i:02d}_*.npy"))] for i in range(16)]
    rows = [np.concatenate(film) for film in films]
    env = make_environment(SMALL, "train", 0)
    place, held, owed = [0] * 16, [0] * 16, [0.0] * 16
    episodes_ended = 0
    while any(place[i] < len(rows[i]) for i in range(16)):
        reward, observation, first = env.observe()
        act = np.full(16, 4, np.int32)
        for i in range(16):
            if held[i] and place[i] <= len(rows[i]):
                owed[i] += reward[i]
                held[i] -= 1
            if first[i] and place[i]:
                held[i] = 0
                episodes_ended += 1
                assert place[i] == len(rows[i]) or rows[i][place[i]]["first"]
            if held[i] == 0 and place[i] < len(rows[i]):
                row = rows[i][place[i]]
                np.testing.assert_array_equal(observation["rgb"][i], row["frame"])
                if place[i]:
                    assert rows[i][place[i] - 1]["reward"] == owed[i]
                place[i], held[i], owed[i] = place[i] + 1, SMALL.hold, 0.0
            if place[i]:
                act[i] = rows[i][place[i] - 1]["action"]
        env.act(act)
    assert episodes_ended > 5
    env.close()


def test_splits_share_no_level_by_the_game_s_own_word():
    seen = {}
    for split in SPLITS:
        seen[split] = set()
        for shard in range(SHARDS):
            start, count = level_range(SMALL, split, shard)
            here = set()
            env = make_environment(SMALL, split, shard)
            for _ in range(150):
                env.act(np.full(16, 7, np.int32))
                env.observe()
                here |= {info["level_seed"] for info in env.get_info()}
            env.close()
            assert here <= set(range(start, start + count))
            seen[split] |= here
    assert len(seen["train"]) > 20
    assert not seen["train"] & seen["validation"] and not seen["train"] & seen["test"] and not seen["validation"] & seen["test"]


def files_of(folder):
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*.npy"))}


def test_same_seed_same_episodes_whatever_the_workers_and_interruptions(tmp_path, monkeypatch):
    config = RecordConfig(train_frames=128 * 20, validation_frames=128, test_frames=128, train_levels=80)
    monkeypatch.chdir(tmp_path)
    record(config, "one")
    for worker in range(3):
        record(config, "three", worker, 3)
    one = files_of(tmp_path / "record" / "one")
    assert one == files_of(tmp_path / "record" / "three")

    train = tmp_path / "record" / "three" / "train"
    (train / "shard02.json").unlink()  # as a kill leaves it: no mark of the end, half a file, a missing episode
    (train / "shard02_env00_0000.npy.tmp").write_bytes(b"half")
    (train / "shard02_env01_0000.npy").unlink()
    record(config, "three")
    assert one == files_of(tmp_path / "record" / "three")
    assert not list(train.glob("*.tmp"))
    assert json.loads((train / "shard02.json").read_text())["frames"] == 16 * 20


def test_other_settings_do_not_mix_into_a_recording(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = RecordConfig(hold=4, train_frames=128, validation_frames=128, test_frames=128)
    record(config, "one")
    with pytest.raises(UserError, match="hold 4 -> 5"):
        record(dataclasses.replace(config, hold=5), "one")


def test_bad_files_are_named_skipped_and_counted(tmp_path, capfd):
    good = np.zeros(3, EPISODE_DTYPE)
    save_array(tmp_path / "good.npy", good)
    whole = (tmp_path / "good.npy").read_bytes()
    (tmp_path / "truncated.npy").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "pickled.npy", np.array([{"frame": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "floats.npy", np.zeros((3, 64, 64, 3), np.float32))
    episodes = Episodes(tmp_path)
    assert len(episodes) == 3 and episodes.skipped == 4
    said = "".join(capfd.readouterr())
    assert all(name in said for name in ("truncated", "empty", "pickled", "floats"))


def test_windows_stay_in_their_episode_and_frames_are_those_of_the_rows(tmp_path):
    for name, length in (("a", 3), ("b", 5), ("c", 1)):
        episode = np.zeros(length, EPISODE_DTYPE)
        episode["frame"] += np.arange(length, dtype=np.uint8)[:, None, None, None] + 10 * ord(name) % 200
        episode["level"] = ord(name)
        save_array(tmp_path / f"{name}.npy", episode)
    episodes = Episodes(tmp_path)
    starts = episodes.windows(3)
    assert list(starts) == [0, 3, 4, 5]
    for start in starts:
        assert len(set(episodes.level[start : start + 3])) == 1
    assert list(episodes.windows(2, before=1)) == [1, 4, 5, 6]
    assert episodes.transition_rows(np.array([3, 4])).tolist() == [[3, 3, 4], [3, 4, 5]]
    frames = episodes.frames(np.array([[0, 4], [3, 8]]))
    assert frames.shape == (2, 2, 64, 64, 3)
    assert frames[1, 0, 0, 0, 0] == episodes.episodes[1]["frame"][0, 0, 0, 0]


def test_batches_are_a_function_of_seed_and_step():
    def sample(rng, size):
        return rng.integers(0, 1000, size)

    def first(count, **start):
        stream = batches(sample, 4, **start)
        return [next(stream)[0].tolist() for _ in range(count)]

    assert first(5, seed=1)[3:] == first(2, seed=1, first_step=3)
    assert first(3, seed=1) != first(3, seed=2)
