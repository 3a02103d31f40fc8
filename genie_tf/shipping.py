"""Worlds that come with the repository, in `model/shipped/<world>`: `make ship` packs one, and `World.load` finds it there.

A shipped world has the three models without optimizers and in half precision, prompts in place of a recording, its figures, and a
model card.
"""

import contextlib
import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np

from genie_tf.cli import parse, run
from genie_tf.config import MADE_BY, SHIPPED, Config
from genie_tf.episodes.codes import fingerprint
from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import EpisodeWriter
from genie_tf.episodes.recorded import recorded_with
from genie_tf.evaluation.evaluate import SUMMARY
from genie_tf.files import UNFINISHED, alone, read_json, write_json
from genie_tf.latent_action.keymap import FILE as KEYMAP
from genie_tf.play.prompts import PROMPTS
from genie_tf.training.checkpoints import FACTS, WEIGHTS, checkpoint_file, load_facts

EPISODES, ROWS = 16, 96  # prompts: the first rows of so many episodes
FAILURES = (  # what a world does badly, with the figures that show it
    "Long rollouts drift away from the game: PSNR {dynamics.psnr_after.5} dB after 5 game steps, "
    "{dynamics.psnr_after.50} dB after 50.",
    "What moves is less sharp than the picture around it: the tokenizer reaches PSNR {tokenizer.psnr} dB, "
    "and {tokenizer.psnr_moving} dB of the pixels that move.",
    "It forgets what leaves the picture: 16 actions to the right and 16 back lead to a frame of PSNR {memory.psnr.16} dB "
    "with the first one; frames of other places have {memory.chance} dB.",
    "A scene in which nothing happens does not stay as it is: without a key, PSNR {resting.psnr.10} dB with the game after ten "
    "actions, {resting.psnr.50} dB after 50; the first frame, repeated, has {resting.psnr_copy.50} dB.",
    "A share of {guess.wrong} of the frames within ten actions does not look like the game's. Play shows a red border where "
    "the model is unsure. It finds a share of {guess.found} of these frames, and is a false alarm at {guess.false_alarm} of "
    "the others.",
)
CARD = """# {world}

{data}, without action labels. Trained with `configs/{world}.yaml`, for as many steps as the table says. `make demo WORLD={world}`
trains such a world anew.

![Held-out levels. Each group of three rows: recorded, reconstructed by the tokenizer, dreamt](strips.png)

| model | parameters | training |
| --- | --- | --- |
{models}

The weights are in half precision. `prompts/` has the beginnings of {prompts} episodes of held-out levels, in place of a recording.

## Figures

On held-out levels, with 95 % confidence intervals. `evaluation.json` has all figures. To measure them again, record the
levels, `./data_collect.bash 2 --config configs/{world}.yaml`, and run `python dream_evaluate_tf.py --config configs/{world}.yaml`.

| figure | value | interval | samples |
| --- | --- | --- | --- |
{figures}

## Known failures

{failures}
"""


@alone
def ship(config: Config) -> Path:
    """Pack the world trained and measured in `model/<world>` into `model/shipped/<world>`, in place of the one there.

    Returns:
        `model/shipped/<world>`.

    Raises:
        UserError: a model, the evaluation or the recording is missing.
    """
    folder, target = config.model_folder, config.model_folder.parent / SHIPPED / config.world
    figures = read_json(folder / "evaluation.json", "run `python dream_evaluate_tf.py`")
    recordings = {split: Episodes(config.record_folder(split)) for split in ("train", "test")}
    packed = target.with_name(target.name + UNFINISHED)
    shutil.rmtree(packed, ignore_errors=True)
    packed.mkdir(parents=True)
    card = {
        "world": config.world,
        "data": data_of(recordings["train"]),
        "models": pack_models(folder, packed),
        "prompts": keep_prompts(recordings["test"], packed / PROMPTS),
        "figures": "\n".join(
            f"| {name} | {of['value']:.3f} | {of['low']:.3f} … {of['high']:.3f} | {of['n']} |"
            for name, of in figures.items()
            if re.fullmatch(SUMMARY, name)
        ),
        "failures": failures({name: of["value"] for name, of in figures.items()}),
    }
    (packed / "README.md").write_text(CARD.format(**card))
    for name in ("evaluation.json", "strips.png"):
        shutil.copy(folder / name, packed)
    shutil.rmtree(target, ignore_errors=True)
    packed.rename(target)
    return target


