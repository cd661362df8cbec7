"""A user's corrections of an annotation: which field of which clip is wrong, the right value, and why.

``merflow corrections casme3-a`` writes the known errors of a dataset as such a table.
"""

import csv
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from merflow.datasets.action_units import unit_column
from merflow.datasets.checks import no_fps, no_frame_number, parse_fps, parse_frame_number
from merflow.datasets.folders import subject_number
from merflow.datasets.index import CORRECTED, NOTED, DatasetError, Problem, index_dataset
from merflow.datasets.known_errors import EXCLUDE, KnownError, certain_errors
from merflow.datasets.labels import plain_name
from merflow.datasets.layout import Layout
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.registry import LABEL, LAYOUTS
from merflow.datasets.settings import DatasetSettings
from merflow.datasets.workbook import read_workbook
from merflow.errors import InputError

COLUMNS = ("dataset", "subject", "clip", "field", "value", "reason")
NUMBERS = ("onset", "apex", "offset")
FIELDS = (*NUMBERS, "fps", "label", "subject", "action_units", "exclude")
"""Fields that can be corrected in every dataset, in addition to its columns of labels."""


@dataclass(frozen=True)
class Correction:
    """One row of the table. ``field`` is one of :data:`FIELDS`, or a column of labels of the dataset's table."""

    file: str
    row: int
    subject: str
    clip: str
    field: str
    value: str
    reason: str
    old: str = ""  # the value that it replaces; another one stays; empty: any

    def fits(self, clip: str, name: str, subject: str, row: int | None = None) -> bool:
        """Whether this row is about a clip, named as in the index or in the dataset; the subject in any spelling.

        ``NAME (row N)``, the name in the index of the second of two clips with one name, means that of row N only.
        """
        names = [clip.casefold(), (name or clip).casefold()]
        if self.clip.casefold() not in [*names, *(f"{spelled} (row {row})" for spelled in names)]:
            return False
        corrected = self.subject.rpartition("/")[2]
        return self.field == "subject" or not corrected or subject_number(corrected) == subject_number(subject)


def read_corrections(
    file: str | Path, dataset: str, datasets: Collection[str] = (), layout: str = ""
) -> list[Correction]:
    """The corrections of one dataset, in the order of the file, a CSV or workbook with :data:`COLUMNS`.

    ``dataset`` in the file may also be the layout, for every dataset of it. Rows of a dataset that is neither a layout
    nor among ``datasets`` are an error, so that no typing error passes unnoticed, unless ``datasets`` is empty.

    Raises:
        InputError: the file cannot be read, or rows of it are wrong; all of them are listed.
    """
    if not os.path.isfile(file):
        raise InputError(f"corrections {file} does not exist; it should have the columns {', '.join(COLUMNS)}")
    wrong: list[str] = []
    corrections: list[Correction] = []
    rows: dict[tuple[str, str, str, str], int] = {}
    columns = {name: [name] for name in COLUMNS} | {"value": ["value", "new value"], "reason": ["reason", "source"]}
    for row in read_workbook(Path(file), columns, optional={"old": ["old value"]}):
        cells = row.cells
        field = plain_name(cells["field"]).removesuffix("_frame")
        field = {"onsetframe": "onset", "apexframe": "apex", "offsetframe": "offset"}.get(field, field)
        if datasets and cells["dataset"] not in (*datasets, *LAYOUTS):
            wrong.append(f"row {row.number}: no dataset {cells['dataset']!r}; there are: {', '.join(datasets)}")
        for name in ("clip", "field", "reason"):
            if not cells[name]:
                wrong.append(f"row {row.number}: {name} is empty")
        value = cells["value"]
        if field in NUMBERS and parse_frame_number(value) is None and not (field == "apex" and not value):
            wrong.append(f"row {row.number}: {field} {no_frame_number(value)}")
        if field == "fps" and parse_fps(value) is None:
            wrong.append(f"row {row.number}: fps {no_fps(value)}")
        key = (cells["dataset"], cells["subject"], cells["clip"], field)
        if key in rows:
            wrong.append(f"row {row.number}: {field} of {cells['clip']} is corrected in row {rows[key]} too")
        rows[key] = row.number
        if cells["dataset"] in (dataset, layout):
            texts = {column: cells[column] for column in ("subject", "clip", "value", "reason", "old")}
            corrections.append(Correction(file=str(file), row=row.number, field=field, **texts))
    if wrong:
        raise InputError(f"{file} cannot be used:\n" + "\n".join(f"  - {text}" for text in wrong))
    return corrections


