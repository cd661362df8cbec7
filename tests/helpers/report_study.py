"""A small study of made-up files, and a reader of the page that is written of it."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import pandas as pd

from merflow.evaluation.evaluate import evaluate, merge
from merflow.evaluation.leakage import CHECKS
from merflow.evaluation.settings import EvaluationSettings
from merflow.evaluation.significance import compare
from merflow.footage.clip import Clip
from merflow.report import page as page_module
from merflow.report.page import write_report
from merflow.report.report_data import TABLES, DatasetFiles, ReportData
from merflow.report.settings import ClassCount, ExperimentSettings, ReportSettings
from merflow.storage.files import safe_filename
from merflow.storage.tables import (
    ACCURACY_TRAIN,
    AUDIT,
    CALIBRATION,
    CHOSEN_ON_TEST,
    CLIPS,
    COVERAGE,
    CURVES,
    KEYFRAMES,
    PREDICTIONS,
    QUALITY,
    RELIABILITY,
    write_table,
)
from merflow.storage.tables import CLASSES as TABLE_OF_CLASSES

FLOORS = ("majority", "linear-svm", "softmax")
CLASSES = ["happiness", "surprise", "disgust", "fear", "sadness"]


SIZE = 48


def drawn_face(size: int, smile: float) -> np.ndarray:
    """A grey face of a few ellipses."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    face = np.full((size, size), 60.0)
    face[(x / 0.36) ** 2 + (y / 0.46) ** 2 < 1] = 180
    for side in (-1, 1):
        face[((x - side * 0.15) / 0.06) ** 2 + ((y + 0.12) / 0.03) ** 2 < 1] = 40
    face[(np.abs(x) < 0.15) & (np.abs(y - 0.22 + smile * x**2 * 8) < 0.02)] = 70
    return face.astype(np.uint8)


def make_dataset(
    folder: Path, name: str, kind: str, subjects: int, classes: list[str], bad: str | None, seed: int, synthetic: bool
) -> DatasetFiles:
    """Tables and HDF5 files of a made-up dataset; the first clip of the second subject fails for reason ``bad``."""
    rng = np.random.default_rng(seed)
    clips, quality = [], []
    files: dict[str, list[Path]] = {"faces": [], "keyframes": [], "flow": []}
    prepared = folder / "data" / name / "default"
    for number in range(1, subjects + 1):
        subject = f"{name}/s{number:02d}"
        paths = {stage: prepared / stage / f"s{number:02d}{end}" for stage, end in
                 (("faces", ".h5"), ("keyframes", ".csv"), ("flow", ".h5"))}  # fmt: skip
        for stage, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            files[stage].append(path)
        rows = []
        with h5py.File(paths["faces"], "w") as faces, h5py.File(paths["flow"], "w") as flow:
            faces.attrs["settings"] = '{"crop": 2.6, "eye_height": 0.36}'
            flow.attrs["settings"] = '{"reference": "onset"}'
            for label in classes:
                clip = f"s{number:02d}_{label}"
                status = bad if bad and number == 2 and label == classes[0] else "ok"
                onset, apex, offset = 3, 9, 15
                clips.append(Clip(clip, subject, label, kind, f"frames/{clip}", onset, apex, offset, 200).row())
                group, fields = faces.create_group(safe_filename(clip)), flow.create_group(safe_filename(clip))
                for each in (group, fields):
                    each.attrs.update(clip=clip, subject=subject, status=status)
                quality.append({"clip": clip, "subject": subject, "label": label,
                                "status": "ok" if status == "ok" else "failed",
                                "reason": "" if status == "ok" else status, "notes": ""})  # fmt: skip
                if status != "ok":
                    continue
                quality[-1] |= {"face_width_px": 200 + rng.integers(40), "interocular_px": 118 + rng.integers(5),
                                "head_motion_px": rng.random(), "frames": 13,
                                "detector": "cnn" if number == 1 else "hog",
                                "notes": "4 faces" if number == 4 else ""}  # fmt: skip
                numbers = np.arange(onset, offset + 1)
                group["frames"] = np.stack([drawn_face(SIZE, 0.04 * (n - onset)) for n in numbers])
                group["frame_numbers"] = numbers
                chosen = [3, 5, 7, 9, 11, 13]
                y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
                spot = np.exp(-((x**2 + (y - 0.2) ** 2) / 0.02))
                field = np.stack([x, y]) * 20 * spot
                fields["flow"] = np.stack([field * m / 3 for m in (1, 2, 3, 2, 1)]).astype(np.float16)
                for index, frame in zip([None, 0, 1, 2, 3, 4], chosen, strict=True):
                    rows.append({"clip": clip, "index": index, "frame": frame, "magnitude_px": 3 - abs(frame - 9) / 2,
                                 "apex_annotated": apex, "apex_spotted": apex, "apex_source": "annotated"})  # fmt: skip
        write_table(rows, paths["keyframes"], KEYFRAMES)
    base = folder / "data" / name
    write_table(clips, base / "clips.csv", CLIPS)
    write_table(quality, prepared / "quality.csv", QUALITY)
    columns = ["dataset", "file", "row", "clip", "field", "problem", "effect"]
    problems = [{"dataset": name, "file": "manifest.csv", "row": 7, "clip": "x", "field": "onset",
                 "problem": "onset 9 lies after apex 3", "effect": "left out"}] if bad else []  # fmt: skip
    if kind == "micro":
        problems.append({"dataset": name, "file": "fixes.csv", "row": 2, "clip": "S01-b", "field": "offset",
                         "problem": "5 -> 15: a slip in the release", "effect": "corrected"})  # fmt: skip
    write_table(problems, base / "problems.csv", columns)
    number = sum(clip["label"] == classes[0] for clip in clips)
    counts = [{"class_set": "made-up-3", "label": classes[0], "expected": number + 7, "found": number, "usable": number,
               "source": "Nobody et al."}]  # fmt: skip
    write_table(counts if kind == "micro" else [], base / "classes.csv", TABLE_OF_CLASSES)
    return DatasetFiles(
        title=name, dataset=name, synthetic=synthetic, clips=base / "clips.csv", quality=prepared / "quality.csv",
        problems=base / "problems.csv", classes=base / "classes.csv", **files,
    )  # fmt: skip


