"""Drawings of a study's tables: heat maps, bars with intervals and the published number, flow statistics.

Each is drawn twice from the same CSV: into the page, which has a title and follows the reader's colours, and into a
file of its own.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from merflow.evaluation.settings import FigureSettings
from merflow.report.figures import FIRST, INK, LETTER, MUTED, RULE, SECOND, STYLE, drawing, standalone
from merflow.storage.files import atomic_write
from merflow.storage.tables import COMPARISON, FLOW_STATISTICS, read_table

WIDTH = 5.6
"""Width of a drawing in inches."""
LINE = 0.2
"""Height of a bar with its gap, in inches."""
STAGES = {"accuracy_pretrain": "Pre-training", "accuracy_finetune": "Fine-tuning", "accuracy": "Testing"}
METRICS = {"accuracy": "Accuracy", "uf1": "UF1", "uar": "UAR"}
HEAT = 3
"""A table of at least so many rows and columns is a heat map."""


def draw_file(table: Path, output: Path, settings: FigureSettings) -> None:
    """Draw a table into an SVG file that needs nothing else.

    Args:
        table: CSV of :mod:`merflow.evaluation.figure_tables`.
        output: SVG, written whole or not at all.
        settings: ``kind, title``, ``synthetic`` (whether demo data take part), ``published``.
    """
    with matplotlib.rc_context(STYLE), atomic_write(output) as temporary:
        temporary.write_text(standalone(*draw(table, settings, alone=True)), encoding="utf-8")


def draw_in_page(table: Path, settings: FigureSettings, prefix: str) -> str:
    """Draw a table as SVG for the report; ``prefix`` makes its ids unique in the page."""
    with matplotlib.rc_context(STYLE):
        return drawing(*draw(table, settings, alone=False), prefix)


def draw(table: Path, settings: FigureSettings, *, alone: bool) -> tuple[Figure, str]:
    """A figure and its description in words; ``alone``: with its title and what a reader must know beside it."""
    if settings.kind == "flow-statistics":
        return _flow(read_table(table, FLOW_STATISTICS), _Words(settings, alone))
    kinds = {"methods": _methods, "stages": _stages, "confusion": _confusion, "variants": _variants}
    rows = read_table(table, COMPARISON)
    return kinds[settings.kind](rows, _Words(settings, alone, rows))


class _Words:
    """Title and notes of a figure, and the room that they take."""

    def __init__(self, settings: FigureSettings, alone: bool, rows: pd.DataFrame | None = None):
        """Collect what is said beside a figure that stands alone."""
        self.title: str = settings.title
        self.alone, self.notes = alone, []
        if not alone:
            return
        if settings.synthetic:
            self.notes.append("Synthetic demo data: a check of the machinery, no claim about people.")
        if settings.reading:
            self.notes.append(settings.reading)
        if rows is not None:
            tried = int(_floats(rows["tried"]).max())
            where = "" if settings.kind == "variants" else " in the study"
            self.notes.append(f"{tried} configuration{'s' if tried > 1 else ''} tried{where}.")
            if not settings.published:
                self.notes.append("No published numbers stand beside ours: none are given for these data.")

    def frame(self, body: float, left: float, *, top: float = 0.05, bottom: float = 0.05, legend: str = "") -> Figure:
        """A figure for axes of ``body`` inches height; ``left, top, bottom``: inches for names beside them."""
        texts = [legend, *self.notes] if legend else self.notes
        lines = [line for text in texts for line in textwrap.wrap(text, int((WIDTH - 0.2) / LETTER * 1.12))]
        title = textwrap.wrap(self.title, int(WIDTH / LETTER * 0.95)) if self.alone else []
        above, below = top + 0.19 * len(title) + 0.15 * bool(title), bottom + 0.15 * len(lines) + 0.1 * bool(lines)
        height = above + body + below
        figure = Figure(figsize=(WIDTH, height))
        figure.subplots_adjust(
            left=left / WIDTH, right=1 - 0.3 / WIDTH, top=1 - above / height, bottom=below / height, hspace=0.16
        )
        for place, line in enumerate(title):
            y = 1 - (0.1 + 0.19 * place) / height
            figure.text(0.08 / WIDTH, y, line, fontsize=10, fontweight="bold", va="top", color=INK)
        for place, line in enumerate(lines):
            y = (0.05 + 0.15 * (len(lines) - 1 - place)) / height
            figure.text(0.08 / WIDTH, y, line, fontsize=8, va="bottom", color=MUTED)
        return figure


def _variants(rows: pd.DataFrame, words: _Words) -> tuple[Figure, str]:
    """A heat map where a table has many columns, else bars by column."""
    rows = rows[rows["metric"] == "accuracy"]
    names, columns = (list(dict.fromkeys(rows[side])) for side in ("row", "column"))
    if len(names) >= HEAT and len(columns) >= HEAT:
        return _heat(rows, names, columns, words)
    groups = [(column.capitalize(), _bars_of(rows[rows["column"] == column])) for column in columns]
    return _bars(groups, words, "Accuracy on test clips")


def _methods(rows: pd.DataFrame, words: _Words) -> tuple[Figure, str]:
    """Published methods and our experiments in one order for each metric, the best below."""
    metrics = list(dict.fromkeys(rows["metric"]))
    groups = []
    for metric in metrics:
        bars = sorted(_bars_of(rows[rows["metric"] == metric], protocol=True), key=lambda bar: bar["value"])
        groups.append((METRICS.get(metric, metric) if len(metrics) > 1 else "", bars))
    of = f"{METRICS.get(metrics[0], metrics[0])} on" if len(metrics) == 1 else "On"
    return _bars(groups, words, f"{of} test clips")


def _stages(rows: pd.DataFrame, words: _Words) -> tuple[Figure, str]:
    groups = []
    for metric, title in STAGES.items():
        own = rows[rows["metric"] == metric]
        if len(own):
            groups.append((title, _bars_of(own, data=True)))
    return _bars(groups, words, "Recognition rate")


def _bars_of(rows: pd.DataFrame, *, protocol: bool = False, data: bool = False) -> list[dict[str, Any]]:
    """What :func:`_bars` draws of the rows of a table: those without a value of ours are ``printed``."""
    bars = []
    for row in rows.to_dict("records"):
        value, low, high, published = (as_number(row[name]) for name in ("value", "ci_low", "ci_high", "published"))
        bar = {"name": row["row"], "value": value, "low": low, "high": high, "published": published, "printed": False}
        if math.isnan(value):
            name = row["row"] if "[" in row["row"] else f"{row['row']} (published)"
            bar |= {"name": name, "value": published, "published": math.nan, "printed": True}
        elif protocol:
            bar["name"] += f" (ours, {row['protocol']})"
        if data:
            bar["name"] += f": {row['column']}"
        bars.append(bar)
    return bars


def _bars(groups: Sequence[tuple[str, Sequence[Mapping]]], words: _Words, axis: str) -> tuple[Figure, str]:
    """Bars with intervals, in groups under headings; a diamond is the published number."""
    headed = any(heading for heading, _ in groups)
    lines = sum(len(bars) for _, bars in groups) + len(groups) * headed
    every = [bar for _, bars in groups for bar in bars]
    marked = any(not math.isnan(bar["published"]) for bar in every)
    legend = "Blue: ours; line: 95 % interval over subjects."
    legend += " Diamond: the published number." if marked else ""
    legend += " Grey: published by others or by the paper." if any(bar["printed"] for bar in every) else ""
    left = min(0.2 + LETTER * max(len(bar["name"]) for bar in every), WIDTH * 0.49)
    wrapped = [textwrap.wrap(bar["name"], int(1.1 * (left - 0.15) / LETTER), break_on_hyphens=False) for bar in every]
    line = LINE if max(map(len, wrapped)) == 1 else 0.145 * max(map(len, wrapped)) + 0.05
    figure = words.frame(line * lines + 0.05, left, bottom=0.42, legend=legend)
    axes, place, said = figure.subplots(), 0, []
    ticks = []
    for heading, bars in groups:
        if headed:
            axes.text(-0.008, place, heading, fontweight="bold", ha="right", va="center", color=INK)
            place += 1
        for bar in bars:
            colour, alpha = (MUTED, 0.3) if bar["printed"] else (FIRST, 0.45)
            axes.barh(place, bar["value"], height=0.62, color=colour, alpha=alpha, linewidth=0)
            if not math.isnan(bar["low"]):
                axes.plot([bar["low"], bar["high"]], [place, place], color=FIRST, linewidth=1.6)
            if not math.isnan(bar["published"]):
                axes.plot(bar["published"], place, "D", color=SECOND, markersize=4.5, clip_on=False)
            end = bar["value"] if math.isnan(bar["high"]) else max(bar["value"], bar["high"])
            if -0.03 < bar["published"] - end < 0.15:  # The diamond is in the way.
                end = max(end, bar["published"] + 0.01)
            ink = MUTED if bar["printed"] else FIRST
            axes.text(end + 0.015, place, _percent(bar["value"]), fontsize=7, va="center", color=ink)
            ticks.append(place)
            said.append(f"{heading} {bar['name']} {_percent(bar['value'])}{_beside(bar['published'])}".strip())
            place += 1
    axes.set(xlim=(0, 1.06), ylim=(lines - 0.4, -0.6), yticks=ticks)
    axes.set_yticklabels(["\n".join(parts) for parts in wrapped])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel(axis)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)
    return figure, f"{words.title}: {'; '.join(said)}"


def _heat(rows: pd.DataFrame, names: list[str], columns: list[str], words: _Words) -> tuple[Figure, str]:
    """A cell's colour is our accuracy between the least and the most of the table."""
    cells = {(row["row"], row["column"]): row for row in rows.to_dict("records")}
    values = [as_number(row["value"]) for row in cells.values()]
    least, most = min(values), max(values)
    legend = f"Accuracy on test clips, from {_percent(least)} (light) to {_percent(most)} (dark)."
    if rows["published"].notna().any() and (_floats(rows["published"]) > 0).any():
        legend += " In brackets: the paper. Framed: the paper's number lies outside our 95 % interval."
    left = 0.2 + LETTER * max(map(len, names))
    figure = words.frame(0.42 * len(names), left, top=0.3, legend=legend)
    axes, said = figure.subplots(), []
    for y, name in enumerate(names):
        for x, column in enumerate(columns):
            row = cells[name, column]
            value, published = as_number(row["value"]), as_number(row["published"])
            shade = 0.05 + 0.5 * ((value - least) / (most - least) if most > least else 0.5)
            _cell(axes, x, y, shade, framed=row["differs"] == "yes")
            _two_lines(axes, x, y, _percent(value), "" if math.isnan(published) else f"({_percent(published)})")
            said.append(f"{name}, {column} {_percent(value)}{_beside(published)}")
    _labelled(axes, names, columns)
    return figure, f"{words.title}: {'; '.join(said)}"


