"""Drawings of the page that can be saved: each as an SVG file that stands alone, and its numbers as CSV."""

import os
import re
import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path

from merflow.report.section import Drawing
from merflow.report.svg import FONTS, view_box
from merflow.storage.files import safe_filename

LETTER = 5.6
"""Upper estimate of the width of a letter of a title, in points."""
LINE = 14.0
"""Height of a line of a title, in points."""


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


def standalone_svg(svg: str, title: str, colours: Mapping[str, str]) -> str:
    """A drawing of the page as an SVG file that stands alone: colours of light mode on white, a title above.

    ``script.js.j2`` does the same in the browser.

    Args:
        svg: from :func:`merflow.report.svg.page_svg`.
        title: lines above the drawing.
        colours: value of each colour of the style sheet, such as ``--ink``.
    """
    x, y, width, height = map(float, view_box(svg))
    lines = title.split("\n") if title else []
    above = LINE * len(lines) + 4 * bool(lines)
    body = re.sub(r"var\((--[\w-]+)\)", lambda match: colours[match[1]], svg[svg.index(">") + 1 :])
    label = re.match(r'<svg[^>]*?aria-label="([^"]*)"', svg)
    texts = "".join(
        f'<text x="{x + 4:g}" y="{y - above + LINE * (place + 0.85):g}" fill="{colours["--ink"]}"'
        f' style="font: bold 10px {FONTS}">{escape(line, quote=False)}</text>'
        for place, line in enumerate(lines)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img"'
        f' aria-label="{label[1] if label else ""}" width="{2 * width:g}" height="{2 * (height + above):g}"'
        f' viewBox="{x:g} {y - above:g} {width:g} {height + above:g}" style="font-family: {FONTS}">'
        f'<rect x="{x:g}" y="{y - above:g}" width="{width:g}" height="{height + above:g}" fill="#ffffff"/>'
        f"{texts}{body}\n"
    )


def light_colours(style: str) -> dict[str, str]:
    """The colours of light mode, {``--name``: value}, from the first rule of the style sheet."""
    rule = re.search(r":root\s*{(.*?)}", style, re.DOTALL)
    return dict(re.findall(r"(--[\w-]+):\s*([^;]+);", rule[1] if rule else ""))
