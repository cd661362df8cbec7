"""Settings of the report, as its rule passes them to the script (:func:`dataclasses.asdict`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from merflow.evaluation.settings import FigureSettings


@dataclass(frozen=True)
class ClassCount:
    """Clips of one class: the published number (None if unknown) and the number that was found."""

    label: str
    expected: int | None
    found: int


@dataclass(frozen=True)
class ExperimentSettings:
    """What the report says of an experiment beside its tables.

    Attributes:
        system: its system.
        datasets: micro-expression datasets that it recognises.
        floor: whether it is a floor, that is, a baseline.
        reading: what its system was rebuilt from, if not from its paper; else empty.
        class_counts: its clips by class, over all its datasets.
    """

    system: str
    datasets: Sequence[str]
    floor: bool
    reading: str
    class_counts: Sequence[ClassCount]


@dataclass(frozen=True)
class VariantTableSettings:
    """A table of variants: its title, the experiment that it varies, and its table of published numbers, if any."""

    title: str
    experiment: str
    published: str | None


@dataclass(frozen=True)
class GraphSettings:
    """A pixel graph that the report draws: the experiments that use it, and the datasets that they recognise."""

    experiments: Sequence[str]
    datasets: Sequence[str]


@dataclass(frozen=True)
class ReportSettings:
    """What the report says of a study beside its tables.

    Attributes:
        name: name of the study.
        title: its title.
        synthetic: whether demo data take part.
        prepared: (dataset, preparation) pairs, in the order of the rule's files.
        layouts: layout of each dataset; ``demo`` marks synthetic clips.
        demo_portraits: whether demo clips animate photographs rather than drawn faces.
        head_motion_subtracted: whether every preparation subtracts the motion of the head from the flow.
        scorer_datasets: datasets that train a key-frame scorer, apart from those of the study.
        uncertain_below: smallest calibrated top probability of an answer; below it the answer is "uncertain".
        experiments: experiments and floors by name, in order.
        tables: tables of variants by name.
        figures: figures by name, drawings of tables of variants among them.
        graphs: pixel graphs by file name.
        config: the whole configuration, which the report prints.
        benchmarks: folder of Snakemake's benchmarks.
    """

    name: str
    title: str
    synthetic: bool
    prepared: Sequence[tuple[str, str]]
    layouts: Mapping[str, str]
    demo_portraits: bool
    head_motion_subtracted: bool
    scorer_datasets: Sequence[str]
    uncertain_below: float
    experiments: Mapping[str, ExperimentSettings]
    tables: Mapping[str, VariantTableSettings]
    figures: Mapping[str, FigureSettings]
    graphs: Mapping[str, GraphSettings]
    config: Mapping[str, Any]
    benchmarks: str

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "ReportSettings":
        """Rebuild the settings from :func:`dataclasses.asdict`."""
        experiments = {
            name: ExperimentSettings(
                **{**values, "class_counts": [ClassCount(**count) for count in values["class_counts"]]}
            )
            for name, values in params["experiments"].items()
        }
        nested = {
            "prepared": [(dataset, preparation) for dataset, preparation in params["prepared"]],
            "experiments": experiments,
            "tables": {name: VariantTableSettings(**values) for name, values in params["tables"].items()},
            "figures": {name: FigureSettings.from_params(values) for name, values in params["figures"].items()},
            "graphs": {name: GraphSettings(**values) for name, values in params["graphs"].items()},
        }
        return cls(**{**params, **nested})
