"""Systems side by side: recall, precision and F1 of each class, and the differences between pairs of systems."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from merflow.report.figures import FIRST, INK, LETTER, MUTED, SECOND, STYLE, drawing, short
from merflow.report.shared import SHARE_NAMES, SHARES, as_csv, plain_axes, shown

MEASURES = {"recall": "Recall", "precision": "Precision", "f1": "F1"}
SYSTEMS = 8
"""Systems that are drawn; the tables have all."""
PAIRS = 40
"""Pairs of systems that are drawn; the table has all."""


def class_bars(order: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Drawings of what each system reaches in each class, one for every set of classes.

    Args:
        order: experiments as :func:`merflow.report.contents.results` gives them.

    Returns:
        Rows ``svg, csv, name, title, caption``.
    """
    together: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for own in order:
        together.setdefault(tuple(row["name"] for row in own["classes"]), []).append(own)
    found = []
    for classes, systems in together.items():
        place = len(found)
        rows = [
            {"experiment": own["name"], "class": row["name"], "metric": measure, "n_clips": row["clips"]}
            | {"value": row[measure]["value"], "ci_low": row[measure]["low"], "ci_high": row[measure]["high"]}
            for own in systems
            for row in own["classes"]
            for measure in MEASURES
        ]
        fewer = f" The first {SYSTEMS} of {len(systems)} systems are drawn." if len(systems) > SYSTEMS else ""
        found.append(
            {
                "svg": _bars(classes, systems[:SYSTEMS], f"class-bars{place}"),
                "csv": as_csv(rows, ["experiment", "class", "metric", "value", "ci_low", "ci_high", "n_clips"]),
                "name": f"classes{place + 1 if place else ''}",
                "title": "Each class: recall, precision and F1",
                "caption": "Each class: recall, precision and F1 of every system; lines: 95 % intervals over subjects. "
                f"Filled: trained. Hollow: floors.{fewer}",
            }
        )
    return found


def _bars(classes: Sequence[str], systems: Sequence[Mapping[str, Any]], prefix: str) -> str:
    step = 0.155
    names = [short(own["name"]) for own in systems]
    lines = [(label, own) for label in classes for own in (None, *systems)]
    with matplotlib.rc_context(STYLE):
        longest = max(map(len, [*names, *(short(label) for label in classes)]))
        left, panel, gap = 0.15 + LETTER * longest, 1.4, 0.14
        width, height = left + 3 * panel + 2 * gap + 0.1, 0.27 + step * (len(lines) + 0.5) + 0.25
        figure = Figure(figsize=(width, height))
        said = []
        for column, (measure, title) in enumerate(MEASURES.items()):
            x = (left + column * (panel + gap)) / width
            axes = figure.add_axes((x, 0.25 / height, panel / width, step * (len(lines) + 0.5) / height))
            best: dict[str, str] = {}
            for place, (label, own) in enumerate(lines):
                if own is None:
                    continue
                row = next(one for one in own["classes"] if one["name"] == label)
                value, low, high = (row[measure][name] for name in ("value", "low", "high"))
                if math.isnan(value):
                    axes.text(0.01, place, "–", color=MUTED, va="center", fontsize=7)
                    continue
                colour = SECOND if own["floor"] else FIRST
                look = {"facecolor": "none", "edgecolor": colour} if own["floor"] else {"color": colour, "alpha": 0.5}
                axes.barh(place, value, height=0.72, linewidth=0.9 if own["floor"] else 0, **look)
                if not math.isnan(low) and high > low:
                    axes.plot([low, high], [place, place], color=colour, linewidth=1.5, clip_on=False)
                best[label] = f"{best[label]}, " if label in best else ""
                best[label] += f"{own['name']} {shown(value)}"
            said += [f"{title} of {label}: {text}" for label, text in best.items()]
            axes.set(xlim=(0, 1), ylim=(len(lines) - 0.25, -0.75))
            axes.set_xticks(SHARES, SHARE_NAMES)
            axes.set_yticks([])
            axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
            plain_axes(axes)
            if column:
                continue
            for place, (label, own) in enumerate(lines):
                text = short(label) if own is None else short(own["name"])
                look = (
                    {"fontweight": "bold", "color": INK} if own is None else {"color": MUTED if own["floor"] else INK}
                )
                axes.text(-0.05, place, text, ha="right", va="center", fontsize=7.5, **look)
        return drawing(figure, f"Classes side by side. {'; '.join(said)}", prefix)


