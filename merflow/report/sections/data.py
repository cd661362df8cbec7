"""Section "Clips": the clips of each dataset by class, indexed, processed and failed."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from merflow.report.report_data import DatasetFiles, ReportData
from merflow.report.section import Section
from merflow.report.settings import ClassCount
from merflow.report.systems import as_number
from merflow.storage.tables import CLASSES, CLIPS, PROBLEMS, QUALITY, read_table

QUALITY_TITLES = {
    "face_width_px": ("Face width in the source, pixels", 0),
    "interocular_px": ("Distance between the eyes in the source, pixels", 0),
    "head_motion_px": ("Subtracted head motion, pixels of the crop", 2),
    "frames": ("Frames per clip", 0),
}
"""Columns of ``quality.csv``: title and decimals."""


@dataclass(frozen=True)
class ClassClips:
    """Clips of a class: the published number (None if unknown), and those indexed, processed and failed."""

    label: str
    expected: int | None
    indexed: int
    processed: int
    failed: int


@dataclass(frozen=True)
class QualityRow:
    """Median and range of a measure over the processed clips."""

    title: str
    digits: int
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class DatasetClips:
    """What the page says of the clips of a dataset."""

    title: str
    synthetic: bool
    subjects: int
    kinds: Sequence[str]  # micro, macro, or both
    class_set: str  # its name, `own`, or empty
    source: str  # publication of the numbers of clips
    classes: Sequence[ClassClips]
    total: ClassClips
    crops: int  # clips that were used as face crops without detecting the face
    detectors: Mapping[Any, int]  # number of processed clips whose face each detector found
    noted: Sequence[dict[Any, Any]]  # rows of quality.csv with notes
    quality: Sequence[QualityRow]  # of the processed clips
    corrections: Sequence[dict[Any, Any]]  # rows of problems.csv
    failed: Sequence[dict[Any, Any]]  # rows of quality.csv
    problems: Sequence[dict[Any, Any]]  # other rows of problems.csv


@dataclass(frozen=True)
class CompositeClips:
    """Clips by class of experiments that recognise the same classes in the same several datasets."""

    datasets: Sequence[str]
    experiments: list[str]
    classes: Sequence[ClassCount]

    @property
    def total(self) -> ClassCount:
        """Clips of all classes."""
        expected = [count.expected for count in self.classes if count.expected is not None]
        complete = len(expected) == len(self.classes)
        return ClassCount("all", sum(expected) if complete else None, sum(count.indexed for count in self.classes))


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``data.html.j2``."""
    return {"datasets": [dataset_clips(files) for files in report.datasets], "composites": composites(report)}


@cache
def dataset_clips(files: DatasetFiles) -> DatasetClips:
    """The clips of a dataset."""
    clips, quality = read_table(files.clips, CLIPS), read_table(files.quality, QUALITY)
    published, problems = read_table(files.classes, CLASSES), read_table(files.problems, PROBLEMS).astype(str)
    processed = clips["clip"].map(dict(zip(quality["clip"], quality["status"], strict=True))).eq("ok")
    expected = {
        str(row["label"]): int(row["expected"])
        for row in published.to_dict("records")
        if not math.isnan(as_number(row["expected"]))
    }

    def count(label: str, number: int | None, rows: pd.Series) -> ClassClips:
        return ClassClips(label, number, int(rows.sum()), int((rows & processed).sum()), int((rows & ~processed).sum()))

    labels = dict.fromkeys([*published["label"].astype(str), *clips["label"]])
    classes = [
        count(label, expected.get(label), clips["label"].eq(label))
        for label in [*(label for label in labels if label), ""]
        if clips["label"].eq(label).any() or label in expected
    ]
    total = count("", sum(expected.values()) if expected else None, pd.Series(True, clips.index))
    corrected, used = problems["effect"] == "corrected", quality[quality["status"] == "ok"]
    return DatasetClips(
        title=files.title,
        synthetic=files.synthetic,
        subjects=clips["subject"].nunique(),
        kinds=sorted(set(clips["kind"])),
        class_set=str(published["class_set"].iloc[0]) if len(published) else "",
        source=str(published["source"].iloc[0]) if len(published) else "",
        classes=classes,
        total=total,
        crops=int((quality["alignment"] == "crop").sum()),
        detectors=used.loc[used["detector"].isin(["hog", "cnn"]), "detector"].value_counts().to_dict(),
        noted=used[used["notes"].ne("")].to_dict("records"),
        quality=_quality(used),
        corrections=problems[corrected].to_dict("records"),
        failed=quality[quality["status"] != "ok"].to_dict("records"),
        problems=problems[~corrected].to_dict("records"),
    )


def _quality(table: pd.DataFrame) -> list[QualityRow]:
    """Measures of the processed clips; none for flow images, which have no frames."""
    rows: list[QualityRow] = []
    if len(table) and table["frames"].astype(float).max() == 0:
        return rows
    for name, (title, digits) in QUALITY_TITLES.items():
        values = pd.to_numeric(table[name], errors="coerce").dropna()
        if len(values):
            low, median, high = values.quantile([0, 0.5, 1])
            rows.append(QualityRow(title, digits, median, low, high))
    return rows


def composites(report: ReportData) -> list[CompositeClips]:
    """Clips of the experiments that recognise several datasets, once for each set of datasets and classes."""
    composite_of: dict[str, CompositeClips] = {}
    for name, experiment in report.settings.experiments.items():
        if len(experiment.datasets) > 1:
            key = json.dumps([experiment.datasets, [vars(count) for count in experiment.class_counts]])
            composite = composite_of.setdefault(key, CompositeClips(experiment.datasets, [], experiment.class_counts))
            composite.experiments.append(name)
    return list(composite_of.values())


SECTION = Section("data", "Clips", content)
