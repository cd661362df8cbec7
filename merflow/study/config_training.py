"""Configuration models of what trains: graph, pre-training, head, networks, augmentation and loss."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model

from merflow.study.config_data import Block, Count, Dropout, Rate, Share, choice, field
from merflow.systems.registry import option_schemas
from merflow.systems.settings import ROWS_PER_FLOW

SIGNAL = (
    "the scalar at each pixel; channels: u, v and strain, without pre-training; null: magnitude, or u+v on ready-made "
    "flow images, which do not say which value is no motion"
)
MOST_EPOCHS = "maximum number of epochs"
PATIENCE = "stop after this many epochs without a better validation loss"
DECAY = "the learning rate at a step is learning_rate / (1 + decay * step)"
PRETRAINED_RATE, UNTRAINED_RATE = 1e-5, 5e-4
"""Default learning rates of the head. At the paper's rate a network without pre-training does not learn."""
PRETRAINED_BATCH, UNTRAINED_BATCH = 4, 64
"""Default batches of the head. At the paper's rate larger ones make too few steps to fit the training clips."""
RATE = f"learning rate of Adam; null: {PRETRAINED_RATE:.5f}, or {UNTRAINED_RATE:.4f} with macro: none"
HEAD_BATCH = (
    f"clips per step, or rows without fusion: clip; null: {PRETRAINED_BATCH}, or {UNTRAINED_BATCH} with macro: none"
)
HELD_OUT = "share of the training subjects that chooses the epoch"
EpochChoice = Literal["validation", "refit", "fixed", "average"]
EPOCH_CHOICE = (
    "validation: the epoch of the smallest validation loss; refit: all training clips train for that number of epochs; "
    "fixed: they train for all epochs; average: likewise, and the mean of the weights of the last quarter is kept"
)
LearningRate = Literal["constant", "cosine"]
SCHEDULE = "constant, or cosine: the learning rate rises in the first 5 % of the steps and falls to 0 along a cosine"
AVERAGE_SEEDS = "networks with different random numbers whose mean probabilities are the answer of a fold"

RELATIVE = (
    "whether the clip's mean is subtracted from key-frames: with transfer: frozen from their features, else from their "
    "pixels; null: true, or false with a macro set and transfer: end-to-end"
)
NORMALISE = "image: each flow image has mean 0 and deviation 1; null: image, or constant with macro: none"


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
    batch: Count = field(4, "images per step")
    dropout: Dropout = field(0.5, "dropout before the last layer")
    frames: Literal["peak", "all"] = field("peak", "images of a macro clip: the frames near its apex, or all")
    validation: float = field(
        0.2, "share of the macro subjects that chooses the epoch; 0: all train for all epochs", ge=0, lt=0.5
    )
    together: bool = field(False, "whether two networks are pre-trained as one, with one classifier on both features")
    exclude_test_subjects: bool = field(False, "whether each fold pre-trains without the images of its test subjects")


class SGCNBlock(Block):
    """The layers of a network that is not pre-trained (macro: none); not in the paper."""

    layers: int = field(6, "number of Chebyshev layers, the first ones of Table I", ge=2, le=6)
    batch_norm: bool = field(False, "whether batch normalisation follows each Chebyshev layer")


class SpatialBlock(Block):
    """How key-frames enter a network."""

    relative: bool | None = field(None, RELATIVE)


class TemporalBlock(Block):
    """How optical flow enters a network."""

    signal: Annotated[str, *choice(ROWS_PER_FLOW)] | None = field(None, SIGNAL)
    normalise: Literal["constant", "image"] | None = field(None, NORMALISE)


class HeadBlock(Block):
    """The fused head that is trained in each fold."""

    hidden: Count = field(64, "width of the fully connected layer")
    dropout: Dropout = field(0.5, "dropout before the last layer")
    epochs: Count = field(100, MOST_EPOCHS)
    patience: Count = field(10, PATIENCE)
    learning_rate: Rate | None = field(None, RATE)
    decay: float = field(0.000001, DECAY, ge=0)
    weight_decay: float = field(0.0, "L2 penalty", ge=0)
    batch: Count | None = field(None, HEAD_BATCH)
    schedule: LearningRate = field("constant", SCHEDULE)
    epoch_choice: EpochChoice | None = field(None, f"{EPOCH_CHOICE}; null: validation, or refit with macro: none")
    average_seeds: Count = field(1, AVERAGE_SEEDS)
    validation: Share = field(0.2, HELD_OUT)


class CommonNetworkBlock(Block):
    """The networks that read clips (merflow/systems/registry.py), trained in each fold; null: the network's default."""

    epochs: Count | None = field(None, f"{MOST_EPOCHS}; null: the network's default")
    patience: Count | None = field(None, f"{PATIENCE}; null: the network's default")
    learning_rate: Rate | None = field(None, "learning rate of Adam; null: the network's default")
    batch: int | None = field(None, "clips per step; null: the network's default", ge=2)
    dropout: Dropout | None = field(None, "dropout; null: the network's default")
    weight_decay: float = field(0.0, "L2 penalty", ge=0)
    schedule: LearningRate | None = field(None, f"{SCHEDULE}; null: the network's default")
    epoch_choice: EpochChoice | None = field(None, f"{EPOCH_CHOICE}; null: the network's default")
    average_seeds: Count | None = field(None, f"{AVERAGE_SEEDS}; null: the network's default")
    validation: Share = field(0.2, HELD_OUT)


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


class AugmentBlock(Block):
    """How training clips are changed, each time in another way; numbers are drawn up to the given ones."""

    apply: bool = field(True, "whether training clips are changed at all")
    mirror: bool = field(True, "whether a half of the clips, on average, is mirrored left to right")
    rotation: float = field(5.0, "degrees by which a clip is turned", ge=0, le=45)
    shift: float = field(0.04, "share of the side of the image by which a clip is moved", ge=0, le=0.5)
    scale: float = field(0.05, "share by which a face is enlarged or reduced", ge=0, lt=1)
    strength: float = field(0.2, "share by which the motion is enlarged or reduced", ge=0, lt=1)


class LossBlock(Block):
    """The loss of the head or network."""

    name: Literal["focal", "cross-entropy"] = field("focal", "kind of loss")
    alpha: Rate | Annotated[list[Rate], Field(min_length=2)] = field(1.0, "Eq. 6: a number above 0, or one per class")
    gamma: float = field(1.0, "Eq. 6: focusing parameter", ge=0)
    weights: Literal["none", "balanced"] = field("none", "balanced: rare classes count as much as frequent ones")