def make_predictions(
    folder: Path, experiment: str, clips: pd.DataFrame, quality: pd.DataFrame, skill: float, classes: list[str]
) -> Path:
    """Tables of an experiment that is right with probability ``skill``."""
    rng = np.random.default_rng(len(experiment))
    good = clips[clips["clip"].isin(quality.loc[quality["status"] == "ok", "clip"])]
    rows, accuracies, curves = [], [], []
    for clip in good.to_dict("records"):
        predicted = clip["label"] if rng.random() < skill else str(rng.choice(classes))
        rows.append({"experiment": experiment, "repeat": 0, "fold": clip["subject"], "dataset": "people-micro",
                     "subject": clip["subject"], "clip": clip["clip"], "truth": clip["label"], "predicted": predicted}
                    | {f"p_{name}": 0.6 if name == predicted else 0.1 for name in classes})  # fmt: skip
    for fold in sorted(set(good["subject"])):
        common = {"experiment": experiment, "repeat": 0}
        accuracies.append(common | {"fold": fold, "stage": "finetune", "accuracy": 0.9, "n": 50})
        for epoch in range(1, 30 + int(rng.integers(20))):
            for split, gap in (("train", 0.0), ("validation", 0.3)):
                loss = 1.6 * np.exp(-epoch / 12) + gap + 0.05 * rng.random()
                accuracy = 1 - 0.8 * np.exp(-epoch / 10) - gap / 2
                curves.append(common | {"stage": "finetune", "name": fold, "epoch": epoch, "split": split,
                                        "loss": loss, "accuracy": accuracy})  # fmt: skip
    out = folder / "experiments" / safe_filename(experiment)
    write_table(rows, out / "predictions.csv", PREDICTIONS)
    write_table(accuracies, out / "accuracy_train.csv", ACCURACY_TRAIN)
    write_table(curves, out / "curves.csv", CURVES)
    evaluate(out / "predictions.csv", out / "metrics.csv",
             EvaluationSettings(experiment, "loso", classes))  # fmt: skip
    return out