def _confusion(rows: pd.DataFrame, words: _Words) -> tuple[Figure, str]:
    """A matrix per experiment: rates of the true class and counts of clips."""
    experiments = {name: own for name, own in rows.groupby("experiment", sort=False)}
    classes = [list(dict.fromkeys(own["row"])) for own in experiments.values()]
    legend = "Rows: truth. Columns: prediction. Share of the true class, and clips (over all repeats)."
    if (_floats(rows["published"]) >= 0).any():
        legend += " In brackets: the paper."
    heights = [0.42 * len(names) for names in classes]
    left = 0.25 + LETTER * max(len(name) for names in classes for name in names)
    turned = any(len(name) * LETTER > (WIDTH - left) / len(names) for names in classes for name in names)
    top = 0.6 + 0.35 * turned
    figure = words.frame(sum(heights) + top * (len(heights) - 1), left, top=top, legend=legend)
    figure.subplots_adjust(hspace=top / (sum(heights) / len(heights)))
    panels = figure.subplots(len(experiments), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    said = []
    for axes, names, (experiment, own) in zip(panels, classes, experiments.items(), strict=True):
        for row in own.to_dict("records"):
            x, y, rate = names.index(row["column"]), names.index(row["row"]), as_number(row["value"])
            published = as_number(row["published"])
            _cell(axes, x, y, 0 if math.isnan(rate) else 0.55 * rate, framed=row["differs"] == "yes")
            brackets = "" if math.isnan(published) else f" ({_percent(published, 0)})"
            _two_lines(axes, x, y, _percent(rate, 0) + brackets, str(int(row["count"])), small=bool(brackets))
            if x == y:
                said.append(f"{experiment} {row['row']} {_percent(rate, 0)}{_beside(published)}")
        _labelled(axes, names, names, 40 if turned else 0)
        axes.annotate(
            str(experiment), (0, 1), (0, (top - 0.13) * 72), xycoords="axes fraction", textcoords="offset points",
            fontweight="bold", va="top", color=INK,
        )  # fmt: skip
    return figure, f"{words.title}, rates of the right answer: {'; '.join(said)}"


def _flow(rows: pd.DataFrame, words: _Words) -> tuple[Figure, str]:
    """Mean (above) and variance (below) of the flow of each clip, in order of class."""
    classes = list(dict.fromkeys(rows["label"]))
    legend = f"Length of the flow vectors of {len(rows)} clips, over all pixels and fields of a clip; a dot is a clip."
    turned = any(len(name) * LETTER > (WIDTH - 0.9) * (rows["label"] == name).mean() for name in classes)
    figure = words.frame(3.0, 0.6, bottom=0.55 if turned else 0.28, legend=legend)
    above, below = figure.subplots(2, 1, sharex=True)
    panels = ((above, "mean", "mean, pixels", FIRST), (below, "variance", "variance, pixels²", SECOND))
    for axes, column, label, colour in panels:
        values = _floats(rows[column])
        axes.vlines(range(len(values)), 0, values, color=colour, linewidth=0.8, alpha=0.45)
        axes.plot(range(len(values)), values, "o", color=colour, markersize=2.4, markeredgewidth=0)
        axes.set(ylabel=label, ylim=(0, None), xlim=(-1, len(values)))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelcolor=MUTED)
    ends = [int((rows["label"] == name).sum()) for name in classes]
    starts = [sum(ends[:place]) for place in range(len(ends))]
    for start in starts[1:]:
        for axes in (above, below):
            axes.axvline(start - 0.5, color=RULE, linewidth=0.8)
    below.set_xticks([start + (count - 1) / 2 for start, count in zip(starts, ends, strict=True)])
    below.set_xticklabels(classes, color=INK, **({"rotation": 30, "ha": "right"} if turned else {}))
    figure.align_ylabels()
    low, middle, high = _floats(rows["mean"]).quantile([0, 0.5, 1])
    return figure, f"{words.title}: mean flow from {low:.2f} to {high:.2f} pixels, median {middle:.2f}"


