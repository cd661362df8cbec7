"""Files of dataset trees: takes, frames of any content, and annotation tables."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import xlwt
from expression_motion import expression_flow

from merflow.datasets.settings import STANDARD_MICRO
from merflow.datasets.synthetic.draw import BasePicture, draw_face
from merflow.datasets.synthetic.expressions import EMOTIONS
from merflow.datasets.synthetic.plan import Performance
from merflow.datasets.synthetic.render import clip_motion, render_frames
from merflow.datasets.synthetic.truth import crop_flow
from merflow.preprocessing.geometry import crop_transform
from merflow.preprocessing.settings import STANDARD_GEOMETRY

Cell = str | int | float | None
HIDDEN_FILES = (".DS_Store", "Thumbs.db", "desktop.ini", "._.DS_Store", "._1.jpg", "._0001.jpg")


@dataclass(frozen=True)
class Take:
    """One clip: its annotation (as the cells of the workbook read) and its files.

    ``first`` and ``last`` are the numbers of its first and last file; None: onset and offset. ``folder`` False: it
    stands in the workbook only; ``row`` False: it lies on disk only. ``cells`` replaces cells of its row by column.
    """

    subject: int
    name: str
    emotion: str
    onset: Cell = 1
    apex: Cell = 3
    offset: Cell = 5
    first: int | None = None
    last: int | None = None
    objective: Cell = 7
    folder: bool = True
    row: bool = True
    cells: Mapping[str, Cell] = field(default_factory=dict)

    @property
    def numbers(self) -> range:
        """Numbers of the files."""
        first = self.onset if self.first is None else self.first
        last = self.offset if self.last is None else self.last
        assert isinstance(first, int) and isinstance(last, int), f"{self.name}: give first and last"
        return range(first, last + 1)


Writer = Callable[[Path, Take, int], None]


def junk(path: Path, take: Take, number: int) -> None:
    """Write a file that is neither empty nor an image."""
    path.write_bytes(b"frame")


def save(path: Path, picture: np.ndarray) -> None:
    """Write a picture in the format of its suffix."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 97] if path.suffix == ".jpg" else []
    done, code = cv2.imencode(path.suffix, picture, quality)
    assert done, path
    code.tofile(path)


EMOTION_OF = {
    "happy": "happiness", "positive": "happiness", "negative": "disgust", "contempt": "anger", "others": "sadness",
    "other": "sadness", "repression": "sadness",
}  # fmt: skip
"""Synthetic emotion for a label that the synthetic people do not have."""


@lru_cache(maxsize=64)
def person(number: int, size: int, interocular: float) -> BasePicture:
    """A drawn person, neutral."""
    return draw_face(0, number, size, interocular)


