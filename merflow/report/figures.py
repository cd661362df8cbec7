"""The report's figures: small SVG drawings that follow the page's colours, and pictures as data URIs."""

import io
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

import cv2
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from merflow.preprocessing.flow import flow_image

# Okabe and Ito's colours, told apart with every kind of colour vision, under names that the page gives values to for
# light and dark. Matplotlib wants real colours: these stand for the names until the drawing is done.
INK, MUTED, RULE, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
_NAMES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", FIRST: "--first", SECOND: "--second"}
_REAL = {INK: "#1c2330", MUTED: "#5b6575", RULE: "#d9dee6", FIRST: "#0072b2", SECOND: "#a65300"}
"""The colours of a file, which stands alone: those of the page by day."""
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "merflow",
    "text.parse_math": False,  # A name may hold dollar signs.
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
_WIDTH = 3.4
"""Width of a drawing in inches; the page shows it 300 to 400 pixels wide, so that text is as large as the page's."""
LETTER = 0.066
"""Width of a letter in inches, on the safe side; layout by measuring each text takes as long as the drawing."""
_LONGEST = 20
"""Letters of a name in a drawing; the tables have it in full."""


def drawing(figure: Figure, description: str, prefix: str) -> str:
    """A matplotlib figure as SVG that stands in an HTML page.

    Args:
        figure: uses the colours of this module only.
        description: what the figure says, for those who do not see it.
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
    box = re.search(r'viewBox="[^"]*"', svg).group(0)
    text = escape(description, quote=True)
    return f'<svg role="img" aria-label="{text}" {box}><title>{text}</title>{svg[svg.index(">") + 1 :].strip()}'


def standalone(figure: Figure, description: str) -> str:
    """A matplotlib figure as an SVG file of its own: real colours on white, the reader's fonts.

    Args:
        figure: uses the colours of this module only.
        description: what the figure says, for those who do not see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"((?:font|font-family): [^;\"]*?)'DejaVu Sans'[^;\"]*", rf"\1{FONTS}", svg)
    for colour, real in _REAL.items():
        svg = svg.replace(colour, real)
    text = escape(description, quote=True)
    # A point becomes two pixels: as it is, the text would be read with difficulty on a screen.
    sizes = re.search(r'<svg[^>]*?width="([\d.]+)pt"|$', svg), re.search(r'<svg[^>]*?height="([\d.]+)pt"|$', svg)
    for size in filter(None, (match.group(1) for match in sizes)):
        svg = svg.replace(f'"{size}pt"', f'"{2 * float(size):g}"')
    return re.sub(r"(<svg\b)([^>]*>)", rf'\1 role="img" aria-label="{text}"\2<desc>{text}</desc>', svg, count=1)


def forest(title: str, rows: Sequence[Mapping], prefix: str) -> str:
    """Values of one metric with their intervals, a line per system.

    Args:
        title: name of the metric.
        rows: ``name, value, low, high, floor``; floors are drawn in the second colour, hollow.
        prefix: makes its ids unique in the page.
    """
    with matplotlib.rc_context(STYLE):
        names = [short(row["name"]) for row in rows]
        height = 0.55 + 0.24 * len(rows)
        figure = Figure(figsize=(_WIDTH, height))
        figure.subplots_adjust(
            left=(0.12 + LETTER * max(map(len, names), default=0)) / _WIDTH,
            right=1 - 0.08 / _WIDTH,
            top=1 - 0.26 / height,
            bottom=0.22 / height,
        )
        axes = figure.subplots()
        for place, row in enumerate(rows):
            colour = SECOND if row["floor"] else FIRST
            if np.isfinite([row["low"], row["high"]]).all():
                axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2, solid_capstyle="round")
            face = {"markerfacecolor": "none"} if row["floor"] else {}
            axes.plot(row["value"], place, "o", color=colour, markersize=5, markeredgewidth=1.4, clip_on=False, **face)
        axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
        axes.set_yticklabels(names)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
        axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.tick_params(length=0)
        values = "; ".join(f"{row['name']} {row['value']:.3f}" for row in rows)
        return drawing(figure, f"{title} with 95 % intervals: {values}", prefix)


