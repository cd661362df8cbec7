"""The settings and files of a study that the report reads, and its main tables, read once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from merflow.datasets.registry import LAYOUTS
from merflow.report.settings import ReportSettings
from merflow.report.systems import SystemResult, system_results
from merflow.storage.tables import ACCURACY_TRAIN, METRICS, PREDICTIONS, read_table

TABLES = (
    "predictions", "metrics", "accuracy_train", "curves", "audit", "differences", "calibration", "reliability",
    "coverage", "chosen_on_test",
)  # fmt: skip
"""Tables of the study, as the rule of the report names them."""


@dataclass(frozen=True, eq=False)
class DatasetFiles:
    """Files of a dataset in one preparation."""

    title: str  # its name in the page: the dataset, with its preparation if it has several
    dataset: str
    synthetic: bool  # whether the workflow drew its clips
    clips: Path
    problems: Path
    classes: Path
    quality: Path
    faces: Sequence[Path] = ()  # faces, keyframes, flow: one file per subject; empty for ready-made flow images
    keyframes: Sequence[Path] = ()
    flow: Sequence[Path] = ()
    flow_images: Path | None = None


@dataclass(frozen=True)
class ReportData:
    """What the report is made of."""

    settings: ReportSettings
    datasets: Sequence[DatasetFiles]
    tables: Mapping[str, Path]  # TABLES of the study
    variants: Mapping[str, Path]  # tables of variants
    figures: Mapping[str, Path]  # the table behind each figure
    graphs: Mapping[str, Path]

    @classmethod
    def from_rule(cls, settings: ReportSettings, inputs: Mapping[str, Any]) -> "ReportData":
        """Sort the input files of the rule ``write_report``.

        Files of subjects lie in ``{dataset}/{preparation}/{stage}/``, caches of flow images in
        ``{dataset}/{preparation}/``; all other lists are in the order of the settings.
        """
        files = {name: [Path(file) for file in _as_list(inputs.get(name, []))] for name in inputs.keys()}  # noqa: SIM118
        names = [dataset for dataset, _ in settings.prepared]
        datasets = []
        for index, (name, preparation) in enumerate(settings.prepared):
            tables = ("clips", "problems", "classes", "quality")
            paths: dict[str, Any] = {table: files[table][index] for table in tables}
            for stage in ("faces", "keyframes", "flow"):
                paths[stage] = [file for file in files.get(stage, []) if file.parts[-4:-2] == (name, preparation)]
            images = [file for file in files.get("flow_images", []) if file.parts[-3:-1] == (name, preparation)]
            title = name if names.count(name) == 1 else f"{name} ({preparation})"
            paths["flow_images"] = images[0] if images else None
            datasets.append(DatasetFiles(title, name, LAYOUTS[settings.layouts[name]].synthetic, **paths))
        return cls(
            settings=settings,
            datasets=datasets,
            tables={name: files[name][0] for name in TABLES},
            variants=dict(zip(settings.tables, files.get("tables", []), strict=True)),
            figures=dict(zip(settings.figures, files.get("figures", []), strict=True)),
            graphs=dict(zip(settings.graphs, files.get("graphs", []), strict=True)),
        )

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of all systems."""
        return read_table(self.tables["predictions"], PREDICTIONS)

    @cached_property
    def systems(self) -> list[SystemResult]:
        """Results of all systems; floors come last."""
        return system_results(
            self.settings,
            read_table(self.tables["metrics"], METRICS),
            self.predictions,
            read_table(self.tables["accuracy_train"], ACCURACY_TRAIN),
        )


def _as_list(files: Any) -> list[Any]:
    """Snakemake gives one file as text and several as a list."""
    return [files] if isinstance(files, str | Path) else list(files)
