"""The configuration as pydantic models: the one source of types, ranges, defaults and descriptions of all keys.

The JSON schema, the tables of docs/configuration.md and the error messages are made from these models. ``config.yaml``
is the commented manual of the same keys. :func:`merflow.study.load.load_config` reads, completes and checks a
configuration.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, create_model, model_validator
from pydantic_core import PydanticCustomError

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
    PreparationBlock,
    Rate,
    Share,
    Unique,
    choice,
)
from merflow.systems.registry import NETWORKS, option_schemas

GRAPH_SYSTEMS = ("tsdgcn",)
"""Systems with graphs and a pre-training; those of the registry read clips, the others are linear baselines."""
LINEAR_SYSTEMS = ("majority", "linear-svm", "softmax")
NO_MACRO = "none"
"""Value of ``macro`` if nothing is pre-trained."""
RESERVED = ("data", "graphs", "pretrained", "features", "scorers", "logs", "benchmarks")
"""Folders under ``results`` that hold no study."""
STUDY_BLOCKS = ("graph", "pretrain", "temporal", "head", "network")
"""Blocks that an experiment takes from the study and may override key by key."""

MOST_EPOCHS = "maximum number of epochs"
PATIENCE = "stop after this many epochs without a better validation loss"
DECAY = "the learning rate at a step is learning_rate / (1 + decay * step)"
DROPOUT = "dropout, from 0 to below 1"
PUBLISHED = "table of merflow/evaluation/published.csv whose numbers are shown beside ours"
HELD_OUT = "share of the training subjects that chooses the epoch"


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise PydanticCustomError("reserved", "a folder of the workflow has this name")
    return name


class GraphBlock(Block):
    """The pixel graph of TSDGCN (Algorithm 1)."""

    side: int = Field(default=64, ge=16, le=128, description="side of the image that the graph covers in pixels")
    threshold: float = Field(
        default=2.8284271247461903, ge=1, description="T: largest distance of a candidate neighbour in pixels"
    )
    sigma: Literal["neighbours", "image"] | Rate = Field(
        default="neighbours", description="sigma in Eq. 1: neighbours, image or a number above 0"
    )


class PretrainBlock(Block):
    """Training of one SGCN on macro images."""

    epochs: Count = Field(default=100, description=MOST_EPOCHS)
    patience: Count = Field(default=10, description=PATIENCE)
    learning_rate: Rate = Field(default=0.00001, description="learning rate of Adam")
    decay: float = Field(default=0.000001, ge=0, description=DECAY)
    batch: Count = Field(default=32, description="images per step")
    dropout: Dropout = Field(default=0.5, description="dropout before the last layer, from 0 to below 1")
    frames: Literal["peak", "all"] = Field(
        default="peak", description="images of a macro clip: the frames near its apex, or all key-frames"
    )
    validation: Share = Field(default=0.2, description="share of the macro subjects that chooses the epoch")
    exclude_test_subjects: bool = Field(
        default=False,
        description="true: each fold pre-trains without the macro images of its test subjects (compared by name)",
    )


class TemporalBlock(Block):
    """How optical flow enters a network trained on grey images."""

    signal: Literal["magnitude", "u+v", "strain"] = Field(default="magnitude", description="the scalar at each pixel")


class HeadBlock(Block):
    """The fused head that is trained in each fold."""

    hidden: Count = Field(default=64, description="width of the fully connected layer")
    dropout: Dropout = Field(default=0.5, description="dropout before the last layer, from 0 to below 1")
    epochs: Count = Field(default=100, description=MOST_EPOCHS)
    patience: Count = Field(default=10, description=PATIENCE)
    learning_rate: Rate | None = Field(
        default=None,
        description="learning rate of Adam; null: 0.00001 as in the paper, or 0.0005 if nothing is pre-trained "
        "(macro: none)",
    )
    decay: float = Field(default=0.000001, ge=0, description=DECAY)
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty")
    batch: Count = Field(default=64, description="rows per step")
    validation: Share = Field(default=0.2, description=HELD_OUT)


class CommonNetworkBlock(Block):
    """The networks that read clips (merflow/systems/registry.py), trained in each fold; null: the network's default."""

    epochs: Count | None = Field(default=None, description=f"{MOST_EPOCHS}; null: the network's default")
    patience: Count | None = Field(default=None, description=f"{PATIENCE}; null: the network's default")
    learning_rate: Rate | None = Field(default=None, description="learning rate of Adam; null: the network's default")
    batch: int | None = Field(default=None, ge=2, description="clips per step, at least 2; null: the network's default")
    dropout: Dropout | None = Field(default=None, description=f"{DROPOUT}; null: the network's default")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty")
    validation: Share = Field(default=0.2, description=HELD_OUT)
    refit: bool = Field(
        default=True,
        description="true: after the validation subjects have chosen the number of epochs, retrain on all training "
        "clips for that number",
    )