def apply_corrections(
    name: str, layout: Layout, raw_clips: Sequence[RawClip], corrections: Sequence[Correction], column: str
) -> list[Problem]:
    """Apply the corrections to the clips of dataset ``name``; returns a report of each.

    Raises:
        InputError: fields that cannot be corrected; all of them are listed.
    """
    allowed = [*FIELDS, *sorted({column, *layout.labels} - {LABEL})]
    if layout.subject_in_path:
        allowed.remove("subject")
    wrong = [f"  - row {c.row}: {c.field!r} cannot be corrected" for c in corrections if c.field not in allowed]
    if wrong:
        listed = "\n".join(wrong)
        raise InputError(f"{corrections[0].file} (dataset {name}; allowed: {', '.join(allowed)}):\n{listed}")
    problems = []
    for correction in corrections:
        hits = [raw for raw in raw_clips if correction.fits(raw.clip, raw.name, raw.subject, raw.row)]
        field = column if correction.field == "label" else correction.field
        if len(hits) == 1 and correction.old not in ("", current := hits[0].annotation(field)):
            text, effect = f"the table has {current or '(empty)'}, not {correction.old}; not applied", NOTED
        elif len(hits) == 1:
            text, effect = correct(hits[0], correction, column), CORRECTED
        elif hits:
            text, effect = f"fits {len(hits)} clips ({hits[0].clip}, {hits[1].clip}, ...); not applied", NOTED
        else:
            text, effect = f"dataset {name} has no such clip (subject {correction.subject!r}); not applied", NOTED
        problems.append(Problem(name, correction.file, correction.row, correction.clip, correction.field, text, effect))
    return problems


def correct(raw: RawClip, correction: Correction, column: str) -> str:
    """Apply one correction to a clip; returns the sentence that reports it."""
    value, where = correction.value, correction.field
    old = raw.annotation(column if where == "label" else where)
    if where == "exclude":
        raw.problems.append((where, f"excluded by {Path(correction.file).name}: {correction.reason}"))
        raw.excluded = True
        return f"excluded: {correction.reason}"
    if where == "subject":
        number = subject_number(value)
        digits = re.search(r"\d+$", old)
        spelled = isinstance(number, int) and digits is not None
        raw.subject = f"{old[: digits.start()]}{number:0{len(digits[0])}d}" if spelled and digits else value
        raw.problems = [(field, text) for field, text in raw.problems if field != "subject"]
    elif where in raw.numbers:
        raw.numbers[where] = value
    elif where == "fps":
        raw.fps = value
    elif where == "label":
        raw.source["corrected_label"] = value
    else:
        raw.source[(unit_column(raw.source) or where) if where == "action_units" else where] = value
    return f"{old or '(empty)'} -> {value or '(empty)'}: {correction.reason}"


def find_errors(layout: str, root: str, table: str | None = None) -> list[KnownError]:
    """The known errors that a dataset on disk still has, and the clips that a publication excludes.

    Raises:
        InputError: the folder or its table cannot be read, or lacks what the layout needs.
    """
    kind = LAYOUTS[layout].kind or "micro"
    settings = DatasetSettings(layout, root, table, None, kind, None, None, None, (), "skip-clip")
    try:
        return index_dataset(layout, settings).errors
    except DatasetError as error:  # Without frames, all clips are left out.
        return error.index.errors


def write_known_errors(
    layout: str, output: str | Path, root: str | None = None, table: str | None = None, excluded: bool = False
) -> int:
    """Write the known errors of a dataset as a table of corrections, for the user to read; returns their number.

    Args:
        layout: of the dataset, such as ``casme3-a``.
        output: table to write.
        root: folder of the dataset, whose workbook gives the clips and old values; None: errors known without it.
        table: the workbook, relative to ``root``, if there are several.
        excluded: whether to list the clips that a publication excludes, too.

    Raises:
        InputError: ``output`` exists, the folder cannot be read, or there is no known error.
    """
    if os.path.exists(output):
        raise InputError(f"{output} exists and stays as it is; name another file with --output")
    errors = find_errors(layout, root, table) if root else certain_errors(layout)
    errors = [error for error in errors if excluded or error.field != EXCLUDE]
    if not errors:
        raise InputError(f"no known error of {layout}" + ("" if root else "; give its folder to compare its workbook"))
    with open(output, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["dataset", "row", "subject", "clip", "field", "old value", "new value", "source"])
        writer.writerows([layout, *error] for error in errors)
    return len(errors)