def _cell(axes: Axes, x: int, y: int, shade: float, *, framed: bool) -> None:
    box = (x - 0.47, y - 0.45)
    axes.add_patch(Rectangle(box, 0.94, 0.9, facecolor=FIRST, alpha=shade, linewidth=0))
    if framed:
        axes.add_patch(Rectangle(box, 0.94, 0.9, fill=False, edgecolor=SECOND, linewidth=1.4))


def _two_lines(axes: Axes, x: int, y: int, above: str, below: str, *, small: bool = False) -> None:
    axes.text(x, y - (0.2 if below else 0), above, ha="center", va="center", fontsize=7 if small else 8, color=INK)
    axes.text(x, y + 0.22, below, ha="center", va="center", fontsize=7, color=INK)


def _labelled(axes: Axes, names: Sequence[str], columns: Sequence[str], turn: int = 0) -> None:
    """Names of rows at the left, of columns above."""
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names)
    side = {"ha": "left"} if turn else {}
    axes.set_xticks(range(len(columns)), columns, rotation=turn, color=INK, **side)
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _beside(published: float) -> str:
    return "" if math.isnan(published) else f" (the paper {_percent(published)})"


def _percent(value: float, digits: int = 1) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.{digits}f} %"


def _floats(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce")


def as_number(value: Any) -> float:
    """A cell of a table as a number; NaN where it is empty."""
    return math.nan if value is None or value == "" else float(value)
