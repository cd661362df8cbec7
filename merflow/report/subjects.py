"""Results by subject: who is hard to recognise, and for which system."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from merflow.report.contents import sheet_id
from merflow.report.figures import FIRST, INK, LETTER, MUTED, STYLE, drawing, short
from merflow.report.shared import as_csv
from merflow.storage.tables import PREDICTIONS, read_table

DRAWN = 60
"""Subjects that are drawn: the hardest; the table has all."""
COLUMNS = ["dataset", "subject", "experiment", "right", "n", "accuracy"]


def by_subject(study: Mapping[str, Any], order: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Clips named rightly, per subject and system, the hardest subject first.

    A subject is as hard as the trained systems find it (the floors where nothing was trained): the mean of their
    accuracies. With several repeats, each repeat of a clip counts.

    Args:
        study: as in :func:`merflow.report.page.write_report`.
        order: experiments as :func:`merflow.report.contents.results` gives them.

    Returns:
        ``experiments`` (rows ``name, floor``), ``subjects``: rows ``dataset, subject, sheet`` (anchor of the contact
        sheet), ``clips, mean, cells`` (for each experiment ``right, n, accuracy``; n 0 where it answered no clip of
        the subject); ``drawing`` (``svg, csv, name, title, caption``), ``several`` (datasets). None where there is no
        prediction.
    """
    table = read_table(study["predictions"], PREDICTIONS)
    if table.empty:
        return None
    table = table.assign(right=(table["truth"] == table["predicted"]).astype(int))
    of = table.groupby(["dataset", "subject", "experiment"], sort=False)["right"].agg(["sum", "size"])
    counted = {name: (int(row["sum"]), int(row["size"])) for name, row in of.iterrows()}
    clips = table.groupby(["dataset", "subject"])["clip"].nunique()
    judges = [own["name"] for own in order if not own["floor"]] or [own["name"] for own in order]
    prepared = {name.split(" (")[0]: name for name in reversed(list(study["clips"]))}
    subjects = []
    for dataset, subject in of.index.droplevel("experiment").unique():
        cells = []
        for own in order:
            right, n = counted.get((dataset, subject, own["name"]), (0, 0))
            cells.append({"right": right, "n": n, "accuracy": right / n if n else math.nan})
        known = [c["accuracy"] for own, c in zip(order, cells, strict=True) if own["name"] in judges and c["n"]]
        subjects.append(
            {
                "dataset": dataset,
                "subject": subject,
                "sheet": sheet_id(prepared.get(dataset, dataset), subject),
                "clips": int(clips[dataset, subject]),
                "mean": sum(known) / len(known) if known else math.nan,
                "cells": cells,
            }
        )
    subjects.sort(
        key=lambda row: (math.inf if math.isnan(row["mean"]) else row["mean"], row["dataset"], row["subject"])
    )
    rows = [
        {"dataset": row["dataset"], "subject": row["subject"], "experiment": own["name"], **cell}
        for row in subjects
        for own, cell in zip(order, row["cells"], strict=True)
        if cell["n"]
    ]
    fewer = len(subjects) > DRAWN
    return {
        "experiments": [{"name": own["name"], "floor": own["floor"]} for own in order],
        "subjects": subjects,
        "several": table["dataset"].nunique() > 1,
        "drawing": {
            "svg": subject_heat(subjects[:DRAWN], order, "subjects"),
            "csv": as_csv(rows, COLUMNS),
            "name": "subjects",
            "title": "Clips named rightly, by subject and system",
            "caption": "Clips named rightly of all clips of a subject; the hardest subject above. The stronger the "
            "colour, the more."
            + (f" The {DRAWN} hardest of {len(subjects)} subjects are drawn; the table has all." if fewer else ""),
        },
    }


def subject_heat(subjects: Sequence[Mapping[str, Any]], order: Sequence[Mapping[str, Any]], prefix: str) -> str:
    """A cell per subject and system, with its count in it.

    Args:
        subjects: as :func:`by_subject` gives them.
        order: experiments, ``name`` and ``floor``.
        prefix: makes its ids unique in the page.
    """
    names = [short(own["name"]) for own in order]
    people = [short(row["subject"]) for row in subjects]
    with matplotlib.rc_context(STYLE):
        left = 0.15 + LETTER * max(map(len, people), default=0)
        above = 0.2 + LETTER * 0.75 * max(map(len, names), default=0)
        width, height = left + 0.52 * len(names) + 0.55, above + 0.21 * len(people) + 0.08
        width = max(width, 3.4)
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((left / width, 0.08 / height, 0.52 * len(names) / width, 0.21 * len(people) / height))
        for y, row in enumerate(subjects):
            for x, cell in enumerate(row["cells"]):
                if not cell["n"]:
                    axes.text(x, y, "–", ha="center", va="center", color=MUTED, fontsize=7)
                    continue
                strength = 0.55 * cell["accuracy"]
                axes.add_patch(
                    Rectangle((x - 0.46, y - 0.43), 0.92, 0.86, facecolor=to_rgba(FIRST), alpha=strength, linewidth=0)
                )
                text = f"{cell['right']}/{cell['n']}"
                axes.text(x, y, text, ha="center", va="center", color=INK, fontsize=7)
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(people) - 0.5, -0.5), yticks=range(len(people)))
        axes.set_yticklabels(people)
        axes.set_xticks(range(len(names)), names, rotation=40, ha="left", rotation_mode="anchor")
        axes.xaxis.tick_top()
        axes.tick_params(length=0, pad=3, labelcolor=INK)
        for own, label in zip(order, axes.get_xticklabels(), strict=True):
            label.set_color(MUTED if own["floor"] else INK)
        axes.spines[:].set_visible(False)
        hardest = "; ".join(
            f"{row['subject']}: "
            + ", ".join(
                f"{own['name']} {cell['right']} of {cell['n']}"
                for own, cell in zip(order, row["cells"], strict=True)
                if cell["n"]
            )
            for row in subjects[:5]
        )
        few = "The hardest: " if len(subjects) > 5 else ""
        return drawing(figure, f"Clips named rightly by subject and system. {few}{hardest}", prefix)
