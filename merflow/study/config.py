"""The configuration as pydantic models: the one source of types, ranges, defaults and descriptions of all keys.

The JSON schema, the tables of docs/configuration.md and the error messages are made from these models. ``config.yaml``
is the commented manual of the same keys. :func:`merflow.study.load.load_config` reads, completes and checks a
configuration.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, create_model, model_validator
from pydantic_core import PydanticCustomError

from merflow.protocols.folds import PROTOCOLS
from merflow.study.config_data import (
    CLASSES,
    Block,
    Classes,
    Count,
    DatasetBlock,
    DemoBlock,
    Dropout,
    Name,
    Names,
    NonEmpty,
    NonEmptyDict,
    PreparationBlock,
    Rate,
    Share,
    Unique,
    choice,
    field,
)
from merflow.systems.registry import SYSTEMS, option_schemas
from merflow.systems.settings import ROWS_PER_FLOW

NO_MACRO = "none"
"""Value of ``macro`` if nothing is pre-trained."""
RESERVED = ("data", "graphs", "pretrained", "features", "scorers", "logs", "benchmarks")
"""Folders under ``results`` that hold no study."""
STUDY_BLOCKS = ("graph", "pretrain", "sgcn", "spatial", "temporal", "head", "network")
"""Blocks that an experiment takes from the study and may override key by key."""

SIGNAL = "the scalar at each pixel; channels: u, v and strain, without pre-training"
MOST_EPOCHS = "maximum number of epochs"
PATIENCE = "stop after this many epochs without a better validation loss"
DECAY = "the learning rate at a step is learning_rate / (1 + decay * step)"
PUBLISHED = "table of merflow/evaluation/published.csv whose numbers are shown beside ours"
PRETRAINED_RATE, UNTRAINED_RATE = 1e-5, 5e-4
"""Default learning rates of the head. At the paper's rate a network without pre-training does not learn."""
RATE = f"learning rate of Adam; null: {PRETRAINED_RATE:.5f}, or {UNTRAINED_RATE:.4f} with macro: none"
HELD_OUT = "share of the training subjects that chooses the epoch"


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise PydanticCustomError("refused", "is reserved; choose another name")
    return name


StudyName = Annotated[Name, AfterValidator(_not_reserved)]


class GraphBlock(Block):
    """The pixel graph of TSDGCN (Algorithm 1)."""

    side: int = field(64, "side of the image that the graph covers in pixels", ge=16, le=128)
    threshold: float = field(2.8284271247461903, "T: largest distance of a candidate neighbour in pixels", ge=1)
    sigma: Literal["neighbours", "image"] | Rate = field("neighbours", "sigma in Eq. 1: a name or a number of pixels")
    symmetrise: Literal["maximum", "mean-degree"] = field("maximum", "how links that one node alone drew are treated")


class PretrainBlock(Block):
    """Training of the SGCNs on macro images."""

    epochs: Count = field(100, MOST_EPOCHS)
    patience: Count = field(10, PATIENCE)
    learning_rate: Rate = field(0.00001, "learning rate of Adam")
    decay: float = field(0.000001, DECAY, ge=0)
    batch: Count = field(32, "images per step")
    dropout: Dropout = field(0.5, "dropout before the last layer")
    frames: Literal["peak", "all"] = field("peak", "images of a macro clip: the frames near its apex, or all")
    validation: Share = field(0.2, "share of the macro subjects that chooses the epoch")
    together: bool = field(False, "whether two networks are pre-trained as one, with one classifier on both features")
    exclude_test_subjects: bool = field(False, "whether each fold pre-trains without the images of its test subjects")


class SGCNBlock(Block):
    """The layers of a network that is not pre-trained (macro: none); not in the paper."""

    layers: int = field(6, "number of Chebyshev layers, the first ones of Table I", ge=2, le=6)
    batch_norm: bool = field(False, "whether batch normalisation follows each Chebyshev layer")


class SpatialBlock(Block):
    """How key-frames enter a network."""

    relative: bool = field(False, "whether the clip's mean is subtracted from the key-frames' features, or pixels")


class TemporalBlock(Block):
    """How optical flow enters a network trained on grey images."""

    signal: Annotated[str, *choice(ROWS_PER_FLOW)] = field("magnitude", SIGNAL)
    normalise: Literal["constant", "image"] = field("constant", "image: each flow image has mean 0 and deviation 1")


