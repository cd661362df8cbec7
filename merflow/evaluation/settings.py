"""Settings of the evaluation room, as the rules pass them to its scripts (:func:`dataclasses.asdict`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EvaluationSettings:
    """How the predictions of one experiment are scored.

    Attributes:
        experiment: its name.
        protocol: name of the protocol, such as ``loso``.
        classes: names of the classes, in order.
    """

    experiment: str
    protocol: str
    classes: Sequence[str]


@dataclass(frozen=True)
class AuditSettings:
    """What the leakage audit checks of one experiment, or of all cells of a table of variants with the same splits.

    Attributes:
        experiment: its name in ``audit.csv``.
        splits: table of splits of each seed.
        caches: cache file of each micro-expression dataset.
        macro: cache file of the pre-training dataset; empty without pre-training.
        same_people: micro datasets whose subject names refer to the same people as those of the macro dataset.
        excludes_test_people: whether each fold pre-trains without the people that it tests.
        scorer: weights of a key-frame scorer that was trained on a dataset; empty without one.
        scorer_people: micro datasets whose subject names refer to the same people as those of the scorer's dataset.
        divides_subjects: whether the protocol splits the clips of one subject between training and test.
        fitted_parts: parts of the split that fit normalisation and class balancing.
        scored: whether the experiment has rows in the tables of the study.
    """

    experiment: str
    splits: Mapping[int, str]
    caches: Mapping[str, str]
    macro: str
    same_people: Sequence[str]
    excludes_test_people: bool
    scorer: str
    scorer_people: Sequence[str]
    divides_subjects: bool
    fitted_parts: Sequence[str]
    scored: bool


@dataclass(frozen=True)
class FigureExperiment:
    """One of our experiments in a figure: its system, its datasets and its classes."""

    system: str
    macro: str
    micro: Sequence[str]
    classes: Sequence[str]


@dataclass(frozen=True)
class FigureSettings:
    """A figure of the study: its table and its drawing.

    Attributes:
        kind: ``methods, stages, confusion, variants`` or ``flow-statistics``.
        title: its title.
        note: free text of the configuration, shown in the report.
        published: name of a table of published numbers; None for our numbers alone.
        reading: which systems were rebuilt from something other than their paper; empty if none was.
        synthetic: whether demo data take part.
        tried: number of configurations that the study trained; 0 if nothing was trained for it.
        experiments: our experiments by name; of tables of variants and flow statistics empty.
        flow_labels: of flow statistics alone: which clips are described, see :class:`ClipLabels`.
    """

    kind: str
    title: str
    note: str
    published: str | None
    reading: str
    synthetic: bool
    tried: int
    experiments: Mapping[str, FigureExperiment]
    flow_labels: "ClipLabels | None"

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "FigureSettings":
        """Rebuild the settings from :func:`dataclasses.asdict`."""
        experiments = {name: FigureExperiment(**values) for name, values in params["experiments"].items()}
        labels = params["flow_labels"] and ClipLabels(**params["flow_labels"])
        return cls(**{**params, "experiments": experiments, "flow_labels": labels})


@dataclass(frozen=True)
class ClipLabels:
    """Clips that an experiment recognises.

    Attributes:
        datasets: their datasets.
        classes: names of the classes, in order.
        labels: {dataset: {clip: label}} if the labels are not those of the caches, else None.
    """

    datasets: Sequence[str]
    classes: Sequence[str]
    labels: Mapping[str, Mapping[str, str]] | None
