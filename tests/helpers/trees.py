"""Folder trees of the distributed datasets, in their exact layouts: synthetic annotation, and frames of any content.

A tree is written from :class:`Take` objects, one per clip. Names, subjects and frame numbers are invented; only the
composition of the complete sets (``*_takes`` functions) is that of the publications. Frames are written by a function
``write(path, take, number)``: :func:`junk` (a few bytes, for all that opens no frame) or :class:`Faces` (drawn people).
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import openpyxl
import xlwt

from merflow.datasets.index import Index, Problem, index_dataset
from merflow.datasets.settings import STANDARD_MICRO, DatasetSettings
from merflow.datasets.synthetic.draw import BasePicture, draw_face
from merflow.datasets.synthetic.expressions import EMOTIONS
from merflow.datasets.synthetic.plan import Performance
from merflow.datasets.synthetic.render import clip_motion, render_frames
from merflow.datasets.synthetic.truth import crop_flow, expression_flow
from merflow.footage.clip import Clip
from merflow.preprocessing.geometry import crop_transform
from merflow.preprocessing.settings import STANDARD_GEOMETRY

Cell = str | int | float | None
LITTER = (".DS_Store", "Thumbs.db", "desktop.ini", "._.DS_Store", "._1.jpg", "._0001.jpg")


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


@dataclass(frozen=True)
class Tree:
    """A dataset on disk: its settings, and where each clip (as the index names it) and its row are."""

    layout: str
    root: Path
    table: Path | None = None
    folders: dict[str, Path] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The dataset's name in the settings of the tests; different from every name that a layout might imply."""
        return f"my-{self.layout}"

    @property
    def settings(self) -> dict[str, Any]:
        """Layout and root."""
        return {"layout": self.layout, "root": str(self.root)}

    def index(self, **changes: Any) -> Index:
        """The index with further settings."""
        return index_dataset(self.name, dataset_settings(**self.settings | changes))

    def frame(self, clip: str, number: int) -> Path:
        """File of a frame, whatever its prefix and padding."""
        (file,) = [f for f in self.folders[clip].iterdir() if re.search(rf"(^|\D)0*{number}\.\w+$", f.name)]
        return file


def dataset_settings(**values: Any) -> DatasetSettings:
    """Settings of a dataset with the defaults of the configuration."""
    defaults = dict.fromkeys(("table", "images", "classes", "align", "corrections"))
    others = {"kind": "micro", "dataset_names": (), "on_problem": "skip-clip"}
    return DatasetSettings(**defaults | others | values)


def reported(index: Index, **fields: Any) -> list[Problem]:
    """The problems whose fields have these values."""
    return [p for p in index.problems if all(getattr(p, name) == value for name, value in fields.items())]


def by_name(index: Index) -> dict[str, Clip]:
    """The clips by name."""
    return {clip.clip: clip for clip in index.clips}


def usable(index: Index) -> set[str]:
    """Names of the clips that can be used."""
    return {clip.clip for clip in index.clips if not clip.problem}


# --- Frames -----------------------------------------------------------------------------------------------------------


def junk(path: Path, take: Take, number: int) -> None:
    """A file that is not empty and no picture."""
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
"""Which of the demo's emotions is played for a word that it does not have."""


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
        """Who plays a take, and how; a timing that makes no sense is replaced by one that does."""
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

    def flow_picture(self, take: Take, side: int = 28) -> np.ndarray:
        """The true flow from onset to apex as a picture, uint8 [side, side, 3], to be written by :func:`save`.

        Red, green and blue of the file are horizontal flow, vertical flow and optical strain, each scaled to 0..255.
        """
        base, performance = self.performance(take)
        motion = clip_motion(base, performance, replace(STANDARD_MICRO, frame_size=self.size))
        flow = expression_flow(motion, performance.apex, performance.onset)
        u, v = crop_flow(flow, crop_transform(base.anchors.paired["pupil"], side), side)
        (uy, ux), (vy, vx) = np.gradient(u), np.gradient(v)
        strain = np.sqrt(ux**2 + vy**2 + 0.5 * (uy + vx) ** 2)
        scaled = [cv2.normalize(plane, None, 0, 255, cv2.NORM_MINMAX) for plane in (strain, v, u)]
        return cv2.merge([plane.astype(np.uint8) for plane in scaled])


# --- Tables -----------------------------------------------------------------------------------------------------------


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
    """Rows as real workbooks hold them: of every two, one has its numbers as text, and blanks at the ends of texts."""
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


