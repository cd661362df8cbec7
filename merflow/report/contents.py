"""What the report says, taken from the study's tables: plain dictionaries and lists for the template."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from merflow.datasets.synthetic import scorer_people as strangers
from merflow.errors import InputError
from merflow.evaluation.leakage import CHECKS
from merflow.evaluation.metrics import OVERALL, fold_mean_f1, paired_difference, spread, subject_counts
from merflow.evaluation.published import ledger
from merflow.evaluation.settings import FigureSettings
from merflow.report import figures
from merflow.report.drawings import STAGES as RATES
from merflow.report.drawings import as_number, draw_in_page
from merflow.storage.files import safe_filename
from merflow.storage.tables import (
    ACCURACY_TRAIN,
    AUDIT,
    CLASS_SCOPE,
    CLASSES,
    CLIPS,
    COMPARISON,
    CURVES,
    DIFFERENCES,
    FLOW_STATISTICS,
    GRID,
    METRICS,
    PREDICTIONS,
    QUALITY,
    read_table,
)

TITLES = {"accuracy": "Accuracy", "uf1": "UF1", "uar": "UAR"}
FLOORS = ("majority", "linear-svm", "softmax")
ROWS_SHOWN = 200
"""Failed clips and problems that are listed in the page; the tables beside the report have all of them."""
STAGES = {
    "demo": "Draw the synthetic clips",
    "index": "List the clips",
    "align": "Find and crop faces",
    "scorer": "Learn to score frames",
    "scores": "Score frames",
    "keyframes": "Pick key-frames",
    "flow": "Optical flow",
    "cache": "Gather caches",
    "graph": "Build graphs",
    "pretrain": "Pre-train",
    "features": "Extract features",
    "splits": "Split the clips",
    "finetune": "Fine-tune",
    "table": "Tables of variants",
    "floor": "Floors",
    "evaluate": "Evaluate",
    "gather": "Gather tables",
    "differences": "Compare systems",
    "ensemble": "Gather trained networks",
    "calibration": "Calibrate",
    "export": "Export as ONNX",
    "audit": "Audit for leakage",
    "figure": "Draw figures",
    "spotting": "Measure the search of long videos",
    "look": "Look through clips to be answered",
    "answer": "Answer clips",
    "prediction": "Write answers",
}
"""Stages by the name of their folder of benchmarks, in the order that data flows."""
IN_FOLD = {"prior": "Pairs", "finetune": "Fine-tuning"}
"""Stages of training inside the folds, in their order; ``prior`` learns from pairs of clips."""
OF_STUDY = (
    "splits",
    "finetune",
    "table",
    "floor",
    "evaluate",
    "gather",
    "differences",
    "audit",
    "figure",
    "spotting",
    "look",
    "answer",
    "prediction",
)
OF_DATASET = ("demo", "index", "align", "scorer", "scores", "keyframes", "flow", "cache", "pretrain")


# --- The answer and the numbers ---------------------------------------------------------------------------------------


def results(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every experiment with its metrics, per-class values and confusion matrix; floors last.

    Each is a dictionary: ``name, floor``, ``reading`` (what its system was rebuilt from, if not the paper),
    ``protocol, metrics`` ({metric: {value, low, high}}), ``datasets`` (the same by dataset), ``classes`` (rows
    ``name, clips, f1, recall, precision``), ``absent``, ``confusion`` (rows ``name, cells`` of ``count, rate, part``),
    ``parts`` (of several datasets each one's ``name, of, classes, absent, confusion``), ``n_clips, n_subjects, repeats,
    expected, train`` (training accuracy, or None), ``flat`` (whether an interval has no width), ``spread``
    ({metric: standard deviation over the repeats}, NaN for one repeat), ``fold_f1`` (mean of the folds' macro F1),
    ``chosen`` ({settings: folds} of ``selection: nested``, else empty).
    """
    metrics = read_table(study["metrics"], METRICS)
    predictions = read_table(study["predictions"], PREDICTIONS)
    train = read_table(study["accuracy_train"], ACCURACY_TRAIN)
    found = []
    for name, table in metrics.groupby("experiment", sort=False):
        pooled = table[table["scope"] == "pooled"]
        own = predictions[predictions["experiment"] == name]
        scope = table["scope"].astype(str)
        labels = list(dict.fromkeys(s.removeprefix("class:") for s in scope if s.startswith("class:")))
        named = (s.removeprefix("dataset:") for s in scope if s.startswith("dataset:") and CLASS_SCOPE not in s)
        datasets = list(dict.fromkeys(named))
        classes = _classes(table, labels, "class:")
        of_train = train[(train["experiment"] == name) & (train["stage"] == "finetune")]
        found.append(
            {
                "name": name,
                "floor": is_floor(str(name), study),
                "reading": study.get("readings", {}).get(str(name), ""),
                "protocol": pooled["protocol"].iloc[0],
                "metrics": _values(pooled),
                "datasets": {d: _values(table[scope == f"dataset:{d}"]) for d in datasets} if len(datasets) > 1 else {},
                "classes": classes,
                "flat": any(value["low"] == value["high"] for value in _values(pooled).values()),
                "absent": [row["name"] for row in classes if not row["clips"]],
                "parts": [
                    {
                        "name": dataset,
                        "of": name,
                        "classes": (of := _classes(table, labels, f"dataset:{dataset}{CLASS_SCOPE}")),
                        "absent": [row["name"] for row in of if not row["clips"]],
                        "confusion": _confusion(own[own["dataset"] == dataset], labels),
                        "repeats": int(pooled["repeats"].iloc[0]),
                        "parts": [],
                    }
                    for dataset in (datasets if len(datasets) > 1 else [])
                ],
                "confusion": _confusion(own, labels),
                "n_clips": int(pooled["n_clips"].iloc[0]),
                "n_subjects": int(pooled["n_subjects"].iloc[0]),
                "repeats": int(pooled["repeats"].iloc[0]),
                "expected": _expected(study, str(name), datasets, labels),
                "chosen": of_train.loc[of_train["chosen"].astype(str).ne(""), "chosen"].value_counts().to_dict(),
                "spread": spread(own, labels),
                "fold_f1": fold_mean_f1(own),
                "train": float(np.average(of_train["accuracy"], weights=of_train["n"])) if len(of_train) else None,
            }
        )
    return sorted(found, key=lambda result: result["floor"])


