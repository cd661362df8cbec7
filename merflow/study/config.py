"""The configuration as pydantic models: the one source of types, ranges, defaults and descriptions of all keys.

The JSON schema, the tables of docs/configuration.md and the error messages are made from these models. ``config.yaml``
is the commented manual of the same keys. :func:`merflow.study.load.load_config` reads, completes and checks a
configuration.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from merflow.protocols.folds import PROTOCOLS
from merflow.study.config_data import (
    CLASSES,
    Block,
    Classes,
    Count,
    DatasetBlock,
    DemoBlock,
    Name,
    Names,
    NonEmpty,
    NonEmptyDict,
    PreparationBlock,
    Rate,
    Unique,
    choice,
    field,
)
from merflow.study.config_spotting import RecognitionBlock, SpottingExperimentBlock
from merflow.study.config_training import (
    AugmentBlock,
    CommonNetworkBlock,
    GraphBlock,
    HeadBlock,
    LossBlock,
    NetworkBlock,
    PretrainBlock,
    SGCNBlock,
    SpatialBlock,
    TemporalBlock,
)
from merflow.systems.registry import SYSTEMS

NO_MACRO = "none"
"""Value of ``macro`` if nothing is pre-trained."""
RESERVED = ("data", "graphs", "pretrained", "features", "scorers", "logs", "benchmarks")
"""Folders under ``results`` that hold no study."""
STUDY_BLOCKS = ("graph", "pretrain", "sgcn", "spatial", "temporal", "head", "network", "augment")
"""Blocks that an experiment takes from the study and may override key by key."""

PUBLISHED = "table of merflow/evaluation/published.csv whose numbers are shown beside ours"


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise PydanticCustomError("refused", "is reserved; choose another name")
    return name


StudyName = Annotated[Name, AfterValidator(_not_reserved)]


Graph = Annotated[
    str,
    StringConstraints(pattern=r"^(?!0\+0$)(0|[1-9][0-9]{0,2})\+(0|[1-9][0-9]{0,2})$"),
    Field(description='a graph such as "8+2": p nearest + q drawn neighbours, p + q at least 1'),
]
Branches = Annotated[NonEmpty[Literal["spatial", "temporal"]], Unique]
Protocol = Annotated[str, *choice(PROTOCOLS)]
Seeds = Annotated[NonEmpty[Annotated[int, Field(ge=0)]], Unique]
System = Annotated[str, *choice(SYSTEMS)]
Selection = Literal["fixed", "nested", "paper-tuning"]
SELECTION = "fixed: settings are fixed; nested: search `grid` in each fold; paper-tuning: show it as a table"
Members = Annotated[list[str], Field(min_length=2), Unique]
MICRO = "dataset that is recognised, or a list of datasets; required, except for an ensemble"
OF = "system: ensemble: two or more experiments and floors, of whose calibrated probabilities it is the mean"
FUSION = (
    "Eq. 5: rows of the branches below each other, one by one or all of a clip together, or side by side; null: clip, "
    "or stack with macro: none"
)
TRAIN_ALSO = "datasets whose clips train in every fold; they are never tested and choose no epoch"
WEIGHTS = "folders of unpacked networks of other studies, which answer too (docs/weights.md)"
TASK = "classes: each clip has one class; action-units: each clip shows any number of `units`"
UNITS = "task action-units: numbers of the units of FACS that are recognised; clips without a coding are left out"
GRAPHS = 'one or two graphs such as "8+2": p nearest and q drawn neighbours, p + q at least 1'


class ExperimentBlock(Block):
    """One experiment: a system, the datasets that it recognises, and how it is evaluated."""

    system: System = field(..., "what is trained")
    task: Literal["classes", "action-units"] = field("classes", TASK)
    units: Annotated[NonEmpty[Annotated[int, Field(ge=1, le=99)]], Unique] | None = field(None, UNITS)
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
    selection: Selection = field("fixed", SELECTION)
    grid: dict[str, Annotated[NonEmpty[Any], Unique]] = field({}, "dotted keys with a list of values each")
    inner_folds: int = field(3, "groups of training subjects of selection: nested", ge=2)
    graphs: Annotated[list[Graph], Field(min_length=1, max_length=2)] = field(["8+2", "4+0"], GRAPHS)
    branches: Branches = field(["spatial", "temporal"], "spatial, temporal or both")
    fusion: Literal["stack", "clip", "concat"] | None = field(None, FUSION)
    loss: LossBlock = LossBlock()
    seeds: Seeds = field([0], "one repeat per seed; a seed decides graph, pre-training and head")
    graph: GraphBlock = GraphBlock()
    pretrain: PretrainBlock = PretrainBlock()
    sgcn: SGCNBlock = SGCNBlock()
    spatial: SpatialBlock = SpatialBlock()
    temporal: TemporalBlock = TemporalBlock()
    head: HeadBlock = HeadBlock()
    network: NetworkBlock | None = field(None, "settings of a network that reads clips")
    augment: AugmentBlock = AugmentBlock()

    @model_validator(mode="after")
    def _has_what_its_system_needs(self) -> "ExperimentBlock":
        needed = "of" if self.is_ensemble else "micro"
        if getattr(self, needed) is None:
            raise PydanticCustomError("missing_key", needed)
        if self.recognises_units and self.units is None:
            raise PydanticCustomError("missing_key", "units")
        if self.uses_graphs and "macro" not in self.model_fields_set:
            raise PydanticCustomError("missing_key", "macro")
        return self

    @property
    def datasets(self) -> list[str]:
        """The datasets that are recognised."""
        return [self.micro] if isinstance(self.micro, str) else list(self.micro or ())

    @property
    def recognises_units(self) -> bool:
        """Whether it recognises action units instead of classes."""
        return self.task == "action-units"

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
    def training(self) -> HeadBlock | CommonNetworkBlock:
        """The block that says how long and how the networks of a fold train."""
        return self.network or self.head

    @property
    def epoch_choice(self) -> str:
        """How the epoch is chosen; empty for a linear baseline."""
        return (self.training.epoch_choice or "") if self.trains_network else ""

    @property
    def members(self) -> int:
        """Networks whose mean is the answer of a fold."""
        return (self.training.average_seeds or 1) if self.trains_network else 1

    @property
    def can_augment(self) -> bool:
        """Whether the system reads clips in training; features that are extracted once do not change."""
        return self.reads_clips or (self.uses_graphs and self.transfer == "end-to-end")

    @property
    def augments(self) -> bool:
        """Whether training clips are changed."""
        return self.augment.apply and self.can_augment


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
    prominence: float = field(
        4.0, "least motion as a multiple of the motion in the seconds around it, if restless", ge=0
    )
    blink: Rate = field(2.0, "a candidate is a blink if eyelid motion exceeds this multiple of face motion")


NO_SPOTTER = "none"
"""Value of ``predict.spotter`` if no fitted system searches."""
SPOTTER = (
    "experiment of task spotting whose system, fitted on all its people, searches long videos; null: the first of "
    "system learned, if there is one; none: the search, with the values of `spotting`"
)


class PredictBlock(Block):
    """How new clips are answered."""

    experiments: Names | None = field(None, "names of those that answer; null: all networks, ensembles and weights")
    weights: Annotated[list[str], Unique] = field([], WEIGHTS)
    uncertain_below: float = field(0.5, "the answer is `uncertain` if the top probability is lower", ge=0, le=1)
    fps: float | None = field(None, "frames per second; null: as the table or the video says", ge=0.001, le=100000)
    region_networks: Count | None = field(1, "networks of each experiment whose regions the page shows; null: all")
    spotter: str | None = field(None, SPOTTER)
    spotting: SpottingBlock = SpottingBlock()


FLOORS = [name for name, system in SYSTEMS.items() if system.kind in ("linear", "clips") and name != "all-ones"]
Floor = Annotated[str, *choice(FLOORS)]
Floors = Annotated[list[Floor], Unique]


def _some(experiments: dict[str, ExperimentBlock], info: ValidationInfo) -> dict[str, ExperimentBlock]:
    if not experiments and not info.data.get("spotting", True):  # Without the key, its own errors are reported.
        raise PydanticCustomError("empty", "is empty")
    return experiments


LONG = "experiments in long videos; written under `experiments`, among the others, and known by their task"


class Config(Block):
    """A complete configuration."""

    study: StudyName = field(..., "name of the study and of its folder: letters, digits, `_`, `.` and `-`")
    title: str = field("", "heading of the report; empty: the name of the study")
    results: str = field("results", "folder that receives everything the workflow makes")
    device: Literal["auto", "cpu", "cuda"] = field("auto", "where networks run")
    container: str | None = field(None, "image of your own in which jobs run with `--sdm apptainer`, or null")
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
    augment: AugmentBlock = AugmentBlock()
    floors: Floors = field(
        ["majority", "linear-svm", "softmax", "ststnet"], "baselines that run beside the experiments on the same folds"
    )
    spotting: dict[Name, SpottingExperimentBlock] = field({}, LONG)
    recognition: dict[Name, RecognitionBlock] = field({}, LONG)
    experiments: Annotated[dict[Name, ExperimentBlock], AfterValidator(_some)] = field(
        ..., "one block for each experiment, under any name"
    )
    tables: dict[Name, TableBlock] = field({}, "tables of variants of an experiment")
    figures: dict[Name, FigureBlock] = field({}, "tables and figures of the results, a CSV and an SVG each")
    export: ExportBlock = ExportBlock()
    clips: str | None = field(None, "clips that `predict` answers: a video, a folder or a table; or null")
    predict: PredictBlock = PredictBlock()
