"""Matplotlib figures as SVG: in the page, with the colours of its style sheet, or as a file that stands alone."""

import io
import re
from collections.abc import Mapping
from html import escape
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours of Okabe and Ito, which people with any kind of colour vision can distinguish. The style sheet of the page
# gives values to their names, for light and dark mode. These values are placeholders for the names in Matplotlib.
INK, MUTED, RULE, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
_NAMES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", FIRST: "--first", SECOND: "--second"}
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
STYLE_SHEET = "style.css.j2"
"""The style sheet of the page."""
STYLE = {
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
WIDTH = 3.4
"""Width of a small drawing in inches; its text then has about the size of the page's text."""
LETTER = 0.066
"""Upper estimate of a letter's width in inches; measuring every text would double the drawing time."""
LINE = 14.0
"""Height in points of a line of the title above a saved drawing."""
LONGEST = 20
"""Longest name in a drawing; tables show it in full."""
SHARES = [0, 0.25, 0.5, 0.75, 1]
"""Ticks of an axis from 0 to 1."""
SHARE_NAMES = ["0", ".25", ".5", ".75", "1"]


def page_svg(figure: Figure, description: str, prefix: str) -> str:
    """A matplotlib figure as SVG inside the page.

    Args:
        figure: must use only the colours of this module.
        description: what the figure shows, for screen readers.
        prefix: makes its ids unique in the page.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\n+", " ", svg)
    svg = re.sub(r"\s*font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r'\bid="(.*?)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    for colour, name in _NAMES.items():
        svg = svg.replace(colour, f"var({name})")
    box = 'viewBox="{} {} {} {}"'.format(*view_box(svg))
    text = escape(description, quote=True)
    return f'<svg role="img" aria-label="{text}" {box}><title>{text}</title>{svg[svg.index(">") + 1 :].strip()}'


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


def view_box(svg: str) -> tuple[str, str, str, str]:
    """Left, top, width and height of a drawing, as text."""
    match = re.search(r'viewBox="([-\d.]+) ([-\d.]+) ([-\d.]+) ([-\d.]+)"', svg)
    if not match:
        raise ValueError("a drawing of the report has no viewBox")
    return match[1], match[2], match[3], match[4]


def plain_axes(axes: Axes, *, grid: Literal["x", "y", "both"] = "x") -> None:
    """Axes without tick marks, with faint grid lines behind the data."""
    axes.grid(axis=grid)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def short(name: str) -> str:
    """A name, cut to the longest length that fits into a drawing."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
