"""Where frames come from: games and agents by name, a person's play, videos in and out; and what is told of a recording."""

import dataclasses
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import COINRUN, ROOT

from genie_tf.cli import parse
from genie_tf.config import Config, PlayConfig
from genie_tf.episodes import procgen_game, recorder
from genie_tf.episodes.agents import ORIGINAL, make_agent
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.describe import describe_recording, describe_split
from genie_tf.episodes.format import UNKNOWN, episode_dtype
from genie_tf.episodes.procgen_game import ENV_NAMES, MODES, ProcgenGame, ProcgenSettings
from genie_tf.episodes.recorder import check, level_range, make_game
from genie_tf.episodes.video import SIDECAR_DTYPE, VideoImport, encode_video, export_videos, import_videos
from genie_tf.errors import UserError
from genie_tf.files import save_array
from genie_tf.recording import extract

KEEP_ALL = VideoImport(frames_per_second=10, cut=0)


# Games and agents ----------------------------------------------------------------------------------


@pytest.mark.parametrize("game", ENV_NAMES)
def test_every_game_and_mode_plays_on_the_levels_it_is_given(game):
    for mode in ["easy", "hard", *(mode for mode, games in MODES.items() if game in games)]:
        config = ProcgenSettings(game=game, distribution_mode=mode)
        check(config)
        env = make_game(config, (70, 5), 2, seed=1)
        for action in range(15):
            env.act(np.full(2, action, np.int32))
        env.observe()
        frames = env.frames()
        assert frames.shape == (2, 64, 64, 3) and frames.std() > 0
        assert set(env.levels()) <= set(range(70, 75))
        env.close()


def test_modes_that_a_game_has_not_are_refused_before_procgen_ends_the_process():
    for game, mode in (("coinrun", "extreme"), ("coinrun", "memory"), ("chaser", "memory"), ("chess", "easy")):
        with pytest.raises(UserError, match="choose"):
            check(ProcgenSettings(game=game, distribution_mode=mode))


def test_procgen_without_the_libraries_of_a_desktop_says_what_to_install(monkeypatch):
    """Its error, of a bare Debian."""

    def missing(**settings):
        raise OSError(
            "cannot load library '/data/libenv.so': libGL.so.1: cannot open shared object file: No such file or directory."
        )

    monkeypatch.setattr(procgen_game, "ProcgenGym3Env", missing)
    with pytest.raises(UserError, match=r"libGL\.so\.1 is missing: apt-get install libgl1 libglib2\.0-0"):
        make_game(ProcgenSettings(), (0, 1), 1, 0)


def test_options_of_the_game_show():
    def first(**options):
        env = make_game(ProcgenSettings(**options), (0, 8), 4, seed=1)
        env.act(np.full(4, 7, np.int32))
        env.observe()
        return env.frames()

    plain = first()
    for option in ("use_backgrounds", "paint_vel_info"):
        assert (first(**{option: True}) != plain).any(), option
    assert (first(use_backgrounds=True, restrict_themes=False) != first(use_backgrounds=True)).any()


@pytest.mark.parametrize("name", ["coinrun_plain", "coinrun", "coinrun_paper"])
def test_configs_can_be_recorded(name):
    config, _ = parse("test", arguments=["--config", str(ROOT / "configs" / f"{name}.yaml")])
    assert config.world == name
    check(config.record)
    if name != "coinrun_plain":
        assert config.record.distribution_mode == "hard" and config.record.use_backgrounds and not config.record.restrict_themes
        assert level_range(config.record, "train") == (0, 10000)
    if name == "coinrun_paper":
        assert config.record.agent == "uniform" and config.record.hold == 1 and config.record.train_frames == 10_000_000