def make_study(
    folder: Path, *, synthetic: bool = True, title: str = "A made-up study", bad: str | None = "no face found",
    skills: dict[str, float] | None = None, classes: list[str] = CLASSES,
) -> ReportData:  # fmt: skip
    """A whole study of made-up files."""
    macro = make_dataset(folder, "people-macro", "macro", 4, classes, None, 1, synthetic)
    micro = make_dataset(folder, "people-micro", "micro", 8, classes, bad, 2, synthetic)
    clips, quality = pd.read_csv(micro.clips), pd.read_csv(micro.quality)
    skills = skills or {"tsdgcn": 0.7, "majority": 0.0, "linear-svm": 0.3, "softmax": 0.25}
    outs = [make_predictions(folder, name, clips, quality, skill, classes) for name, skill in skills.items()]
    for table in ("predictions", "accuracy_train", "metrics"):
        merge([out / f"{table}.csv" for out in outs], folder / f"{table}.csv")
    compare(folder / "predictions.csv", folder / "differences.csv", dict.fromkeys(skills, classes))
    audited = [{"experiment": name, "repeat": 0, "fold": f"people-micro/s{fold:02d}", "check": check, "size": 0,
                "allowed": "no", "note": ""}
               for name in skills for fold in range(1, 9) for check in CHECKS]  # fmt: skip
    write_table(audited, folder / "audit.csv", AUDIT)
    pretrain = []
    for graph in ("8+2-64px-seed0", "4+0-64px-seed0"):
        for epoch in range(1, 41):
            for split, gap in (("train", 0), ("validation", 0.2)):
                pretrain.append({"experiment": "", "repeat": 0, "stage": "pretrain", "name": graph, "epoch": epoch,
                                 "split": split, "loss": 1.6 * np.exp(-epoch / 9) + gap,
                                 "accuracy": 1 - 0.8 * np.exp(-epoch / 9) - gap})  # fmt: skip
    write_table(pretrain, folder / "pretrain.csv", CURVES)
    learned = [out / "curves.csv" for name, out in zip(skills, outs, strict=True) if name not in FLOORS]
    merge([folder / "pretrain.csv", *learned], folder / "curves.csv")
    for place, path in enumerate(["align_faces/people-micro/default/s01", "align_faces/people-micro/default/s02",
                                  "align_faces/other-dataset/default/s01", "finetune/made/tsdgcn",
                                  "finetune/other/tsdgcn", "gather_tables/made", "build_graph/8+2",
                                  "evaluate/made/tsdgcn", "align_faces/people-micro/default/gone"]):  # fmt: skip
        file = folder / "benchmarks" / f"{path}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"s\th:m:s\tmax_rss\tcpu_time\n{10.0 + place}\t0:00:10\t{'NA' if place == 6 else 200 + place}\t9\n"
        )
    empty = {"calibration": CALIBRATION, "reliability": RELIABILITY, "coverage": COVERAGE}
    for name, columns in {**empty, "chosen_on_test": CHOSEN_ON_TEST}.items():
        write_table([], folder / f"{name}.csv", columns)
    counts = [ClassCount(name, None, int(clips["label"].eq(name).sum())) for name in classes]
    layout = "demo" if synthetic else "manifest"
    settings = ReportSettings(
        name="made",
        title=title,
        synthetic=synthetic,
        prepared=[("people-macro", "default"), ("people-micro", "default")],
        layouts={"people-macro": layout, "people-micro": layout},
        demo_portraits=False,
        head_motion_subtracted=True,
        scorer_datasets=[],
        uncertain_below=0.5,
        experiments={
            name: ExperimentSettings(name, ["people-micro"], name in FLOORS, "", counts, "")
            for name in skills
        },
        tables={},
        figures={},
        graphs={},
        config={"study": "made"},
        benchmarks=str(folder / "benchmarks"),
    )  # fmt: skip
    return ReportData(settings, [macro, micro], {name: folder / f"{name}.csv" for name in TABLES}, {}, {}, {})


def with_settings(study: ReportData, **changes: Any) -> ReportData:
    """The study with other settings."""
    return replace(study, settings=replace(study.settings, **changes))


def with_tables(study: ReportData, **changes: Path) -> ReportData:
    """The study with other tables."""
    return replace(study, tables=study.tables | changes)


def with_dataset(study: ReportData, name: str, **changes: Any) -> ReportData:
    """The study with other files of a dataset."""
    datasets = [replace(files, **changes) if files.dataset == name else files for files in study.datasets]
    return replace(study, datasets=datasets)


class Page(HTMLParser):
    """What a browser would make of a page: tags, attributes, text; fails where tags do not match."""

    VOID = {"meta", "img", "br", "use", "path"}

    def __init__(self, html: str):
        super().__init__()
        html = html.replace("\N{NO-BREAK SPACE}", " ")
        self.html, self.tags, self.open, self.words = html, [], [], []
        self.section, self.of_section = "", {}
        self.feed(html)
        self.close()
        assert not self.open, self.open
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "section":
            self.section = dict(attributes)["id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data):
        if self.open and not {"style", "script", "template"} & set(self.open):
            self.words.append(data)
            self.of_section[self.section] = self.of_section.get(self.section, "") + data

    def values(self, *names: str) -> list[str]:
        return [value for _, attributes in self.tags for name, value in attributes.items() if name in names]


def written(study: ReportData, folder: Path, *sections: str) -> Page:
    """The page of a study, with all sections or the given ones."""
    chosen = [section for section in page_module.SECTIONS if not sections or section.name in sections]
    with patch.object(page_module, "SECTIONS", chosen):
        write_report(study, folder / "report.html")
    return Page((folder / "report.html").read_text())
