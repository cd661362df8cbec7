"""The clip: the row of ``clips.csv`` from which every stage starts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Clip:
    """One indexed clip."""

    clip: str  # name, unique in its dataset
    subject: str  # with the dataset before it, as ``samm/006``
    label: str  # class; empty if the class set leaves the clip out
    kind: str  # ``micro``, ``macro`` or ``still``
    frames: str  # folder of images, glob or video file
    onset: int | None = None  # frame number of the dataset, as ``apex`` and ``offset``; None if the dataset has none
    apex: int | None = None
    offset: int | None = None
    fps: float | None = None  # frames per second; None if unknown
    align: str = "detect"  # ``detect`` the face, ``none`` (frames are face crops) or ``auto`` (decide by the frames)
    problem: str = ""  # why the clip cannot be processed, as found while indexing; empty if it can

    def row(self) -> dict[str, Any]:
        """Return the clip as a dictionary, for tables and job parameters."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Clip":
        """Make the clip from a dictionary of :meth:`row`; other keys (``source_*``) are ignored."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__ if name in row})


def database(subject: str, default: str = "") -> str:
    """Return the part before the subject: the dataset, or the database that a table of flow images names."""
    return subject.split("/", 1)[0] if "/" in subject else default
