"""The pixel graphs on a face: what a node is linked to, as in Fig. 3 of the paper."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from merflow.errors import InputError
from merflow.preprocessing.geometry import stored_geometry
from merflow.preprocessing.resize import area_resize
from merflow.report.figures import FIRST, INK, MUTED, SECOND, STYLE, drawing
from merflow.report.shared import as_csv
from merflow.storage.hdf5 import open_h5
from merflow.systems.tsdgcn.graph import Graph, chosen_neighbours

PLACES = {"inner brow": (-0.3, -0.3), "tip of the nose": (0.0, 0.66), "corner of the mouth": (0.36, 1.1)}
"""Nodes that are shown: right of and below the point between the eyes, in inter-ocular distances."""
COLUMNS = ["place", "row", "column", "neighbour_row", "neighbour_column", "kind", "distance", "weight"]
FADED = 0.55
"""Strength of the face behind the graph, so that the marks stand out by day and by night."""


def graphs_on_a_face(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A drawing of each graph in ``graphs`` of the study: what three nodes are linked to, on an aligned onset.

    Args:
        study: ``graphs`` ({name: {file, experiments}}, may be missing), ``faces``.

    Returns:
        Rows ``name`` (such as ``8+2``), ``side, p, q, threshold, seed, experiments, face`` (whose it is),
        ``svg, csv, file, title, caption``. None of a study without faces.

    Raises:
        InputError: a graph's links are not those that its settings give.
    """
    face = _face(study)
    found = []
    for place, entry in enumerate(study.get("graphs", {}).values() if face else []):
        graph = Graph.load(entry["file"])
        rows = _links(graph, entry["file"], face["geometry"])
        own = {name: getattr(graph, name) for name in ("name", "side", "p", "q", "threshold", "seed")}
        title = f"Graph {graph.name} on a face of {graph.side}x{graph.side} nodes"
        found.append(
            own
            | {
                "experiments": entry["experiments"],
                "face": {key: face[key] for key in ("dataset", "subject", "clip")},
                "svg": _drawn(graph, rows, face, title, f"graph{place}"),
                "csv": as_csv((row for row in rows if row["kind"] != "incoming"), COLUMNS),
                "file": f"graph-{place + 1}-{graph.p}-{graph.q}",
                "title": title,
                "caption": f"Orange squares: the {graph.p} nearest neighbours. "
                + (f"Blue discs: the {graph.q} drawn ones. " if graph.q else "None is drawn at random (q = 0). ")
                + f"Small rings: the other candidates, at most T = {graph.threshold:.3g} pixels away.",
            }
        )
    return found


