"""Run the notebooks in order, and keep their outputs, without progress bars: make outputs CONFIG=configs/coinrun_plain.yaml"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient


def kept(notebook):
    """The notebook without messages on stderr, times and states of widgets."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.pop("widgets", None)
    return notebook


def main() -> None:
    folder = Path(__file__).parent
    for file in sorted(folder.glob("[1-5]_*.ipynb")):
        print(f"running {file.name}", flush=True)
        notebook = nbformat.read(file, as_version=4)
        NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}}).execute()
        nbformat.write(kept(notebook), file)


if __name__ == "__main__":
    main()
