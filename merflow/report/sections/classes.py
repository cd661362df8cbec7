"""Section "Classes and confusion": results by class of every system, and its confusion matrix."""

import math
from typing import Any

from merflow.report.report_data import ReportData
from merflow.report.section import Section, sheet_id
from merflow.report.systems import as_number


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``classes.html.j2``."""
    return {
        "systems": [system for system in report.systems if not system.floor],
        "floors": [system for system in report.systems if system.floor],
        "predictions": predictions_by_clip(report),
    }


def predictions_by_clip(report: ReportData) -> dict[str, Any]:
    """Every prediction, for the lists of clips behind the cells of the confusion matrices.

    Returns:
        ``clips``: [clip, subject, dataset, id of the subject's contact sheet]; ``systems``: ``name``, ``classes`` and
        ``rows``: [index in ``clips``, repeat, index of the true class, of the predicted class, and the probability of
        each class in thousandths, if there are probabilities].
    """
    titles = {files.dataset: files.title for files in reversed(report.datasets)}
    clips: dict[tuple[str, str, str], int] = {}
    systems = []
    for system in report.systems:
        class_index = {name: index for index, name in enumerate(system.classes)}
        rows = []
        table = report.predictions[report.predictions["experiment"] == system.name]
        for row in table.to_dict("records"):
            clip = clips.setdefault((str(row["clip"]), str(row["subject"]), str(row["dataset"])), len(clips))
            probs = [as_number(row.get(f"p_{name}")) for name in system.classes]
            thousandths = [] if any(map(math.isnan, probs)) else [round(1000 * p) for p in probs]
            truth, predicted = class_index[str(row["truth"])], class_index[str(row["predicted"])]
            rows.append([clip, int(row["repeat"]), truth, predicted, *thousandths])
        systems.append({"name": system.name, "classes": system.classes, "rows": rows})
    named = [[clip, subject, data, sheet_id(titles.get(data, data), subject)] for clip, subject, data in clips]
    return {"clips": named, "systems": systems}


SECTION = Section("classes", "Classes and confusion", content)
