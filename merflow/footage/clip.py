"""What a clip is: the row of ``clips.csv`` that every stage starts from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Clip:
    """One indexed clip.

    ``clip`` is unique in its dataset; ``subject`` carries the dataset (``samm/006``); ``label`` is empty where the
    class set leaves the clip out; ``kind`` is ``micro``, ``macro`` or ``still``; ``frames`` is a folder of images, a
    glob or a video file. Frame numbers are the dataset's own integers; ``None`` means that the dataset does not say.
    ``align`` says whether the face must be found: ``detect`` (yes), ``none`` (the frames are face crops), ``auto``
    (told from the frames). ``problem`` is the reason why the clip cannot be processed, found while indexing; empty if
    there is none.
    """

    clip: str
    subject: str
    label: str
    kind: str
    frames: str
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    fps: float | None = None
    align: str = "detect"
    problem: str = ""

    def row(self) -> dict[str, Any]:
        """The clip as a plain dictionary, for tables and job parameters."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Clip":
        """The clip of a dictionary made by :meth:`row`; other keys (``source_*``) are ignored."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__ if name in row})


def database(subject: str, default: str = "") -> str:
    """What stands before the subject: the dataset, or the database that a table of flow images names."""
    return subject.split("/", 1)[0] if "/" in subject else default
