"""The rules of a study as a drawing: what follows from what, and how many jobs each has."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from merflow.report.figures import FIRST, INK, MUTED, RULE, STYLE, drawing
from merflow.report.shared import as_csv

LETTER, STEP, BOX, GAP = 0.062, 0.56, 0.34, 0.14
"""Inches: a letter, from layer to layer, height of a box, between two boxes."""
SWEEPS = 8
"""How often layers are sorted by their neighbours."""


def pipeline(study: Mapping[str, Any]) -> dict[str, Any] | None:
    """The rules of a study and their drawing; None where they are not given.

    Args:
        study: ``dag``: rows ``rule, jobs, needs`` of :func:`merflow.study.dag.stages`; may be missing.

    Returns:
        ``jobs`` (of all rules), ``rules`` (rows ``rule, name, jobs, needs``) and ``drawing`` (``svg, csv, name, title,
        caption``).
    """
    rows = study.get("dag")
    if not rows:
        return None
    total = sum(row["jobs"] for row in rows)
    links = [{"rule": row["rule"], "jobs": row["jobs"], "needs": need} for row in rows for need in row["needs"] or [""]]
    return {
        "jobs": total,
        "rules": [row | {"name": _name(row["rule"])} for row in rows],
        "drawing": {
            "svg": _drawn(rows, "pipeline"),
            "csv": as_csv(links, ["rule", "jobs", "needs"]),
            "name": "pipeline",
            "title": "Rules of the study and their jobs",
            "caption": "Each box is a rule of the workflow with its number of jobs; data flow downwards. A link that "
            "follows from others is left out; the table has all.",
        },
    }


def needed(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What each rule needs, without what follows from its other needs (the transitive reduction)."""
    direct = {row["rule"]: set(row["needs"]) for row in rows}
    above: dict[str, set[str]] = {}
    for row in rows:  # In an order in which data can flow.
        above[row["rule"]] = set().union(direct[row["rule"]], *(above[need] for need in row["needs"]))
    return {
        rule: sorted(need for need in needs if not any(need in above[other] for other in needs if other != need))
        for rule, needs in direct.items()
    }


def _name(rule: str) -> str:
    return rule.replace("_", " ")


def _drawn(rows: Sequence[Mapping[str, Any]], prefix: str) -> str:
    links = needed(rows)
    jobs = {row["rule"]: row["jobs"] for row in rows}
    layers, chains = _layers(rows, links)
    widths = {rule: 0.16 + LETTER * max(len(_name(rule)), len(_jobs(jobs[rule]))) for rule in jobs}
    places = _places(layers, chains, widths)
    width = max(3.4, max(x + widths.get(node, 0) / 2 for node, (x, _) in places.items()) + 0.08)
    height = STEP * (len(layers) - 1) + BOX + 0.12
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height - 0.06 - BOX / 2, -0.06 - BOX / 2))
        axes.set_axis_off()
        for chain in chains:
            points = [places[node] for node in chain]
            axes.add_patch(PathPatch(_curve(points), facecolor="none", edgecolor=MUTED, linewidth=1.0, zorder=1))
            x, y = points[-1]
            axes.plot(x, y - BOX / 2 - 0.035, "v", color=MUTED, markersize=4, zorder=1)
        for rule, count in jobs.items():
            x, y = places[rule]
            box = FancyBboxPatch(
                (x - widths[rule] / 2, y - BOX / 2), widths[rule], BOX, boxstyle="round,pad=0,rounding_size=0.05",
                facecolor=RULE, alpha=0.45, linewidth=0, zorder=2,
            )  # fmt: skip
            axes.add_patch(box)
            axes.text(x, y - 0.07, _name(rule), ha="center", va="center", fontsize=7.5, color=INK, zorder=3)
            axes.text(x, y + 0.08, _jobs(count), ha="center", va="center", fontsize=7, color=FIRST, zorder=3)
        said = "; ".join(
            f"{_name(row['rule'])}, {_jobs(row['jobs'])}"
            + (f", after {' and '.join(map(_name, links[row['rule']]))}" if links[row["rule"]] else "")
            for row in rows
        )
        return drawing(figure, f"Rules of the study. {said}", prefix)


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _layers(
    rows: Sequence[Mapping[str, Any]], links: Mapping[str, Sequence[str]]
) -> tuple[list[list[str]], list[list[str]]]:
    """Rules by layer, below all that they need; and each link as a chain with a bend in every layer that it passes."""
    depth: dict[str, int] = {}
    for row in rows:
        depth[row["rule"]] = 1 + max((depth[need] for need in links[row["rule"]]), default=-1)
    # A rule that needs nothing stands right above the first that needs it.
    for row in rows:
        below = [depth[rule] for rule, needs in links.items() if row["rule"] in needs]
        if not links[row["rule"]] and below:
            depth[row["rule"]] = min(below) - 1
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for rule, place in depth.items():
        layers[place].append(rule)
    chains = []
    for rule, needs in links.items():
        for need in needs:
            bends = [f"{need} {rule} {place}" for place in range(depth[need] + 1, depth[rule])]
            for bend in bends:
                layers[int(bend.rpartition(" ")[2])].append(bend)
            chains.append([need, *bends, rule])
    return layers, chains


def _places(
    layers: Sequence[Sequence[str]], chains: Sequence[Sequence[str]], widths: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """Middle of each node in inches from the upper left: neighbours in neighbouring layers stand near each other."""
    beside: dict[str, list[str]] = {}
    for chain in chains:
        for one, other in zip(chain[:-1], chain[1:], strict=True):
            beside.setdefault(one, []).append(other)
            beside.setdefault(other, []).append(one)
    order = [list(layer) for layer in layers]
    middle = {node: float(place) - (len(layer) - 1) / 2 for layer in order for place, node in enumerate(layer)}
    for sweep in range(SWEEPS):
        numbered = list(enumerate(order))
        for number, layer in numbered if sweep % 2 == 0 else numbered[::-1]:
            wanted = {node: float(np.mean([middle[near] for near in beside.get(node, [node])])) for node in layer}
            layer.sort(key=lambda node: wanted[node])
            # Side by side from the wanted middles on, none over another, then moved together to the wanted mean.
            at, edge = [], -np.inf
            for node in layer:
                half = widths.get(node, 0.0) / 2 + GAP / 2
                x = max(wanted[node], edge + half)
                at.append(x)
                edge = x + half
            shift = float(np.mean([wanted[node] for node in layer]) - np.mean(at))
            for node, x in zip(layer, at, strict=True):
                middle[node] = x + shift
            order[number] = layer
    least = min(middle[node] - widths.get(node, 0.0) / 2 for layer in order for node in layer)
    return {node: (middle[node] - least + 0.08, number * STEP) for number, layer in enumerate(order) for node in layer}


def _curve(points: Sequence[tuple[float, float]]) -> Curve:
    """A smooth line from below the first box to above the last."""
    (x, y), *rest = points
    y += BOX / 2
    vertices, codes = [(x, y)], [Curve.MOVETO]
    for number, (end, down) in enumerate(rest):
        last = number == len(rest) - 1
        top = down - BOX / 2 - (0.06 if last else 0)
        vertices += [(x, (y + top) / 2), (end, (y + top) / 2), (end, top)]
        codes += [Curve.CURVE4] * 3
        x, y = end, top
        if not last:  # Straight down between the boxes of a layer that it passes.
            y = down + BOX / 2
            vertices.append((x, y))
            codes.append(Curve.LINETO)
    return Curve(vertices, codes)
