"""Settings of the report, as its rule passes them to the script (:func:`dataclasses.asdict`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from merflow.evaluation.settings import FigureSettings


@dataclass(frozen=True)
class ClassCount:
    """Clips of one class: the published number (None if unknown) and the number that was indexed."""

    label: str
    expected: int | None
    indexed: int


@dataclass(frozen=True)
class AddedClips:
    """A dataset whose clips train in every fold: clips and people, and clips left out for having another label."""

    dataset: str
    clips: int
    people: int
    other_labels: int


@dataclass(frozen=True)
class ExperimentSettings:
    """What the report says of an experiment beside its tables."""

    system: str
    datasets: Sequence[str]  # micro-expression datasets that it recognises
    floor: bool  # whether it is a baseline
    reading: str  # what its system was rebuilt from, if not from its paper; else empty
    class_counts: Sequence[ClassCount]  # over all its datasets
    training: str  # how the epoch was chosen, and what else is particular about the training; empty for a linear system
    members: Sequence[str] = ()  # of an ensemble: the experiments and floors whose mean it is
    added: Sequence[AddedClips] = ()  # of each dataset that only trains
    coded: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Of the task action-units: clips of each dataset whose units were coded, and clips that are left out."""


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
    """What the report says of a study beside its tables."""

    name: str
    title: str
    synthetic: bool  # whether demo data take part
    prepared: Sequence[tuple[str, str]]  # (dataset, preparation), in the order of the rule's files
    layouts: Mapping[str, str]  # of each dataset
    demo_portraits: bool  # whether demo clips animate photographs rather than drawn faces
    head_motion_subtracted: bool  # by every preparation
    scorer_datasets: Sequence[str]  # datasets that train a key-frame scorer, apart from those of the study
    uncertain_below: float  # an answer with a lower calibrated top probability is "uncertain"
    experiments: Mapping[str, ExperimentSettings]  # with floors, in order
    tables: Mapping[str, VariantTableSettings]
    figures: Mapping[str, FigureSettings]  # drawings of tables of variants among them
    graphs: Mapping[str, GraphSettings]  # by file name
    config: Mapping[str, Any]  # the whole configuration, which the report prints
    benchmarks: str  # folder of Snakemake's benchmarks
    shared: bool = False  # whether it is for readers who may see no face, frame or annotation of the datasets
