"""The notebooks, run small, from the first cell to the last."""

import nbformat
import pytest
from conftest import ROOT, Place
from nbclient import NotebookClient

PICTURES = {"1_record": 1, "2_latent_actions": 2, "3_tokenize": 2, "4_dynamics": 1, "5_play": 1}


@pytest.mark.slow
def test_notebooks_run(tmp_path, monkeypatch):
    """In order: each uses what the one before has made. One kernel runs all, and forgets every name between two of them."""
    place = Place(tmp_path)
    monkeypatch.setenv("GENIE_CONFIG", "tiny.yaml")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells, begins = [], {}
    for name in PICTURES:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        assert not any(cell.get("outputs") for cell in notebook.cells), "notebooks are kept without outputs"
        begins[name] = len(cells)
        cells += [*notebook.cells, nbformat.v4.new_code_cell("%reset -f")]
    notebook.cells = cells
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(place.folder)}}).execute()
    for name, begin in begins.items():
        ends = [other for other in begins.values() if other > begin] or [len(cells)]
        outputs = [output.get("data", {}) for cell in cells[begin : min(ends)] for output in cell.get("outputs", [])]
        pictures = [kind for data in outputs for kind in data if kind.startswith("image/")]
        assert len(pictures) == PICTURES[name], f"{name}: the loss, replaced in place; what was learnt"
