"""Make the figures of gallery.md and the outputs of notebooks/ again: ``python docs/examples.py results/demo``."""

import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO))

from merflow.report.svg import light_colours, style_sheet  # noqa: E402

GALLERY = REPO / "docs" / "images" / "gallery"
NOTEBOOKS = sorted((REPO / "docs" / "notebooks").glob("*.ipynb"))
FIGURES = ("results-uf1", "differences-uf1", "reliability", "coverage", "training-*", "graph-1-*")
"""Names of figures; of a pattern the first that fits."""


def dark_colours() -> dict[str, str]:
    """Return the colour of dark mode of each colour of light mode."""
    light = light_colours()
    dark = dict(re.findall(r"(--[\w-]+):\s*(#\w+);", style_sheet().split("@media")[1].split("}")[0]))
    return {colour: dark[name] for name, colour in light.items() if colour.startswith("#")}


def write_gallery(study: Path) -> None:
    """Write ``NAME-light.svg`` and ``NAME-dark.svg`` of each figure of a study's report."""
    GALLERY.mkdir(parents=True, exist_ok=True)
    dark = dark_colours()
    for figure in FIGURES:
        file = sorted((study / "report_figures").glob(f"{figure}.svg"))[0]
        name, svg = figure.removesuffix("-*"), file.read_text(encoding="utf-8")
        (GALLERY / f"{name}-light.svg").write_text(svg, encoding="utf-8")
        svg = re.sub("|".join(map(re.escape, dark)), lambda match: dark[match[0]], svg)
        (GALLERY / f"{name}-dark.svg").write_text(svg, encoding="utf-8")


def run_notebook(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Return a notebook with its outputs, run in the folder that holds ``results/``; an error of a cell is raised."""
    os.environ["PYTHONPATH"] = str(REPO)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # Times, which differ on every run.
    return notebook


if __name__ == "__main__":
    study = Path(sys.argv[1]).resolve()
    write_gallery(study)
    for path in NOTEBOOKS:
        nbformat.write(run_notebook(path, study.parents[1]), path)
