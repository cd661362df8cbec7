"""Published numbers that may stand beside the answer: those for the same datasets and the same classes."""

from collections.abc import Mapping
from typing import Any

from merflow.datasets.labels import published_as
from merflow.evaluation.metrics import OVERALL
from merflow.evaluation.published import differs, published


def named_in_print(main: Mapping[str, Any], study: Mapping[str, Any]) -> str | None:
    """The name that published tables have for the clips and classes of an experiment; None where they have none."""
    return published_as(_layouts(main, study), {row["name"] for row in main["classes"]})


def beside(main: Mapping[str, Any], study: Mapping[str, Any]) -> dict[str, Any] | None:
    """Published test results on the clips and classes of an experiment; None where there are none.

    Args:
        main: an experiment as of :func:`merflow.report.contents.results`.
        study: as of :func:`merflow.report.page.write_report`.

    Returns:
        ``data`` (their name in print), ``metrics`` (that were printed), ``rows`` (as printed: ``system, values``
        ({metric: share}), ``protocol, source, caveats``, and ``same``: whether it is the experiment's own system),
        ``best`` ({metric: the row with the highest}), ``same`` (the row of the own system, or None), ``outside``
        ({metric: whether that row's number lies outside our interval}).
    """
    data = named_in_print(main, study)
    rows: dict[str, dict[str, Any]] = {}
    system = str(_settings(main, study).get("system", ""))
    for (table, row, column, metric), known in published().items():
        if data is None or known["dataset"] != data or not table.endswith("-methods"):
            continue
        if column or metric not in OVERALL:
            continue
        named = {name: known[name] for name in ("protocol", "source")}
        same = row.casefold() == system.casefold()
        own = rows.setdefault(row, {"system": row, "values": {}, "same": same, "caveats": []} | named)
        own["values"][metric] = known["value"]
        own["caveats"] = list(dict.fromkeys([*own["caveats"], known["caveat"]] if known["caveat"] else own["caveats"]))
    if not rows:
        return None
    found = list(rows.values())
    metrics = [metric for metric in OVERALL if any(metric in row["values"] for row in found)]
    mine = next((row for row in found if row["same"]), None)
    # A name in brackets marks a second reading of a number that another row has.
    named = {
        metric: [row for row in found if metric in row["values"] and "[U" not in row["system"]] for metric in metrics
    }
    best = {metric: max(rows_, key=lambda row: row["values"][metric]) for metric, rows_ in named.items() if rows_}
    outside = {}
    for metric, printed in (mine["values"] if mine else {}).items():
        ours = main["metrics"][metric]
        outside[metric] = bool(differs(ours["value"], ours["low"], ours["high"], printed))
    return {"data": data, "metrics": metrics, "rows": found, "best": best, "same": mine, "outside": outside}


def made(main: Mapping[str, Any], study: Mapping[str, Any]) -> bool:
    """Whether merflow itself made the clips of an experiment; where its settings do not tell, whether the study is."""
    layouts = _layouts(main, study)
    return layouts == {"demo"} if layouts else bool(study["synthetic"])


def _settings(main: Mapping[str, Any], study: Mapping[str, Any]) -> Mapping[str, Any]:
    declared = {**study["config"].get("experiments", {}), **study.get("experiments", {})}
    return declared.get(main["name"], {})


def _layouts(main: Mapping[str, Any], study: Mapping[str, Any]) -> frozenset[str]:
    """Layouts of the datasets that an experiment recognises."""
    micro = _settings(main, study).get("micro", [])
    datasets = [micro] if isinstance(micro, str) else list(micro)
    return frozenset(str(study["config"].get("datasets", {}).get(name, {}).get("layout", "")) for name in datasets)
