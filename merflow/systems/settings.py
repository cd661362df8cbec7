"""Settings of graphs, networks and training jobs, as scripts receive them.

A class holds only what its job reads, so that a key that a job ignores does not rerun it. Defaults are those of the
configuration (:mod:`merflow.study.config`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from merflow.learning.settings import AugmentSettings, LossSettings, Schedule
from merflow.protocols.settings import ClipSettings, SelectionSettings

ROWS_PER_FLOW = {"magnitude": 1, "u+v": 2, "strain": 1, "channels": 1}
"""Number of signals per flow image, for each value of ``temporal.signal``."""


@dataclass(frozen=True)
class GraphSettings:
    """A p+q stochastic pixel graph; see :func:`merflow.systems.tsdgcn.graph.pq_adjacency`."""

    side: int
    p: int
    q: int
    threshold: float
    sigma: str | float
    seed: int
    symmetrise: str


@dataclass(frozen=True)
class PretrainSettings:
    """Pre-training of SGCNs on macro images (:func:`merflow.systems.tsdgcn.pretrain.pretrain`).

    Attributes:
        epochs, patience, learning_rate, decay, batch: see :class:`merflow.learning.settings.Schedule`.
        dropout: probability of dropping an input of the classifier.
        frames: ``peak`` (the frames near the apex) or ``all`` key-frames of a macro clip.
        validation: share of the macro subjects that chooses the epoch; 0: all train for all epochs.
    """

    epochs: int
    patience: int
    learning_rate: float
    decay: float
    batch: int
    dropout: float
    frames: str
    validation: float

    @property
    def schedule(self) -> Schedule:
        """How long and how fast the network trains."""
        return Schedule(self.epochs, self.patience, self.learning_rate, self.decay, self.batch, weight_decay=0.0)


@dataclass(frozen=True)
class SignalSettings:
    """What a system with graphs reads of a clip (:mod:`merflow.systems.tsdgcn.fusion`).

    Attributes:
        branches: ``spatial`` and/or ``temporal``.
        fusion: ``stack``, ``clip`` or ``concat`` (Eq. 5).
        signal: scalar at each pixel of a flow image: ``magnitude``, ``u+v`` or ``strain``; or ``channels``, all of u, v
            and strain.
        normalise: ``constant`` or ``image``: scale of a flow image.
        relative: what the mean over a clip's key-frames is subtracted from: their ``pixels``, their ``features``, or
            nothing (``no``).
    """

    branches: Sequence[str]
    fusion: str
    signal: str
    normalise: str
    relative: str

    @property
    def channels(self) -> int:
        """Number of values at a pixel."""
        return 3 if self.signal == "channels" else 1


@dataclass(frozen=True)
class SGCNSettings:
    """Layers of an SGCN that is not pre-trained (:class:`merflow.systems.tsdgcn.sgcn.SGCN`)."""

    layers: int
    batch_norm: bool


@dataclass(frozen=True)
class PretrainedNetwork:
    """A pre-trained SGCN in the tables of an experiment.

    ``name``: that of its graph, such as ``8+2``, or of two that are pre-trained together, ``8+2 and 4+0``.
    """

    experiment: str
    repeat: int
    name: str


@dataclass(frozen=True)
class HeadSettings(Schedule):
    """The head after fusion (:class:`merflow.systems.tsdgcn.heads.Head`) and its schedule."""

    hidden: int
    dropout: float


@dataclass(frozen=True)
class NetworkSettings:
    """A network that reads clips, and its training (:mod:`merflow.systems.registry`).

    Attributes:
        model: its module and class, such as ``ststnet:STSTNet``.
        input_kind: what it reads of a clip, a key of :data:`merflow.systems.clip_images.INPUT_KINDS`.
        side: side of the images in pixels.
        epochs, patience, learning_rate, batch, weight_decay, cosine, average: see
            :class:`merflow.learning.settings.Schedule`.
        dropout: probability of dropping an input of the classifier.
        options: the network's own options, passed to its constructor.
    """

    model: str
    input_kind: str
    side: int
    epochs: int
    patience: int
    learning_rate: float
    batch: int
    weight_decay: float
    cosine: bool
    average: bool
    dropout: float
    options: Mapping[str, Any]

    @property
    def schedule(self) -> Schedule:
        """How long and how fast the network trains."""
        return Schedule(
            self.epochs,
            self.patience,
            self.learning_rate,
            0.0,
            self.batch,
            self.weight_decay,
            cosine=self.cosine,
            average=self.average,
        )


@dataclass(frozen=True)
class JobSettings:
    """What every training job reads: name of the experiment, clips, selection, and the table of splits of each seed.

    ``members``: number of networks with different random numbers whose mean probabilities are the answer of a fold.
    """

    experiment: str
    clips: ClipSettings
    selection: SelectionSettings
    splits: Mapping[int, str]
    members: int


@dataclass(frozen=True)
class FinetuneSettings(JobSettings):
    """The ``finetune`` job: a head per fold on features that all folds share.

    Attributes:
        inputs, loss, head: see their classes.
    """

    inputs: SignalSettings
    loss: LossSettings
    head: HeadSettings


@dataclass(frozen=True)
class FoldTrainingSettings(FinetuneSettings):
    """The ``train_fold`` job: TSDGCN where its SGCNs depend on the fold.

    Attributes:
        transfer: ``frozen`` (a head on the features of the SGCNs) or ``end-to-end``.
        pretrain: pre-training without the test subjects; None where the fold does not pre-train.
        together: whether two SGCNs are pre-trained with one classifier.
        sgcn: layers of the SGCNs; those of pre-trained ones are the paper's.
        network_seeds: seed of each SGCN; the first is that of two that are pre-trained together.
        augment: changes of the training clips; None: none.
    """

    transfer: str
    pretrain: PretrainSettings | None
    together: bool
    sgcn: SGCNSettings
    network_seeds: Sequence[int]
    augment: AugmentSettings | None


@dataclass(frozen=True)
class ClipNetworkSettings(JobSettings):
    """The ``train_clip_network`` job: a network that reads clips, trained in each fold.

    ``augment``: changes of the training clips; None: none.
    """

    network: NetworkSettings
    loss: LossSettings
    augment: AugmentSettings | None


@dataclass(frozen=True)
class LinearSettings(JobSettings):
    """The ``run_floor`` job: ``majority``, ``all-ones``, ``linear-svm``, ``rbf-svm`` or ``softmax``."""

    system: str


@dataclass(frozen=True)
class CellSettings:
    """One cell of a table of variants (:func:`merflow.systems.tsdgcn.variant_tables.run_table`).

    Attributes:
        row, column: names of the cell; ``column`` may be empty.
        protocol: protocol of the cell, for its metrics.
        finetune: the training of its heads.
        features: for each seed and micro dataset the feature files of the one or two networks.
        weights: weights of the pre-trained networks.
    """

    row: str
    column: str
    protocol: str
    finetune: FinetuneSettings
    features: Mapping[int, Sequence[Sequence[str]]]
    weights: Sequence[str]
