"""Configuration models of synthetic people, datasets and preparations, and what all models share."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from merflow.datasets.labels import class_sets
from merflow.datasets.registry import LAYOUTS
from merflow.preprocessing.settings import STANDARD_GEOMETRY

T = TypeVar("T")


class Block(BaseModel):
    """A block of keys; unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, regex_engine="python-re", populate_by_name=True)


def field(default: Any, description: str, **limits: Any) -> Any:
    """Return the field of a key: its default (``...`` if the key is required), its description and its limits."""
    return Field(default, description=description, **limits)


def choice(names: Iterable[str]) -> tuple[AfterValidator, Any]:
    """Metadata of a text that must be one of ``names``."""
    allowed = list(names)

    def check(value: str) -> str:
        if value not in allowed:
            raise PydanticCustomError("not_one_of", "not one of the names")
        return value

    return AfterValidator(check), Field(json_schema_extra={"enum": list[Any](allowed)})


def _unique(values: list[Any]) -> list[Any]:
    if any(value in values[:index] for index, value in enumerate(values)):
        raise PydanticCustomError("refused", "is not allowed; an entry occurs twice")
    return values


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Unique = AfterValidator(_unique)
# YAML reads labels such as 0 and 1 as numbers.
Label = Annotated[str, BeforeValidator(lambda label: str(label) if type(label) is int else label)]
NonEmpty = Annotated[list[T], Field(min_length=1)]
NonEmptyDict = Annotated[dict[Name, T], Field(min_length=1)]
Names = Annotated[NonEmpty[str], Unique]
Share = Annotated[float, Field(gt=0, lt=0.5)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


Emotion = Literal["happiness", "surprise", "disgust", "fear", "sadness", "anger", "others", "negative", "positive"]
Emotions = Annotated[list[Emotion], Field(min_length=2), Unique]
EMOTIONS = (
    "two or more of happiness, surprise, disgust, fear, sadness, anger, others (repertoire annotated), "
    "negative (anger, disgust, fear, sadness) and positive (happiness)"
)
REPERTOIRE = (
    "prototypes: each emotion has its own action units; annotated: micro clips show them as often as real annotations"
)


class DemoBlock(Block):
    """The synthetic people of layout `demo`."""

    subjects: int = field(20, "number of people; the first half has the macro clips, the second the micro", ge=4)
    clips_per_emotion: Count = field(4, "micro clips of each emotion and person")
    macro_clips_per_emotion: Count = field(2, "macro clips of each emotion and person")
    repertoire: Literal["prototypes", "annotated"] = field("annotated", REPERTOIRE)
    emotions: Emotions = field(["negative", "positive", "surprise"], EMOTIONS)
    fps: int = field(50, "frames per second of a micro clip", ge=25, le=400)
    frames: int = field(40, "frames of a micro clip (annotated: as many as real clips have)", ge=20)
    noise: float = field(2.0, "camera noise in grey levels", ge=0)
    drift: float = field(1.0, "amount of head motion; 0 for none", ge=0)
    portraits: str | None = field(None, "folder of frontal photographs to animate instead of drawn faces")
    seed: int = field(0, "seed of the synthetic people", ge=0)


class PeopleBlock(Block):
    """Layout demo: people of this dataset alone, instead of those that the block `demo` shares out."""

    subjects: Count = field(..., "number of people; no other dataset of the study shows them")
    clips: dict[Emotion, Count] = field(
        ..., "two or more labels with their number of clips, spread unevenly over the people", min_length=2
    )
    fps: int = field(200, "frames per second", ge=25, le=400)
    interocular_px: int = field(
        120, "distance between the pupils in pixels; a frame is four times as wide", ge=50, le=240
    )
    noise: float = field(2.0, "camera noise in grey levels", ge=0)
    light: float = field(1.0, "variation of the illumination; 0 for none", ge=0)

    @model_validator(mode="after")
    def _has_enough_clips(self) -> "PeopleBlock":
        if sum(self.clips.values()) < self.subjects:
            raise PydanticCustomError("refused", "is not allowed; every person needs a clip")
        return self


class LongPeopleBlock(Block):
    """Layout long-demo: synthetic people who talk, chew and look around, in a long video each."""

    people: int = field(8, "number of people; no other dataset of the study shows them", ge=2)
    seconds: float = field(120.0, "length of each video", ge=5)
    fps: float = field(30.0, "frames per second", ge=15, le=400)
    micro: float = field(3.0, "micro-expressions per minute", ge=0)
    macro: float = field(2.5, "macro-expressions per minute", ge=0)
    seed: int = field(0, "seed of the people and of what they do", ge=0)


class ClassMap(Block):
    """A class for each label."""

    column: str | None = field(None, "column of the labels")
    map: dict[Label, Annotated[Label, Field(min_length=1)]] = field(..., "class of each label", min_length=2)


Classes = Annotated[str, *choice(class_sets())] | Annotated[list[Label], Field(min_length=2), Unique] | ClassMap
CLASSES = f"a class set ({', '.join(class_sets())}), a list of 2 or more labels, or a map of labels {{column, map}}"


Channels = Annotated[list[Literal["u", "v", "strain"]], Field(min_length=3, max_length=3), Unique]
ALIGN = (
    "detect: find the face; none: frames are face crops; auto: decide from the frames; null: as usual for the layout"
)


class DatasetBlock(Block):
    """One dataset."""

    layout: Annotated[str, *choice(LAYOUTS)] = field(..., "how the dataset lies on disk")
    root: str | None = field(None, "folder of the dataset; required unless the layout is demo")
    table: str | None = field(None, "table of clips, relative to root; if left out, found by its name")
    images: str | None = field(None, "folder of the frames, relative to root, if several variants lie side by side")
    kind: Literal["micro", "macro"] | None = field(None, "what the clips show")
    classes: Classes | None = field(None, CLASSES)
    align: Literal["detect", "none", "auto"] | None = field(None, ALIGN)
    bit_depth: Literal[8, 10, 12, 14, 16] | None = field(None, "bits in use of deeper images; null: by largest value")
    corrections: str | None = field(None, "table of corrections of this dataset, instead of the study's")
    channels: Channels | None = field(None, "what red, green and blue of a flow image hold, in their order")
    people: PeopleBlock | None = field(None, "layout demo: people of this dataset alone, instead of those of `demo`")
    long_people: LongPeopleBlock | None = field(None, "layout long-demo: the people and their videos; null: as usual")
    scaling: str | None = field(None, "how the numbers of a flow image were made, in words")
    on_problem: Literal["skip-clip", "stop"] = field("skip-clip", "what to do about a clip that cannot be used")

    @model_validator(mode="after")
    def _has_root(self) -> "DatasetBlock":
        if not LAYOUTS[self.layout].synthetic and self.root is None:
            raise PydanticCustomError("missing_key", "root")
        return self


class AlignBlock(Block):
    """Finding and cropping the face."""

    landmarks: Literal[5, 68] = field(5, "landmark model of dlib; 68 is not for commercial use")
    size: int = field(128, "side of the grey crop in pixels", ge=32, le=512)
    crop: float = field(STANDARD_GEOMETRY.crop, "width of the crop in inter-ocular distances", ge=1.5, le=5)
    eye_height: float = field(STANDARD_GEOMETRY.eye_height, "height of the eyes as a share of the crop", ge=0.1, le=0.9)
    upsample: int = field(1, "how many times an image may be doubled if no face is found", ge=0, le=2)
    search: Count = field(5, "number of frames, from the onset, in which a face is searched for")
    detector: Literal["auto", "hog", "cnn"] = field("auto", "dlib's face detector; auto: CNN where HOG finds no face")
    note_inside: float = field(0.9, "a clip is noted if a smaller share of the crop is inside the image", ge=0, le=1)
    least_inside: float = field(0.75, "a clip is left out if a smaller share of the crop is inside", ge=0, le=1)


METHOD = (
    "equal steps of motion, a learned score or time; proportional: apex, offset, and others before and after the apex "
    "in proportion to time"
)


class KeyframeBlock(Block):
    """Which frames of a clip are kept; `keyframes: adaptive` is short for `keyframes: {method: adaptive}`."""

    method: Literal["motion", "adaptive", "uniform", "proportional"] = field("motion", METHOD)
    count: int = field(5, "key-frames per clip (Ms = Mt)", ge=1, le=32)
    apex: Literal["annotated", "spotted"] = field("annotated", "spotted: never the annotated apex")
    interpolate: bool = field(False, "proportional: whether frames between onset, apex and offset are made by warping")
    learn_from: str | None = field(None, "adaptive: dataset that trains the frame scorer; null: synthetic people")


BACKENDS = "numba: TV-L1; opencv: its reference; farneback: for comparison, without the keys tau to epsilon"


TVL1_KEYS = ("tau", "lambda_", "theta", "scales", "step", "warps", "epsilon")
"""Keys of `flow` that Farnebäck's method does not have."""


class FlowBlock(Block):
    """Optical flow."""

    backend: Literal["opencv", "numba", "farneback"] = field("numba", BACKENDS)
    reference: Literal["onset", "consecutive"] = field("onset", "flow from the onset, or between successive key-frames")
    tau: Rate = field(0.25, "time step")
    lambda_: Rate = field(0.05, "weight of the data term", alias="lambda")
    theta: Rate = field(0.4, "tightness of the coupling")
    scales: int = field(2, "levels of the pyramid", ge=1, le=10)
    step: float = field(0.5, "ratio of the sides of two successive levels", gt=0, lt=1)
    warps: Count = field(2, "warpings per level")
    epsilon: Rate = field(0.055, "stopping threshold")
    normalise: bool = field(True, "whether local contrast is normalised first")
    smooth: float = field(0.02, "standard deviation of the final Gaussian as a share of the crop's side", ge=0, le=0.1)
    rigid: bool = field(True, "whether the motion of the head is subtracted")


class PreparationBlock(Block):
    """One way from frames to aligned faces, key-frames and flow."""

    align: AlignBlock = AlignBlock()
    keyframes: KeyframeBlock = KeyframeBlock()
    flow: FlowBlock = FlowBlock()