def test_random_agents_draw_what_their_names_say():
    due = np.arange(64)

    def actions(**options):
        agent = make_agent(ProcgenSettings(**options), COINRUN, Path(), 64, [1])
        return np.stack([agent.act(None, due) for _ in range(300)])

    uniform, original, sticky = actions(agent="uniform"), actions(agent="original"), actions(agent="sticky", keep=0.6)
    np.testing.assert_allclose(np.bincount(uniform.ravel(), minlength=15) / uniform.size, 1 / 15, atol=0.01)
    np.testing.assert_allclose(np.bincount(original.ravel())[ORIGINAL] / original.size, 1 / 7, atol=0.01)
    controls = actions(agent="controls")
    np.testing.assert_allclose(np.bincount(controls.ravel())[COINRUN.first] / controls.size, 1 / 6, atol=0.01)
    assert set(sticky.ravel()) == set(controls.ravel()) == set(COINRUN.first) and set(original.ravel()) == set(ORIGINAL)
    assert np.mean(original[1:] == original[:-1]) == pytest.approx(1 / 7, abs=0.01)
    assert np.mean(sticky[1:] == sticky[:-1]) == pytest.approx(0.6 + 0.4 / 6, abs=0.01)


def test_sticky_agent_keeps_the_action_of_each_environment_also_when_only_some_are_due():
    agent = make_agent(ProcgenSettings(agent="sticky", keep=0.999), COINRUN, Path(), 4, [1])
    before = agent.last.copy()
    assert (agent.act(None, np.array([1, 3])) == before[[1, 3]]).all() and (agent.last == before).all()


def test_trained_agent_is_kept_resumed_reported_and_recorded_with(tmp_path, monkeypatch, capsys):
    pytest.importorskip("stable_baselines3", reason="the extra of requirements-agent.txt is not installed")
    from genie_tf.episodes import agent_training

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(agent_training, "LEVELS", 6)
    monkeypatch.setattr(agent_training, "PPO_SETTINGS", agent_training.PPO_SETTINGS | {"n_steps": 4, "batch_size": 64})
    config = Config(world="w", record=ProcgenSettings(agent="trained", train_frames=256, validation_frames=128, test_frames=128))
    agent_training.train_agent(config, 256)
    said = capsys.readouterr().out
    assert all(f"{name} " in said for name in ("uniform", "controls", "sticky", "trained")) and "6 held-out levels" in said
    kept = Path("model/w/agent.zip").read_bytes()
    agent_training.train_agent(config, 256)
    assert "done already" in capsys.readouterr().out and Path("model/w/agent.zip").read_bytes() == kept
    agent_training.train_agent(config, 512)
    assert agent_training.PPO.load("model/w/agent.zip").num_timesteps == 512

    recorder.record(config.record, "w")
    for worker in range(2):
        recorder.record(dataclasses.replace(config.record, policy="model/w/agent.zip"), "again", worker, 2)
    for split in recorder.SPLITS:
        one, two = Episodes(f"record/w/{split}"), Episodes(f"record/again/{split}")
        np.testing.assert_array_equal(one.read(one.windows(1)[:]), two.read(two.windows(1)[:]))
    Path("bad.zip").write_bytes(b"no policy")
    for policy, words in (("bad.zip", "no policy of"), ("gone.zip", "train one")):
        with pytest.raises(UserError, match=words):
            recorder.record(dataclasses.replace(config.record, policy=policy), "x")


def test_trained_agent_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "stable_baselines3", None)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-agent\.txt"):
        make_agent(ProcgenSettings(agent="trained"), COINRUN, Path("agent.zip"), 4, [1])


