"""Read thousands of damaged and hostile files: episodes, caches, checkpoints, settings, videos, pictures, recordings of play.

python -m tests.fuzz
python -m tests.fuzz --only checkpoint --cases 2000 --seed 7

Each file has to be read, or refused by a `UserError` of one line. A traceback, a crash, a code that ran, more than a minute or more
than 1 GB of memory ends the command with exit code 1, and the file is kept.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from tqdm import tqdm

from genie_tf.errors import UserError

ROOT = Path(__file__).parent.parent
MEMORY = 1_000_000_000  # bytes that a file may take
SECONDS = 60  # that a file may take
HUGE = 1_500_000_000  # zeros in a zip bomb
MARK = Path(tempfile.gettempdir()) / f"genie_fuzz_{os.getuid()}_code_ran"
ODD = (None, [], {}, "", "\ud800", "x" * 5000, -1, 2**63, 10**30, 1e308, float("nan"), [[["d"]]], True, "../../x", "__class__")


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (MARK,)


# Damage --------------------------------------------------------------------------------------------


def flip(rng: np.random.Generator, data: bytes, within: int | None = None) -> bytes:
    """Flip up to eight bits of the first `within` bytes, by default of all."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        out[int(rng.integers(min(within or len(out), len(out))))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def damaged(rng: np.random.Generator, data: bytes, others: list[bytes]) -> bytes:
    """Damage bytes of any kind: as a disk does it, or as somebody who wants to break in."""
    a, b = sorted(int(place) for place in rng.integers(len(data) + 1, size=2))
    ways = [
        lambda: flip(rng, data),
        lambda: flip(rng, data, 64),
        lambda: flip(rng, data, 512),
        lambda: data[:a],
        lambda: data[: int(rng.integers(min(len(data), 200) + 1))],
        lambda: data[:a] + data[b:],
        lambda: data[:a] + bytes(b - a) + data[b:],
        lambda: data[:a] + b"\xff" * (b - a) + data[b:],
        lambda: data[:a] + rng.bytes(int(rng.integers(1, 5000))) + data[a:],
        lambda: data[b:] + data[a:b] + data[:a],
        lambda: data + data,
        lambda: others[int(rng.integers(len(others)))],
        lambda: rng.bytes(int(rng.integers(5000))),
    ]
    return ways[int(rng.integers(len(ways)))]()


def hostile_files() -> list[bytes]:
    """Files that pretend to be others."""
    files = [b"", b"\0" * 10_000, pickle.dumps(Evil())]
    for value in (np.array([Evil()], object), np.zeros(4)):
        file = io.BytesIO()
        np.save(file, value, allow_pickle=True)
        files.append(file.getvalue())
    files += [b"[" * 100_000, b'{"a":' * 50_000, b'{"config": %s}' % (b"9" * 5000), b"{}", b"[1, 2]", b'"x"', b"null", b"\xff\xfe"]
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for name, before in zip("bcdefghi", "abcdefgh"):
        bomb += f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    files += [bomb.encode(), b"world: !!python/object/apply:pathlib.Path.touch [%s]" % str(MARK).encode()]
    return files


def odd_value(rng: np.random.Generator, value):
    """Replace, remove or add one value somewhere in a JSON value."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = list(value)[int(rng.integers(len(value)))]
        if rng.random() < 0.15:
            return {name: one for name, one in value.items() if name != key}
        return value | {key: odd_value(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = int(rng.integers(len(value)))
        return [*value[:place], odd_value(rng, value[place]), *value[place + 1 :]]
    return ODD[int(rng.integers(len(ODD)))]


def odd_json(rng: np.random.Generator, data: bytes) -> bytes:
    return json.dumps(odd_value(rng, json.loads(data))).encode()


def odd_header(rng: np.random.Generator, data: bytes) -> bytes:
    """A `.npy` file with another header."""
    length = int.from_bytes(data[8:10], "little")
    header = data[10 : 10 + length].decode()
    swaps = [("(", f"({10 ** int(rng.integers(1, 25))}, "), ("False", "True"), ("|u1", "|O"), ("<i4", "<i8"), ("'frame'", "'x'")]
    swaps += [("'shape': (", "'shape': (-1, "), ("{", "{'a': ().__class__, "), ("'descr': ", "'descr': '|O', 'was': ")]
    header = header.replace(*swaps[int(rng.integers(len(swaps)))])
    return data[:8] + len(header).to_bytes(2, "little") + header.encode() + data[10 + length :]


def odd_archive(rng: np.random.Generator, data: bytes) -> bytes:
    """A zip archive whose checksums are right, and one of whose parts is damaged or hostile."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as anew:
        names = archive.namelist()
        chosen = names[int(rng.integers(len(names)))]
        for name in names:
            part = archive.read(name)
            if name == chosen and rng.random() < 0.1:
                continue
            if name == chosen and rng.random() < 0.03:
                write_bomb(anew, name)
                continue
            if name == chosen and name.endswith(".json"):
                part = odd_json(rng, part) if name != "config.json" or rng.random() < 0.7 else hostile_config(rng, part)
            elif name == chosen:
                part = damaged(rng, part, [b""])
            anew.writestr(name, part)
    return out.getvalue()


