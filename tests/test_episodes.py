"""Recording: the invariants of the episode, of the levels and of the seed; and files that are no episodes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import COINRUN

from genie_tf.episodes.dataset import Episodes, batches, spread
from genie_tf.episodes.describe import verify_recording
from genie_tf.episodes.format import BLOCK, UNKNOWN, Episode, EpisodeWriter, episode_dtype
from genie_tf.episodes.procgen_game import ProcgenSettings
from genie_tf.episodes.recorder import SHARDS, SPLITS, record, record_shard, shard_game, shard_levels
from genie_tf.errors import UserError
from genie_tf.files import save_array, write_json

SMALL = ProcgenSettings(
    hold=3, train_frames=128 * 90, validation_frames=128, test_frames=128, train_levels=40, validation_levels=16, test_levels=24
)


class NoBar:
    def update(self, n=1):
        pass


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shard")
    stats = record_shard(SMALL, "train", 0, folder, Path(), 0, NoBar())
    return folder, stats


def test_episode_is_one_structured_array_of_one_level(shard):
    folder, stats = shard
    files = sorted(folder.iterdir())
    episodes = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
    assert len(files) == stats["episodes"] > stats["cut"] == 16 and sum(map(len, episodes)) == stats["frames"] == 16 * 90
    assert sum(episode["reward"].sum() for episode in episodes) == stats["reward"]
    for episode in episodes:
        assert episode.dtype == episode_dtype((64, 64))
        assert episode["first"][0] and not episode["first"][1:].any()
        assert len(set(episode["level"])) == 1
        assert set(episode["action"]) <= set(COINRUN.first)


def test_replayed_actions_give_the_recorded_frames_and_rewards(shard):
    """Row t's action was taken at frame t and led to frame t + 1, for every row of every episode, resets included."""
    folder, _ = shard
    films = [[np.load(file) for file in sorted(folder.glob(f"*_env{i:02d}_*.npy"))] for i in range(16)]
    rows = [np.concatenate(film) for film in films]
    env = shard_game(SMALL, "train", 0)
    place, held, owed = [0] * 16, [0] * 16, [0.0] * 16
    episodes_ended = 0
    while any(place[i] < len(rows[i]) for i in range(16)):
        seen, frames = env.observe(), env.frames()
        reward, first = seen["reward"], seen["first"]
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
                np.testing.assert_array_equal(frames[i], row["frame"])
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
            start, count = shard_levels(SMALL, split, shard)
            here = set()
            env = shard_game(SMALL, split, shard)
            for _ in range(150):
                env.act(np.full(16, 7, np.int32))
                env.observe()
                here |= set(env.levels())
            env.close()
            assert here <= set(range(start, start + count))
            seen[split] |= here
    assert len(seen["train"]) > 20
    assert not seen["train"] & seen["validation"] and not seen["train"] & seen["test"] and not seen["validation"] & seen["test"]


def files_of(folder):
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*.npy"))}


