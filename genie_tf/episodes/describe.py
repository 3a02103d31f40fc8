"""Statistics of a recording, a contact sheet, and a look for damaged files."""

import contextlib
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genie_tf.episodes.dataset import Episodes
from genie_tf.episodes.format import UNKNOWN
from genie_tf.episodes.recorder import OWN_PLAY, SPLITS
from genie_tf.errors import UserError
from genie_tf.files import checksum, read_json, write_whole

SHEET = (6, 12)  # rows and columns of the contact sheet
STILL = 1.0  # mean absolute difference of two frames, of 255, below which a transition counts as still
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def describe_split(episodes: Episodes) -> dict:
    """Statistics of one split.

    Returns:
        A dict: `episodes`, `skipped`, `frames`, `levels`, `bytes_a_frame`; `lengths`, five quantiles; `actions`, int (256,), counts
        of each action; `returns`, float (E,); `still`, the share of transitions with almost no change.
    """
    actions, returns, still = np.zeros(256, int), np.zeros(len(episodes.episodes)), 0
    work = tqdm(episodes.episodes, desc=f"read {episodes.folder}", unit=" episodes", delay=2, leave=False)
    for i, episode in enumerate(work):
        rows = episode.rows()
        change = np.abs(np.diff(rows["frame"].astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
        still += np.sum(change < STILL)
        actions += np.bincount(rows["action"], minlength=256)
        returns[i] = rows["reward"].sum()
    size = sum(Path(episode.path).stat().st_size for episode in episodes.episodes)
    return {
        "episodes": len(episodes.episodes),
        "skipped": episodes.skipped,
        "frames": len(episodes),
        "levels": len(np.unique(episodes.levels)),
        "bytes_a_frame": size / len(episodes),
        "lengths": np.quantile(episodes.lengths, QUANTILES),
        "actions": actions,
        "returns": returns,
        "still": still / max(1, len(episodes) - len(episodes.episodes)),
    }


def contact_sheet(episodes: Episodes, rows: int, columns: int) -> np.ndarray:
    """Random frames of a recording in their order, as one picture uint8 (H, W, 3)."""
    every = episodes.windows(1)
    count = min(len(every), rows * columns)
    chosen = episodes.frames(every[np.sort(np.random.default_rng(0).choice(len(every), count, replace=False))])
    high, wide = (side + 2 for side in episodes.frame_size)
    sheet = np.full((rows * columns, high, wide, 3), 255, np.uint8)
    sheet[: len(chosen), :-2, :-2] = chosen
    return sheet.reshape(rows, columns, high, wide, 3).swapaxes(1, 2).reshape(rows * high, columns * wide, 3)


def describe_recording(folder: Path) -> None:
    """Print the statistics of `record/<world>` and write `describe.png` to it.

    Raises:
        UserError: there is no recording.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    splits = [split for split in SPLITS if (folder / split).is_dir() and any((folder / split).iterdir())]
    if not splits:
        raise UserError(f"no recording in {folder}: give a folder such as record/coinrun_plain")
    figure, panels = plt.subplots(len(splits), 3, figsize=(15, 4 * len(splits)), squeeze=False, width_ratios=(2, 1, 1))
    for split, (sheet, lengths, actions) in zip(splits, panels):
        episodes = Episodes(folder / split)
        facts = describe_split(episodes)
        taken = {a: n for a, n in enumerate(facts["actions"]) if n}
        shares = ", ".join(f"{'unknown' if a == UNKNOWN else a} {100 * n / facts['frames']:.1f} %" for a, n in taken.items())
        returns = facts["returns"]
        print(
            f"{split}: {facts['episodes']} episodes ({facts['skipped']} files skipped), {facts['frames']} frames, "
            f"{facts['levels']} levels, {facts['bytes_a_frame']:.0f} bytes a frame\n"
            f"  lengths: least {facts['lengths'][0]:.0f}, quartiles {facts['lengths'][1]:.0f} {facts['lengths'][2]:.0f} "
            f"{facts['lengths'][3]:.0f}, most {facts['lengths'][4]:.0f}\n"
            f"  actions: {shares}\n"
            f"  returns: mean {returns.mean():.2f}, least {returns.min():.2f}, most {returns.max():.2f}, "
            f"{100 * np.mean(returns > 0):.1f} % above 0\n"
            f"  still: {100 * facts['still']:.1f} % of transitions change next to nothing"
        )
        sheet.imshow(contact_sheet(episodes, *SHEET))
        sheet.set_title(f"{split}: {facts['frames']} frames, {facts['levels']} levels", fontsize=9)
        sheet.axis("off")
        lengths.hist(episodes.lengths, bins=40)
        lengths.set_title("frames in an episode", fontsize=9)
        actions.bar([("?" if a == UNKNOWN else str(a)) for a in taken], list(taken.values()))
        actions.set_title("actions taken", fontsize=9)
    figure.tight_layout()
    target = folder / "describe.png"
    write_whole(target, lambda file: figure.savefig(file, format="png", dpi=110))
    plt.close(figure)
    print(f"wrote {target}")


def verify_recording(folder: Path) -> None:
    """Compare every episode of `record/<world>` with the checksum that was written beside it.

    Raises:
        UserError: there is no recording, or an episode is damaged or missing.
    """
    facts = sorted([*folder.glob("*/shard*.json"), *folder.glob("*.json")])
    mend = "delete it, and run ./data_collect.bash with the same settings"
    expected = []
    for file in facts:
        if "checksums" in read_json(file, mend):  # otherwise it is unfinished, or of an earlier version
            checksums = read_json(file, mend, checksums=dict)["checksums"]
            expected += [(file, file.parent / name, value) for name, value in checksums.items()]
    if not expected:
        raise UserError(f"{folder} has no checksums: give a recording such as record/coinrun_plain, made by this version")
    damaged = []
    for file, path, value in tqdm(expected, desc=f"verify {folder}", unit=" episodes", delay=1):
        whole = False
        with contextlib.suppress(OSError, ValueError):
            whole = checksum(path) == value
        if not whole:
            tqdm.write(f"{path} is damaged or missing", file=sys.stderr)
            damaged.append(file)
    if damaged:
        advice = []
        if anew := sorted({str(file) for file in damaged if file.name != OWN_PLAY}):
            advice.append(f"delete {' '.join(anew)}, and run ./data_collect.bash with the same settings, which records them anew")
        if any(file.name == OWN_PLAY for file in damaged):  # to delete it would number the next episodes from 0 again
            advice.append(f"your own play can't be recorded anew: delete its damaged episodes, and keep {OWN_PLAY}")
        raise UserError(f"{len(damaged)} of {len(expected)} episodes are damaged or missing: {'; '.join(advice)}")
    print(f"{len(expected)} episodes of {folder} are as they were recorded")