class HeadBlock(Block):
    """The fused head that is trained in each fold."""

    hidden: Count = field(64, "width of the fully connected layer")
    dropout: Dropout = field(0.5, "dropout before the last layer")
    epochs: Count = field(100, MOST_EPOCHS)
    patience: Count = field(10, PATIENCE)
    learning_rate: Rate | None = field(None, RATE)
    decay: float = field(0.000001, DECAY, ge=0)
    weight_decay: float = field(0.0, "L2 penalty", ge=0)
    batch: Count = field(64, "rows per step")
    validation: Share = field(0.2, HELD_OUT)


class CommonNetworkBlock(Block):
    """The networks that read clips (merflow/systems/registry.py), trained in each fold; null: the network's default."""

    epochs: Count | None = field(None, f"{MOST_EPOCHS}; null: the network's default")
    patience: Count | None = field(None, f"{PATIENCE}; null: the network's default")
    learning_rate: Rate | None = field(None, "learning rate of Adam; null: the network's default")
    batch: int | None = field(None, "clips per step; null: the network's default", ge=2)
    dropout: Dropout | None = field(None, "dropout; null: the network's default")
    weight_decay: float = field(0.0, "L2 penalty", ge=0)
    validation: Share = field(0.2, HELD_OUT)
    refit: bool = field(True, "whether to retrain on all training clips for the chosen number of epochs")


def _option(schema: Mapping[str, Any]) -> tuple[Any, Any]:
    """Type and field of an option of a network, which the registry describes by a JSON schema; null: its default."""
    kinds = {"integer": int, "number": float, "boolean": bool, "string": str}
    kind = Literal[tuple(schema["enum"])] if "enum" in schema else kinds[schema["type"]]
    bounds = Field(default=None, ge=schema.get("minimum"), le=schema.get("maximum"), description=schema["description"])
    return kind | None, bounds


if TYPE_CHECKING:
    NetworkBlock = CommonNetworkBlock
else:
    NetworkBlock = create_model(
        "NetworkBlock",
        __base__=CommonNetworkBlock,
        __doc__=CommonNetworkBlock.__doc__,
        **{name: _option(schema) for name, schema in option_schemas().items()},
    )


class LossBlock(Block):
    """The loss of the head or network."""

    name: Literal["focal", "cross-entropy"] = field("focal", "kind of loss")
    alpha: Rate | Annotated[list[Rate], Field(min_length=2)] = field(1.0, "Eq. 6: a number above 0, or one per class")
    gamma: float = field(1.0, "Eq. 6: focusing parameter", ge=0)


Graph = Annotated[
    str,
    StringConstraints(pattern=r"^(?!0\+0$)(0|[1-9][0-9]{0,2})\+(0|[1-9][0-9]{0,2})$"),
    Field(description='a graph such as "8+2": p nearest + q drawn neighbours, p + q at least 1'),
]
Branches = Annotated[NonEmpty[Literal["spatial", "temporal"]], Unique]
Protocol = Annotated[str, *choice(PROTOCOLS)]
Seeds = Annotated[NonEmpty[Annotated[int, Field(ge=0)]], Unique]
System = Annotated[str, *choice(SYSTEMS)]
Selection = Literal["validation", "none", "nested", "paper-tuning"]
SELECTION = (
    "validation: validation subjects choose the epoch; nested: search `grid` in each fold; paper-tuning: show it"
)
Members = Annotated[list[str], Field(min_length=2), Unique]
MICRO = "dataset that is recognised, or a list of datasets; required, except for an ensemble"
OF = "system: ensemble: two or more experiments and floors, of whose calibrated probabilities it is the mean"
FUSION = "Eq. 5: rows of the branches below each other, one by one or all of a clip together, or side by side"
TRAIN_ALSO = "datasets whose clips train in every fold; they are never tested and choose no epoch"
GRAPHS = 'one or two graphs such as "8+2": p nearest and q drawn neighbours, p + q at least 1'


