"""The table behind each figure of a study, by its kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from merflow.evaluation.flow_statistics import flow_statistics
from merflow.evaluation.published import confusion, methods, of_variants, stages
from merflow.storage.tables import (
    ACCURACY_TRAIN,
    COMPARISON,
    FLOW_STATISTICS,
    GRID,
    METRICS,
    PREDICTIONS,
    read_table,
    write_table,
)


def tabulate_figure(inputs: Mapping[str, Any], output: Path, settings: Mapping[str, Any]) -> None:
    """Write the table behind a figure.

    Args:
        inputs: ``metrics, accuracy, predictions`` (tables of the study), ``table`` (of variants) or ``caches``: those
            that the kind needs.
        output: see :data:`merflow.storage.tables.COMPARISON`, of flow statistics
            :data:`merflow.storage.tables.FLOW_STATISTICS`.
        settings: ``kind, tried``; ``published`` (name of a published table, or None); ``experiments``, or of flow
            statistics ``recognised`` (see :func:`merflow.evaluation.flow_statistics.flow_statistics`).
    """
    if settings["kind"] == "flow-statistics":
        caches = [Path(file) for file in inputs["caches"]]
        write_table(flow_statistics(caches, settings["recognised"]), output, FLOW_STATISTICS)
        return
    own = {"paper": settings["published"], "tried": settings["tried"]}
    if settings["kind"] == "variants":
        rows = of_variants(read_table(inputs["table"], GRID), **own)
    else:
        metrics, experiments = read_table(inputs["metrics"], METRICS), settings["experiments"]
        match settings["kind"]:
            case "methods":
                rows = methods(metrics, experiments, **own)
            case "stages":
                rows = stages(metrics, read_table(inputs["accuracy"], ACCURACY_TRAIN), experiments, **own)
            case "confusion":
                rows = confusion(read_table(inputs["predictions"], PREDICTIONS), metrics, experiments, **own)
    write_table(rows, output, COMPARISON)