def pack_models(folder: Path, target: Path) -> str:
    """Write the latest checkpoints of `folder` to `target`.

    Returns:
        Rows of the card's table.
    """
    new: dict[str, str] = {}  # fingerprint of each packed model, by that of the trained one
    rows = []
    for prefix, made_by in MADE_BY.items():
        file = checkpoint_file(folder, prefix, made_by)
        facts, checkpoint = load_facts(file.parent, made_by), target / file.parent.name
        checkpoint.mkdir()
        parameters = pack(file, checkpoint / WEIGHTS)
        new[fingerprint(file)] = fingerprint(checkpoint / WEIGHTS)
        write_json(checkpoint / FACTS, facts | {"inputs": {name: new.get(value, value) for name, value in facts["inputs"].items()}})
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(file.parent / KEYMAP, checkpoint)
        settings = facts["settings"]
        steps = len(facts["history"]) * settings["steps_per_epoch"]
        rows.append(f"| {prefix}, {settings['kind']} | {parameters:,} | {steps:,} steps, {settings['batch_size']} examples each |")
    return "\n".join(rows)


def pack(source: Path, target: Path) -> int:
    """Write a Keras file again, without the optimizer and with float16 in place of float32. Keras converts the weights back.

    Returns:
        The number of parameters.
    """
    count, half = 0, io.BytesIO()

    def copy(group, into):
        nonlocal count
        into.attrs.update(group.attrs)
        for name, item in group.items():
            if isinstance(item, h5py.Group):
                if name != "optimizer":
                    copy(item, into.create_group(name))
            else:
                values = item[()]
                count += values.size
                into[name] = values.astype(np.float16) if values.dtype == np.float32 else values

    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights, h5py.File(half, "w") as into:
            copy(weights, into)
        parts = {name: archive.read(name) for name in ("metadata.json", "config.json")} | {"model.weights.h5": half.getvalue()}
        for name, part in parts.items():  # without the time of packing: a model that did not change gives the same file
            packed.writestr(zipfile.ZipInfo(name), part, zipfile.ZIP_DEFLATED)
    return count


def keep_prompts(recording: Episodes, folder: Path) -> int:
    """Write the first rows of some long episodes to `folder`, compressed, with the settings of their game.

    Returns:
        The number of episodes.
    """
    folder.mkdir()
    long = np.flatnonzero(recording.lengths >= min(ROWS, recording.lengths.max()))
    some = long[np.linspace(0, len(long) - 1, min(EPISODES, len(long))).astype(int)]
    for episode in (recording.episodes[each] for each in some):
        writer = EpisodeWriter(folder / f"{Path(episode.path).stem}.b2nd", recording.frame_size)
        for row in episode.rows(0, min(ROWS, len(episode))):
            writer.append(row["frame"], row["action"], row["level"])
            writer.earn(row["reward"])
        writer.close()
    for file in sorted(recording.folder.glob("shard*.json"))[:1]:
        write_json(folder / file.name, {"config": json.loads(file.read_text())["config"]})
    return len(some)


def failures(figures: dict[str, float]) -> str:
    """The lines of `FAILURES` whose figures were measured."""

    def line(text):
        return "- " + re.sub(r"\{(.+?)\}", lambda name: f"{figures[name[1]]:.3g}", text)

    return "\n".join(line(text) for text in FAILURES if figures.keys() >= set(re.findall(r"\{(.+?)\}", text)))


def data_of(recording: Episodes) -> str:
    """What a world was trained on, in words."""
    game, (height, width) = recorded_with(recording), recording.frame_size
    frames = f"{len(recording):,} frames of {height} x {width} pixels"
    if game is None:
        return f"{frames}, from videos"
    details = (f"{name} {getattr(game, name)}" for name in ("distribution_mode", "use_backgrounds") if hasattr(game, name))
    levels = f"{len(np.unique(recording.levels)):,} levels of {game.game} ({', '.join(details)})"
    return f"{frames}, from {levels}, played by the agent `{game.agent}` with every action held for {game.hold} game steps"


def main() -> None:
    config, _ = parse("Pack a trained and measured world: make ship WORLD=<world>.", sections=("dynamics",))
    print(f"wrote {ship(config)}")


if __name__ == "__main__":
    run(main)