class ExperimentBlock(Block):
    """One experiment: a system, the datasets that it recognises, and how it is evaluated."""

    system: System = field(..., "what is trained")
    micro: str | Names | None = field(None, MICRO)
    of: Members | None = field(None, OF)
    train_also: Annotated[list[str], Unique] = field([], TRAIN_ALSO)
    macro: str = field(NO_MACRO, "dataset of the pre-training, or none: everything is trained inside the fold")
    transfer: Literal["frozen", "end-to-end"] = field("frozen", "end-to-end: each fold trains the pre-trained networks")
    classes: Classes | None = field(None, CLASSES)
    prep: str = field("default", "a name under `preparations`")
    protocol: Protocol = field("loso", "how clips are split into training and test")
    folds: int = field(5, "groups of subjects of subject-kfold", ge=2)
    test_clips: Count | None = field(None, "test clips of paper-holdout; null: a fifth")
    selection: Selection = field("validation", SELECTION)
    grid: dict[str, Annotated[NonEmpty[Any], Unique]] = field({}, "dotted keys with a list of values each")
    inner_folds: int = field(3, "groups of training subjects of selection: nested", ge=2)
    graphs: Annotated[list[Graph], Field(min_length=1, max_length=2)] = field(["8+2", "4+0"], GRAPHS)
    branches: Branches = field(["spatial", "temporal"], "spatial, temporal or both")
    fusion: Literal["stack", "clip", "concat"] = field("stack", FUSION)
    loss: LossBlock = LossBlock()
    seeds: Seeds = field([0], "one repeat per seed; a seed decides graph, pre-training and head")
    graph: GraphBlock = GraphBlock()
    pretrain: PretrainBlock = PretrainBlock()
    sgcn: SGCNBlock = SGCNBlock()
    spatial: SpatialBlock = SpatialBlock()
    temporal: TemporalBlock = TemporalBlock()
    head: HeadBlock = HeadBlock()
    network: NetworkBlock | None = field(None, "settings of a network that reads clips")

    @model_validator(mode="after")
    def _has_what_its_system_needs(self) -> "ExperimentBlock":
        needed = "of" if self.is_ensemble else "micro"
        if getattr(self, needed) is None:
            raise PydanticCustomError("missing_key", needed)
        if self.uses_graphs and "macro" not in self.model_fields_set:
            raise PydanticCustomError("missing_key", "macro")
        return self

    @property
    def datasets(self) -> list[str]:
        """The datasets that are recognised."""
        return [self.micro] if isinstance(self.micro, str) else list(self.micro or ())

    @property
    def training_datasets(self) -> list[str]:
        """The datasets that are recognised, and those that only train."""
        return [*self.datasets, *self.train_also]

    @property
    def network_block(self) -> dict[str, Any]:
        """The block ``network`` with the keys of the system alone; empty for other systems."""
        return self.network.model_dump(exclude_none=True) if self.network else {}

    @property
    def uses_graphs(self) -> bool:
        """Whether the system has graphs and a pre-training (TSDGCN)."""
        return SYSTEMS[self.system].kind == "graph"

    @property
    def reads_clips(self) -> bool:
        """Whether the system is a network that reads clips."""
        return SYSTEMS[self.system].kind == "clips"

    @property
    def trains_network(self) -> bool:
        """Whether the system is a network, as opposed to a linear baseline or an ensemble."""
        return self.uses_graphs or self.reads_clips

    @property
    def is_ensemble(self) -> bool:
        """Whether it is the mean of other experiments; what it recognises and how is that of its members."""
        return SYSTEMS[self.system].kind == "ensemble"

    @property
    def pretrains(self) -> bool:
        """Whether networks are pre-trained on macro clips."""
        return self.uses_graphs and self.macro != NO_MACRO

    @property
    def pretrains_together(self) -> bool:
        """Whether two networks are pre-trained with one classifier."""
        return self.pretrains and self.pretrain.together and len(self.graphs) > 1

    @property
    def shares_weights(self) -> bool:
        """Whether all folds start from the same pre-trained weights."""
        return self.pretrains and not self.pretrain.exclude_test_subjects

    @property
    def shares_features(self) -> bool:
        """Whether features are extracted once for all folds."""
        return self.shares_weights and self.transfer == "frozen"

    @property
    def validation(self) -> float:
        """Share of the training subjects that chooses the epoch."""
        return self.network.validation if self.network else self.head.validation


Variants = (
    Annotated[dict[str, NonEmpty[Any]], Field(min_length=1, max_length=1)]
    | NonEmpty[Annotated[dict[str, Any], Field(min_length=1)]]
)
VARIANTS = "variants: one dotted key with a list of values, or a list of blocks of dotted keys"


