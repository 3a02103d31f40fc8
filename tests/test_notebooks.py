"""The notebooks, run small, from the first cell to the last."""

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

NAMES = ["1_record", "2_tokenize", "3_latent_actions", "4_dynamics", "5_play"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    from conftest import Place

    return Place(tmp_path_factory.mktemp("notebooks"))


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(name, place, monkeypatch):
    """In order: each uses what the one before has made."""
    monkeypatch.setenv("GENIE_CONFIG", "tiny.yaml")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "notebooks are kept without outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(place.folder)}}).execute()
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [kind for data in outputs for kind in data if kind.startswith("image/")]
    assert len(pictures) == (2 if name in ("2_tokenize", "3_latent_actions") else 1)  # the loss, replaced in place; what was learnt