def write_bomb(archive: zipfile.ZipFile, name: str) -> None:
    """Write a part of zeros, which takes a thousandth of its size in the archive."""
    part = zipfile.ZipInfo(name)
    part.compress_type, block = zipfile.ZIP_DEFLATED, bytes(10_000_000)
    with archive.open(part, "w", force_zip64=True) as file:
        for _ in range(HUGE // len(block)):
            file.write(block)


def hostile_config(rng: np.random.Generator, data: bytes) -> bytes:
    """The configuration of a model that names other code."""
    touch = {"module": "pathlib", "class_name": "Path.touch", "config": {"self": str(MARK)}, "registered_name": None}
    system = {"module": "os", "class_name": "system", "config": {"command": f"touch {MARK}"}, "registered_name": "function"}
    code = {"class_name": "__lambda__", "config": {"value": "4wAAAA==", "defaults": None, "closure": None}}
    fn = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l", "function": code}, "registered_name": None}
    layers = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "s", "layers": [fn]},
        "registered_name": "Sequential",
    }
    inner = json.loads(data)
    inner.setdefault("config", {})["quantizer"] = touch
    wide = json.loads(data)
    wide["config"] = {name: 10**9 if isinstance(value, int) else value for name, value in wide["config"].items()}
    files = [touch, system, fn, layers, inner, wide]
    return json.dumps(files[int(rng.integers(len(files)))]).encode()


# Readers -------------------------------------------------------------------------------------------


@dataclass
class Target:
    """A file that is damaged, and how it is read.

    Args:
        cases: How many times.
        path: The file, which is whole.
        read: Reads it.
        odd: Another way to damage it, which keeps to its format.
    """

    cases: int
    path: Path
    read: Callable[[], object]
    odd: Callable[[np.random.Generator, bytes], bytes] | None = None


def targets(folder: Path) -> dict[str, Target]:
    """Write whole files to a folder."""
    return episode_targets(folder) | model_targets(folder) | play_targets(folder) | settings_targets(folder)


def episode_targets(folder: Path) -> dict[str, Target]:
    from genie_tf.config import Config, PlayConfig
    from genie_tf.episodes.codes import cached_codes, codes_of_rows
    from genie_tf.episodes.dataset import Episodes
    from genie_tf.episodes.describe import verify_recording
    from genie_tf.episodes.format import EpisodeWriter
    from genie_tf.episodes.procgen_game import ProcgenSettings
    from genie_tf.episodes.recorded import controls_in
    from genie_tf.episodes.recorder import facts_of, recorded
    from genie_tf.episodes.video import SIDECAR_DTYPE, VideoImport, import_videos
    from genie_tf.files import checksum, write_json
    from genie_tf.play.film import write_film

    rng, found = np.random.default_rng(0), {}
    frames = rng.integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)

    def read(train):
        episodes = Episodes(train)
        for first in range(0, len(episodes), 64):
            episodes.read(np.arange(first, min(first + 64, len(episodes))))
        return episodes

    for ending in ("npy", "b2nd"):
        train = folder / f"of_{ending}" / "train"
        train.mkdir(parents=True)
        for name in ("a", "b"):
            writer = EpisodeWriter(train / f"{name}.{ending}", (16, 16))
            for t, frame in enumerate(frames):
                writer.append(frame, t % 3, 5)
            writer.close()
        odd = odd_header if ending == "npy" else None
        found[f"episode_{ending}"] = Target(2500, train / f"a.{ending}", lambda train=train: read(train), odd)
    train = folder / "of_npy" / "train"
    wanted = facts_of(ProcgenSettings(height=16, width=16))
    facts = train / "shard00.json"
    write_json(facts, {"config": wanted, "episodes": 1, "checksums": {"a.npy": checksum(train / "a.npy")}})

    def read_facts():
        for use in (lambda: recorded(facts, wanted), lambda: controls_in(Episodes(train)), lambda: verify_recording(train.parent)):
            with contextlib.suppress(UserError):
                use()

    found["recording_json"] = Target(1200, facts, read_facts, odd_json)

    def cache():
        episodes = Episodes(train)
        codes = cached_codes(
            "tokens", episodes, folder, "x", codes_of_rows(episodes, 1, lambda rows: np.ones((len(rows), 4), np.uint16))
        )
        return np.array(codes[-5:])

    cache()
    found["cache_npy"] = Target(800, folder / "tokens_of_npy_train.npy", cache, odd_header)
    found["cache_json"] = Target(400, folder / "tokens_of_npy_train.json", cache, odd_json)
    config = Config("films", ProcgenSettings(height=16, width=16), None, None, None, None, PlayConfig())
    video = folder / "films" / "a.mp4"
    video.parent.mkdir()
    write_film(video, np.repeat(np.repeat(frames, 2, 1), 2, 2), 15)
    np.save(video.with_suffix(".npy"), np.zeros(len(frames), SIDECAR_DTYPE))

    def read_video():
        shutil.rmtree("record", ignore_errors=True)
        import_videos(config, str(video), VideoImport(15.0, size=(16, 16)))

    found["video"] = Target(500, video, read_video)
    found["sidecar"] = Target(300, video.with_suffix(".npy"), read_video, odd_header)
    return found


