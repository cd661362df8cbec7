"""The notebooks of the documentation run on the finished demo study."""

import re
import sys

import nbformat
import pytest
from repository import REPO

sys.path.insert(0, str(REPO / "docs"))

from examples import NOTEBOOKS, run_notebook  # noqa: E402


def outputs(notebook) -> list[list[str]]:
    """The kinds of the outputs of each cell of code."""
    return [[output.output_type for output in cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]


def scores(notebook) -> list[float]:
    """The numbers of the table with the scores of all systems, the best first."""
    tables = [output for cell in notebook.cells for output in cell.get("outputs", []) if "majority" in str(output)]
    return [float(number) for number in re.findall(r"\d\.\d{3}", tables[0]["data"]["text/plain"])]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_on_the_demo(demo, path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    notebook = run_notebook(path, demo)
    assert all(kinds and "error" not in kinds for kinds in outputs(notebook))
    text = str(notebook)
    if path.stem == "results":
        assert "metrics: " in text and ", 0 differ" in text
    else:
        assert "my pipeline" in text and "UF1 0." in text
    # Another kind of CPU changes the answer to a few of the 120 clips.
    assert scores(notebook) == pytest.approx(scores(nbformat.read(path, as_version=4)), abs=0.04)
