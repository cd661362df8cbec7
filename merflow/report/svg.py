"""Matplotlib figures as SVG: in the page, with the colours of its style sheet, or as a file that stands alone."""

import io
import re
from html import escape
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours of Okabe and Ito, which people with any kind of colour vision can distinguish. The style sheet of the page
# gives values to their names, for light and dark mode. These values are placeholders for the names in Matplotlib.
INK, MUTED, RULE, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
_NAMES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", FIRST: "--first", SECOND: "--second"}
_REAL = {INK: "#1c2330", MUTED: "#5b6575", RULE: "#d9dee6", FIRST: "#0072b2", SECOND: "#a65300"}
"""Colours of a file that stands alone: those of the page in light mode."""
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


def file_svg(figure: Figure, description: str) -> str:
    """A matplotlib figure as an SVG file: the colours of light mode on white, the reader's fonts.

    Args:
        figure: must use only the colours of this module.
        description: what the figure shows, for screen readers.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"((?:font|font-family): [^;\"]*?)'DejaVu Sans'[^;\"]*", rf"\1{FONTS}", svg)
    for colour, real in _REAL.items():
        svg = svg.replace(colour, real)
    text = escape(description, quote=True)
    # Double the size, so that the text is readable on a screen.
    sizes = re.search(r'<svg[^>]*?width="([\d.]+)pt"|$', svg), re.search(r'<svg[^>]*?height="([\d.]+)pt"|$', svg)
    for size in filter(None, (match.group(1) for match in sizes)):
        svg = svg.replace(f'"{size}pt"', f'"{2 * float(size):g}"')
    return re.sub(r"(<svg\b)([^>]*>)", rf'\1 role="img" aria-label="{text}"\2<desc>{text}</desc>', svg, count=1)


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