def _option(schema: Mapping[str, Any]) -> tuple[Any, Any]:
    """Type and field of an option of a network, which the registry describes by a JSON schema."""
    values = tuple(value for value in schema.get("enum", ()) if value is not None)
    kinds = {"integer": int, "number": float, "boolean": bool, "string": str}
    kind = Literal[values] if values else kinds[schema["type"][0]]
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

    name: Literal["focal", "cross-entropy"] = Field(default="focal", description="kind of loss")
    alpha: Rate | Annotated[list[Rate], Field(min_length=2)] = Field(
        default=1.0, description="Eq. 6: a number above 0, or one per class"
    )
    gamma: float = Field(default=1.0, ge=0, description="Eq. 6: focusing parameter, at least 0")


Graph = Annotated[
    str,
    StringConstraints(pattern=r"^(?!0\+0$)(0|[1-9][0-9]{0,2})\+(0|[1-9][0-9]{0,2})$"),
    Field(description='a graph such as "8+2": p nearest + q drawn neighbours, p + q at least 1'),
]
GRAPHS = 'one or two graphs such as "8+2": p nearest and q drawn neighbours, p + q at least 1'


class ExperimentBlock(Block):
    """One experiment: a system, the datasets that it recognises, and how it is evaluated."""

    system: Annotated[str, *choice(lambda: (*GRAPH_SYSTEMS, *LINEAR_SYSTEMS, *NETWORKS))] = Field(
        description="what is trained"
    )
    micro: str | Names = Field(description="dataset that is recognised, or a list of datasets")
    macro: str = Field(
        default=NO_MACRO, description="dataset of the pre-training, or none: everything is trained inside the fold"
    )
    transfer: Literal["frozen", "end-to-end"] = Field(
        default="frozen",
        description="frozen: pre-trained networks only extract features; end-to-end: each fold trains them further",
    )
    classes: Classes | None = Field(default=None, description=CLASSES)
    prep: str = Field(default="default", description="a name under `preparations`")
    protocol: Literal["loso", "composite-loso", "subject-kfold", "cross-dataset", "paper-holdout"] = Field(
        default="loso", description="how clips are split into training and test"
    )
    folds: int = Field(default=5, ge=2, description="groups of subjects of subject-kfold, at least 2")
    test_clips: Count | None = Field(default=None, description="test clips of paper-holdout; null: a fifth")
    selection: Literal["validation", "none", "nested", "paper-tuning"] = Field(
        default="validation",
        description="validation: validation subjects choose the epoch; none: train for all epochs; nested: search the "
        "grid inside each fold; paper-tuning: show the whole grid",
    )
    grid: dict[str, Annotated[list[Any], Field(min_length=1), Unique]] = Field(
        default={}, description="dotted keys with a list of values each, for selection nested and paper-tuning"
    )
    inner_folds: int = Field(default=3, ge=2, description="groups of training subjects of selection nested, at least 2")
    graphs: Annotated[list[Graph], Field(min_length=1, max_length=2)] = Field(
        default=["8+2", "4+0"], description=GRAPHS
    )
    branches: Annotated[list[Literal["spatial", "temporal"]], Field(min_length=1), Unique] = Field(
        default=["spatial", "temporal"], description="spatial, temporal or both"
    )
    fusion: Literal["stack", "concat"] = Field(
        default="stack", description="Eq. 5: rows of both branches one under the other, or side by side"
    )
    loss: LossBlock = LossBlock()
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), Unique] = Field(
        default=[0], description="one repeat per seed; a seed decides graph, pre-training and head"
    )
    graph: GraphBlock = GraphBlock()
    pretrain: PretrainBlock = PretrainBlock()
    temporal: TemporalBlock = TemporalBlock()
    head: HeadBlock = HeadBlock()
    network: NetworkBlock | None = Field(default=None, description="settings of a network that reads clips")

    @model_validator(mode="after")
    def _has_macro(self) -> "ExperimentBlock":
        if self.uses_graphs and "macro" not in self.model_fields_set:
            raise PydanticCustomError("missing_key", "macro")
        return self

    @property
    def datasets(self) -> list[str]:
        """The datasets that are recognised."""
        return [self.micro] if isinstance(self.micro, str) else list(self.micro)

    @property
    def network_block(self) -> dict[str, Any]:
        """The block ``network`` with the keys of the system alone; empty for other systems."""
        return self.network.model_dump(exclude_none=True) if self.network else {}

    @property
    def uses_graphs(self) -> bool:
        """Whether the system has graphs and a pre-training (TSDGCN)."""
        return self.system in GRAPH_SYSTEMS

    @property
    def reads_clips(self) -> bool:
        """Whether the system is a network of the registry."""
        return self.system in NETWORKS

    @property
    def trains_network(self) -> bool:
        """Whether the system is a network, as opposed to a linear baseline."""
        return self.uses_graphs or self.reads_clips

    @property
    def pretrains(self) -> bool:
        """Whether networks are pre-trained on macro clips."""
        return self.uses_graphs and self.macro != NO_MACRO

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
    Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1, max_length=1)]
    | Annotated[list[Annotated[dict[str, Any], Field(min_length=1)]], Field(min_length=1)]
)
VARIANTS = "variants: one dotted key with a list of values, or a list of blocks of dotted keys"


