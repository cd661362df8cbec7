"""Drawings of the figures of a study: bars beside published numbers, heat maps, confusion matrices, flow statistics.

Each is drawn from its CSV, for the page (which adds the title and the colours) or as a file that stands alone.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from merflow.evaluation.settings import FigureSettings
from merflow.report.formats import percent
from merflow.report.section import METRIC_TITLES
from merflow.report.svg import (
    FIRST,
    INK,
    LETTER,
    MUTED,
    RULE,
    SECOND,
    STYLE,
    make_axes,
    page_svg,
    plain_axes,
    standalone_svg,
)
from merflow.report.systems import as_numbers
from merflow.storage.files import atomic_write
from merflow.storage.tables import COMPARISON, FLOW_STATISTICS, read_table

WIDTH = 4.4
"""Width of the axes of a drawing in inches."""
NAME = 36
"""Longest line of a name beside a bar, in letters."""
LINE = 0.2
"""Height of a bar with its gap, in inches."""
STAGES = {"accuracy_pretrain": "Pre-training", "accuracy_finetune": "Fine-tuning", "accuracy": "Testing"}
NUMBERS = ("value", "ci_low", "ci_high", "published", "mean", "variance")
HEAT_MAP = 3
"""A table of variants with at least this many rows and columns is a heat map."""
Drawn = tuple[Figure, str, str]
"""A figure, a description for screen readers, and its legend."""


def draw_file(table: Path, output: Path, settings: FigureSettings) -> None:
    """Draw a table of :mod:`merflow.evaluation.figure_tables` as an SVG file with a title and notes."""
    notes = ["Synthetic demo data: a test of the software, no claim about people."] if settings.synthetic else []
    notes += [settings.reading] if settings.reading else []
    if settings.kind != "flow-statistics":
        tried = int(read_table(table, COMPARISON)["tried"].max())
        where = "" if settings.kind == "variants" else " in the study"
        notes.append(f"{tried} configuration{'s' if tried > 1 else ''} tried{where}.")
        notes += [] if settings.published else ["There are no published numbers for these data."]
    svg, legend = draw_in_page(table, settings, "figure")
    with atomic_write(output) as temporary:
        temporary.write_text(standalone_svg(svg, settings.title, [legend, *notes]), encoding="utf-8")


@rc_context(STYLE)
def draw_in_page(table: Path, settings: FigureSettings, prefix: str) -> tuple[str, str]:
    """The SVG of a figure in the page, and its legend; ``prefix`` makes the ids of the SVG unique."""
    kinds = {
        "methods": _methods, "stages": _stages, "confusion": _confusion, "variants": _variants,
        "flow-statistics": _flow,
    }  # fmt: skip
    columns = FLOW_STATISTICS if settings.kind == "flow-statistics" else COMPARISON
    rows = read_table(table, columns)
    rows = rows.assign(**as_numbers(rows[[name for name in NUMBERS if name in columns]]))
    figure, description, legend = kinds[settings.kind](rows)
    return page_svg(figure, f"{settings.title}: {description}", prefix), legend


def _variants(rows: pd.DataFrame) -> Drawn:
    """A heat map if a table has many rows and columns, else bars by column."""
    rows = rows[rows["metric"] == "accuracy"]
    names, columns = (list(dict.fromkeys(rows[side])) for side in ("row", "column"))
    if len(names) >= HEAT_MAP and len(columns) >= HEAT_MAP:
        return _heat(rows, names, columns)
    groups = [(column.capitalize(), _bars_of(rows[rows["column"] == column])) for column in columns]
    return _bars(groups, "Accuracy on test clips")


def _methods(rows: pd.DataFrame) -> Drawn:
    """Published methods and our experiments, sorted together for each metric, the best at the bottom."""
    metrics = list(dict.fromkeys(rows["metric"]))
    groups = []
    for metric in metrics:
        bars = sorted(_bars_of(rows[rows["metric"] == metric], protocol=True), key=lambda bar: bar["value"])
        groups.append((METRIC_TITLES.get(metric, metric) if len(metrics) > 1 else "", bars))
    of = f"{METRIC_TITLES.get(metrics[0], metrics[0])} on" if len(metrics) == 1 else "On"
    return _bars(groups, f"{of} test clips")


def _stages(rows: pd.DataFrame) -> Drawn:
    """Recognition rates of pre-training, fine-tuning and testing."""
    groups = [(title, _bars_of(rows[rows["metric"] == metric], data=True)) for metric, title in STAGES.items()]
    return _bars([group for group in groups if group[1]], "Recognition rate")


def _bars_of(rows: pd.DataFrame, *, protocol: bool = False, data: bool = False) -> list[dict[str, Any]]:
    """The bars of the rows of a table; rows without a value of ours are ``published_only``."""
    bars = []
    for row in rows.to_dict("records"):
        bar = {"name": row["row"], "value": row["value"], "low": row["ci_low"], "high": row["ci_high"]}
        bar |= {"published": row["published"], "published_only": math.isnan(row["value"])}
        if bar["published_only"]:
            bar |= {"value": row["published"], "published": math.nan}
            bar["name"] += "" if "[" in row["row"] else " (published)"
        elif protocol:
            bar["name"] += f" (ours, {row['protocol']})"
        if data:
            bar["name"] += f": {row['column']}"
        bars.append(bar)
    return bars


def _bars(groups: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], axis: str) -> Drawn:
    """Bars with intervals in groups under headings; diamonds are published numbers."""
    headed = any(heading for heading, _ in groups)
    lines = sum(len(bars) for _, bars in groups) + len(groups) * headed
    every = [bar for _, bars in groups for bar in bars]
    marked = any(not math.isnan(bar["published"]) for bar in every)
    legend = "Blue: ours; line: 95 % interval over subjects."
    legend += " Diamond: the published number." if marked else ""
    legend += " Grey: published by others or by the paper." if any(bar["published_only"] for bar in every) else ""
    wrapped = [textwrap.wrap(bar["name"], NAME, break_on_hyphens=False) for bar in every]
    line = LINE if max(map(len, wrapped)) == 1 else 0.145 * max(map(len, wrapped)) + 0.05
    (figure, (axes,)), y = make_axes(WIDTH, line * lines + 0.05), 0
    description, ticks = [], []
    for heading, bars in groups:
        if headed:
            axes.text(-0.008, y, heading, fontweight="bold", ha="right", va="center", color=INK)
            y += 1
        for bar in bars:
            colour, alpha = (MUTED, 0.3) if bar["published_only"] else (FIRST, 0.45)
            axes.barh(y, bar["value"], height=0.62, color=colour, alpha=alpha, linewidth=0)
            if not math.isnan(bar["low"]):
                axes.plot([bar["low"], bar["high"]], [y, y], color=FIRST, linewidth=1.6)
            if not math.isnan(bar["published"]):
                axes.plot(bar["published"], y, "D", color=SECOND, markersize=4.5, clip_on=False)
            end = bar["value"] if math.isnan(bar["high"]) else max(bar["value"], bar["high"])
            if -0.03 < bar["published"] - end < 0.15:  # Keep the number clear of the diamond.
                end = max(end, bar["published"] + 0.01)
            ink = MUTED if bar["published_only"] else FIRST
            axes.text(end + 0.015, y, percent(bar["value"], 1), fontsize=7, va="center", color=ink)
            ticks.append(y)
            description.append(f"{heading} {bar['name']} {percent(bar['value'], 1)}{_beside(bar['published'])}".strip())
            y += 1
    axes.set(xlim=(0, 1.06), ylim=(lines - 0.4, -0.6), yticks=ticks)
    axes.set_yticklabels(["\n".join(parts) for parts in wrapped])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel(axis)
    plain_axes(axes)
    axes.spines["left"].set_visible(False)
    return figure, "; ".join(description), legend


def _heat(rows: pd.DataFrame, names: list[str], columns: list[str]) -> Drawn:
    """Accuracies as a heat map: the colour goes from the lowest to the highest value of the table."""
    lowest, highest = rows["value"].min(), rows["value"].max()
    legend = f"Accuracy on test clips, from {percent(lowest, 1)} (light) to {percent(highest, 1)} (dark)."
    if (rows["published"] > 0).any():
        legend += " In brackets: the paper. Framed: the number of the paper lies outside our 95 % interval."
    (figure, (axes,)), description = make_axes(WIDTH, 0.42 * len(names)), []
    for row in rows.to_dict("records"):
        published = "" if math.isnan(row["published"]) else f"({percent(row['published'], 1)})"
        shade = 0.05 + 0.5 * ((row["value"] - lowest) / (highest - lowest) if highest > lowest else 0.5)
        place = (columns.index(row["column"]), names.index(row["row"]))
        _cell(axes, place, shade, percent(row["value"], 1), published, framed=row["differs"] == "yes")
        description.append(f"{row['row']}, {row['column']} {percent(row['value'], 1)}{_beside(row['published'])}")
    _label_cells(axes, names, columns)
    return figure, "; ".join(description), legend


def _confusion(rows: pd.DataFrame) -> Drawn:
    """A confusion matrix per experiment beside published shares; sections/classes.html.j2 says why it has its own."""
    experiments = {str(name): matrix for name, matrix in rows.groupby("experiment", sort=False)}
    classes = [list(dict.fromkeys(matrix["row"])) for matrix in experiments.values()]
    legend = "Rows: true class. Columns: predicted class. Share of the true class, and clips (over all repeats)."
    if rows["published"].notna().any():
        legend += " In brackets: published. Framed: the published rate differs from ours."
    heights = [0.42 * len(names) for names in classes]
    turned = any(max(map(len, names)) * LETTER > WIDTH / len(names) for names in classes)
    top = 0.6 + 0.35 * turned
    figure, panels = make_axes(
        WIDTH, sum(heights) + top * (len(heights) - 1), len(heights),
        height_ratios=heights, hspace=top * len(heights) / sum(heights),
    )  # fmt: skip
    description = []
    for axes, names, (experiment, matrix) in zip(panels, classes, experiments.items(), strict=True):
        for row in matrix.to_dict("records"):
            place, rate = (names.index(row["column"]), names.index(row["row"])), row["value"]
            published = "" if math.isnan(row["published"]) else f" ({percent(row['published'])})"
            shade, above = 0 if math.isnan(rate) else 0.55 * rate, percent(rate) + published
            _cell(axes, place, shade, above, str(int(row["count"])), framed=row["differs"] == "yes")
            if row["row"] == row["column"]:
                description.append(f"{experiment} {row['row']} {percent(rate)}{_beside(row['published'])}")
        _label_cells(axes, names, names)
        axes.annotate(
            experiment, (0, 1), (0, (top - 0.13) * 72), xycoords="axes fraction", textcoords="offset points",
            fontweight="bold", va="top", color=INK,
        )  # fmt: skip
    return figure, f"rates of correct predictions: {'; '.join(description)}", legend


def _flow(rows: pd.DataFrame) -> Drawn:
    """Mean (top) and variance (bottom) of the flow of each clip, in order of class."""
    classes = list(dict.fromkeys(rows["label"]))
    legend = f"Length of the flow vectors of {len(rows)} clips, over all pixels and fields. Each dot is a clip."
    turned = any(len(name) * LETTER > WIDTH * (rows["label"] == name).mean() for name in classes)
    figure, (above, below) = make_axes(WIDTH, 3.0, 2, sharex=True, hspace=0.16)
    panels = ((above, "mean", "mean, pixels", FIRST), (below, "variance", "variance, pixels²", SECOND))
    for axes, column, label, colour in panels:
        values = rows[column]
        axes.vlines(range(len(values)), 0, values, color=colour, linewidth=0.8, alpha=0.45)
        axes.plot(range(len(values)), values, "o", color=colour, markersize=2.4, markeredgewidth=0)
        axes.set(ylabel=label, ylim=(0, None), xlim=(-1, len(values)))
        plain_axes(axes, grid="y")
        axes.tick_params(labelcolor=MUTED)
    counts = rows["label"].value_counts()[classes].to_numpy()
    starts = counts.cumsum() - counts
    for start in starts[1:]:
        for axes in (above, below):
            axes.axvline(start - 0.5, color=RULE, linewidth=0.8)
    turn: dict[str, Any] = {"rotation": 30, "ha": "right"} if turned else {}
    below.set_xticks(starts + (counts - 1) / 2, classes, color=INK, **turn)
    figure.align_ylabels()
    low, middle, high = rows["mean"].quantile([0, 0.5, 1])
    return figure, f"mean flow from {low:.2f} to {high:.2f} pixels, median {middle:.2f}", legend


def _cell(axes: Axes, place: tuple[int, int], shade: float, above: str, below: str, *, framed: bool) -> None:
    """Draw a cell of a heat map or a confusion matrix, with two lines of text."""
    x, y = place
    box = (x - 0.47, y - 0.45)
    axes.add_patch(Rectangle(box, 0.94, 0.9, facecolor=FIRST, alpha=shade, linewidth=0))
    if framed:
        axes.add_patch(Rectangle(box, 0.94, 0.9, fill=False, edgecolor=SECOND, linewidth=1.4))
    axes.text(x, y - (0.2 if below else 0), above, ha="center", va="center", fontsize=7.5, color=INK)
    axes.text(x, y + 0.22, below, ha="center", va="center", fontsize=7, color=INK)


def _label_cells(axes: Axes, names: Sequence[str], columns: Sequence[str]) -> None:
    """Write the names of rows at the left and those of columns at the top, turned if they are too wide."""
    turn = 40 if max(map(len, columns)) * LETTER > WIDTH / len(columns) else 0
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(range(len(columns)), columns, rotation=turn, color=INK, ha="left" if turn else "center")
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _beside(published: float) -> str:
    return "" if math.isnan(published) else f" (the paper {percent(published, 1)})"
