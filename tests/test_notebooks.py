"""The notebooks, run small, from the first cell to the last; and each is a pair of the text and the stored outputs."""

import re
import shutil

import jupytext
import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

PICTURES = {  # figures that each shows: a training's figure counts once, as it is replaced in place
    "1_record": 3, "2_latent_actions": 5, "3_tokenize": 6, "4_dynamics": 6, "5_play": 6,
}  # fmt: skip
LIGHT = 1_500_000  # bytes of a notebook with its outputs


def pictures_in(cells) -> int:
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return sum(kind.startswith("image/") for data in outputs for kind in data)


@pytest.mark.parametrize("name", PICTURES)
def test_a_notebook_is_its_text_with_the_outputs_of_a_run(name):
    file = ROOT / "notebooks" / f"{name}.ipynb"
    notebook, text = nbformat.read(file, as_version=4), jupytext.read(file.with_suffix(".py"))
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [(cell.cell_type, cell.source) for cell in text.cells], (
        "run make pairs"
    )
    assert file.stat().st_size < LIGHT
    assert pictures_in(notebook.cells) == PICTURES[name]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = " ".join(str(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in outputs)
    assert all(output.output_type != "error" for output in outputs) and "error: " not in said
    assert not re.search(r"/(home|root|tmp|work|Users)/", said), "a path of the machine"


@pytest.mark.slow
def test_notebooks_run(copy, monkeypatch):
    """In order, on a world whose dynamics are yet to train. One kernel runs all, and forgets every name between two of them."""
    for made in (copy.folder / "model" / "tiny").glob("world_model_*"):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    monkeypatch.setenv("GENIE_CONFIG", "tiny.yaml")
    monkeypatch.setenv("GENIE_FOLDER", str(copy.folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells, begins = [], {}
    for name in PICTURES:
        notebook = jupytext.read(ROOT / "notebooks" / f"{name}.py")
        for cell in notebook.cells:
            cell.source = re.sub(r'"conv, (vector|lookup-free)": .*\n', "", re.sub(r"steps=\d+", "steps=2", cell.source))
        begins[name] = len(cells)
        cells += [*notebook.cells, nbformat.v4.new_code_cell("%reset -f")]
    wrong = [
        "from genie_tf.notebook import settings\nsettings('nowhere.yaml', '--world', '../x')",
        "raise KeyboardInterrupt",  # as of an interrupted cell
    ]
    cells += [nbformat.v4.new_code_cell(source, metadata={"tags": ["raises-exception"]}) for source in wrong]
    notebook.cells = cells
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(copy.folder)}}).execute()
    for name, begin in begins.items():
        ends = [other for other in begins.values() if other > begin] or [len(cells) - len(wrong)]
        assert pictures_in(cells[begin : min(ends)]) == PICTURES[name], name
    said = ["".join(output["text"] for output in cell.outputs if output.output_type == "stream") for cell in cells[-len(wrong) :]]
    assert said[0].startswith("error: ") and "not a path" in said[0] and said[1].startswith("stopped: "), said