class TableBlock(Block):
    """One table of variants of an experiment."""

    of: str = Field(description="the experiment that is varied")
    title: str = Field(default="", description="heading of the table in the report")
    set: dict[str, Any] = Field(default={}, description="settings of all cells, with dotted keys such as loss.name")
    rows: Variants = Field(description=VARIANTS)
    columns: Variants | None = Field(default=None, description=VARIANTS)
    published: str | None = Field(default=None, description=PUBLISHED)


class FigureBlock(Block):
    """One figure: a CSV and an SVG."""

    kind: Literal["methods", "stages", "confusion", "flow-statistics"] = Field(description="what is shown")
    of: str | Names = Field(description="the experiment or floor that is shown, or a list of them")
    title: str = Field(default="", description="heading in the report and in the drawing")
    note: str = Field(default="", description="text beside it in the report, such as what the paper says")
    published: str | None = Field(default=None, description=PUBLISHED)

    @property
    def experiments(self) -> list[str]:
        """The experiments, or floors, that are shown."""
        return [self.of] if isinstance(self.of, str) else list(self.of)


class ExportBlock(Block):
    """What `snakemake export` writes as ONNX."""

    experiments: Names | None = Field(
        default=None, description="experiments or floors that train networks; null: all experiments that do"
    )
    members: Count | None = Field(
        default=None, description="number of networks of each ensemble, at least 1; null: all"
    )


class SpottingBlock(Block):
    """How a long video is searched."""

    max_unsearched_seconds: float = Field(
        default=1.0, gt=0, description="a clip up to this length is one candidate and is not searched; above 0"
    )
    reference: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="seconds before and after to which each time is compared; above 0, at most 1",
    )
    least_motion: float = Field(
        default=0.28,
        gt=0,
        description="least motion of a candidate, in per cent of the distance between the eyes; above 0",
    )
    deviations: float = Field(
        default=4.0,
        ge=0,
        description="least motion of a candidate above the rest of the clip, in robust standard deviations, at least 0",
    )
    blink: float = Field(
        default=2.0,
        gt=0,
        description="a candidate is a blink if eyelid motion exceeds this multiple of face motion; above 0",
    )


class PredictBlock(Block):
    """How new clips are answered."""

    experiments: Names | None = Field(
        default=None, description="experiments that answer; null: all experiments that train a network"
    )
    uncertain_below: float = Field(
        default=0.5, ge=0, le=1, description="the answer is `uncertain` if the top probability is lower; from 0 to 1"
    )
    fps: float | None = Field(
        default=None,
        ge=0.001,
        le=100000,
        description="frames per second, from 0.001 to 100000; null: as the table or the video says",
    )
    spotting: SpottingBlock = SpottingBlock()


Floors = Annotated[list[Annotated[str, *choice(lambda: (*LINEAR_SYSTEMS, *NETWORKS))]], Unique]


class Config(Block):
    """A complete configuration."""

    study: Annotated[Name, AfterValidator(_not_reserved)] = Field(
        description="name of the study and of its folder under `results`: letters, digits, `_`, `.` and `-`"
    )
    title: str = Field(default="", description="heading of the report; empty: the name of the study")
    results: str = Field(default="results", description="folder that receives everything the workflow makes")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where networks run")
    demo: DemoBlock = DemoBlock()
    datasets: Annotated[dict[Name, DatasetBlock], Field(min_length=1)] = Field(
        description="one block for each dataset, under a name of your choice"
    )
    corrections: str | None = Field(default=None, description="table of corrections to the annotations, or null")
    preparations: dict[Name, PreparationBlock] = Field(
        default={"default": PreparationBlock()},
        description="ways from frames to aligned faces, key-frames and flow, by name",
    )
    graph: GraphBlock = GraphBlock()
    pretrain: PretrainBlock = PretrainBlock()
    temporal: TemporalBlock = TemporalBlock()
    head: HeadBlock = HeadBlock()
    network: NetworkBlock = NetworkBlock()
    floors: Floors = Field(
        default=["majority", "linear-svm", "softmax", "ststnet"],
        description="baselines that run beside the experiments on the same clips and folds",
    )
    experiments: Annotated[dict[Name, ExperimentBlock], Field(min_length=1)] = Field(
        description="one block for each experiment, under a name of your choice"
    )
    tables: dict[Name, TableBlock] = Field(default={}, description="tables of variants of an experiment")
    figures: dict[Name, FigureBlock] = Field(
        default={}, description="tables and figures of the results, a CSV and an SVG each"
    )
    export: ExportBlock = ExportBlock()
    clips: str | None = Field(
        default=None, description="clips that `predict` answers: a video, a folder or a table; or null"
    )
    predict: PredictBlock = PredictBlock()
