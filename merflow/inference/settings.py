"""Settings of the jobs that gather, export and apply trained networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from merflow.evaluation.settings import SpottedExperiment
from merflow.preprocessing.settings import PreparationSettings
from merflow.protocols.settings import ClipSettings
from merflow.systems.settings import SignalSettings

SIGNALS = "signals"
"""Input of systems with graphs; the others read one of :data:`merflow.systems.clip_images.INPUT_KINDS`."""
UNCERTAIN = "uncertain"
"""The answer if no class is probable enough."""
WHOLE, GIVEN, SEARCHED = "whole", "given", "searched"
"""How a candidate was found: the whole clip, given by the user, or by a search."""


@dataclass(frozen=True)
class SpottingSettings:
    """Settings of the search of long videos; the block ``predict.spotting`` of the configuration, and the detector."""

    max_unsearched_seconds: float
    reference: float
    least_motion: float
    deviations: float
    prominence: float
    blink: float
    detector: str


@dataclass(frozen=True)
class SpottingExperiment:
    """An experiment that spots expressions in long videos; ``search`` is how each video was searched."""

    experiment: str
    system: str
    datasets: Sequence[str]
    kinds: Sequence[str]
    protocol: str
    folds: int
    seed: int
    search: SpottingSettings


@dataclass(frozen=True)
class RecognitionSettings:
    """An experiment that recognises what a spotter found in long videos.

    Attributes:
        recogniser: the experiment whose networks answer.
        splits: of the recogniser, or of each member of an ensemble: the table of splits of each seed.
        same_people: for each dataset of videos those of the recogniser whose subject names mean the same people.
    """

    experiment: str
    recogniser: str
    splits: Sequence[Mapping[int, str]]
    same_people: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class SpottingPage:
    """What the page of experiments in long videos says beside its tables."""

    name: str
    synthetic: bool
    layouts: Mapping[str, str]  # of each dataset
    footage: Mapping[str, Mapping[str, str]]  # folder or file of each video of each dataset
    experiments: Mapping[str, SpottedExperiment]
    spotters: Sequence[str]  # experiments with candidates


@dataclass(frozen=True)
class AnswerSettings:
    """Settings of the job that applies one experiment's ensemble to candidates.

    Attributes:
        crop: as in :class:`merflow.preprocessing.settings.AlignSettings`, like the next one.
        uncertain_below: the answer is ``uncertain`` if the top probability is lower.
        training_caches: ``cache.h5`` of the datasets that the experiment was trained on.
        training_quality: ``quality.csv`` of the same datasets.
        training_fps: lowest and highest frame rate of the training clips; empty if unknown.
        region_networks: number of networks whose occlusion is shown; None: all.
        training_ranges: range of each measure of the training clips, if it is known without their caches.
    """

    crop: float
    eye_height: float
    uncertain_below: float
    training_caches: Sequence[str]
    training_quality: Sequence[str]
    training_fps: Sequence[float]
    region_networks: int | None
    training_ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class InputSettings(SignalSettings):
    """What the networks of an experiment read of a clip; the base is for systems with graphs, and empty for others.

    Attributes:
        kind: ``signals`` (systems with graphs) or one of :data:`merflow.systems.clip_images.INPUT_KINDS`.
        side: side of the images in pixels.
    """

    kind: str
    side: int


@dataclass(frozen=True)
class EnsembleSettings:
    """What ``ensemble.json`` says of an experiment beside its members and its calibration (docs/contracts.md).

    Attributes:
        classes: class names in the order of all probabilities.
        epoch_choice: how the epoch of the networks was chosen (docs/studies.md).
        networks: by seed, the files of each SGCN: ``graph`` and, if all folds share them, ``weights``.
        units: whether the classes are action units, which are not calibrated.
    """

    experiment: str
    system: str
    classes: Sequence[str]
    micro: Sequence[str]
    macro: str
    prep: str
    protocol: str
    seeds: Sequence[int]
    selection: str
    epoch_choice: str
    input_settings: InputSettings
    networks: Mapping[int, Sequence[Mapping[str, str]]]
    units: bool = False


@dataclass(frozen=True)
class SystemMember:
    """A member of an ensemble of systems: an experiment with its ``ensemble.json``, or a baseline with its caches.

    ``clips`` are those that train the baseline; None for an experiment.
    """

    experiment: str
    system: str
    files: Sequence[str]
    clips: ClipSettings | None = None


@dataclass(frozen=True)
class SystemEnsembleSettings:
    """What ``ensemble.json`` says of an ensemble of systems beside the temperatures of its baselines."""

    experiment: str
    classes: Sequence[str]
    micro: Sequence[str]
    prep: str
    protocol: str
    seeds: Sequence[int]
    members: Sequence[SystemMember]
    system: str = "ensemble"


@dataclass(frozen=True)
class ExportSettings:
    """What the export and its model card say of an experiment.

    Attributes:
        members: number of networks to export, spread over folds and seeds; None for all.
        datasets: ``name, layout, role`` of each dataset that was used in training.
        counts: rows ``label, indexed``: clips of each class.
        photographs: whether the demo animates photographs.
        floors: baselines to compare with in the card.
    """

    members: int | None
    preparation: PreparationSettings
    datasets: Sequence[Mapping[str, str]]
    counts: Sequence[Mapping[str, Any]]
    photographs: bool
    floors: Sequence[str]


@dataclass(frozen=True)
class PackSettings:
    """What an archive of trained networks says of their training.

    Attributes:
        preparation: block of the configuration's ``preparations``.
        scorer: weights of the frame scorer that the key-frames need; empty without one.
        people, clips: number of those that trained the networks of all folds together.
        training_caches, training_quality, training_fps: as in :class:`AnswerSettings`.
        card: for the model card.
    """

    study: str
    experiment: str
    version: str
    preparation: Mapping[str, Any]
    scorer: str
    people: int
    clips: int
    training_caches: Sequence[str]
    training_quality: Sequence[str]
    training_fps: Sequence[float]
    card: ExportSettings


@dataclass(frozen=True)
class AnsweringExperiment:
    """What the page says of one experiment: its system, preparation, classes or units, datasets and protocol.

    If its networks were trained elsewhere, ``origin`` says where, and ``coverage`` is their table.
    """

    system: str
    prep: str
    classes: Sequence[str]
    micro: Sequence[str]
    protocol: str
    units: bool = False
    origin: str = ""
    coverage: str = ""


@dataclass(frozen=True)
class PageSettings:
    """What the prediction page shows beside its tables.

    Attributes:
        name: name of the prediction.
        input: full path of the user's video, folder or table.
        spotter: the experiment whose fitted system searched; empty: none.
        region_networks: as in :class:`AnswerSettings`.
        sources: ``clip, label`` and the other fields of each source, by file name.
        synthetic: synthetic datasets that were used in training.
    """

    name: str
    input: str
    study: str
    uncertain_below: float
    max_unsearched_seconds: float
    spotter: str
    region_networks: int | None
    sources: Mapping[str, Mapping[str, Any]]
    preparations: Sequence[str]
    experiments: Mapping[str, AnsweringExperiment]
    synthetic: Sequence[str]
