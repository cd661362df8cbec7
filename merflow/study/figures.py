"""The figures of a study: tables of variants and the blocks of ``figures``."""

from dataclasses import replace
from functools import cached_property
from typing import Any

from merflow.evaluation.settings import ClipLabels, FigureExperiment, FigureSettings
from merflow.study.experiments import distinct_settings
from merflow.study.training import Training

STUDY_TABLES = {
    "methods": {"metrics": "metrics"},
    "stages": {"metrics": "metrics", "accuracy": "accuracy_train"},
    "confusion": {"metrics": "metrics", "predictions": "predictions"},
}
"""Tables of the study that each kind of figure reads, by the name of the input."""


class Figures:
    """The figures of a study."""

    def __init__(self, training: Training) -> None:
        """Keep the planner of the training jobs, and check what the figures show."""
        self.training, self.experiments, self.data = training, training.experiments, training.experiments.data
        self.config = self.data.config
        self._shown = {
            name: self.experiments.resolve(figure.experiments, f"figures.{name}.of")
            for name, figure in self.config.figures.items()
        }

    @cached_property
    def blocks(self) -> dict[str, dict[str, Any]]:
        """Every figure by name: ``kind, of, published, title, note``."""
        tables = {
            name: {"kind": "variants", "of": [table.of], "note": "", "published": table.published}
            | {"title": table.title or name}
            for name, table in self.config.tables.items()
        }
        figures = {
            name: figure.model_dump() | {"of": self._shown[name], "title": figure.title or name}
            for name, figure in self.config.figures.items()
        }
        return tables | figures

    def inputs(self, name: str) -> dict[str, Any]:
        """Files of a figure, as :func:`merflow.evaluation.figure_tables.tabulate_figure` takes them."""
        kind, paths = self.blocks[name]["kind"], self.training.paths
        if kind == "variants":
            return {"table": paths.table(f"tables/{name}")}
        if kind == "flow-statistics":
            return {"caches": self.training.caches(self.blocks[name]["of"][0])}
        return {table: paths.table(file) for table, file in STUDY_TABLES[kind].items()}

    def settings(self, name: str) -> FigureSettings:
        """Everything that decides a figure beside its files."""
        figure = self.blocks[name]
        kind, shown = figure["kind"], figure["of"]
        datasets = [dataset for experiment in shown for dataset in self.experiments[experiment].datasets]
        settings = FigureSettings(
            kind=kind,
            title=figure["title"],
            note=figure["note"],
            published=figure["published"],
            reading=self._readings(shown),
            synthetic=any(self.data.is_synthetic(dataset) for dataset in datasets),
            tried=0,
            experiments={},
            flow_labels=None,
        )
        if kind == "flow-statistics":
            clips = self.experiments.tested_clip_settings(shown[0])
            return replace(settings, flow_labels=ClipLabels(clips.datasets, clips.classes, clips.labels or None))
        if kind == "variants":
            return replace(settings, tried=len(self.training.tables[name].experiments.blocks))
        experiments = {}
        for name in shown:
            e = self.experiments[name]
            experiments[name] = FigureExperiment(e.system, e.macro, e.datasets, self.experiments.classes(name))
        return replace(settings, tried=self.tried, experiments=experiments)

    def _readings(self, experiments: list[str]) -> str:
        """Which systems were rebuilt from something other than their paper."""
        groups: dict[str, list[str]] = {}
        for name in experiments:
            if reading := self.experiments.reading(name):
                groups.setdefault(reading, []).append(name)
        return " ".join(f"{', '.join(names)}: {reading} (docs/fidelity.md)." for reading, names in groups.items())

    @cached_property
    def tried(self) -> int:
        """Number of different configurations of networks, cells of tables included; floors do not count."""
        trained = [self.experiments[name] for name in self.config.experiments if self.experiments[name].trains_network]
        cells = [cell for table in self.training.tables.values() for cell in table.experiments.blocks.values()]
        return len({distinct_settings(experiment) for experiment in [*trained, *cells]})
