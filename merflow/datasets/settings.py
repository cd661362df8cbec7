"""Settings of datasets, as the configuration gives them to the layouts and to the jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

ClassesSetting = str | Sequence[str] | Mapping[str, Any] | None
"""Name of a class set, list of labels, the user's own ``{column, map}``, or None for every label."""


@dataclass(frozen=True)
class DatasetSettings:
    """Settings of a dataset on disk.

    ``table`` and ``images`` are relative to ``root``; None: found by their names. ``align`` None: the layout decides.
    ``dataset_names`` are all that the table of corrections may name; empty: any.
    """

    layout: str
    root: str
    table: str | None
    images: str | None
    kind: str
    classes: ClassesSetting
    align: str | None
    corrections: str | None
    dataset_names: tuple[str, ...]
    on_problem: str


@dataclass(frozen=True)
class SyntheticSettings:
    """Settings of a dataset of synthetic people."""

    layout: ClassVar[str] = "demo"
    root: str
    kind: str
    subjects: int
    first_subject: int  # number of people before the first of this dataset, so that two datasets show different people
    repertoire: str  # prototypes: every emotion has its units | annotated: units as often as in real annotations
    emotions: tuple[str, ...]  # labels of :mod:`merflow.datasets.synthetic.plan`
    clips_per_emotion: int  # clips of each person and emotion
    clips: Mapping[str, int]  # clips of each emotion, spread over the people; empty: clips_per_emotion of each person
    frames: int  # prototypes only: clips of other people are as long as real ones
    fps: int
    frame_size: int  # side of a frame in pixels
    interocular_px: int  # distance between the pupils in pixels
    amplitude: tuple[float, float]  # range of the longest displacement at the apex, in pixels
    side_gain: tuple[float, float]  # range of the strength of each half of the face
    rest: tuple[float, float]  # range of what is left of the expression at its offset, as a fraction of the apex
    seed: int
    noise: float  # standard deviation of the camera noise in grey levels
    drift: float  # scale of the head's drift; 0 for none
    light: float  # scale of the variation of the illumination; 0 for none
    portraits: str | None  # folder of photographs to animate instead of drawn faces

    @property
    def annotated(self) -> bool:
        """Whether these clips follow real annotations, which are of micro-expressions; macro clips are prototypes."""
        return self.repertoire == "annotated" and self.kind == "micro"

    @property
    def subject_names(self) -> list[str]:
        """Names of the people, ``s01`` and on."""
        return [f"s{number:02d}" for number in range(1, self.subjects + 1)]

    def person_number(self, subject: str) -> int:
        """Number of a subject (``s01`` or ``demo/s01``), counted from 0 over all datasets."""
        return int(subject.rpartition("/")[2].removeprefix("s")) - 1 + self.first_subject


STANDARD_MICRO = SyntheticSettings(
    root="",
    kind="micro",
    subjects=1,
    first_subject=0,
    repertoire="prototypes",
    emotions=("happiness", "surprise", "disgust", "fear", "sadness"),
    clips_per_emotion=2,
    clips={},
    frames=40,
    fps=200,
    frame_size=480,
    interocular_px=120,
    amplitude=(1.0, 2.6),
    side_gain=(0.7, 1.0),
    rest=(0.0, 0.0),
    seed=0,
    noise=2.0,
    drift=1.0,
    light=1.0,
    portraits=None,
)
"""A micro-expression as high-speed cameras record it."""
STANDARD_MACRO = replace(
    STANDARD_MICRO,
    kind="macro",
    clips_per_emotion=1,
    frames=16,
    fps=25,
    amplitude=(6.0, 11.0),
    side_gain=(0.95, 1.0),
    rest=(0.5, 0.8),
)
"""A macro-expression as webcams record it."""


@dataclass(frozen=True)
class LongPeopleSettings:
    """Settings of long videos of synthetic people; expressions are counted per minute.

    ``root`` receives the videos, and ``kind`` is that of the expressions that are listed as clips.
    """

    layout: ClassVar[str] = "long-demo"
    root: str = ""
    kind: str = "micro"
    people: int = 8
    seconds: float = 120.0
    fps: float = 30.0
    micro: float = 3.0
    macro: float = 2.5
    first_person: int = 3_000_100
    """People from 2_000_100 on are those on whom the defaults of the search are chosen."""
    seed: int = 0
    frame_size: int = 240
    interocular_px: int = 60

    @property
    def subject_names(self) -> list[str]:
        """Names of the people, ``p01`` and on."""
        return [f"p{number:02d}" for number in range(1, self.people + 1)]

    def video(self, subject: str) -> str:
        """File of the video of a subject (``p01``)."""
        return f"{self.root}/{subject}.mp4"

    def person_number(self, subject: str) -> int:
        """Number of a subject (``p01``), which decides everything about the person."""
        return self.first_person + int(subject.removeprefix("p")) - 1


AnyDatasetSettings = DatasetSettings | SyntheticSettings | LongPeopleSettings


def dataset_settings(params: Mapping[str, Any]) -> AnyDatasetSettings:
    """Make the settings again that a job got as a dictionary."""
    if "layout" in params:
        return DatasetSettings(**params)
    return LongPeopleSettings(**params) if "first_person" in params else SyntheticSettings(**params)
