"""Drawings of the page that can be saved: each as an SVG file that stands alone, and its numbers as CSV."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from merflow.report.section import Drawing
from merflow.report.svg import standalone_svg, with_title
from merflow.storage.files import safe_filename


class SavedFigures:
    """Collects the drawings of a page while its templates are rendered; ``mark`` is appended to each title."""

    def __init__(self, mark: str = ""):
        """Start without drawings."""
        self.mark = mark
        self.drawings: dict[str, Drawing] = {}

    def keep(self, drawing: Drawing) -> Drawing:
        """Register a drawing; returns it with a safe file name and with its title in the SVG.

        Raises:
            ValueError: another drawing has this name.
        """
        name = safe_filename(drawing.name)
        if name in self.drawings:
            raise ValueError(f"two figures of the report are named {drawing.name}")
        svg = with_title(drawing.svg, f"{drawing.title} {self.mark}")
        self.drawings[name] = replace(drawing, name=name, svg=svg)
        return self.drawings[name]

    def write(self, folder: Path) -> None:
        """Write ``{name}.svg`` and ``{name}.csv`` of every drawing into a folder, replaced as a whole."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        try:
            temporary.mkdir()
            for name, drawing in self.drawings.items():
                (temporary / f"{name}.svg").write_text(standalone_svg(drawing.svg), encoding="utf-8")
                (temporary / f"{name}.csv").write_text(drawing.csv, encoding="utf-8", newline="")
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
