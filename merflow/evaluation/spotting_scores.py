"""Score any table of spotted intervals: ``merflow score predictions.csv truth.csv`` (docs/spotting.md)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from merflow.datasets.checks import no_fps, no_frame_number, parse_fps, parse_frame_number
from merflow.datasets.workbook import Row, read_workbook
from merflow.errors import InputError
from merflow.evaluation.interval_matching import LEAST_OVERLAP, overlaps
from merflow.evaluation.interval_metrics import KINDS, interval_ends, spotting_metrics
from merflow.storage.tables import unescape_formula

REQUIRED = {"video": ["video", "vid"], "onset": ["onset", "pred_onset"], "offset": ["offset", "pred_offset"]}
OPTIONAL = {
    "subject": ["subject"], "apex": ["apex"], "label": ["label", "emotion"], "kind": ["kind", "type"],
    "dataset": ["dataset"], "experiment": ["experiment"],
}  # fmt: skip
"""Columns of both tables, with the names that the challenges use for them; all others are ignored."""
VIDEO_COLUMNS = {name: [name] for name in ("video", "first", "last", "fps")}
KIND_WORDS = {"micro": "micro", "macro": "macro", "me": "micro", "mae": "macro"}
TITLES = {
    "f1": "F1", "precision": "precision", "recall": "recall", "false_alarms_per_minute": "false alarms/min",
    "apex_error_ms": "apex error (ms)", "f1_analysis": "F1 analysis", "strs": "STRS",
}  # fmt: skip


def score_intervals(
    predictions: Path,
    truth: Path,
    videos: Path | None = None,
    classes: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Score a table of spotted intervals against a table of true ones.

    Both have the columns ``video, onset, offset``, frame numbers with both ends included. ``kind`` (``micro`` or
    ``macro``; without it all are micro), ``apex``, ``label``, ``subject`` and ``dataset`` may be left out; a dataset
    counts if all tables name it. A true row without onset and offset is a video without expression. Predictions may
    have a column ``experiment``: each is scored separately.

    Args:
        predictions: CSV file or workbook.
        truth: CSV file or workbook.
        videos: all videos that were searched, ``video, first, last, fps``: gives false alarms per minute and errors
            of the apex in ms. None: the videos of both tables.
        classes: labels of the analysis; None: all that occur. Other true labels are left out of the analysis.
        resamples: of the bootstrap over people.
        seed: of the bootstrap.

    Returns:
        Rows of :func:`merflow.evaluation.interval_metrics.spotting_metrics` with ``experiment`` (empty without such a
        column) and ``notes``, where the public scorer of the challenges would count differently.

    Raises:
        InputError: a file cannot be scored; the message says where and why.
    """
    spotted, true = _read_intervals(predictions), _read_intervals(truth, of_truth=True)
    searched = _read_videos(videos) if videos else None
    tables = {predictions: spotted, truth: true} | ({videos: searched} if videos and searched is not None else {})
    if not all("dataset" in table for table in tables.values()):
        tables = {path: table.assign(dataset="") for path, table in tables.items()}
    listed = _videos(tables, searched is not None)
    spotted, true = (tables[path].dropna(subset="onset") for path in (predictions, truth))
    if classes is None:
        classes = sorted({*true["label"], *spotted["label"]} - {""})
    recognised = bool((spotted["label"] != "").any() and (true["label"] != "").any())
    kinds = [kind for kind in KINDS if kind in {*true["kind"], *spotted["kind"]}] or [KINDS[0]]
    experiments = dict(list(spotted.groupby("experiment", sort=False))) if "experiment" in spotted else {"": spotted}
    rows = []
    for name, part in experiments.items():
        scores = spotting_metrics(listed, true, part, kinds, classes if recognised else (), resamples, seed)
        scores = scores if listed["dataset"].nunique() > 1 else scores[: len(scores) // 2]  # Else twice the same.
        notes = list(scorer_differences(listed, true, part))
        rows += [{"experiment": name, **row, "notes": notes} for row in scores]
    return rows


def scorer_differences(videos: pd.DataFrame, truth: pd.DataFrame, spotted: pd.DataFrame) -> Iterator[str]:
    """Yield what the public scorer of spot-then-recognise (of the challenges since 2023) leaves out or counts twice."""
    keys = ["dataset", "video"]
    labelled = pd.MultiIndex.from_frame(truth[keys])
    if free := int((~pd.MultiIndex.from_frame(spotted[keys]).isin(labelled)).sum()):
        yield f"{free} false alarms lie in videos without labels; the public scorer leaves them out"
    people = videos[[*keys, "subject"]]
    named, seen = (table[keys].merge(people, on=keys) for table in (truth, spotted))
    silent = ~pd.MultiIndex.from_frame(named[["dataset", "subject"]]).isin(
        pd.MultiIndex.from_frame(seen[["dataset", "subject"]])
    )
    if missed := int(silent.sum()):
        yield f"{missed} labels are of people without any prediction; the public scorer does not count them as missed"
    groups = dict(list(spotted.groupby([*keys, "kind"])))
    double = 0
    for key, true in truth.groupby([*keys, "kind"]):
        if key in groups:
            shared = overlaps(interval_ends(true), interval_ends(groups[key]))
            double += int(((shared >= LEAST_OVERLAP).sum(axis=0) > 1).sum())
    if double:
        yield f"{double} predictions overlap several labels by half; the public scorer may match one with each of them"


def _read_intervals(path: Path, of_truth: bool = False) -> pd.DataFrame:
    """The intervals of a table, with those optional columns that it has, and ``apex``, ``label`` and ``kind``.

    A row of the truth may have no onset and offset.
    """
    rows = read_workbook(path, REQUIRED, optional=OPTIONAL)
    if not rows and of_truth:
        raise InputError(f"{path} has no row below its header; a row per interval is expected")
    table = pd.DataFrame([_interval(path, row, of_truth) for row in rows], columns=["row", *REQUIRED, *OPTIONAL])
    missing = [name for name in ("subject", "dataset", "experiment") if not rows or name not in rows[0].typed]
    table = table.drop(columns=missing)
    for name in table.columns.intersection(["subject", "dataset", "experiment"]):
        if (table[name] == "").any():
            raise InputError(f"{path}, row {table['row'][table[name] == ''].iloc[0]}: column {name} is empty")
    return table.astype(dict.fromkeys(("onset", "apex", "offset"), "float"))


def _interval(path: Path, row: Row, of_truth: bool) -> dict[str, Any]:
    """The cells of a row: frame numbers (None where empty), kind, and all others as text."""
    cells: dict[str, Any] = {name: unescape_formula(cell) for name, cell in row.cells.items()}
    where = f"{path}, row {row.number}"
    if not cells["video"]:
        raise InputError(f"{where}: column video is empty")
    absent = of_truth and not cells["onset"] and not cells["offset"]
    for name in ("onset", "apex", "offset"):
        text = cells[name]
        cells[name] = parse_frame_number(text)
        if text and cells[name] is None:
            raise InputError(f"{where}: {name} {no_frame_number(text)}")
        if not text and name != "apex" and not absent:
            raise InputError(f"{where}: column {name} is empty")
    if not absent and cells["onset"] > cells["offset"]:
        raise InputError(f"{where}: onset {cells['onset']} comes after offset {cells['offset']}")
    kind = cells["kind"].lower() or "micro"
    if kind not in KIND_WORDS:
        raise InputError(f"{where}: kind {kind!r}; allowed: {', '.join(KIND_WORDS)}")
    return {"row": row.number, **cells, "kind": KIND_WORDS[kind]}


def _read_videos(path: Path) -> pd.DataFrame:
    rows = read_workbook(path, VIDEO_COLUMNS, optional={name: [name] for name in ("subject", "dataset")})
    parsed = []
    for row in rows:
        cells: dict[str, Any] = dict(row.cells)
        for name, parse, why in (
            ("first", parse_frame_number, no_frame_number), ("last", parse_frame_number, no_frame_number),
            ("fps", parse_fps, no_fps),
        ):  # fmt: skip
            cells[name] = parse(row.cells[name])
            if cells[name] is None:
                raise InputError(f"{path}, row {row.number}: {name} {why(row.cells[name])}")
        parsed.append({"row": row.number, **cells})
    if not rows:
        raise InputError(f"{path} has no row below its header; a row per video is expected")
    return pd.DataFrame(parsed).drop(columns=[name for name in ("subject", "dataset") if name not in rows[0].typed])


def _videos(tables: Mapping[Path, pd.DataFrame], complete: bool) -> pd.DataFrame:
    """All videos, once each, with ``subject`` (empty if no table has it); ``complete``: the last table has them all."""
    keys = ["dataset", "video"]
    parts = [table.assign(path=str(path)) for path, table in tables.items()]
    named = pd.concat([part for part in parts if "subject" in part] or [part.assign(subject="") for part in parts])
    people = named.groupby(keys, sort=False)["subject"].nunique()
    if (people > 1).any():
        dataset, video = people[people > 1].index[0]
        rows = named[(named["dataset"] == dataset) & (named["video"] == video)].drop_duplicates("subject")
        places = " and ".join(f"{row.subject!r} ({row.path}, row {row.row})" for row in rows.itertuples())
        raise InputError(f"video {video!r} has several subjects: {places}; a video shows one person")
    subjects = named.drop_duplicates(keys)[[*keys, "subject"]]
    every = pd.concat(parts).drop_duplicates(keys)[[*keys, "path", "row"]].merge(subjects, how="left", on=keys)
    for row in every[every["subject"].isna()].itertuples():
        raise InputError(
            f"{row.path}, row {row.row}: no table says the subject of video {row.video!r}; add a column subject here, "
            "or a row of this video without onset and offset to the true intervals"
        )
    columns = ["first", "last", "fps"]
    if not complete:
        return every.assign(**dict.fromkeys(columns, math.nan))
    every = every.merge(parts[-1].drop_duplicates(keys)[[*keys, *columns]], how="left", on=keys)
    for row in every[every["fps"].isna()].itertuples():
        raise InputError(f"{row.path}, row {row.row}: video {row.video!r} is not in {parts[-1]['path'].iloc[0]}")
    return every


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The scores as a table for people, with notes on what the public scorer would count differently."""
    shown = [name for name in TITLES if any(math.isfinite(row[name]) for row in rows)]
    names = [name for name in ("experiment", "dataset") if any(row[name] for row in rows)]
    header = [*names, "kind", "TP", "FP", "FN", *(TITLES[name] for name in shown)]
    cells = [
        [*(row[name] for name in (*names, "kind", "tp", "fp", "fn")), *(_with_interval(row, name) for name in shown)]
        for row in rows
    ]
    lines = [line.rstrip() for line in tabulate(cells, header, "plain", disable_numparse=True).splitlines()]
    if any(math.isfinite(row["f1_low"]) for row in rows):
        lines.append("[low, high]: 95 % interval over people (bootstrap)")
    notes = {(row["experiment"], note): None for row in rows for note in row["notes"]}
    lines += [f"{experiment}: {note}" if experiment else note for experiment, note in notes]
    if "f1_analysis" in shown:
        lines.append("what the public scorer calls UAR is the mean precision of the classes; F1 analysis has P and R")
    return "\n".join(lines)


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    digits = 1 if name in ("false_alarms_per_minute", "apex_error_ms") else 4
    if not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}" + (f" [{low:.{digits}f}, {high:.{digits}f}]" if math.isfinite(low) else "")
