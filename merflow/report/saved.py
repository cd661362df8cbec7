"""Figures of the page that can be saved: each as a drawing that stands alone (SVG), its numbers (CSV) beside it."""

import os
import re
import shutil
import textwrap
from collections.abc import Mapping
from html import escape
from pathlib import Path

import pandas as pd

from merflow.report.figures import FONTS
from merflow.storage.files import safe_filename

LETTER = 5.6
"""Width of a letter of a title in points, on the safe side."""
LINE = 14.0
"""Height of a line of a title in points."""


class Figures:
    """The figures of one page, by name, as the macro ``figure`` of ``parts/macros.html.j2`` hands them over."""

    def __init__(self, style: str, mark: str = ""):
        """Take the colours of the page by day from ``style``; ``mark``: a word that follows each title."""
        self.colours, self.mark = light_colours(style), mark
        self.found: dict[str, dict[str, str]] = {}

    def keep(self, svg: str, csv: str | Path | pd.DataFrame, name: str, caption: str = "") -> dict[str, str]:
        """Note a figure, and give back what its buttons need: ``name, title`` (lines that fit above it), ``csv``.

        Args:
            svg: as :func:`merflow.report.figures.drawing` makes it, in the page's colours.
            csv: its numbers: text, a table, or the file of a table.
            name: its name as a file, without a suffix; no other figure of the page has it.
            caption: its title where it stands alone; empty where the drawing has one.

        Raises:
            ValueError: another figure has this name.
        """
        safe = safe_filename(name)
        if safe in self.found:
            raise ValueError(f"two figures of the report are named {name}")
        text = " ".join(filter(None, [caption, self.mark]))
        width = float(_box(svg)[2])
        title = "\n".join(textwrap.wrap(text, max(12, int((width - 8) / LETTER))))
        self.found[safe] = {"name": safe, "title": title, "csv": _text(csv), "svg": svg}
        return self.found[safe]

    def write(self, folder: Path) -> None:
        """Write every figure into a folder of its own, whole or not at all: ``{name}.svg`` and ``{name}.csv``."""
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        try:
            temporary.mkdir()
            for name, figure in self.found.items():
                drawing = alone(figure["svg"], figure["title"], self.colours)
                (temporary / f"{name}.svg").write_text(drawing, encoding="utf-8")
                (temporary / f"{name}.csv").write_text(figure["csv"], encoding="utf-8", newline="")
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def alone(svg: str, title: str, colours: Mapping[str, str]) -> str:
    """A drawing of the page as a file that needs nothing else: real colours on white, a title above it.

    ``script.js.j2`` does the same in the reader's browser.

    Args:
        svg: as :func:`merflow.report.figures.drawing` makes it.
        title: lines to write above it.
        colours: {name of a colour of the page: its value}, such as ``--ink``.
    """
    x, y, width, height = map(float, _box(svg))
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
    """The colours of the page by day, {``--name``: value}, from the first rule of its style sheet."""
    rule = re.search(r":root\s*{(.*?)}", style, re.DOTALL)
    return dict(re.findall(r"(--[\w-]+):\s*([^;]+);", rule[1] if rule else ""))


def _box(svg: str) -> tuple[str, str, str, str]:
    """Left, top, width and height of a drawing."""
    found = re.search(r'viewBox="([-\d.]+) ([-\d.]+) ([-\d.]+) ([-\d.]+)"', svg)
    if not found:
        raise ValueError("a drawing of the report has no viewBox")
    return found.groups()


def _text(csv: str | Path | pd.DataFrame) -> str:
    if isinstance(csv, pd.DataFrame):
        return csv.to_csv(index=False, lineterminator="\n")
    return Path(csv).read_text(encoding="utf-8") if isinstance(csv, Path) else csv