def test_a_person_plays_the_real_game_and_every_split_gets_an_episode(tmp_path, monkeypatch):
    import pygame

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ProcgenGame, "steps_per_second", 500.0)
    config = Config(world="mine", record=ProcgenSettings(agent="human", hold=6), play=PlayConfig(scale=2))
    shown = []
    flip = pygame.display.flip
    monkeypatch.setattr(pygame.display, "flip", lambda: shown.append(1) or flip())

    def hands():
        for key in (pygame.K_d, pygame.K_w, pygame.K_r, pygame.K_a, pygame.K_r, pygame.K_d, pygame.K_q):
            goal, end = len(shown) + 7, time.monotonic() + 60
            while len(shown) < goal and time.monotonic() < end:
                time.sleep(0.001)
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))

    for episodes in (3, 6):  # the second time goes on behind the first
        person = threading.Thread(target=hands)
        person.start()
        extract(config)
        person.join(60)
        assert not pygame.display.get_init()
        files = sorted(path.relative_to("record/mine") for path in Path("record/mine").rglob("*.npy"))
        assert len(files) == episodes and not list(Path("record").rglob("*.tmp"))
    assert len(files) == 6 and {file.parent.name for file in files} == set(recorder.SPLITS)
    for split in recorder.SPLITS:
        recording = Episodes(f"record/mine/{split}")
        first, count = level_range(config.record, split)
        assert ((recording.levels >= first) & (recording.levels < first + count)).all()
    assert {4, 7, 5} <= set(Episodes("record/mine/train").action)
    with pytest.raises(UserError, match="hold 6 -> 3"):
        extract(Config(world="mine", record=ProcgenSettings(agent="human", hold=3)))
    with pytest.raises(UserError, match="one person"):
        extract(config, worker=0, workers=2)


# Videos --------------------------------------------------------------------------------------------