def _face(study: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first onset that was aligned, of a dataset that is recognised if there is one.

    ``image`` uint8 [S, S], ``geometry`` (where the eyes are: :class:`merflow.preprocessing.settings.Geometry`),
    ``dataset, subject, clip``.
    """
    entries = study.get("graphs", {}).values()
    micro = {name for entry in entries for name in entry.get("datasets", [])}
    for dataset in sorted(study["faces"], key=lambda name: name.split(" (")[0] not in micro):
        for file in study["faces"][dataset]:
            with open_h5(file) as faces:
                for group in faces.values():
                    if group.attrs["status"] != "ok" or not len(group["frames"]):
                        continue
                    about = {"subject": str(group.attrs["subject"]), "clip": str(group.attrs["clip"])}
                    about |= {"dataset": dataset, "image": group["frames"][0]}
                    return about | {"geometry": stored_geometry(faces, group)}
    return None


def _nodes(side: int, geometry: tuple[float, float, float]) -> dict[str, tuple[int, int]]:
    """Row and column of the node at each of :data:`PLACES`."""
    crop, down, across = geometry
    nodes = {}
    for name, (x, y) in PLACES.items():
        place = ((down + y / crop) * side, (across + x / crop) * side)
        nodes[name] = tuple(int(np.clip(math.floor(value), 0, side - 1)) for value in place)
    return nodes


def _links(graph: Graph, file: Path, geometry: tuple[float, float, float]) -> list[dict[str, Any]]:
    """Rows of :data:`COLUMNS`. ``kind``: near, drawn, candidate, or incoming (chosen by the other node alone)."""
    side = graph.side
    offsets, candidate, near, drawn = chosen_neighbours(side, graph.p, graph.q, graph.threshold, graph.seed)
    rows = []
    for name, (row, column) in _nodes(side, geometry).items():
        node = row * side + column
        weights = graph.adjacency[[node]].toarray()[0]
        linked = set(np.flatnonzero(weights).tolist())
        chosen = set()
        for step in np.flatnonzero(candidate[node]):
            other_row, other_column = row + int(offsets[step, 0]), column + int(offsets[step, 1])
            other = other_row * side + other_column
            kind = "near" if near[node, step] else "drawn" if drawn[node, step] else "candidate"
            if kind != "candidate":
                chosen.add(other)
            elif other in linked:
                kind = "incoming"
            distance = float(np.hypot(*offsets[step]))
            rows.append(dict(zip(COLUMNS, (name, row, column, other_row, other_column, kind, distance,
                                           float(weights[other])), strict=True)))  # fmt: skip
        if not chosen <= linked:
            raise InputError(f"{file}: its links are not those of its settings; delete it and run again")
    return rows


def _drawn(graph: Graph, rows: list[dict[str, Any]], face: Mapping[str, Any], title: str, prefix: str) -> str:
    small = area_resize(face["image"], graph.side)
    whole, zoom, gap = 1.95, 1.36, 0.1
    width, height = 0.1 + whole + 0.1 + 3 * (zoom + gap), whole + 0.1
    places = list(PLACES)
    reach = math.floor(graph.threshold) + 0.9
    said = []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0.05 / width, 0.05 / height, whole / width, whole / height))
        _faded(axes, small, (0, graph.side, 0, graph.side))
        for number, name in enumerate(places, start=1):
            own = [row for row in rows if row["place"] == name]
            row, column = own[0]["row"], own[0]["column"]
            box = {"facecolor": "none", "edgecolor": INK, "linewidth": 1.1}
            axes.add_patch(Rectangle((column - reach, row - reach), 2 * reach, 2 * reach, **box))
            axes.text(column + reach + 0.8, row, str(number), va="center", fontweight="bold", fontsize=9, color=INK)
            left = 0.1 + whole + 0.1 + (number - 1) * (zoom + gap)
            panel = figure.add_axes((left / width, (0.05 + (whole - zoom) / 2) / height, zoom / width, zoom / height))
            over = math.ceil(reach)
            view = (row - over, row + over + 1, column - over, column + over + 1)
            top, bottom, start, end = np.clip(view, 0, graph.side)
            _faded(panel, small[top:bottom, start:end], (start, end, top, bottom), small.min(), small.max())
            panel.set(xlim=(column - reach, column + reach), ylim=(row + reach, row - reach))
            panel.set_title(f"{number}  {name}", loc="left", fontsize=8, fontweight="bold", pad=4)
            said.append(_zoom(panel, row, column, own, name))
        text = f"{title}. {' '.join(said)}"
        return drawing(figure, text, prefix)


def _faded(axes: Axes, image: np.ndarray, extent: tuple, low: float = 0, high: float = 255) -> None:
    """A part of the face at the resolution of the graph; a node is at the middle of its pixel."""
    left, right, top, bottom = extent
    shifted = (left - 0.5, right - 0.5, bottom - 0.5, top - 0.5)
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, alpha=FADED, extent=shifted, interpolation="none")
    axes.set_axis_off()


def _zoom(axes: Axes, row: int, column: int, links: list[dict[str, Any]], name: str) -> str:
    """One node and what it is linked to; returns it in words."""
    spots: dict[str, list[tuple[int, int]]] = {kind: [] for kind in ("near", "drawn", "incoming", "candidate")}
    for link in links:
        spots[link["kind"]].append((link["neighbour_row"], link["neighbour_column"]))
    for y, x in spots["incoming"]:
        axes.plot([column, x], [row, y], color=MUTED, linewidth=0.9, linestyle=(0, (1, 1.5)))
    looks = {"near": (SECOND, "s", 5.2), "drawn": (FIRST, "o", 6)}
    for kind, (colour, marker, size) in looks.items():
        for y, x in spots[kind]:
            axes.plot([column, x], [row, y], color=colour, linewidth=1.6, zorder=2)
        if spots[kind]:
            ys, xs = zip(*spots[kind], strict=True)
            axes.plot(xs, ys, marker, color=colour, markersize=size, zorder=3, linestyle="none")
    others = spots["candidate"] + spots["incoming"]
    if others:
        ys, xs = zip(*others, strict=True)
        axes.plot(
            xs, ys, "o", color=INK, markerfacecolor="none", markersize=2.6, markeredgewidth=0.7, linestyle="none",
            zorder=3,
        )  # fmt: skip
    axes.plot(column, row, "o", color=INK, markersize=6.5, zorder=4)

    def pixels(kind: str) -> str:
        return ", ".join(f"({y}, {x})" for y, x in spots[kind]) or "none"

    return (
        f"{name.capitalize()}, pixel (row {row}, column {column}): nearest {pixels('near')}; drawn {pixels('drawn')}; "
        f"{len(others)} other candidates, {len(spots['incoming'])} of which chose this node."
    )