def model_targets(folder: Path) -> dict[str, Target]:
    import keras

    from genie_tf.dynamics.maskgit import MaskGitDynamics
    from genie_tf.latent_action.keymap import load_keymap, save_keymap
    from genie_tf.tokenizer.conv import ConvTokenizer
    from genie_tf.training.checkpoints import FACTS, find_start, load_facts, load_model, save_checkpoint

    facts = {"settings": {"a": 1}, "inputs": {"b": "c"}}
    models = {
        "VQVAE_Model": ConvTokenizer({"kind": "finite_scalar", "levels": [4, 4]}, width=8, blocks=0, frame_size=(16, 16)),
        "world_model": MaskGitDynamics(codes=16, tokens=4, actions=2, width=16, depth=1, heads=2),
    }
    found = {}
    for prefix, model in models.items():
        model.build()
        model.compile(optimizer=keras.optimizers.AdamW())
        model.optimizer.build(model.trainable_variables)
        save_checkpoint(model, folder, prefix, 3, facts | {"history": []})

        def load(prefix=prefix):
            keras.backend.clear_session()
            load_model(folder / f"{prefix}_3", "train.py", optimizer=True)

        found[f"checkpoint_{prefix}"] = Target(350, folder / f"{prefix}_3" / "model.keras", load, odd_archive)
    checkpoint = folder / "world_model_3"

    def go_on():
        load_facts(checkpoint, "train.py")
        whole = checkpoint.with_name("kept")
        shutil.copytree(checkpoint, whole)
        try:
            find_start(folder, "world_model", "train.py", facts, {})
        finally:
            for left in folder.glob("world_model_*"):
                shutil.rmtree(left)
            whole.rename(checkpoint)

    found["training_json"] = Target(600, checkpoint / FACTS, go_on, odd_json)
    save_keymap(checkpoint, {"none": 0, "a": 1}, 5)
    found["keymap_json"] = Target(600, checkpoint / "keymap.json", lambda: load_keymap(checkpoint, 2), odd_json)
    return found


def play_targets(folder: Path) -> dict[str, Target]:
    from PIL import Image

    from genie_tf.evaluation.compare import compare
    from genie_tf.files import write_json
    from genie_tf.play.prompts import Prompt, read_picture
    from genie_tf.play.recording import Recording, read_recording
    from genie_tf.play.session import Session, guess_threshold

    world = SimpleNamespace(
        identity="x", sampling_steps=2, temperature=0.5, guidance=0.0, keymap={"none": 0, "a": 1}, actions=2, stride=1,
        frame_size=(16, 16), latent_action=object(), folder=folder / "figures",
    )  # fmt: skip
    session = SimpleNamespace(world=world, seed=3, keys=["a", "none", "2"], action_of=lambda key: Session.action_of(session, key))
    picture = np.random.default_rng(0).integers(0, 256, (24, 30, 3)).astype(np.uint8)
    session.prompt = Prompt(picture[None, :16, :16], None, "a prompt", 7)
    notes = folder / "dream.json"
    write_json(notes, Recording(session).notes())
    found = {"play_json": Target(600, notes, lambda: read_recording(notes, session), odd_json)}
    for ending in ("png", "jpg", "gif", "webp"):
        file = folder / f"picture.{ending}"
        Image.fromarray(picture).save(file)
        found[f"picture_{ending}"] = Target(150, file, lambda file=file: read_picture(file, "a picture", (16, 16)))
    figures = {f"dynamics.psnr.{t}": {"value": 20.0 - t, "low": 19.0 - t, "high": 21.0 - t, "n": 8} for t in (1, 2)}
    for name in ("figures", "others"):
        (folder / name).mkdir()
        write_json(folder / name / "evaluation.json", figures)

    def read_figures():
        guess_threshold(world)
        compare([str(folder / "figures"), str(folder / "others")])

    found["evaluation_json"] = Target(250, folder / "figures" / "evaluation.json", read_figures, odd_json)
    return found


