"""Peak memory of the command of each stage, for two sizes of the recording."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from benchmarks.data import row
from genie_tf.cli import parse
from genie_tf.errors import UserError

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "coinrun_plain.yaml"
FEW = ("epochs 1", "steps_per_epoch 5")  # the memory does not depend on the number of steps
STAGES = {  # each stage needs the stages before it
    "record": ("extract.py", ()),
    "latent_action": ("idm_training.py", tuple(f"--latent_action.{few}" for few in FEW)),
    "tokenizer": ("tokenizer_training.py", tuple(f"--tokenizer.{few}" for few in FEW)),
    "dynamics": ("dream_train_tf.py", tuple(f"--dynamics.{few}" for few in FEW)),
    "evaluation": ("dream_evaluate_tf.py", (*(f"--judge.{few}" for few in FEW), "--play.sampling_steps 1")),
    "play": ("dream_play_tf.py", (f"--actions {'dw.a' * 25}",)),
}


def peak_of(command: list[str], folder: Path) -> float:
    """Peak memory of a command in megabytes.

    Raises:
        UserError: the command fails.
    """
    held, environment = 0, os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()  # getrusage would include the parent's memory at the fork
            if "VmHWM:" in status:
                held = int(status.split("VmHWM:")[1].split()[0])
            time.sleep(0.02)
        if process.returncode:
            said.seek(0)
            raise UserError(f"{' '.join(command[1:])} failed: {said.read()[-500:]}")
    return held / 1e3


class Worlds:
    """Two worlds that are made stage by stage: one with the demo's number of frames, and one with twice as many."""

    def __init__(self):
        self.peaks: dict[str, list[float]] = {}
        self.folders = [tempfile.TemporaryDirectory() for _ in (1, 2)]

    def make(self, stage: str) -> None:
        """Run a stage in both worlds, after all earlier stages that have not run yet."""
        frames = dataclasses.asdict(parse("", arguments=["--config", str(CONFIG)], sections=("record",))[0].record)
        for name in list(STAGES)[: list(STAGES).index(stage) + 1]:
            if name not in self.peaks:
                script, options = STAGES[name]
                self.peaks[name] = []
                for times, folder in enumerate(self.folders, 1):
                    more = [f"--record.{split}_frames {times * frames[f'{split}_frames']}" for split in ("train", "test")]
                    words = " ".join([f"--config {CONFIG}", *options, *(more if name == "record" else [])]).split()
                    command = [sys.executable, str(ROOT / script), *words]
                    self.peaks[name].append(peak_of(command, Path(folder.name)))


@cache
def worlds() -> Worlds:
    return Worlds()


def memory(stage: str) -> dict:
    """Peak memory with twice the demo's frames. The limit is the peak memory with the demo's frames."""
    worlds().make(stage)
    plain, twice = worlds().peaks[stage]
    return row([twice], [plain], "MB at most with twice the demo's frames; limit: with the demo's")


ROWS = {f"memory.{stage}": lambda stage=stage: memory(stage) for stage in STAGES}