def difference_forest(differences: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A drawing of the differences in UF1 between pairs of systems with their intervals: ``svg, csv, name, title,
    caption``; None without pairs.

    Args:
        differences: as :func:`merflow.report.contents.differences` gives them.
    """
    pairs = [pair for pair in (differences or {"pairs": []})["pairs"] if "uf1" in pair["metrics"]]
    if not pairs:
        return None
    drawn = pairs[:PAIRS]
    rows = [
        {"first": pair["first"], "second": pair["second"], "difference": one["value"], "ci_low": one["low"]}
        | {"ci_high": one["high"], "p_holm": one["p"], "verdict": one["verdict"], "n_subjects": pair["n_subjects"]}
        for pair in pairs
        for one in [pair["metrics"]["uf1"]]
    ]
    columns = ["first", "second", "difference", "ci_low", "ci_high", "p_holm", "verdict", "n_subjects"]
    fewer = f" The first {PAIRS} of {len(pairs)} pairs are drawn." if len(pairs) > PAIRS else ""
    return {
        "svg": _forest(drawn, "difference-forest"),
        "csv": as_csv(rows, columns),
        "name": "differences-uf1",
        "title": "Differences in UF1 between pairs of systems",
        "caption": "First less second, in UF1, with 95 % intervals (not corrected for the number of pairs). Filled "
        f"diamond: a real difference, after correction. Hollow circle: cannot be told apart.{fewer}",
    }


def _forest(pairs: Sequence[Mapping[str, Any]], prefix: str) -> str:
    names = [f"{short(pair['first'])} − {short(pair['second'])}" for pair in pairs]
    values = [pair["metrics"]["uf1"] for pair in pairs]
    with matplotlib.rc_context(STYLE):
        left, body = 0.15 + LETTER * max(map(len, names)), 0.21 * len(pairs)
        width, height = left + 3.0, 0.3 + body + 0.25
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((left / width, 0.25 / height, 2.9 / width, body / height))
        ends = [abs(one[side]) for one in values for side in ("value", "low", "high")]
        reach = max([0.1, *(end for end in ends if not math.isnan(end))])
        axes.axvline(0, color=INK, linewidth=1.0)
        for place, one in enumerate(values):
            real = one["verdict"] != "unclear"
            colour = FIRST if real else MUTED
            if not math.isnan(one["low"]):
                axes.plot([one["low"], one["high"]], [place, place], color=colour, linewidth=2 if real else 1.3)
            look = {"marker": "D", "markersize": 5.5} if real else {"marker": "o", "markersize": 5}
            axes.plot(
                one["value"], place, color=colour, markeredgewidth=1.3, linestyle="none", zorder=3,
                markerfacecolor=colour if real else "none", **look,
            )  # fmt: skip
        axes.set(xlim=(-1.06 * reach, 1.06 * reach), ylim=(len(pairs) - 0.5, -0.5), yticks=range(len(pairs)))
        axes.set_yticklabels(names)
        axes.set_title("← second is better · first is better →", fontsize=8, color=MUTED)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:+.2f}".rstrip("0").rstrip(".") if abs(x) > 1e-9 else "0")
        plain_axes(axes)
        axes.spines["left"].set_visible(False)
        said = []
        for pair, one in zip(pairs, values, strict=True):
            ends = "" if math.isnan(one["low"]) else f" from {shown(one['low'])} to {shown(one['high'])}"
            verdict = "real" if one["verdict"] != "unclear" else "cannot be told apart"
            said.append(f"{pair['first']} less {pair['second']} {one['value']:+.3f}{ends}, {verdict}")
        return drawing(figure, f"Differences in UF1. {'; '.join(said)}", prefix)
