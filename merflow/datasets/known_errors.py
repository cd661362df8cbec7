"""Errors of the annotations as they were released, from the table ``known_errors.csv``, and a correction of each.

Columns: ``rows`` is the number of clips of the release that ``row`` counts in, ``old`` the wrong value (empty: whatever
the checks find wrong), ``new`` the right one (``row 147``: that of another row).
"""

import csv
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from merflow.datasets.action_units import unit_doubts
from merflow.datasets.raw_clip import RawClip

EXCLUDE = "exclude"


class KnownError(NamedTuple):
    """A wrong value, with the right one: a row of a table of corrections."""

    row: int | None
    subject: str
    clip: str
    field: str
    old: str
    new: str
    source: str


@cache
def _table() -> list[dict[str, str]]:
    with Path(__file__).with_name("known_errors.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def certain_errors(layout: str) -> list[KnownError]:
    """The errors of a layout whose clips and wrong values are known without its workbook."""
    rows = [row for row in _table() if row["layout"] == layout and row["clip"] and row["old"]]
    keys = ("clip", "field", "old", "new", "source")
    return [KnownError(int(r["row"]), r["clip"].partition("/")[0], *(r[key] for key in keys)) for r in rows]


def known_errors(
    layout: str, raw_clips: Sequence[RawClip], faulty: Collection[int]
) -> Iterator[tuple[int, KnownError]]:
    """Yield the errors that an annotation still has: the place of the clip, and its correction.

    ``faulty`` are the places of the clips that checks left out or whose apex they found wrong. The field ``exclude``
    is a proposal, not an error.
    """
    names = {name: place for place, raw in enumerate(raw_clips) for name in (raw.clip, raw.name) if name}
    rows = {raw.row: place for place, raw in enumerate(raw_clips)}
    for entry in _table():
        if entry["layout"] != layout or (not entry["clip"] and int(entry["rows"]) != len(raw_clips)):
            continue
        place = names.get(entry["clip"]) if entry["clip"] else rows.get(int(entry["row"]))
        if place is None:
            continue
        raw, field = raw_clips[place], entry["field"]
        old, new = raw.annotation(field), entry["new"]
        if new.startswith("row "):
            new = raw_clips[rows[int(new.removeprefix("row "))]].annotation(field)
            wrong = True
        elif field == "action_units":
            wrong = bool(unit_doubts(raw.source))
        else:
            wrong = field == EXCLUDE or (old == entry["old"] if entry["old"] else place in faulty)
        if wrong and (old != new or field == EXCLUDE):
            yield place, KnownError(raw.row, raw.subject, raw.clip, field, old, new, entry["source"])