def course(table: pd.DataFrame) -> pd.DataFrame:
    """What :func:`curves` draws: ``split, measure, epoch, mean, low, high, runs`` (those that still train).

    Several runs (folds, repeats) stop at different epochs. The mean goes on while at least half of them still train;
    ``low`` and ``high`` hold the middle 80 % of them.

    Args:
        table: columns ``epoch, split, loss, accuracy``, and ``run``, which tells runs apart.
    """
    found = []
    for split in ("train", "validation"):
        part = table[table["split"] == split]
        for measure in ("loss", "accuracy"):
            grid = part.pivot_table(index="epoch", columns="run", values=measure, aggfunc="mean").sort_index()
            grid = grid[grid.notna().sum(axis=1) >= max(1, grid.shape[1] / 2)]
            if grid.empty:
                continue
            band = {"mean": grid.mean(axis=1), "low": grid.quantile(0.1, axis=1), "high": grid.quantile(0.9, axis=1)}
            lines = pd.DataFrame(band | {"runs": grid.notna().sum(axis=1)}, index=grid.index).reset_index(names="epoch")
            found.append(lines.assign(split=split, measure=measure))
    columns = ["split", "measure", "epoch", "mean", "low", "high", "runs"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def curves(title: str, table: pd.DataFrame, prefix: str) -> str:
    """Loss (above) and accuracy (below) against the epoch, training and validation: :func:`course` of a table.

    Args:
        title: what was trained.
        table: columns ``epoch, split, loss, accuracy``, and ``run``, which tells runs apart.
        prefix: makes its ids unique in the page.
    """
    runs = table["run"].nunique()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, 3.0))
        figure.subplots_adjust(left=0.15, right=0.98, top=0.93, bottom=0.13, hspace=0.14)
        above, below = figure.subplots(2, 1, sharex=True)
        ends = []
        drawn = course(table)
        for split, colour, line in (("train", FIRST, "-"), ("validation", SECOND, "--")):
            for axes, measure in ((above, "loss"), (below, "accuracy")):
                part = drawn[(drawn["split"] == split) & (drawn["measure"] == measure)]
                if part.empty:
                    continue
                axes.plot(part["epoch"], part["mean"], line, color=colour, linewidth=1.5, label=split)
                if runs > 1:
                    axes.fill_between(part["epoch"], part["low"], part["high"], color=colour, alpha=0.18, linewidth=0)
                ends.append(f"{split} {measure} {part['mean'].iloc[-1]:.2f}")
        above.set_title(title, loc="left", fontsize=9, fontweight="bold")
        above.set(ylabel="loss", ylim=(0, None))
        below.set(ylabel="accuracy", xlabel="epoch", ylim=(0, 1.02))
        for axes in (above, below):
            axes.grid(axis="y")
            axes.tick_params(length=0, labelcolor=MUTED)
        if above.lines:
            above.legend(frameon=False, fontsize=8, loc="upper right", labelcolor=INK)
        many = f"mean of {runs} runs; " if runs > 1 else ""
        return drawing(figure, f"Training curves of {title}: {many}at the end {'; '.join(ends)}", prefix)


def picture(image: np.ndarray, longest: int = 128, quality: int = 88) -> str:
    """A grey [H, W] or colour [H, W, 3] (red, green, blue) uint8 picture as a JPEG data URI."""
    scale = longest / max(image.shape[:2])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if image.ndim == 3:
        image = image[..., ::-1]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + b64encode(data.tobytes()).decode()


def flow_picture(flow: np.ndarray, full: float) -> str:
    """A flow field [2, S, S] in colours as a data URI; ``full`` pixels are shown fully saturated."""
    return picture(flow_image(np.asarray(flow, np.float32), full), quality=90)


def colour_wheel(size: int = 96) -> str:
    """The key to the colours of :func:`flow_picture`: a disc whose motion points away from its centre."""
    axis = (np.arange(size) - (size - 1) / 2) / (size / 2)
    x, y = np.meshgrid(axis, axis)
    inside = np.hypot(x, y) <= 1
    return flow_picture(np.where(inside, np.stack([x, y]), 0), 1.0)


def short(name: str) -> str:
    """A name that fits into a drawing."""
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