def litter(root: Path, names: Iterable[str] = LITTER) -> None:
    """Put what file managers and spreadsheets leave into every folder, and a twin ``._x`` beside every tenth file."""
    for folder in [root, *(f for f in root.rglob("*") if f.is_dir())]:
        for name in names:
            (folder / name).write_bytes(b"litter")
    for file in [f for f in root.rglob("*") if f.is_file() and f.name[0] not in ".~"][::10]:
        file.with_name(f"._{file.name}").write_bytes(b"litter")
    for file in [f for f in root.rglob("*") if f.suffix in (".xlsx", ".xls") and f.name[0] not in ".~"]:
        file.with_name(f"~${file.name[2:]}").write_bytes(b"litter")
        file.with_name(f"._{file.name}").write_bytes(b"litter")


# --- The datasets -----------------------------------------------------------------------------------------------------

MMEW_CODES = {"happiness": 1, "surprise": 2, "disgust": 3, "others": 4, "fear": 5, "sadness": 6, "anger": 7}
MMEW_COLUMNS = (
    "Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion", "remarks",
)  # fmt: skip
SAMM_COLUMNS = (
    "Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro",
    "Action Units", "Estimated Emotion", "Objective Classes", "Notes",
)  # fmt: skip
CASME2_COLUMNS = (
    "Subject", "Filename", " ", "OnsetFrame", "ApexFrame", "OffsetFrame", "  ", "Action Units", "Estimated Emotion",
)  # fmt: skip
CK_CODES = {
    "neutral": 0, "anger": 1, "contempt": 2, "disgust": 3, "fear": 4, "happy": 5, "sadness": 6, "surprise": 7,
}  # fmt: skip
SMIC_CODES = {"negative": "ne", "positive": "po", "surprise": "sur"}


def mmew_name(subject: int, emotion: str, number: int) -> str:
    """``S01-01-001``."""
    return f"S{subject:02d}-{MMEW_CODES[emotion]:02d}-{number:03d}"


def mmew_micro(
    root: Path,
    takes: Sequence[Take],
    *,
    order: str = "emotion",
    others: str = "others",
    table: str = "MMEW_Micro_Exp.xlsx",
    padding: int = 0,
    mess: bool = False,
    rename: Mapping[str, str | None] | None = None,
    write: Writer = junk,
) -> Tree:
    """MMEW's micro-expressions.

    ``order``: ``emotion`` for Micro_Expression/happiness/S01-01-001 as public code reads it, ``subject`` for
    Micro_Expression/S01/happiness/S01-01-001 as the release describes it. ``others``: name of that folder.
    """
    folders = {}
    for take in takes:
        if take.folder:
            emotion = others if take.emotion == "others" else take.emotion
            parts = (emotion,) if order == "emotion" else (take.name[:3], emotion)
            folder = root.joinpath("Micro_Expression", *parts, take.name)
            folders[take.name] = write_frames(folder, take, lambda n: f"{n:0{padding}d}.jpg", write)
    records = records_of(
        takes,
        lambda take: {
            "Subject": f"S{take.subject:02d}",
            "Filename": take.name,
            "OnsetFrame": take.onset,
            "ApexFrame": take.apex,
            "OffsetFrame": take.offset,
            "Action Units": "4+7",
            "Estimated Emotion": take.emotion,
        },
    )
    file = write_table(root / table, sheet_rows(MMEW_COLUMNS, records, mess, rename))
    return Tree("mmew-micro", root, file, folders, first_rows((t.name for t in takes if t.row), 1))


def mmew_macro(root: Path, takes: Sequence[Take], *, write: Writer = junk) -> Tree:
    """MMEW's macro-expressions, one image each: the apex of the take."""
    folders = {}
    for take in takes:
        image = root / "Macro_Expression" / f"S{take.subject:02d}" / take.emotion / f"{take.name}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        write(image, take, take.apex if isinstance(take.apex, int) else take.numbers.start)
        folders[take.name] = image
    return Tree("mmew-macro", root, None, folders)


