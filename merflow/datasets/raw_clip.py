"""A clip as a layout reads it from its table and folders, before anything is checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from unicodedata import category

from merflow.datasets.action_units import unit_column


@dataclass(frozen=True)
class ClipImages:
    """Files of the ready-made flow images of a clip, in order, and of the face beside each."""

    flows: list[str]
    faces: list[str]  # empty in a dataset without faces
    apex: int  # place of the image at the apex, from 0


@dataclass
class RawClip:
    """A clip as a layout reads it; the annotation is still text. See also :class:`merflow.footage.clip.Clip`.

    ``numbers`` are ``onset, apex, offset`` as text; None if the layout has no such annotation. ``source`` holds
    everything that the dataset says of the clip, by column name (without ``source_``).
    """

    clip: str
    subject: str  # without the dataset
    frames: str  # folder, glob, image or video; empty if there is none
    kind: str
    file: str  # table with the clip's row (or the clip's folder, if the layout has no table)
    row: int | None = None  # its row, as a spreadsheet counts
    name: str = ""  # the dataset's name of the clip, if ``clip`` holds more than that
    numbers: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(("onset", "apex", "offset")))
    source: dict[str, str] = field(default_factory=dict)
    typed: Mapping[str, str] = field(default_factory=dict)  # cells of a user's table with the blanks at their ends
    align: str = "detect"
    fps: str = ""
    problems: list[tuple[str, str]] = field(default_factory=list)  # (field, text) of each reason to leave it out
    notes: list[tuple[str, str]] = field(default_factory=list)  # (field, text) of whatever else is worth reporting
    prefix: str = ""  # replaces the dataset's name before the subject
    images: ClipImages | None = None  # of ready-made flow images; ``frames`` is then the one at the apex
    video: str = ""  # the recording whose frame numbers these are, if it holds several clips
    excluded: bool = False  # left out by a correction; the user wants that, so ``on_problem: stop`` does not stop

    def annotation(self, field: str) -> str:
        """The value of onset, apex, offset, fps, subject, action_units or a column of the table, as text."""
        if field in self.numbers:
            return self.numbers[field] or ""
        if field in ("fps", "subject"):
            return self.fps if field == "fps" else self.subject
        return self.source.get(unit_column(self.source) or field if field == "action_units" else field, "")


def escape_controls(text: str) -> str:
    """``text`` with control characters and bytes that are not UTF-8 as escapes (a line end becomes two letters)."""
    if text.isprintable():  # No letter of these categories; nearly every text.
        return text
    return "".join(repr(letter)[1:-1] if category(letter) in ("Cc", "Cs") else letter for letter in text)
