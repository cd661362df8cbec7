"""Matplotlib figures as SVG: in the page, with the colours of its style sheet, or as a file that stands alone."""

import io
import math
import re
import textwrap
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours of Okabe and Ito, which people with any kind of colour vision can distinguish. The style sheet of the page
# gives values to their names, for light and dark mode. Matplotlib draws in these values; the SVG has the names instead.
INK, MUTED, RULE, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
_NAMES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", FIRST: "--first", SECOND: "--second"}
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "merflow",
    "text.parse_math": False,  # Names may contain dollar signs.
    "font.size": 8.0,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
}
"""Settings of Matplotlib in which :func:`merflow.report.page.write_report` and the figures of a study are drawn."""
LETTER = 0.066
"""Upper estimate of a letter's width in inches: names of columns that are wider than a column are turned, and titles of
files wrap."""
LONGEST = 20
"""Longest name in a drawing; tables show it in full."""
PIXELS = 1.6
"""Pixels of the page per point of a drawing, so that its text has about the size of the page's text."""
SHARES = [0, 0.25, 0.5, 0.75, 1]
"""Ticks of an axis from 0 to 1."""
SHARE_NAMES = ["0", ".25", ".5", ".75", "1"]


def make_axes(width: float, height: float, rows: int = 1, columns: int = 1, **layout: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``width`` x ``height`` inches that is filled by its axes; :func:`page_svg` keeps what is outside."""
    spacing = {name: layout.pop(name) for name in ("wspace", "hspace") if name in layout}
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False, **layout).ravel().tolist()
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, **spacing)
    return figure, axes


def page_svg(figure: Figure, description: str, prefix: str) -> str:
    """A Matplotlib figure in the colours of this module as SVG inside the page, with the labels outside its axes.

    ``description`` says what it shows, for screen readers. ``prefix`` makes its ids unique in the page.
    """
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.05,
        metadata={"Date": None, "Creator": None},
    )  # fmt: skip
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\n+", " ", svg)
    svg = re.sub(r"\s*font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r'\bid="(.*?)"', rf'id="{prefix}-\1"', svg)
    svg = svg.replace('xlink:href="#', f'href="#{prefix}-').replace("xlink:href", "href")
    svg = svg.replace("url(#", f"url(#{prefix}-")
    for colour, name in _NAMES.items():
        svg = svg.replace(colour, f"var({name})")
    width, height = _size(svg)
    text = escape(description, quote=True)
    start = f'<svg role="img" aria-label="{text}" width="{PIXELS * width:g}" viewBox="0 0 {width:g} {height:g}">'
    return f"{start}<title>{text}</title>{svg[svg.index('>') + 1 :].strip()}"


def standalone_svg(svg: str, title: str, notes: Sequence[str] = ()) -> str:
    """A drawing of the page as a file, in the colours of light mode, with a title above it and notes below it."""
    width, height = _size(svg)
    letters = int((width - 8) / (72 * LETTER))
    above = textwrap.wrap(title, max(12, int(letters / 1.2)))
    below = [line for note in notes for line in textwrap.wrap(note, letters)]
    top, bottom = 14 * len(above) + 4 * bool(above), 11 * len(below) + 4 * bool(below)
    total_height = height + top + bottom
    bold, plain = 'fill="var(--ink)" font-size="10" font-weight="bold"', 'fill="var(--muted)" font-size="8"'
    lines = [(line, bold, 14 * (index + 0.85) - top) for index, line in enumerate(above)]
    lines += [(line, plain, height + 11 * (index + 0.85)) for index, line in enumerate(below)]
    texts = "".join(f'<text x="4" y="{y:g}" {style}>{escape(line, quote=False)}</text>' for line, style, y in lines)
    paper = f'<rect y="{-top:g}" width="{width:g}" height="{total_height:g}" fill="var(--page)"/>'
    size = f'width="{2 * width:g}" height="{2 * total_height:g}" viewBox="0 {-top:g} {width:g} {total_height:g}"'
    svg = re.sub(r'width="[^"]*" viewBox="[^"]*"', f'{size} style="font-family: {FONTS}"', svg, count=1)
    svg = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    svg = svg.replace("</title>", f"</title>{paper}{texts}", 1)
    colours = light_colours()
    return re.sub(r"var\((--[\w-]+)\)", lambda match: colours[match[1]], svg) + "\n"


@cache
def style_sheet() -> str:
    """The style sheet of the page."""
    return (Path(__file__).parent / "style.css.j2").read_text(encoding="utf-8")


def light_colours() -> dict[str, str]:
    """The colours of light mode, {``--name``: value}, from the first rule of the style sheet."""
    return dict(re.findall(r"(--[\w-]+):\s*([^;]+);", style_sheet().split("}")[0]))


def _size(svg: str) -> tuple[float, float]:
    """Width and height of a drawing in points."""
    _, _, width, height = map(float, svg.split(' viewBox="', 1)[1].split('"')[0].split())
    return width, height


def plain_axes(axes: Axes, *, grid: Literal["x", "y", "both"] = "x") -> None:
    """Axes without tick marks, with faint grid lines behind the data."""
    axes.grid(axis=grid)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def draw_estimates(
    axes: Axes, names: Sequence[str], rows: Sequence[tuple[float, float, float, str, bool]], marker: str = "o"
) -> None:
    """Draw values with their intervals, one line each.

    A row has a value, low, high, a colour, and whether its mark is a filled ``marker`` or a hollow circle.
    """
    for y, (value, low, high, colour, filled) in enumerate(rows):
        if not math.isnan(low):
            axes.plot([low, high], [y, y], color=colour, linewidth=2)
        axes.plot(
            value, y, marker if filled else "o", color=colour, markerfacecolor=colour if filled else "none",
            markersize=5, markeredgewidth=1.4, clip_on=False, zorder=3,
        )  # fmt: skip
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), names)
    plain_axes(axes)
    axes.spines["left"].set_visible(False)


def short(name: str) -> str:
    """A name, cut to the longest length that fits into a drawing."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