class TableBlock(Block):
    """One table of variants of an experiment."""

    of: str = field(..., "the experiment that is varied")
    title: str = field("", "heading of the table in the report")
    set: dict[str, Any] = field({}, "settings of all cells, with dotted keys such as loss.name")
    rows: Variants = field(..., VARIANTS)
    columns: Variants | None = field(None, VARIANTS)
    published: str | None = field(None, PUBLISHED)


class FigureBlock(Block):
    """One figure: a CSV and an SVG."""

    kind: Literal["methods", "stages", "confusion", "flow-statistics"] = field(..., "what is shown")
    of: str | Names = field(..., "the experiment or floor that is shown, or a list of them")
    title: str = field("", "heading in the report and in the drawing")
    note: str = field("", "text beside it in the report, such as what the paper says")
    published: str | None = field(None, PUBLISHED)

    @property
    def experiments(self) -> list[str]:
        """The experiments, or floors, that are shown."""
        return [self.of] if isinstance(self.of, str) else list(self.of)


class ExportBlock(Block):
    """What `snakemake export` writes as ONNX."""

    experiments: Names | None = field(None, "networks and ensembles of networks, or floors; null: all but floors")
    members: Count | None = field(None, "number of networks of each ensemble; null: all")


class SpottingBlock(Block):
    """How a long video is searched."""

    max_unsearched_seconds: Rate = field(1.0, "a clip up to this length is one candidate and is not searched")
    reference: float = field(0.2, "seconds before and after to which each time is compared", gt=0, le=1)
    least_motion: Rate = field(0.28, "least motion of a candidate, in per cent of the distance between the eyes")
    deviations: float = field(4.0, "least motion above the rest of the clip, in robust standard deviations", ge=0)
    blink: Rate = field(2.0, "a candidate is a blink if eyelid motion exceeds this multiple of face motion")


class PredictBlock(Block):
    """How new clips are answered."""

    experiments: Names | None = field(None, "experiments that answer; null: all networks and ensembles")
    uncertain_below: float = field(0.5, "the answer is `uncertain` if the top probability is lower", ge=0, le=1)
    fps: float | None = field(None, "frames per second; null: as the table or the video says", ge=0.001, le=100000)
    spotting: SpottingBlock = SpottingBlock()


Floor = Annotated[str, *choice(name for name, system in SYSTEMS.items() if system.kind in ("linear", "clips"))]
Floors = Annotated[list[Floor], Unique]


class Config(Block):
    """A complete configuration."""

    study: StudyName = field(..., "name of the study and of its folder: letters, digits, `_`, `.` and `-`")
    title: str = field("", "heading of the report; empty: the name of the study")
    results: str = field("results", "folder that receives everything the workflow makes")
    device: Literal["auto", "cpu", "cuda"] = field("auto", "where networks run")
    folds_per_job: Count = field(4, "folds of an experiment that one job trains; it changes no result")
    demo: DemoBlock = DemoBlock()
    datasets: NonEmptyDict[DatasetBlock] = field(..., "one block for each dataset, under any name")
    corrections: str | None = field(None, "table of corrections to the annotations, or null")
    preparations: dict[Name, PreparationBlock] = field({"default": PreparationBlock()}, "ways to the flow, by name")
    graph: GraphBlock = GraphBlock()
    pretrain: PretrainBlock = PretrainBlock()
    sgcn: SGCNBlock = SGCNBlock()
    spatial: SpatialBlock = SpatialBlock()
    temporal: TemporalBlock = TemporalBlock()
    head: HeadBlock = HeadBlock()
    network: NetworkBlock = NetworkBlock()
    floors: Floors = field(
        ["majority", "linear-svm", "softmax", "ststnet"], "baselines that run beside the experiments on the same folds"
    )
    experiments: NonEmptyDict[ExperimentBlock] = field(..., "one block for each experiment, under any name")
    tables: dict[Name, TableBlock] = field({}, "tables of variants of an experiment")
    figures: dict[Name, FigureBlock] = field({}, "tables and figures of the results, a CSV and an SVG each")
    export: ExportBlock = ExportBlock()
    clips: str | None = field(None, "clips that `predict` answers: a video, a folder or a table; or null")
    predict: PredictBlock = PredictBlock()