def answers_by_clip(study: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What every system answered to every clip, for the lists behind the confusion matrices.

    Returns:
        ``clips``: [clip, subject, dataset, id of the subject's contact sheet]; ``systems``: of each its ``name``,
        ``classes`` and ``rows``: [place in ``clips``, repeat, place of the true class, of the predicted one, and the
        probability of each class in thousandths, or nothing where there is none].
    """
    predictions = read_table(study["predictions"], PREDICTIONS)
    clips: dict[tuple[str, str, str], int] = {}
    systems = []
    for result in found:
        own = predictions[predictions["experiment"] == result["name"]]
        labels = [str(row["name"]) for row in result["classes"]]
        place = {label: number for number, label in enumerate(labels)}
        rows = []
        for row in own.to_dict("records"):
            if str(row["truth"]) not in place or str(row["predicted"]) not in place:
                continue
            clip = clips.setdefault((str(row["clip"]), str(row["subject"]), str(row["dataset"])), len(clips))
            shares = [as_number(row.get(f"p_{label}")) for label in labels]
            known = [] if any(map(math.isnan, shares)) else [round(1000 * share) for share in shares]
            rows.append([clip, int(row["repeat"]), place[str(row["truth"])], place[str(row["predicted"])], *known])
        systems.append({"name": str(result["name"]), "classes": labels, "rows": rows})
    named = [[clip, subject, dataset, sheet_id(dataset, subject)] for clip, subject, dataset in clips]
    return {"clips": named, "systems": systems}


def sheet_id(dataset: str, subject: str) -> str:
    """The id of a subject's contact sheet in the page."""
    return f"sheet-{safe_filename(dataset)}-{safe_filename(subject)}"


def answer(study: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The one thing that the report says first.

    ``main``: the trained experiment with the highest UF1 (the best floor where nothing was trained); ``of``: among how
    many it was chosen; ``floor``: the best floor, by UF1, on the same clips, or None; ``difference``: ``main`` minus
    ``floor`` by paired bootstrap over subjects, {metric: {value, low, high}}; ``verdict``: above, below, unclear or
    None; ``seen``: whether people of the test were in its training, by its protocol or by the leakage audit.
    """
    trained = [result for result in found if not result["floor"]]
    main = _best(trained or found)
    predictions = read_table(study["predictions"], PREDICTIONS)
    own = predictions[predictions["experiment"] == main["name"]]
    labels = [row["name"] for row in main["classes"]]
    best, difference = None, None
    for result in sorted((r for r in found if r["floor"]), key=_uf1, reverse=True):
        if result is main:
            continue
        try:
            other = predictions[predictions["experiment"] == result["name"]]
            difference = paired_difference(own, other, labels)
        except InputError:  # other clips or classes: not comparable
            continue
        best = result
        break
    named = {
        name: {"value": value, "low": low, "high": high} for name, (value, low, high) in (difference or {}).items()
    }
    verdict = None
    if named and not math.isnan(named["uf1"]["low"]):
        gain = named["uf1"]
        verdict = "above" if gain["low"] > 0 else "below" if gain["high"] < 0 else "unclear"
    audited = next((entry for entry in leakage(study) or [] if entry["name"] == main["name"]), {"leaks": []})
    seen = main["protocol"] == "paper-holdout" or bool(audited["leaks"])
    return {"main": main, "of": len(trained), "floor": best, "difference": named, "verdict": verdict, "seen": seen}


def leakage(study: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """What the leakage audit found, by experiment; None where the study has none.

    Each is a dictionary: ``name, folds`` (folds of all repeats), ``checks`` (number), ``leaks``: rows ``check, note``
    (some names), ``about`` (what the size counts), ``folds`` (with the leak), ``least, most`` (size in those folds).
    """
    if "audit" not in study:
        return None
    found = []
    for name, rows in read_table(study["audit"], AUDIT).groupby("experiment", sort=False):
        leaks = []
        for check, own in rows[rows["size"] > 0].groupby("check", sort=False):
            sizes = own["size"].astype(int)
            size = {"folds": len(own), "least": int(sizes.min()), "most": int(sizes.max())}
            leaks.append({"check": str(check), "about": CHECKS.get(str(check), ""), "note": own["note"].iloc[0]} | size)
        folds = rows[["repeat", "fold"]].drop_duplicates()
        found.append({"name": name, "folds": len(folds), "checks": rows["check"].nunique(), "leaks": leaks})
    return found


def differences(study: Mapping[str, Any]) -> dict[str, Any] | None:
    """Which differences are real: ``pairs`` (rows ``first, second, n_subjects, metrics``) and ``real`` (their number).

    ``metrics`` is, for each metric, ``value, low, high, p`` (corrected) and ``verdict``. Pairs with a trained system
    come first. None where the study has no such table.
    """
    if "differences" not in study:
        return None
    pairs = []
    for (first, second), rows in read_table(study["differences"], DIFFERENCES).groupby(["first", "second"], sort=False):
        named = {"value": "difference", "low": "ci_low", "high": "ci_high", "p": "p_holm"}
        metrics = {
            row["metric"]: {key: as_number(row[column]) for key, column in named.items()} | {"verdict": row["verdict"]}
            for row in rows.to_dict("records")
        }
        floors = is_floor(str(first), study) and is_floor(str(second), study)
        subjects = int(rows["n_subjects"].iloc[0])
        pairs.append({"first": first, "second": second, "floors": floors, "n_subjects": subjects, "metrics": metrics})
    pairs.sort(key=lambda pair: pair["floors"])
    real = sum(pair["metrics"]["uf1"]["verdict"] != "unclear" for pair in pairs)
    return {"pairs": pairs, "real": real}


def is_floor(name: str, study: Mapping[str, Any]) -> bool:
    """Whether an experiment is a baseline: by its system where the study tells it, else by its name.

    A network is one where it runs beside the declared experiments (`floors`), not where it is one of them.
    """
    declared = study["config"].get("experiments", {})
    experiments = {**declared, **study.get("experiments", {})}
    if name in experiments:
        return experiments[name]["system"] in FLOORS or (bool(declared) and name not in declared)
    return name.removeprefix("floor-").startswith(FLOORS)


def _best(found: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    if not found:
        raise InputError("the study's metrics have no pooled row; nothing can be reported")
    return max(found, key=_uf1)


def _uf1(result: Mapping[str, Any]) -> float:
    value = result["metrics"].get("uf1", {"value": math.nan})["value"]
    return -1.0 if math.isnan(value) else value


def _values(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    columns = rows[["metric", "value", "ci_low", "ci_high"]].itertuples(index=False)
    return {m: {"value": as_number(v), "low": as_number(low), "high": as_number(high)} for m, v, low, high in columns}


def _classes(metrics: pd.DataFrame, labels: Sequence[str], scope: str) -> list[dict[str, Any]]:
    """Rows ``name, clips, f1, recall, precision`` of the classes; ``scope``: what stands before a class."""
    found = []
    for label in labels:
        rows = metrics[metrics["scope"].astype(str) == scope + label]
        found.append({"name": label, "clips": int(rows["n_clips"].iloc[0]), **_values(rows)})
    return found


def _confusion(predictions: pd.DataFrame, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Counts summed over folds and repeats, the share of each true class, and of the largest count (``part``)."""
    counts = subject_counts(predictions, labels).sum((0, 1))
    most = max(1, int(counts.max()))

    def cell(n: int, total: int) -> dict[str, float]:
        return {"count": int(n), "rate": float(n / total) if total else math.nan, "part": float(n / most)}

    return [
        {"name": name, "cells": [cell(n, row.sum()) for n in row]} for name, row in zip(labels, counts, strict=True)
    ]


def _expected(study: Mapping[str, Any], experiment: str, datasets: Sequence[str], labels: Sequence[str]) -> int | None:
    """Labelled clips of the datasets, processed or not: those that a perfect run would have scored."""
    if experiment in study.get("counts", {}):
        return sum(row["found"] for row in study["counts"][experiment])
    tables = {name.split(" (")[0]: path for name, path in study["clips"].items()}
    if not all(name in tables for name in datasets):
        return None
    return sum(int(read_table(tables[name], CLIPS)["label"].isin(labels).sum()) for name in datasets)


NAMED = 3
"""A caveat names the published rows that it is about if they are at most so many."""
VARIANTS = {
    "accuracy": "Accuracy on test clips",
    "uf1": "UF1 on test clips",
    "accuracy_finetune": "Accuracy on training clips",
    "accuracy_pretrain": "Pre-training: accuracy on macro images that train",
}


def variants(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every table of variants: ``name, title, of, tried`` (cells), ``caveat`` and ``parts``, one for each metric; where
    it is drawn, ``svg`` and ``apart`` (see :func:`drawn_figures`).

    A part has ``title, columns, rows`` of ``name, cells``; a cell ``value, low, high, published`` and ``shade`` (0 to 1
    between the least and the largest value of the part).
    """
    found = []
    for name, path in study.get("variants", {}).items():
        table = read_table(path, GRID)
        rows, columns = (list(dict.fromkeys(table[key])) for key in ("row", "column"))
        parts = []
        for metric, title in VARIANTS.items():
            own = {(r["row"], r["column"]): r for r in table[table["metric"] == metric].to_dict("records")}
            values = [as_number(r["value"]) for r in own.values()]
            low, high = min(values), max(values)
            cells = [
                {"name": row, "cells": [_variant(own[row, column], low, high) for column in columns]} for row in rows
            ]
            parts.append({"title": title, "columns": columns, "rows": cells})
        settings, compared = study["config"]["tables"][name], study.get("figure_tables", {}).get(name)
        found.append(
            {
                "name": name,
                "title": study["tables"][name],
                "of": settings["of"],
                "alpha": any(name.startswith("alpha ") for name in [*rows, *columns]),
                "paper": bool(settings["published"]),
                "caveat": next((c for c in table["caveat"].astype(str) if c and c != "nan"), ""),
                "tried": len(rows) * len(columns),
                "parts": parts,
                "svg": draw_in_page(
                    compared, FigureSettings.from_params(study["figures"][name]), f"variants{len(found)}"
                )
                if compared
                else "",
                "csv": Path(compared) if compared else "",
                "apart": _apart(read_table(compared, COMPARISON)) if compared else None,
            }
        )
    return found


def drawn_figures(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every block of ``figures``: ``name, kind, title, note, published, tried, synthetic, svg``.

    ``rows`` (of methods and stages): ``name, stage (or metric), data, protocol, value, low, high, published``, and
    ``several`` (whether methods are compared by more than one metric); ``spread`` (of flow
    statistics): for each class and for all, ``name, clips, low, median, high, variation``; ``apart`` (of the others):
    ``of`` (numbers that were published beside ours), ``number`` of those that differ, ``entries`` (of the ledger, that
    could explain it: number, words and count of the differences that it could explain; most first), ``caveats`` (each
    with the few rows that it is about, where there are several).
    """
    found = []
    for name, path in study.get("figure_tables", {}).items():
        settings = study["figures"][name]
        if settings["kind"] == "variants":
            continue
        own = {key: settings[key] for key in ("kind", "title", "note", "published", "tried", "synthetic")}
        own |= {"name": name, "rows": [], "several": False, "spread": [], "apart": None}
        own["note"] = " ".join(filter(None, [own["note"], settings.get("reading")]))
        own |= {
            "svg": draw_in_page(path, FigureSettings.from_params(settings), f"figure{len(found)}"),
            "csv": Path(path),
        }
        if settings["kind"] == "flow-statistics":
            table = read_table(path, FLOW_STATISTICS)
            own["spread"] = [_spread(label, rows["mean"]) for label, rows in table.groupby("label", sort=False)]
            own["spread"].append(_spread("all", table["mean"]))
        else:
            table = read_table(path, COMPARISON)
            own["apart"] = _apart(table)
            if settings["kind"] != "confusion":
                own["rows"] = [_compared(row) for row in table.to_dict("records")]
                own["several"] = settings["kind"] == "methods" and table["metric"].nunique() > 1
        found.append(own)
    return found


def _apart(table: pd.DataFrame) -> dict[str, Any]:
    """How many published numbers differ from ours, and what could explain it."""
    beside = table[table["differs"].isin(["yes", "no"])]
    differ = beside[beside["differs"] == "yes"]
    counts = Counter(number for text in differ["ledger"].astype(str) for number in map(int, text.split()))
    order = sorted(counts, key=lambda number: (-counts[number], number))
    named = [{"number": number, "about": ledger()[number], "count": counts[number]} for number in order]
    return {"of": len(beside), "number": len(differ), "entries": named, "caveats": _caveats(table)}


def _caveats(table: pd.DataFrame) -> list[str]:
    """What must be known of published numbers; with the rows that it is about where they are few and others differ."""
    about: dict[str, dict[str, None]] = {}
    for row in table.to_dict("records"):
        text = str(row["caveat"])
        if text and text != "nan":
            rows = about.setdefault(text, {})
            if math.isnan(as_number(row["value"])):
                rows[row["row"]] = None
    if len(about) == 1:
        return list(about)
    return [f"{', '.join(rows)}: {text}" if 0 < len(rows) <= NAMED else text for text, rows in about.items()]


def _compared(row: Mapping[str, Any]) -> dict[str, Any]:
    named = {"value": "value", "low": "ci_low", "high": "ci_high", "published": "published"}
    protocol = row.get("protocol", "")
    return {
        "name": row["row"],
        "stage": RATES.get(row["metric"], row["metric"].upper()),
        "data": row["column"],
        "protocol": protocol if isinstance(protocol, str) else "",
    } | {name: as_number(row[key]) for name, key in named.items()}


def _spread(name: str, values: pd.Series) -> dict[str, Any]:
    """Range of the clips' mean flow, and their deviation as a share of its mean."""
    low, middle, high = values.quantile([0, 0.5, 1])
    variation = float(values.std(ddof=0) / values.mean()) if values.mean() else math.nan
    return {"name": name, "clips": len(values), "low": low, "median": middle, "high": high, "variation": variation}


def _variant(row: Mapping[str, Any], least: float, most: float) -> dict[str, float]:
    value = as_number(row["value"])
    shade = (value - least) / (most - least) if most > least else 0.5
    named = {"low": "ci_low", "high": "ci_high", "published": "published"}
    return {"value": value, "shade": shade} | {name: as_number(row[key]) for name, key in named.items()}


# --- The data ---------------------------------------------------------------------------------------------------------


def datasets(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every dataset: its counts by class (indexed, processed, failed), its failed clips, its problems, its quality."""
    found = []
    for name, path in study["clips"].items():
        clips = read_table(path, CLIPS)
        quality = read_table(study["quality"][name], QUALITY)
        status = dict(zip(quality["clip"], quality["status"], strict=True))
        good = clips["clip"].map(status).eq("ok")
        classes_path = study.get("classes", {}).get(name)
        published = read_table(classes_path, CLASSES) if classes_path else pd.DataFrame(columns=CLASSES)
        expected = {
            row["label"]: int(row["expected"]) for _, row in published.iterrows() if _is_number(row["expected"])
        }
        counts = []
        for label in [*(label for label in _labels(published, clips) if label), ""]:
            of = clips["label"].eq(label)
            if of.any() or label in expected:
                counts.append(_count(label, of, good) | {"expected": expected.get(label)})
        failed = quality[quality["status"] != "ok"]
        problems_path = study.get("problems", {}).get(name)
        problems = read_table(problems_path, ["problem"]).astype(str) if problems_path else pd.DataFrame()
        corrected = problems[problems["effect"] == "corrected"] if "effect" in problems else problems[:0]
        problems = problems.drop(corrected.index)
        found.append(
            {
                "name": name,
                "synthetic": is_synthetic(name, study),
                "kinds": sorted(set(clips["kind"])),
                "subjects": clips["subject"].nunique(),
                "counts": counts,
                "total": _count("", pd.Series(True, clips.index), good),
                "failed": failed.to_dict("records")[:ROWS_SHOWN],
                "failed_number": len(failed),
                "class_set": str(published["class_set"].iloc[0]) if len(published) else "",
                "source": str(published["source"].iloc[0]) if len(published) else "",
                "expected": sum(expected.values()) if expected else None,
                "crops": int((quality["alignment"] == "crop").sum()) if "alignment" in quality else 0,
                "corrected": corrected.to_dict("records"),
                "problems": problems.to_dict("records")[:ROWS_SHOWN],
                "problems_number": len(problems),
                "quality": _quality(quality[quality["status"] == "ok"]),
            }
        )
    return found


def _labels(published: pd.DataFrame, clips: pd.DataFrame) -> list[str]:
    """Classes in the order of the class set; those that only the clips have come after."""
    return list(dict.fromkeys([*published["label"].astype(str), *clips["label"]]))


def _is_number(value: Any) -> bool:
    return value != "" and not (isinstance(value, float) and math.isnan(value))


def recognised(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the experiments recognise: one entry for those that share datasets and classes.

    Each is a dictionary: ``experiments`` (names), ``datasets``, ``rows`` (``label, expected, found``), ``total`` (the
    same over all classes).
    """
    found: dict[str, dict[str, Any]] = {}
    for name, rows in study.get("counts", {}).items():
        micro = study["experiments"][name]["micro"]
        datasets = [micro] if isinstance(micro, str) else list(micro)
        entry = found.setdefault(json.dumps([datasets, rows]), {"experiments": [], "datasets": datasets, "rows": rows})
        entry["experiments"].append(name)
    for entry in found.values():
        expected = [row["expected"] for row in entry["rows"]]
        total = None if None in expected else sum(expected)
        entry["total"] = {"expected": total, "found": sum(row["found"] for row in entry["rows"])}
    return list(found.values())


def is_synthetic(dataset: str, study: Mapping[str, Any]) -> bool:
    """Whether a dataset is drawn by the workflow; where its settings are not known, whether the study is."""
    settings = study["config"].get("datasets", {}).get(dataset.split(" (")[0])
    return bool(study["synthetic"]) if settings is None else settings.get("layout") == "demo"


def _count(label: str, of: pd.Series, good: pd.Series) -> dict[str, Any]:
    return {"label": label, "indexed": int(of.sum()), "ok": int((of & good).sum()), "failed": int((of & ~good).sum())}


def _quality(table: pd.DataFrame) -> list[dict[str, Any]]:
    titles = {
        "face_width_px": "Face width in the source, pixels",
        "interocular_px": "Distance between the eyes in the source, pixels",
        "head_motion_px": "Head motion taken off, pixels of the crop",
        "frames": "Frames per clip",
    }
    rows = []
    if len(table) and table["frames"].astype(float).max() == 0:  # flow images
        return rows
    for name, title in titles.items():
        values = pd.to_numeric(table[name], errors="coerce").dropna()
        if len(values):
            low, middle, high = values.quantile([0, 0.5, 1])
            digits = 2 if name == "head_motion_px" else 0
            rows.append({"title": title, "median": middle, "low": low, "high": high, "digits": digits})
    return rows


# --- The training -----------------------------------------------------------------------------------------------------


def training_curves(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One drawing per pre-trained graph, one per experiment and stage in its folds (mean over folds and repeats)."""
    table = read_table(study["curves"], CURVES)
    drawn = []
    pretrain = table[table["stage"] == "pretrain"]
    shown: dict[str, list[str]] = {}
    for (experiment, name), part in pretrain.groupby(["experiment", "name"], sort=False):
        # Experiments that share their weights share their curve; others of the same graph have one of their own.
        course = part[["repeat", "epoch", "split", "loss", "accuracy"]].to_csv(index=False)
        shown.setdefault(f"{name}\n{course}", []).append(str(experiment))
    for course, experiments in shown.items():
        name = course.split("\n", 1)[0]
        part = pretrain[(pretrain["experiment"] == experiments[0]) & (pretrain["name"] == name)]
        several = pretrain["experiment"].nunique() > 1
        title = f"{name} ({', '.join(experiments)})" if several else name
        drawn.append(_curves("Pre-training", title, part.assign(run=part["repeat"].astype(str)), len(drawn)))
    for stage, title in IN_FOLD.items():
        for name, part in table[table["stage"] == stage].groupby("experiment", sort=False):
            runs = part["repeat"].astype(str) + " " + part["name"].astype(str)
            drawn.append(_curves(title, str(name), part.assign(run=runs), len(drawn)))
    return drawn


def _curves(stage: str, name: str, table: pd.DataFrame, place: int) -> dict[str, Any]:
    numbers = table.assign(**{c: pd.to_numeric(table[c], errors="coerce") for c in ("epoch", "loss", "accuracy")})
    runs = table["run"].nunique()
    kind = "repeats" if stage == "Pre-training" else "folds and repeats" if table["repeat"].nunique() > 1 else "folds"
    title = f"{stage}: {name}"
    note = f"mean of {runs} {kind}" if runs > 1 else ""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name.split(" (")[0]).strip("-")
    own = {"name": f"training-{place + 1}-{plain}", "csv": figures.course(numbers).round(6)}
    return {"note": note, "svg": figures.curves(title, numbers, f"curve{place}")} | own


# --- The machine ------------------------------------------------------------------------------------------------------


def timings(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Jobs, summed and longest time, and largest memory of each stage, from Snakemake's benchmarks.

    Other studies may share the folder: of stages that belong to a study or a dataset, only the files of this study and
    its datasets count, those that teach a scorer of key-frames among them.
    """
    folder = Path(study["benchmarks"])
    names = {name.split(" (")[0] for name in study["clips"]}
    chosen = [preparation.get("keyframes", {}) for preparation in study["config"].get("preparations", {}).values()]
    names |= {own.get("learn_from") or strangers.NAME for own in chosen if own.get("method") == "adaptive"}
    rows = []
    for stage, title in STAGES.items():
        files = sorted((folder / stage).rglob("*.tsv"))
        mine = {study["name"]} if stage in OF_STUDY else names if stage in OF_DATASET else None
        files = [f for f in files if mine is None or _first(f, folder / stage) in mine]
        table = [pd.read_csv(file, sep="\t", na_values=["-", "NA"]) for file in files]
        table = [t for t in table if "s" in t]
        if not table:
            continue
        jobs = pd.concat(table, ignore_index=True)
        seconds = pd.to_numeric(jobs["s"], errors="coerce").fillna(0)
        memory = pd.to_numeric(jobs["max_rss"], errors="coerce").max() if "max_rss" in jobs else math.nan
        rows.append(
            {
                "stage": title,
                "jobs": len(jobs),
                "seconds": float(seconds.sum()),
                "longest": float(seconds.max()),
                "memory": 0.0 if math.isnan(memory) else float(memory),
            }
        )
    return rows


def _first(file: Path, folder: Path) -> str:
    """The first part of a path inside ``folder``, without the ending of a file."""
    parts = file.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else file.name.removesuffix(".tsv")


def forests(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A drawing per metric, with all experiments: ``name, svg, csv`` (a table of what is drawn)."""
    drawn = []
    for metric in OVERALL:
        rows = [
            {"name": result["name"], "floor": result["floor"], **result["metrics"][metric]}
            for result in found
            if metric in result["metrics"] and not math.isnan(result["metrics"][metric]["value"])
        ]
        svg = figures.forest(TITLES[metric], rows, f"forest-{metric}")
        table = pd.DataFrame(rows, columns=["name", "value", "low", "high", "floor"])
        named = {"name": "experiment", "low": "ci_low", "high": "ci_high"}
        drawn.append({"name": f"results-{metric}", "svg": svg, "csv": table.rename(columns=named)})
    return drawn