def film(length: int, seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    """A smooth texture that moves by two pixels a frame: uint8 (T, H, W, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, (width + 2 * length) // 8 + 2, 3)).astype(np.uint8)
    wide = coarse.repeat(8, 0).repeat(8, 1)
    return np.stack([wide[:height, 2 * t : 2 * t + width] for t in range(length)])


def write(path: Path, frames: np.ndarray, rate: float = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_video(frames, rate))
    return path


def imported(pattern, world="v", **options) -> Config:
    config = Config(world=world, record=ProcgenSettings())
    import_videos(config, str(pattern), dataclasses.replace(KEEP_ALL, **options))
    return config


def everything(world: str) -> dict[str, np.ndarray]:
    """Frames of all splits that there are."""
    found = {}
    for split in recorder.SPLITS:
        if any(Path(f"record/{world}/{split}").glob("*.npy")):
            recording = Episodes(f"record/{world}/{split}")
            found[split] = recording.read(recording.windows(1)[:])
    return found


def test_export_and_import_give_back_every_value(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ProcgenSettings(
        distribution_mode="hard", use_backgrounds=True, restrict_themes=False, hold=2,
        train_frames=128 * 9, validation_frames=128, test_frames=128,
    )  # fmt: skip
    recorder.record(config, "w")
    export_videos(Config(world="w"))
    videos = sorted(Path("record/w/mp4").rglob("*.mp4"))
    sidecar = np.load(videos[-1].with_suffix(".npy"), allow_pickle=False)
    assert sidecar.dtype == SIDECAR_DTYPE
    imported("record/w/mp4/*/*.mp4", "back")
    assert len(videos) == len(list(Path("record/back").rglob("*.npy")))
    was, back = everything("w"), everything("back")
    for split in recorder.SPLITS:
        np.testing.assert_array_equal(was[split], back[split])  # colours in their order, actions, rewards, levels

    for sidecar in Path("record/w/mp4").rglob("*.npy"):
        sidecar.unlink()
    imported("record/w/mp4/*/*.mp4", "bare")
    bare = everything("bare")
    for split in recorder.SPLITS:
        np.testing.assert_array_equal(was[split]["frame"], bare[split]["frame"])
        assert (bare[split]["action"] == UNKNOWN).all() and not bare[split]["reward"].any()


def test_a_red_frame_is_red(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    red = np.zeros((4, 64, 64, 3), np.uint8)
    red[..., 0] = 255
    clip = write(tmp_path / "train" / "red.mp4", red)
    with av.open(str(clip)) as container:
        assert next(container.decode(video=0)).to_ndarray(format="rgb24")[0, 0].tolist() == [255, 0, 0]
    imported(clip)
    assert everything("v")["train"]["frame"][0, 0, 0].tolist() == [255, 0, 0]


def test_lossy_export_is_smaller_and_close(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames, sizes = film(40, 1), []
    for crf in (0, 23):
        path = tmp_path / f"{crf}.mp4"
        path.write_bytes(encode_video(frames, 10, crf))
        sizes.append(path.stat().st_size)
    assert sizes[1] < sizes[0]
    with av.open(str(path)) as container:
        back = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert np.abs(back.astype(int) - frames).mean() < 12


def test_videos_are_thinned_to_a_frame_rate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for rate, step in ((30, 3), (10, 1), (5, 1)):
        clip = write(tmp_path / "train" / f"{rate}.mp4", film(31, rate), rate)
        imported(clip, f"v{rate}")
        np.testing.assert_array_equal(everything(f"v{rate}")["train"]["frame"], film(31, rate)[::step])


def test_videos_are_cropped_and_resized(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = film(6, 1)
    large = small.repeat(2, 1).repeat(2, 2)
    wide = np.pad(large, ((0, 0), (0, 0), (37, 37), (0, 0)))  # 202 x 128
    clip = write(tmp_path / "train" / "wide.mp4", wide)
    imported(clip, "middle")
    np.testing.assert_array_equal(everything("middle")["train"]["frame"], small)
    imported(clip, "part", crop=(37, 0, 64, 64))
    np.testing.assert_array_equal(everything("part")["train"]["frame"], large[:, :64, :64])
    with pytest.raises(UserError, match="none of the videos"):
        imported(clip, "outside", crop=(150, 0, 64, 64))
    with pytest.raises(UserError, match="left, top, width and height"):
        imported(clip, "empty", crop=(0, 0, 0, 5))


def test_an_odd_size_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train" / "odd.mkv"
    path.parent.mkdir()
    frames = film(12, 2, 97, 81)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 97, 81, "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    imported(path)
    assert everything("v")["train"]["frame"].shape == (12, 64, 64, 3)


def test_a_new_scene_begins_a_new_episode_and_motion_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scenes = [film(20, seed) // 2 + 127 * (seed % 2) for seed in (1, 2, 3)]
    clip = write(tmp_path / "train" / "scenes.mp4", np.concatenate(scenes).astype(np.uint8))
    imported(clip, "cut", cut=0.3)
    assert Episodes("record/cut/train").lengths.tolist() == [20, 20, 20]
    imported(clip, "whole")
    assert Episodes("record/whole/train").lengths.tolist() == [60]


def test_videos_are_split_by_folder_by_number_or_by_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(10):
        write(tmp_path / "ten" / f"{number}.mp4", film(5, number))
    imported(tmp_path / "ten" / "*.mp4", "ten")
    lengths = {split: len(rows) for split, rows in everything("ten").items()}
    assert lengths == {"train": 40, "validation": 5, "test": 5}
    levels = [set(rows["level"]) for rows in everything("ten").values()]
    assert not levels[0] & levels[1] and not levels[0] & levels[2] and not levels[1] & levels[2]
    one = write(tmp_path / "one.mp4", film(50, 7))
    imported(one, "one")
    found = everything("one")
    assert {split: len(rows) for split, rows in found.items()} == {"train": 40, "validation": 5, "test": 5}
    np.testing.assert_array_equal(np.concatenate([rows["frame"] for rows in found.values()]), film(50, 7))


def test_bad_videos_are_named_skipped_and_counted_and_what_was_read_is_kept(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    clips = tmp_path / "train"
    good = write(clips / "a_good.mp4", film(30, 1))
    whole = good.read_bytes()
    (clips / "b_truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (clips / "c_empty.mp4").write_bytes(b"")
    (clips / "d_text.mp4").write_text("this is no video\n" * 50)
    with av.open(str(clips / "e_sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with av.open(str(clips / "f_middle.ts"), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height = stream.width = 64
        stream.pix_fmt, stream.options = "yuv444p", {"g": "5"}
        for frame in film(200, 2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    middle = clips / "f_middle.ts"
    middle.write_bytes(middle.read_bytes()[: middle.stat().st_size // 2])
    no_frames = clips / "g_none.mp4"
    with av.open(str(no_frames), "w") as container:
        container.add_stream("libx264", rate=10)
        container.start_encoding()
    imported(clips / "*")
    said = "".join(capfd.readouterr())
    for name in ("b_truncated", "c_empty", "d_text", "e_sound", "g_none"):
        assert any("skipped" in line and name in line for line in said.splitlines()), name
    assert "2 videos, 5 skipped" in said
    recording = Episodes("record/v/train")
    assert recording.lengths[0] == 30 and 40 < recording.lengths[1:].sum() < 200
    np.testing.assert_array_equal(recording.frames(np.arange(30)), film(30, 1))
    assert not list(Path("record").rglob("*.tmp"))

    imported(clips / "*")  # again: nothing is done twice
    assert Episodes("record/v/train").fingerprint == recording.fingerprint
    with pytest.raises(UserError, match="none of the videos"):
        imported(clips / "d_text.mp4", "x")
    with pytest.raises(UserError, match="no file matches"):
        imported(clips / "*.avi", "x")
    with pytest.raises(UserError, match="other settings"):
        imported(clips / "*", frames_per_second=5)


def test_videos_and_the_game_do_not_mix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorder.record(ProcgenSettings(train_frames=128, validation_frames=128, test_frames=128), "w")
    with pytest.raises(UserError, match="--name of their own"):
        imported(write(tmp_path / "a.mp4", film(5, 1)), "w")
    imported(tmp_path / "a.mp4", "v")
    with pytest.raises(UserError, match="holds videos"):
        recorder.record(ProcgenSettings(), "v")


def test_workers_share_the_videos_and_later_ones_are_added(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(11):
        write(tmp_path / "clips" / f"{number:02d}.mp4", film(4, number))
    imported("clips/*", "one")
    for worker in range(2):
        import_videos(Config(world="two", record=ProcgenSettings()), "clips/*", KEEP_ALL, worker, 2)
    one, two = everything("one"), everything("two")
    for split in recorder.SPLITS:
        np.testing.assert_array_equal(one[split], two[split])
    write(tmp_path / "clips" / "11.mp4", film(4, 11))
    imported("clips/*", "one")
    np.testing.assert_array_equal(everything("one")["train"][: len(one["train"])], one["train"])
    assert len(everything("one")["train"]) == len(one["train"]) + 4


def test_one_thing_at_a_time():
    with pytest.raises(UserError, match="--video and --export"):
        extract(Config(), video="a.mp4", export="mp4")
    with pytest.raises(UserError, match="no recording"):
        extract(Config(world="nowhere"), export="mp4")


# What is told --------------------------------------------------------------------------------------


def test_a_recording_is_described(tmp_path, capsys):
    for split, count in (("train", 5), ("test", 2)):
        (tmp_path / split).mkdir()
        for number in range(count):
            episode = np.zeros(10 * (number + 1), episode_dtype((64, 64)))
            episode["frame"], episode["level"], episode["action"] = 50 * number, number % 3, [7, 1] * (5 * (number + 1))
            episode["reward"][-1] = 10 * (number == 1)
            save_array(tmp_path / split / f"{number}.npy", episode)
    (tmp_path / "train" / "bad.npy").write_bytes(b"")
    facts = describe_split(Episodes(tmp_path / "train"))
    assert (facts["episodes"], facts["skipped"], facts["frames"], facts["levels"]) == (5, 1, 150, 3)
    assert facts["lengths"].tolist() == [10, 20, 30, 40, 50] and facts["returns"].tolist() == [0, 10, 0, 0, 0]
    assert facts["still"] == 1
    assert facts["actions"][7] == facts["actions"][1] == 75 and facts["actions"].sum() == 150
    describe_recording(tmp_path)
    said = capsys.readouterr().out
    assert "train: 5 episodes (1 files skipped), 150 frames, 3 levels" in said and "7 50.0 %" in said and "20.0 % above 0" in said
    with av.open(str(tmp_path / "describe.png")) as picture:
        assert np.std(next(picture.decode(video=0)).to_ndarray(format="rgb24")) > 10
    with pytest.raises(UserError, match="no recording"):
        describe_recording(tmp_path / "nowhere")