def samm(
    root: Path,
    takes: Sequence[Take],
    *,
    table: str = "SAMM_Micro_FACS_Codes_v2.xlsx",
    sheet: str = "MICRO_ONLY",
    preamble: int = 13,
    digits: Callable[[Take], int] = lambda take: 5,
    frames: str = "SAMM",
    mess: bool = False,
    rename: Mapping[str, str | None] | None = None,
    write: Writer = junk,
) -> Tree:
    """SAMM: ``006/006_1_2/006_05562.jpg``, and a workbook of several sheets with a preamble above the header."""
    folders = {}
    for take in takes:
        if take.folder:
            owner = take.name.split("_")[0]
            folder = root / frames / owner / take.name
            names = {n: f"{owner}_{n:0{digits(take)}d}.jpg" for n in take.numbers}
            folders[take.name] = write_frames(folder, take, names.__getitem__, write)
    records = records_of(
        takes,
        lambda take: {
            "Subject": f"{take.subject:03d}",
            "Filename": take.name,
            "Inducement Code": 1,
            "Onset Frame": take.onset,
            "Apex Frame": take.apex,
            "Offset Frame": take.offset,
            "Duration": 5,
            "Micro": "1/2",
            "Action Units": "4 or R7",
            "Estimated Emotion": take.emotion.capitalize(),
            "Objective Classes": take.objective,
        },
    )
    rows = sheet_rows(SAMM_COLUMNS, records, mess, rename, preamble)
    others = {"ABOUT": [["Micro-movements", "coded by", None], [None, None, 3]], "MACRO": [list(SAMM_COLUMNS[:5])]}
    file = write_table(root / table, rows, sheet, others)
    return Tree("samm", root, file, folders, first_rows((t.name for t in takes if t.row), preamble + 1))


def casme2(
    root: Path,
    takes: Sequence[Take],
    *,
    variants: Sequence[str] = ("CASME2-RAW",),
    table: str | None = "CASME2-coding-20140508.xlsx",
    mess: bool = False,
    rename: Mapping[str, str | None] | None = None,
    write: Writer = junk,
) -> Tree:
    """CASME II: ``CASME2-RAW/sub01/EP02_01f/img46.jpg``; ``folders`` are those of the first of ``variants``.

    A selected or cropped variant holds onset to offset only, a cropped one ``reg_img46.jpg``.
    """
    folders: dict[str, Path] = {}
    for variant in variants:
        for take in takes:
            if take.folder:
                clip = f"sub{take.subject:02d}/{take.name}"
                prefix = "reg_img" if "crop" in variant.lower() else "img"
                names = {n: f"{prefix}{n}.jpg" for n in take.numbers}
                folder = write_frames(root / variant / clip, take, names.__getitem__, write)
                folders.setdefault(clip, folder)
    if table is None:
        return Tree("casme2", root, None, folders)
    records = records_of(
        takes,
        lambda take: {
            "Subject": f"{take.subject:02d}",
            "Filename": take.name,
            "OnsetFrame": take.onset,
            "ApexFrame": take.apex,
            "OffsetFrame": take.offset,
            "Action Units": "4",
            "Estimated Emotion": take.emotion,
        },
    )
    file = write_table(root / table, sheet_rows(CASME2_COLUMNS, records, mess, rename))
    return Tree("casme2", root, file, folders, first_rows((f"sub{t.subject:02d}/{t.name}" for t in takes if t.row), 1))


def smic_hs(root: Path, takes: Sequence[Take], *, top: str = "HS", cropped: bool = False, write: Writer = junk) -> Tree:
    """SMIC-HS: ``HS/s1/micro/negative/s1_ne_01/image090823.jpg``, or ``reg_image090823.bmp`` in the cropped variant."""
    folders = {}
    for take in takes:
        folder = root / top / f"s{take.subject}" / "micro" / take.emotion / take.name
        pattern = "reg_image{:06d}.bmp" if cropped else "image{:06d}.jpg"
        folders[take.name] = write_frames(folder, take, pattern.format, write)
    return Tree("smic-hs", root, None, folders)


def ck_plus(
    root: Path,
    takes: Sequence[Take],
    *,
    images: str = "cohn-kanade-images",
    labels: str = "Emotion",
    write: Writer = junk,
) -> Tree:
    """CK+: sequences ``S005/001`` and label files; a take without emotion has a label folder that is empty."""
    folders = {}
    for take in takes:
        owner = f"S{take.subject:03d}"
        stem = f"{owner}_{take.name}"
        names = {n: f"{stem}_{n:08d}.png" for n in take.numbers}
        folders[stem] = write_frames(root / images / owner / take.name, take, names.__getitem__, write)
        folder = root / labels / owner / take.name
        folder.mkdir(parents=True, exist_ok=True)
        if take.emotion:
            text = f"   {CK_CODES[take.emotion]:.7e}\n"
            (folder / f"{stem}_{take.numbers.stop - 1:08d}_emotion.txt").write_text(text)
    return Tree("ck-plus", root, None, folders)


