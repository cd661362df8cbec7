"""Configuration models of synthetic people, datasets and preparations, and what all models share."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from merflow.datasets.labels import class_sets
from merflow.datasets.registry import LAYOUTS
from merflow.preprocessing.settings import STANDARD_GEOMETRY


class Block(BaseModel):
    """A block of keys; unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, regex_engine="python-re", populate_by_name=True)


def _one_of(names: Callable[[], Iterable[str]], value: str) -> str:
    if value not in names():
        raise PydanticCustomError("not_one_of", "not one of the names")
    return value


def choice(names: Callable[[], Iterable[str]]) -> tuple[AfterValidator, Any]:
    """Metadata of a text that must be one of the names that registries have now."""
    extra = Field(json_schema_extra=lambda schema: schema.update({"enum": list(names())}))
    return AfterValidator(partial(_one_of, names)), extra


def _unique(values: list[Any]) -> list[Any]:
    if any(value in values[:place] for place, value in enumerate(values)):
        raise PydanticCustomError("not_unique", "an entry occurs twice")
    return values


def _labels_as_text(classes: Any) -> Any:
    """``classes`` with labels such as 0 and 1, which YAML reads as numbers, as text."""
    if isinstance(classes, list):
        return [str(label) if type(label) is int else label for label in classes]
    if isinstance(classes, Mapping) and isinstance(classes.get("map"), Mapping):
        pairs = classes["map"].items()
        return {**classes, "map": {str(k): str(v) if type(v) is int else v for k, v in pairs}}
    return classes


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Unique = AfterValidator(_unique)
Names = Annotated[list[str], Field(min_length=1), Unique]
Share = Annotated[float, Field(gt=0, lt=0.5)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


class DemoBlock(Block):
    """The synthetic people of layout `demo`."""

    subjects: int = Field(
        default=24,
        ge=4,
        description="number of people, at least 4; the first half has the macro clips, the second the micro",
    )
    clips_per_emotion: Count = Field(default=2, description="micro clips of each emotion and person")
    macro_clips_per_emotion: Count = Field(default=1, description="macro clips of each emotion and person")
    frames: int = Field(default=40, ge=20, description="frames of a micro clip, at least 20")
    emotions: Annotated[
        list[Literal["happiness", "surprise", "disgust", "fear", "sadness", "anger"]], Field(min_length=2), Unique
    ] = Field(
        default=["happiness", "surprise", "disgust", "fear", "sadness"],
        description="two or more of happiness, surprise, disgust, fear, sadness and anger",
    )
    noise: float = Field(default=2.0, ge=0, description="camera noise in grey levels")
    drift: float = Field(default=1.0, ge=0, description="amount of head motion; 0 for none")
    seed: int = Field(default=0, ge=0, description="seed of the synthetic people")


class ClassMap(Block):
    """A class for each label."""

    column: str | None = Field(default=None, description="column of the labels")
    map: Annotated[dict[str, Annotated[str, Field(min_length=1)]], Field(min_length=2)] = Field(
        description="class of each label"
    )


Classes = Annotated[
    Annotated[str, *choice(class_sets)] | Annotated[list[str], Field(min_length=2), Unique] | ClassMap,
    BeforeValidator(_labels_as_text),
]
CLASSES = f"a class set ({', '.join(class_sets())}), a list of 2 or more labels, or a map of labels {{column, map}}"


class DatasetBlock(Block):
    """One dataset."""

    layout: Annotated[str, *choice(lambda: LAYOUTS)] = Field(description="how the dataset lies on disk")
    root: str | None = Field(default=None, description="folder of the dataset; required unless the layout is demo")
    table: str | None = Field(
        default=None, description="table of clips, relative to root; if left out, found by its name"
    )
    images: str | None = Field(
        default=None, description="folder of the frames, relative to root, if several variants lie side by side"
    )
    kind: Literal["micro", "macro"] | None = Field(default=None, description="what the clips show")
    classes: Classes | None = Field(default=None, description=CLASSES)
    align: Literal["detect", "none", "auto"] | None = Field(
        default=None,
        description="detect: find the face; none: frames are face crops; auto: decide from the frames; "
        "if left out, as usual for the layout",
    )
    corrections: str | None = Field(
        default=None, description="table of corrections of this dataset, instead of the study's"
    )
    channels: Annotated[list[Literal["u", "v", "strain"]], Field(min_length=3, max_length=3), Unique] | None = Field(
        default=None, description="what red, green and blue of a flow image hold: u, v and strain in their order"
    )
    scaling: str | None = Field(default=None, description="how the numbers of a flow image were made, in words")
    on_problem: Literal["skip-clip", "stop"] = Field(
        default="skip-clip",
        description="skip-clip: leave out and report a clip that cannot be used; stop: stop the run",
    )

    @model_validator(mode="after")
    def _has_root(self) -> "DatasetBlock":
        if self.layout != "demo" and self.root is None:
            raise PydanticCustomError("missing_key", "root")
        return self


class AlignBlock(Block):
    """Finding and cropping the face."""

    landmarks: Literal[5, 68] = Field(default=5, description="landmark model of dlib; 68 is not for commercial use")
    size: int = Field(default=128, ge=32, le=512, description="side of the grey crop in pixels")
    crop: float = Field(
        default=STANDARD_GEOMETRY.crop, ge=1.5, le=5, description="width of the crop in inter-ocular distances"
    )
    eye_height: float = Field(
        default=STANDARD_GEOMETRY.eye_height, ge=0.1, le=0.9, description="height of the eyes as a share of the crop"
    )
    upsample: int = Field(
        default=1, ge=0, le=2, description="how many times an image may be doubled if no face is found"
    )
    search: Count = Field(default=5, description="number of frames, from the onset, in which a face is searched for")


class KeyframeBlock(Block):
    """Which frames of a clip are kept; `keyframes: adaptive` is short for `keyframes: {method: adaptive}`."""

    method: Literal["motion", "adaptive", "uniform"] = Field(
        default="motion", description="equal steps of the measured motion, of a learned score, or of time"
    )
    count: int = Field(default=5, ge=1, le=32, description="key-frames per clip (Ms = Mt)")
    apex: Literal["annotated", "spotted"] = Field(
        default="annotated",
        description="annotated: the annotated apex if there is one; spotted: always the spotted one",
    )
    learn_from: str | None = Field(
        default=None, description="adaptive: dataset that trains the frame scorer; null: synthetic people made for it"
    )


class FlowBlock(Block):
    """TV-L1 optical flow."""

    backend: Literal["opencv", "numba"] = Field(
        default="numba", description="implementation of TV-L1: numba, compiled; opencv, the reference"
    )
    reference: Literal["onset", "consecutive"] = Field(
        default="onset", description="flow from the onset to each key-frame, or from each key-frame to the next"
    )
    tau: float = Field(default=0.25, gt=0, description="time step")
    lambda_: float = Field(default=0.05, gt=0, alias="lambda", description="weight of the data term")
    theta: float = Field(default=0.4, gt=0, description="tightness of the coupling")
    scales: int = Field(default=2, ge=1, le=10, description="levels of the pyramid")
    step: float = Field(default=0.5, gt=0, lt=1, description="ratio of the sides of two successive levels")
    warps: Count = Field(default=2, description="warpings per level")
    epsilon: float = Field(default=0.055, gt=0, description="stopping threshold")
    normalise: bool = Field(default=True, description="whether local contrast is normalised first")
    smooth: float = Field(
        default=0.02,
        ge=0,
        le=0.1,
        description="standard deviation of the final Gaussian as a share of the crop's side; 0: none",
    )
    rigid: bool = Field(default=True, description="whether the motion of the head is subtracted")


class PreparationBlock(Block):
    """One way from frames to aligned faces, key-frames and flow."""

    align: AlignBlock = AlignBlock()
    keyframes: KeyframeBlock = KeyframeBlock()
    flow: FlowBlock = FlowBlock()
