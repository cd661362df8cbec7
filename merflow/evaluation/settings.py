"""Settings of the evaluation room, as the rules pass them to its scripts (:func:`dataclasses.asdict`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from merflow.protocols.settings import ClipSettings


@dataclass(frozen=True)
class EvaluationSettings:
    """How the predictions of one experiment are scored."""

    experiment: str
    protocol: str
    classes: Sequence[str]
    units: bool = False  # whether the classes are action units (:mod:`merflow.evaluation.action_units`)


@dataclass(frozen=True)
class SpottedExperiment:
    """What counts in an experiment in long videos; ``classes`` are empty if nothing is recognised."""

    datasets: Sequence[str]
    kinds: Sequence[str]
    classes: Sequence[str]


@dataclass(frozen=True)
class AveragingSettings:
    """An ensemble of systems: its classes and repeats."""

    experiment: str
    classes: Sequence[str]
    seeds: Sequence[int]


@dataclass(frozen=True)
class AddedDatasets:
    """Datasets whose clips train in every fold: clips and classes, the cache of each, and whom its names mean.

    ``same_people`` has for each dataset the micro-expression datasets whose subject names mean the same people.
    """

    clips: ClipSettings
    caches: Sequence[str]
    same_people: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class AuditSettings:
    """What the leakage audit checks of one experiment, or of all cells of a table of variants with the same splits."""

    experiment: str
    splits: Mapping[int, str]  # table of splits of each seed
    caches: Mapping[str, str]  # cache of each micro-expression dataset
    macro: str  # cache of the pre-training dataset; empty without pre-training
    same_people: Sequence[str]  # micro datasets whose subject names refer to the same people as those of `macro`
    excludes_test_people: bool  # whether each fold pre-trains without the people that it tests
    scorer: str  # weights of a key-frame scorer that was trained on a dataset; empty without one
    scorer_people: Sequence[str]  # micro datasets whose subject names refer to the people that trained the scorer
    divides_subjects: bool  # whether the protocol splits the clips of one subject between training and test
    fitted_parts: Sequence[str]  # parts of the split that fit normalisation and class balancing; empty of an ensemble
    scored: bool  # whether the experiment has rows in the tables of the study
    added: AddedDatasets | None = None


@dataclass(frozen=True)
class FigureExperiment:
    """One of our experiments in a figure: its system, its datasets and its classes."""

    system: str
    macro: str
    micro: Sequence[str]
    classes: Sequence[str]


@dataclass(frozen=True)
class ClipLabels:
    """Clips that an experiment recognises."""

    datasets: Sequence[str]
    classes: Sequence[str]
    labels: Mapping[str, Mapping[str, str]] | None  # {dataset: {clip: label}} if not those of the caches


@dataclass(frozen=True)
class FigureSettings:
    """A figure of the study: its table and its drawing."""

    kind: str  # methods, stages, confusion, variants or flow-statistics
    title: str
    note: str  # free text of the configuration, shown in the report
    published: str | None  # name of a table of published numbers; None for our numbers alone
    reading: str  # which systems were rebuilt from something other than their paper; empty if none was
    synthetic: bool  # whether demo data take part
    tried: int  # configurations that the study trained; 0 if nothing was trained for the figure
    experiments: Mapping[str, FigureExperiment]  # ours; empty for tables of variants and flow statistics
    flow_labels: ClipLabels | None  # of flow statistics alone: which clips are described