class FlowImage(NamedTuple):
    """A row of a table of flow images."""

    dataset: str
    subject: str
    clip: str
    label: str
    take: Take | None = None


def flow_images(
    root: Path,
    images: Sequence[FlowImage],
    *,
    table: str = "flows.csv",
    write: Callable[[Path, FlowImage], None] = lambda path, image: junk(path, image.take, 0),
) -> Tree:
    """Flow images that somebody else computed: ``flow images/samm/006 006_1_2 (TV-L1).png`` and a CSV."""
    rows: list[list[Cell]] = [["dataset", "subject", "clip", "label", "image"]]
    folders = {}
    for image in images:
        file = Path("flow images", image.dataset, f"{image.subject} {image.clip} (TV-L1).png")
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        write(root / file, image)
        rows.append([*image[:4], file.as_posix()])
        folders["/".join(image[:3])] = root / file
    file = write_table(root / table, rows)
    return Tree("flow-images", root, file, folders, first_rows(folders, 1))


# --- Complete compositions --------------------------------------------------------------------------------------------


def dealt(counts: Mapping[str, int]) -> list[str]:
    """Every word as often as ``counts`` says."""
    return [word for word, count in counts.items() for _ in range(count)]


def timing(i: int, start: int = 1) -> dict[str, int]:
    """Onset, apex and offset of the i-th clip, three to five frames from a number that differs from clip to clip."""
    onset = start + 7 * (i % 5)
    return {"onset": onset, "apex": onset + 1 + i % 2, "offset": onset + 2 + i % 3 if i % 2 == 0 else onset + 3}


def numbered_names(subjects: Sequence[int], pattern: Callable[[int, int], str]) -> list[str]:
    """A name per clip, counted within its subject."""
    seen: Counter[int] = Counter()
    names = []
    for subject in subjects:
        seen[subject] += 1
        names.append(pattern(subject, seen[subject]))
    return names


MMEW_PUBLISHED = {"happiness": 36, "surprise": 89, "disgust": 72, "others": 66, "fear": 16, "sadness": 13, "anger": 8}


def mmew_takes() -> list[Take]:
    """300 clips of 30 subjects."""
    takes, seen = [], Counter()
    for i, emotion in enumerate(dealt(MMEW_PUBLISHED)):
        subject = 1 + i % 30
        seen[subject, emotion] += 1
        takes.append(Take(subject, mmew_name(subject, emotion, seen[subject, emotion]), emotion, **timing(i)))
    return takes


def mmew_macro_takes() -> list[Take]:
    """900 images of 30 subjects: five of each of six emotions."""
    words = [emotion for emotion in MMEW_CODES if emotion != "others"]
    return [
        Take(subject, mmew_name(subject, emotion, number), emotion)
        for subject in range(1, 31)
        for emotion in words
        for number in range(1, 6)
    ]


SAMM_OBJECTIVE = {1: 24, 2: 13, 3: 20, 4: 8, 5: 3, 6: 7, 7: 84}
SAMM_ESTIMATED = {
    "anger": 57, "happiness": 26, "other": 26, "surprise": 15, "contempt": 12, "disgust": 9, "fear": 8, "sadness": 6,
}  # fmt: skip
_SAMM_OF_OBJECTIVE = {1: "happiness", 2: "surprise", 3: "anger", 4: "disgust", 5: "sadness", 6: "fear"}


def samm_takes() -> list[Take]:
    """159 clips of 29 subjects: 72 of 21 in the objective classes 1, 2, 3, 4, 6, and 133 of 28 that are not Other."""
    five = [(_SAMM_OF_OBJECTIVE[o], o) for o in (1, 2, 3, 4, 6) for _ in range(SAMM_OBJECTIVE[o])]
    rest = Counter(SAMM_ESTIMATED) - Counter(word for word, _ in five) - Counter({"other": 26})
    sad = ("sadness", 5)
    named = [sad] * SAMM_OBJECTIVE[5] + [(w, 7) for w in dealt(rest - Counter({"sadness": SAMM_OBJECTIVE[5]}))]
    people = [6 + i % 21 for i in range(len(five))] + [6 + i % 28 for i in range(len(named), 0, -1)]
    words = five + named + [("other", 7)] * 26
    people += [34 if i < 3 else 6 + i for i in range(26)]
    names = numbered_names(people, lambda subject, n: f"{subject:03d}_{1 + n % 7}_{n}")
    return [
        Take(subject, name, emotion, objective=objective, **timing(i, 5000 if subject % 4 else 90))
        for i, (subject, name, (emotion, objective)) in enumerate(zip(people, names, words, strict=True))
    ]