def test_same_seed_same_episodes_whatever_the_workers_interruptions_and_damage(tmp_path, monkeypatch, capsys):
    config = ProcgenSettings(train_frames=128 * 20, validation_frames=128, test_frames=128, train_levels=80)
    monkeypatch.chdir(tmp_path)
    record(config, "one")
    for worker in range(3):
        record(config, "three", worker, 3)
    one = files_of(tmp_path / "record" / "one")
    assert one == files_of(tmp_path / "record" / "three")

    train = tmp_path / "record" / "three" / "train"
    verify_recording(Path("record/three"))
    (train / "shard01_env01_0000.npy").unlink()
    flipped = bytearray((train / "shard02_env00_0000.npy").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (train / "shard02_env00_0000.npy").write_bytes(flipped)
    with pytest.raises(
        UserError, match=r"2 of \d+ episodes.*delete record/three/train/shard01.json record/three/train/shard02.json"
    ):
        verify_recording(Path("record/three"))
    said = capsys.readouterr().err
    assert "shard02_env00_0000.npy is damaged" in said and "shard01_env01_0000.npy is damaged or missing" in said
    write_json(Path("record/three/human.json"), {"checksums": {"train/human_00000.npy": "00000000"}})
    with pytest.raises(UserError, match=r"3 of .*shard02\.json, and run .*your own play can't be recorded anew.*keep human\.json"):
        verify_recording(Path("record/three"))
    Path("record/three/human.json").unlink()
    (train / "shard01.json").unlink()
    (train / "shard02.json").unlink()  # as a kill leaves it: no mark of the end, half a file, a missing episode
    (train / "shard02_env00_0999.npy.tmp").write_bytes(b"half")
    (train / "shard02_env01_0000.npy").unlink()
    record(config, "three")
    assert one == files_of(tmp_path / "record" / "three")
    assert not list(train.glob("*.tmp"))
    verify_recording(Path("record/three"))
    assert json.loads((train / "shard02.json").read_text())["frames"] == 16 * 20


def test_other_settings_do_not_mix_into_a_recording(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ProcgenSettings(hold=4, train_frames=128, validation_frames=128, test_frames=128)
    record(config, "one")
    for _state in ("done", "begun"):
        with pytest.raises(UserError, match="hold 4 -> 5"):
            record(dataclasses.replace(config, hold=5), "one")
        for facts in Path("record").rglob("shard*.json"):  # as a kill leaves it
            facts.write_text(json.dumps({"config": json.loads(facts.read_text())["config"]}))
    record(config, "one")
    assert "frames" in json.loads(Path("record/one/train/shard07.json").read_text())


def test_bad_files_are_named_skipped_and_counted(tmp_path, capfd):
    good = np.zeros(3, episode_dtype((64, 64)))
    save_array(tmp_path / "good.npy", good)
    whole = (tmp_path / "good.npy").read_bytes()
    (tmp_path / "truncated.npy").write_bytes(whole[:-1])
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "pickled.npy", np.array([{"frame": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "floats.npy", np.zeros((3, 64, 64, 3), np.float32))
    np.save(tmp_path / "none.npy", np.zeros(0, episode_dtype((64, 64))))
    writer = EpisodeWriter(tmp_path / "short.b2nd", (64, 64))
    for frame in np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3)):
        writer.append(frame, 1, 1)
    writer.close()
    whole = (tmp_path / "short.b2nd").read_bytes()
    (tmp_path / "short.b2nd").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "nothing.b2nd").write_bytes(b"")
    (tmp_path / "noise.b2nd").write_bytes(bytes(range(256)) * 9)
    episodes = Episodes(tmp_path)
    assert len(episodes) == 3 and episodes.skipped == 8
    said = "".join(capfd.readouterr())
    names = ("truncated", "empty", "pickled", "floats", "none.npy", "short", "nothing", "noise")
    assert all(name in said for name in names)


@pytest.mark.parametrize("ending", ["npy", "b2nd"])
def test_writer_keeps_every_row_and_an_unfinished_episode_has_no_name(tmp_path, ending):
    rng = np.random.default_rng(0)
    for length in (1, BLOCK, 2 * BLOCK + 7):
        rows = np.zeros(length, episode_dtype((64, 64)))
        rows["frame"], rows["action"], rows["level"] = rng.integers(0, 256, rows["frame"].shape), rng.integers(0, 15, length), 9
        rows["reward"], rows["first"] = rng.integers(0, 3, length), np.arange(length) == 0
        path = tmp_path / f"{length}.{ending}"
        writer = EpisodeWriter(path, (64, 64))
        for row in rows:
            writer.append(row["frame"], row["action"], row["level"])
            for _ in range(int(row["reward"])):
                writer.earn(1.0)
        assert not path.exists()
        writer.close()
        np.testing.assert_array_equal(Episode(path).rows(), rows)
        if ending == "npy":
            np.testing.assert_array_equal(np.load(path, mmap_mode="r", allow_pickle=False), rows)
    left = EpisodeWriter(tmp_path / f"left.{ending}", (64, 64))
    left.append(rows["frame"][0], 1, 1)
    left.abandon()
    assert len(list(tmp_path.iterdir())) == 3


def test_damage_inside_a_compressed_episode_is_named(tmp_path):
    writer = EpisodeWriter(tmp_path / "a.b2nd", (64, 64))
    for frame in np.random.default_rng(0).integers(0, 5, (200, 64, 64, 3)):
        writer.append(frame, 1, 1)
    writer.close()
    damaged = bytearray((tmp_path / "a.b2nd").read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 2000] = bytes(2000)
    (tmp_path / "a.b2nd").write_bytes(damaged)
    with pytest.raises(UserError, match=r"a\.b2nd can't be read"):
        Episode(tmp_path / "a.b2nd").rows()


def test_compressed_recording_holds_the_same_in_a_fraction(shard, tmp_path):
    folder, _ = shard
    stats = record_shard(dataclasses.replace(SMALL, format="b2nd"), "train", 0, tmp_path, Path(), 0, NoBar())
    plain, packed = Episodes(folder), Episodes(tmp_path)
    assert len(plain) == len(packed) == stats["frames"]
    rows = np.random.default_rng(0).integers(0, len(plain) - 20, (5, 1)) + np.arange(20)
    np.testing.assert_array_equal(plain.read(rows), packed.read(rows))
    np.testing.assert_array_equal(plain.action, packed.action)
    np.testing.assert_array_equal(plain.levels, packed.levels)
    sizes = [sum(file.stat().st_size for file in place.iterdir()) for place in (folder, tmp_path)]
    assert sizes[1] < sizes[0] / 5


def test_episodes_of_unknown_actions_are_told_apart(tmp_path):
    for name, action in (("a", 3), ("b", UNKNOWN)):
        episode = np.zeros(4, episode_dtype((64, 64)))
        episode["action"] = action
        save_array(tmp_path / f"{name}.npy", episode)
    episodes = Episodes(tmp_path)
    assert episodes.known.tolist() == [True, False]
    assert list(episodes.windows(2)) == [0, 1, 2, 4, 5, 6] and list(episodes.windows(2, labelled=True)) == [0, 1, 2]


def test_a_recording_of_every_step_has_the_frames_of_one_per_action(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coarse = ProcgenSettings(hold=6, train_frames=128 * 20, validation_frames=128, test_frames=128, train_levels=80)
    record(coarse, "coarse")
    record(dataclasses.replace(coarse, every=2, train_frames=3 * 128 * 20), "fine")
    one, fine, held = (Episodes(f"record/{name}/train", every) for name, every in (("coarse", 1), ("fine", 1), ("fine", 3)))
    same = min(len(one.episodes[0]), held.lengths[0])
    assert same > 5
    for name in ("frame", "action", "level"):
        np.testing.assert_array_equal(one.read(np.arange(same))[name], held.read(np.arange(same))[name])
    assert (fine.action[: 3 * (same - 1)] == np.repeat(held.action[: same - 1], 3)).all(), "the action is held"
    assert (fine.frames(np.arange(1, 3)) != fine.frames(np.arange(2))).any(axis=(1, 2, 3)).all(), "and the game goes on"
    for every in (4, -1):
        with pytest.raises(UserError, match="record\\.every"):
            record(dataclasses.replace(coarse, every=every), "wrong")


def test_every_third_row_of_a_recording(tmp_path):
    for name, length in (("a", 7), ("b", 9), ("c", 2)):
        episode = np.zeros(length, episode_dtype((64, 64)))
        episode["frame"] += np.arange(length, dtype=np.uint8)[:, None, None, None] + 10 * ord(name) % 200
        episode["action"] = np.arange(length)
        save_array(tmp_path / f"{name}.npy", episode)
    whole, held = Episodes(tmp_path), Episodes(tmp_path, 3)
    assert held.lengths.tolist() == [3, 3, 1] and held.action.tolist() == [0, 3, 6, 0, 3, 6, 0]
    assert held.fingerprint != whole.fingerprint
    rows = np.arange(7)
    first = whole.starts[held.locate(rows)[0]]
    np.testing.assert_array_equal(held.frames(rows), whole.frames(first + 3 * held.locate(rows)[1]))
    np.testing.assert_array_equal(held.films(np.array([0, 3]), 3), whole.frames(np.array([[0], [7]]) + np.arange(7)))
    np.testing.assert_array_equal(held.groups(np.array([1, 5])), whole.frames(np.array([[1, 2, 3], [11, 12, 13]])))
    np.testing.assert_array_equal(held.groups(np.array([3])), whole.frames(np.array([[7, 7, 7]])), "before an episode")
    values = np.array([1, 2, 0, 3, 4, 0, 0])
    assert spread(values, held, whole).tolist() == [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 0, 0]
    assert spread(values, held, held) is values


def test_windows_stay_in_their_episode_and_frames_are_those_of_the_rows(tmp_path):
    for name, length in (("a", 3), ("b", 5), ("c", 1)):
        episode = np.zeros(length, episode_dtype((64, 64)))
        episode["frame"] += np.arange(length, dtype=np.uint8)[:, None, None, None] + 10 * ord(name) % 200
        episode["level"] = ord(name)
        save_array(tmp_path / f"{name}.npy", episode)
    episodes = Episodes(tmp_path)
    starts = episodes.windows(3)
    assert list(starts) == [0, 3, 4, 5]
    for start in starts:
        assert len(set(episodes.read(np.arange(start, start + 3))["level"])) == 1
    assert list(episodes.windows(2, before=1)) == [1, 4, 5, 6]
    assert (
        starts[:].tolist() == [0, 3, 4, 5]
        and starts.spread(2).tolist() == [0, 5]
        and starts.spread(9).tolist() == starts[:].tolist()
    )
    drawn = starts.draw(np.random.default_rng(0), 4000)
    assert (np.unique(drawn) == starts[:]).all() and np.bincount(drawn)[starts[:]].min() > 900
    assert episodes.transition_rows(np.array([3, 4]), 1).tolist() == [[3, 3, 4], [3, 4, 5]]
    frames = episodes.frames(np.array([[0, 4], [3, 8]]))
    assert frames.shape == (2, 2, 64, 64, 3)
    everything = np.concatenate([episode.rows()["frame"] for episode in episodes.episodes])
    np.testing.assert_array_equal(frames, everything[[[0, 4], [3, 8]]])
    np.testing.assert_array_equal(episodes.frames(np.arange(9)), everything)


def test_batches_are_a_function_of_seed_and_step():
    def sample(rng, size):
        return rng.integers(0, 1000, size)

    def first(count, **start):
        stream = batches(sample, 4, **start)
        return [next(stream)[0].tolist() for _ in range(count)]

    assert first(5, seed=1)[3:] == first(2, seed=1, first_step=3)
    assert first(3, seed=1) != first(3, seed=2)
