"""The notebooks of the documentation run on the finished demo study."""

import sys

import pytest
from repository import REPO

sys.path.insert(0, str(REPO / "docs"))

from examples import NOTEBOOKS, run_notebook  # noqa: E402


def outputs(notebook) -> list[list[str]]:
    """The kinds of the outputs of each cell of code."""
    return [[output.output_type for output in cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]


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
