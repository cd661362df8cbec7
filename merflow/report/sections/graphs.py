"""Section "Pixel graphs": the neighbours of some nodes on a face, as in Fig. 3 of the TSDGCN paper."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from merflow.errors import InputError
from merflow.preprocessing.geometry import stored_geometry
from merflow.preprocessing.resize import area_resize
from merflow.preprocessing.settings import Geometry
from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section, as_csv
from merflow.report.svg import FIRST, INK, SECOND, make_axes, page_svg
from merflow.storage.hdf5 import open_h5
from merflow.systems.tsdgcn.graph import Graph, chosen_neighbours

PLACES = {"inner brow": (-0.3, -0.3), "tip of the nose": (0.0, 0.66), "corner of the mouth": (0.36, 1.1)}
"""Nodes that are shown: right of and below the point between the eyes, in inter-ocular distances."""
COLUMNS = ["place", "row", "column", "neighbour_row", "neighbour_column", "kind", "distance", "weight"]
FADED = 0.55
"""Opacity of the face behind the graph, so that the marks are visible in light and dark mode."""


@dataclass(frozen=True)
class Face:
    """An aligned onset frame, uint8 ``image`` [S, S], and the position of the eyes in it."""

    dataset: str
    subject: str
    clip: str
    image: np.ndarray
    geometry: Geometry


def content(report: ReportData) -> dict[str, Any] | None:
    """Values of ``graphs.html.j2``; None if there is no graph or no aligned face."""
    face = first_face(report) if report.graphs else None
    return {"face": face, "graphs": report_graphs(report, face)} if face else None


def report_graphs(report: ReportData, face: Face) -> list[dict[str, Any]]:
    """Every graph of the study, the experiments that use it, and a drawing of it on a face.

    Raises:
        InputError: the links of a graph do not follow from its settings.
    """
    graphs = []
    for index, (name, file) in enumerate(report.graphs.items()):
        graph = Graph.load(file)
        rows = _links(graph, file, face.geometry)
        title = f"Graph {graph.name} on a face of {graph.side}x{graph.side} nodes"
        drawing = Drawing(
            f"graph-{index + 1}-{graph.p}-{graph.q}",
            _graph_svg(graph, rows, face, title, f"graph{index}"),
            as_csv(rows, COLUMNS),
            title,
            f"Orange squares: the {graph.p} nearest neighbours. "
            + (f"Blue discs: the {graph.q} random neighbours. " if graph.q else "No random neighbours (q = 0). ")
            + f"Small rings: the other candidates, at most T = {graph.threshold:.3g} pixels away.",
        )
        experiments = report.settings.graphs[name].experiments
        graphs.append({"graph": graph, "experiments": experiments, "drawing": drawing})
    return graphs


def first_face(report: ReportData) -> Face | None:
    """The first aligned onset, of a dataset that experiments with graphs recognise if possible; None without faces."""
    recognised = {name for graph in report.settings.graphs.values() for name in graph.datasets}
    for files in sorted(report.datasets, key=lambda files: files.dataset not in recognised):
        for path in files.faces:
            with open_h5(path) as faces:
                for group in faces.values():
                    if group.attrs["status"] != "ok" or not len(group["frames"]):
                        continue
                    geometry = stored_geometry(faces, group)
                    subject, clip = str(group.attrs["subject"]), str(group.attrs["clip"])
                    return Face(files.title, subject, clip, group["frames"][0], geometry)
    return None


def _nodes(side: int, geometry: Geometry) -> dict[str, tuple[int, int]]:
    """Row and column of the node at each of :data:`PLACES`."""
    crop, down, across = geometry
    nodes = {}
    for name, (x, y) in PLACES.items():
        row, column = (int((down + y / crop) * side), int((across + x / crop) * side))
        nodes[name] = (min(max(row, 0), side - 1), min(max(column, 0), side - 1))
    return nodes


def _links(graph: Graph, file: Path, geometry: Geometry) -> list[dict[str, Any]]:
    """Rows of :data:`COLUMNS`; ``kind`` is near, drawn or candidate."""
    side = graph.side
    offsets, candidate, near, drawn = chosen_neighbours(side, graph.p, graph.q, graph.threshold, graph.seed)
    rows = []
    for name, (row, column) in _nodes(side, geometry).items():
        node = row * side + column
        weights = graph.adjacency[[node]].toarray()[0]
        linked = set(np.flatnonzero(weights).tolist())
        chosen: set[int] = set()
        for step in np.flatnonzero(candidate[node]):
            other_row, other_column = row + int(offsets[step, 0]), column + int(offsets[step, 1])
            other = other_row * side + other_column
            kind = "near" if near[node, step] else "drawn" if drawn[node, step] else "candidate"
            if graph.symmetrise == "mean-degree" and other not in linked:
                kind = "candidate"  # The link was left out.
            if kind != "candidate":
                chosen.add(other)
            elif other in linked:
                continue  # Only the other node chose this link.
            distance = float(np.hypot(*offsets[step]))
            rows.append(dict(zip(COLUMNS, (name, row, column, other_row, other_column, kind, distance,
                                           float(weights[other])), strict=True)))  # fmt: skip
        if not chosen <= linked:
            raise InputError(f"{file}: its links do not follow from its settings; delete it and run again")
    return rows


def _graph_svg(graph: Graph, rows: Sequence[dict[str, Any]], face: Face, title: str, prefix: str) -> str:
    """The whole face at the left, and one panel per node of :data:`PLACES`."""
    small = area_resize(face.image, graph.side)
    reach = math.floor(graph.threshold) + 0.9
    description = []
    ratios = [1.4, *[1.0] * len(PLACES)]
    figure, (axes, *panels) = make_axes(6.4, 2.0, columns=len(ratios), width_ratios=ratios, wspace=0.07)
    _faded(axes, small, (0, graph.side, 0, graph.side))
    for number, (name, panel) in enumerate(zip(PLACES, panels, strict=True), start=1):
        links = [row for row in rows if row["place"] == name]
        row, column = links[0]["row"], links[0]["column"]
        corner = (column - reach, row - reach)
        axes.add_patch(Rectangle(corner, 2 * reach, 2 * reach, facecolor="none", edgecolor=INK, linewidth=1.1))
        axes.text(column + reach + 0.8, row, str(number), va="center", fontweight="bold", fontsize=9, color=INK)
        over = math.ceil(reach)
        view = (row - over, row + over + 1, column - over, column + over + 1)
        top, bottom, start, end = np.clip(view, 0, graph.side)
        _faded(panel, small[top:bottom, start:end], (start, end, top, bottom), small.min(), small.max())
        panel.set(xlim=(column - reach, column + reach), ylim=(row + reach, row - reach))
        panel.set_title(f"{number}  {name}", loc="left", fontsize=8, fontweight="bold", pad=4)
        description.append(_draw_node(panel, row, column, links, name))
    text = f"{title}. {' '.join(description)}"
    return page_svg(figure, text, prefix)


def _faded(axes: Axes, image: np.ndarray, extent: tuple[int, int, int, int], low: float = 0, high: float = 255) -> None:
    """Part of the face at the resolution of the graph; a node is at the centre of its pixel."""
    left, right, top, bottom = extent
    shifted = (left - 0.5, right - 0.5, bottom - 0.5, top - 0.5)
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, alpha=FADED, extent=shifted, interpolation="none")
    axes.set_axis_off()


def _draw_node(axes: Axes, row: int, column: int, links: Sequence[dict[str, Any]], name: str) -> str:
    """Draw a node and its links; returns a description."""
    styles = {"near": (SECOND, "s", 5.2, SECOND), "drawn": (FIRST, "o", 6, FIRST), "candidate": (INK, "o", 2.6, "none")}
    texts = {}
    for kind, (colour, marker, size, face) in styles.items():
        spots = [(link["neighbour_row"], link["neighbour_column"]) for link in links if link["kind"] == kind]
        for y, x in spots if kind != "candidate" else ():
            axes.plot([column, x], [row, y], color=colour, linewidth=1.6, zorder=2)
        axes.plot(
            [x for _, x in spots], [y for y, _ in spots], marker, color=colour, markersize=size, markerfacecolor=face,
            markeredgewidth=0.7, linestyle="none", zorder=3,
        )  # fmt: skip
        texts[kind] = ", ".join(f"({y}, {x})" for y, x in spots) or "none"
    axes.plot(column, row, "o", color=INK, markersize=6.5, zorder=4)
    return (
        f"{name.capitalize()}, pixel (row {row}, column {column}): nearest {texts['near']}; drawn {texts['drawn']}; "
        f"other candidates {texts['candidate']}."
    )


SECTION = Section("graphs", "Pixel graphs", content)