@dataclass
class Faces:
    """Writer of drawn people who show the emotion of the take, from its onset over its apex to its offset.

    ``crop``: side of square face crops (None: whole frames), ``wide`` their width in inter-ocular distances; ``grey``:
    one channel; ``first_person``: number of the person who plays subject 0; ``amplitude``: longest displacement in
    pixels of the frame.
    """

    size: int = 480
    interocular: float = 120
    crop: int | None = None
    wide: float = STANDARD_GEOMETRY.crop
    grey: bool = False
    first_person: int = 0
    amplitude: float = 2.5
    noise: float = 1.0
    _take: Take | None = None
    _frames: list[np.ndarray] = field(default_factory=list)

    def __call__(self, path: Path, take: Take, number: int) -> None:
        """Write frame ``number`` of ``take``."""
        if take != self._take:
            self._take, self._frames = take, self.frames(take)
        save(path, self._frames[number - take.numbers.start])

    def frames(self, take: Take) -> list[np.ndarray]:
        """All frames of a take, uint8 BGR or grey."""
        base, performance = self.performance(take)
        motion = clip_motion(base, performance, replace(STANDARD_MICRO, frame_size=self.size))
        frames = list(islice(render_frames(base, motion, performance, noise=self.noise), len(take.numbers)))
        if self.crop:
            transform = crop_transform(
                base.anchors.paired["pupil"], self.crop, STANDARD_GEOMETRY._replace(crop=self.wide)
            )
            frames = [cv2.warpAffine(frame, transform, (self.crop, self.crop)) for frame in frames]
        return [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames] if self.grey else frames

    def performance(self, take: Take) -> tuple[BasePicture, Performance]:
        """Person and performance of a take; an impossible timing is replaced by a possible one."""
        base = person(self.first_person + take.subject, self.size, self.interocular)
        first, count = take.numbers.start, len(take.numbers)
        times = [n - first if isinstance(n, int) else -1 for n in (take.onset, take.apex, take.offset)]
        if not 0 <= times[0] < times[1] <= times[2] < count:
            times = [0, max(1, count // 2), max(2, count - 1)]
        onset, apex, offset = times
        offset = max(offset, apex + 1)
        emotion = EMOTION_OF.get(take.emotion, take.emotion)
        strengths = EMOTIONS.get(emotion, {})
        seed = (0, 202, take.subject, *take.name.encode())
        amplitude = self.amplitude if strengths else 0.0
        frames = max(count, offset + 1)
        return base, Performance(
            take.name, emotion, frames, onset, apex, offset, 0.0, amplitude, (1.0, 0.9), strengths or {12: 1.0}, seed
        )

    def flow_picture(self, take: Take, side: int = 28, before_apex: int = 0) -> np.ndarray:
        """The true flow from onset to apex as a picture, uint8 [side, side, 3], to be written by :func:`save`.

        ``before_apex``: number of frames before the apex at which the flow ends.

        Red, green and blue of the file are horizontal flow, vertical flow and optical strain, each scaled to 0..255.
        """
        base, performance = self.performance(take)
        motion = clip_motion(base, performance, replace(STANDARD_MICRO, frame_size=self.size))
        flow = expression_flow(motion, performance.apex - before_apex, performance.onset)
        u, v = crop_flow(flow, crop_transform(base.anchors.paired["pupil"], side), side)
        (uy, ux), (vy, vx) = np.gradient(u), np.gradient(v)
        strain = np.sqrt(ux**2 + vy**2 + 0.5 * (uy + vx) ** 2)
        scaled = [cv2.normalize(plane, None, 0, 255, cv2.NORM_MINMAX) for plane in (strain, v, u)]
        return cv2.merge([plane.astype(np.uint8) for plane in scaled])


def write_table(
    path: Path,
    rows: Sequence[Sequence[Cell]],
    sheet: str = "Sheet1",
    others: Mapping[str, Sequence[Sequence[Cell]]] | None = None,
    separator: str = ",",
) -> Path:
    """Write rows as .xlsx, .xls or .csv, by the suffix; ``others`` are sheets before this one (not in a CSV)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheets = {**(others or {}), sheet: rows}
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=separator).writerows(["" if c is None else c for c in row] for row in rows)
    elif path.suffix == ".xls":
        book = xlwt.Workbook()
        for title, content in sheets.items():
            page = book.add_sheet(title)
            for i, row in enumerate(content):
                for j, cell in enumerate(row):
                    if cell is not None:
                        page.write(i, j, cell)
        book.save(str(path))
    else:
        book = openpyxl.Workbook()
        book.remove(book.active)
        for title, content in sheets.items():
            page = book.create_sheet(title)
            for row in content:
                page.append(list(row))
        book.save(path)
    return path


def messy(rows: Iterable[Sequence[Cell]]) -> list[list[Cell]]:
    """Rows as in real workbooks: every second one has numbers as text and white space at the ends of texts."""
    return [
        [f"{cell} " if cell is not None else None for cell in row]
        if i % 2
        else [float(cell) if isinstance(cell, int) else cell for cell in row]
        for i, row in enumerate(rows)
    ]


def sheet_rows(
    columns: Sequence[str],
    records: Sequence[Mapping[str, Cell]],
    mess: bool = False,
    rename: Mapping[str, str | None] | None = None,
    preamble: int = 0,
) -> list[list[Cell]]:
    """Preamble, header and rows of a sheet. ``rename`` gives other names to columns, or None to leave one out.

    A column named by blanks only, such as ``" "``, has an empty header.
    """
    names = {column: (rename or {}).get(column, column) for column in columns}
    kept = [column for column in columns if names[column] is not None]
    rows = [[record.get(column) for column in kept] for record in records]
    header = [(names[column] or "").strip() or None for column in kept]
    above: list[list[Cell]] = [
        [f"Note {i + 1} on the coding", None, "Subject" if i == 4 else None] for i in range(preamble)
    ]
    return above + [header] + (messy(rows) if mess else rows)


def records_of(takes: Iterable[Take], cells: Callable[[Take], Mapping[str, Cell]]) -> list[dict[str, Cell]]:
    """A record per take that has a row."""
    return [{**cells(take), **take.cells} for take in takes if take.row]


def first_rows(names: Iterable[str], header: int) -> dict[str, int]:
    """Row of each clip as a spreadsheet counts, below a header in row ``header``; of clips given twice the first."""
    rows: dict[str, int] = {}
    for row, name in enumerate(names, header + 1):
        rows.setdefault(name, row)
    return rows


def write_frames(folder: Path, take: Take, name: Callable[[int], str], write: Writer) -> Path:
    """Write the files of a take."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in take.numbers:
        write(folder / name(number), take, number)
    return folder


def write_hidden_files(root: Path, names: Iterable[str] = HIDDEN_FILES) -> None:
    """Put files of file managers and spreadsheets into every folder, and a twin ``._x`` next to every tenth file."""
    for folder in [root, *(f for f in root.rglob("*") if f.is_dir())]:
        for name in names:
            (folder / name).write_bytes(b"hidden")
    for file in [f for f in root.rglob("*") if f.is_file() and f.name[0] not in ".~"][::10]:
        file.with_name(f"._{file.name}").write_bytes(b"hidden")
    for file in [f for f in root.rglob("*") if f.suffix in (".xlsx", ".xls") and f.name[0] not in ".~"]:
        file.with_name(f"~${file.name[2:]}").write_bytes(b"hidden")
        file.with_name(f"._{file.name}").write_bytes(b"hidden")