def settings_targets(folder: Path) -> dict[str, Target]:
    from genie_tf.cli import parse

    found = {}
    for name in ("coinrun_plain", "coinrun_magvit2"):
        file = folder / f"{name}.yaml"
        shutil.copy(ROOT / "configs" / file.name, file)
        found[f"settings_{name}"] = Target(300, file, lambda file=file: parse("", arguments=["--config", str(file)]))
    return found


# The run -------------------------------------------------------------------------------------------


def read_case(target: Target, rng: np.random.Generator, others: list[bytes]) -> str:
    """Damage a file, read it, and put it back. Returns what went wrong, or ""."""
    whole = target.path.read_bytes()
    odd = target.odd is not None and rng.random() < 0.5
    target.path.write_bytes(target.odd(rng, whole) if odd and target.odd is not None else damaged(rng, whole, others))
    bad = target.path.read_bytes()
    begin, fault = time.monotonic(), ""
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            target.read()
    except UserError as error:
        if "\n" in str(error) or len(str(error)) > 1000:
            fault = f"its error has several lines or {len(str(error))} characters: {str(error)[:300]}"
    except BaseException:
        fault = traceback.format_exc()[-1500:]
    finally:
        signal.alarm(0)
        target.path.write_bytes(whole)
    if time.monotonic() - begin > SECONDS:
        fault = fault or "it took too long"
    if MARK.exists():
        MARK.unlink()
        fault += "\nits code ran"
    if fault:
        target.path.with_name(target.path.name + ".bad").write_bytes(bad)
    return fault


def work(pipe, seed: int, of: list[tuple[str, int]], first: int) -> None:
    """Read the cases `of`, from `first` on, in a process of its own. Sends each case's number, and then what went wrong."""
    from genie_tf.quiet import quiet

    with quiet():
        import tensorflow  # noqa: F401 - before the memory is counted
    folder = Path(tempfile.mkdtemp(prefix="genie_fuzz_"))
    os.chdir(folder)
    all_targets, others = targets(folder), hostile_files()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders write to it
    for target in all_targets.values():
        with contextlib.redirect_stdout(io.StringIO()):
            target.read()  # the whole file is read, and what it needs is imported
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 2 * MEMORY, resource.RLIM_INFINITY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for number in range(first, len(of)):
        kind, case = of[number]
        pipe.send((number, None))
        fault = read_case(all_targets[kind], np.random.default_rng([seed, sum(kind.encode()), case]), others)
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        if more > MEMORY:
            before += more
            fault = fault or f"it took {more / 1e9:.1f} GB of memory"
        if fault:
            fault += f"\n{all_targets[kind].path}.bad"
        pipe.send((number, fault))
    pipe.send((len(of), None))
    shutil.rmtree(folder)


def fuzz(only: str, cases: int, seed: int, workers: int) -> list[str]:
    """Read all cases in several processes. A process that crashes is replaced.

    Returns:
        What went wrong.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        counts = {kind: target.cases for kind, target in targets(Path(folder)).items() if only in kind}
    chosen = [(kind, case) for kind, count in counts.items() for case in range(cases or count)]
    context, faults = multiprocessing.get_context("spawn"), []
    with tqdm(total=len(chosen), desc="fuzz", unit=" files") as progress:

        def start(of, first):
            here, there = context.Pipe(False)
            process = context.Process(target=work, args=(there, seed, of, first), daemon=True)
            process.start()
            there.close()
            return {"of": of, "at": first, "pipe": here, "process": process}

        running = [start(chosen[worker::workers], 0) for worker in range(workers)]
        while running:
            for job in multiprocessing.connection.wait([job["pipe"] for job in running], 1.0):
                worker = next(one for one in running if one["pipe"] is job)
                try:
                    number, fault = job.recv()
                except EOFError:  # it crashed
                    worker["process"].join()
                    kind, case = worker["of"][worker["at"]]
                    faults.append(f"{kind}, case {case}: the process ended with code {worker['process'].exitcode}")
                    tqdm.write(faults[-1])
                    running.remove(worker)
                    running.append(start(worker["of"], worker["at"] + 1))
                    progress.update()
                    continue
                worker["at"] = number
                if number == len(worker["of"]):
                    running.remove(worker)
                elif fault is not None:
                    progress.update()
                    if fault:
                        faults.append(f"{worker['of'][number][0]}, case {worker['of'][number][1]}: {fault}")
                        tqdm.write(faults[-1])
    print(f"{len(chosen)} files of {len(counts)} kinds: {len(faults)} went wrong")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the name of a kind of file")
    parser.add_argument("--cases", type=int, default=0, help="files of each kind (default: 150 to 2,500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    MARK.unlink(missing_ok=True)
    sys.exit(1 if fuzz(options.only, options.cases, options.seed, options.workers) else 0)


if __name__ == "__main__":
    main()