CASME2_PUBLISHED = {
    "others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "sadness": 7, "fear": 2,
}  # fmt: skip
CASME2_LEFT_OUT = {(4, "EP12_01f"): "repression", (5, "EP09_05f"): "disgust"}
"""The clips that MEGC 2019 leaves out."""


def casme2_takes(context: int = 0) -> list[Take]:
    """255 clips of 26 subjects; 145 of 24 in the selection of MEGC 2019. 04/EP12_01f has the apex ``/``.

    ``context``: files before onset and after offset, as the raw variant has them.
    """
    four = Counter({word: CASME2_PUBLISHED[word] for word in ("happiness", "surprise", "disgust", "repression")})
    clips = [(1 + i % 24, emotion) for i, emotion in enumerate(dealt(four - Counter(CASME2_LEFT_OUT.values())))]
    clips += [(1 + i % 26, emotion) for i, emotion in enumerate(dealt(Counter(CASME2_PUBLISHED) - four))]
    names = numbered_names([subject for subject, _ in clips], lambda subject, n: f"EP{2 + n % 7:02d}_{n:02d}")
    takes = []
    for i, ((subject, emotion), name) in enumerate(zip(clips, names, strict=True)):
        times = timing(i, 46)
        files = {"first": times["onset"] - context, "last": times["offset"] + context}
        takes.append(Take(subject, name, emotion, **times, **files))
    for (subject, name), emotion in CASME2_LEFT_OUT.items():
        apex = "/" if name == "EP12_01f" else 61
        takes.append(Take(subject, name, emotion, 60, apex, 63, 60 - context, 63 + context))
    return sorted(takes, key=lambda take: take.subject)


SMIC_PUBLISHED = {"negative": 70, "positive": 51, "surprise": 43}


def smic_takes() -> list[Take]:
    """164 clips of 16 subjects."""
    people = [n for n in range(1, 19) if n not in (7, 10)]
    takes, seen = [], Counter()
    for i, emotion in enumerate(dealt(SMIC_PUBLISHED)):
        subject = people[i % 16]
        seen[subject, emotion] += 1
        name = f"s{subject}_{SMIC_CODES[emotion]}_{seen[subject, emotion]:02d}"
        takes.append(Take(subject, name, emotion, None, None, None, 90823 + i, 90826 + i))
    return takes


CK_PUBLISHED = {"anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happy": 69, "sadness": 28, "surprise": 83}


def ck_takes() -> list[Take]:
    """593 sequences of 123 subjects, 327 of them labelled."""
    words = dealt(CK_PUBLISHED) + [""] * 266
    people = [5 + 2 * (i % 123) for i in range(593)]
    names = numbered_names(people, lambda subject, n: f"{n:03d}")
    return [
        Take(subject, name, emotion, None, None, None, 1, 2 + i % 3)
        for i, (subject, name, emotion) in enumerate(zip(people, names, words, strict=True))
    ]


MEGC_OF = {"happiness": "positive", "positive": "positive", "surprise": "surprise"}


def megc2019_flows(casme2: Sequence[Take], samm: Sequence[Take], smic: Sequence[Take]) -> list[FlowImage]:
    """The composite's clips of the three sets as flow images, with the subjects as each database spells them."""
    four = ("happiness", "surprise", "disgust", "repression")
    chosen = [t for t in casme2 if t.emotion in four and (t.subject, t.name) not in CASME2_LEFT_OUT]
    rows = [FlowImage("casme2", f"sub{t.subject:02d}", t.name, MEGC_OF.get(t.emotion, "negative"), t) for t in chosen]
    named = [t for t in samm if t.emotion != "other"]
    rows += [FlowImage("samm", f"{t.subject:03d}", t.name, MEGC_OF.get(t.emotion, "negative"), t) for t in named]
    return rows + [FlowImage("smic", f"s{t.subject:02d}", t.name, MEGC_OF.get(t.emotion, "negative"), t) for t in smic]


def megc2019(root: Path, **options: Any) -> dict[str, Tree]:
    """The three databases of the composite, complete, in folders of their own."""
    return {
        "casme2": casme2(root / "CASME II", casme2_takes(), **options),
        "samm": samm(root / "SAMM", samm_takes(), **options),
        "smic": smic_hs(root / "SMIC", smic_takes(), **options),
    }
