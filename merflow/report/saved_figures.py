"""Drawings of the page that can be saved: each as an SVG file that stands alone, and its numbers as CSV."""

import os
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path

from merflow.report.section import Drawing
from merflow.report.svg import light_colours, standalone_svg, view_box
from merflow.storage.files import safe_filename

LETTER = 5.6
"""Upper estimate of the width of a letter of a title, in points."""


class SavedFigures:
    """Collects the drawings of a page while its templates are rendered."""

    def __init__(self, style: str, mark: str = ""):
        """Read the colours of light mode from the style sheet ``style``; ``mark`` is appended to each title."""
        self.colours, self.mark = light_colours(style), mark
        self.drawings: dict[str, Drawing] = {}

    def keep(self, drawing: Drawing) -> Drawing:
        """Register a drawing; returns it with a safe file name and with a title that is wrapped to its width.

        Raises:
            ValueError: another drawing has this name.
        """
        name = safe_filename(drawing.name)
        if name in self.drawings:
            raise ValueError(f"two figures of the report are named {drawing.name}")
        text = " ".join(filter(None, [drawing.title, self.mark]))
        width = float(view_box(drawing.svg)[2])
        title = "\n".join(textwrap.wrap(text, max(12, int((width - 8) / LETTER))))
        self.drawings[name] = replace(drawing, name=name, title=title)
        return self.drawings[name]

    def write(self, folder: Path) -> None:
        """Write ``{name}.svg`` and ``{name}.csv`` of every drawing into a folder, replaced as a whole."""
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        try:
            temporary.mkdir()
            for name, drawing in self.drawings.items():
                svg = standalone_svg(drawing.svg, drawing.title, self.colours)
                (temporary / f"{name}.svg").write_text(svg, encoding="utf-8")
                (temporary / f"{name}.csv").write_text(drawing.csv, encoding="utf-8", newline="")
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
