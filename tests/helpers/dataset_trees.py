"""Folder trees of the distributed datasets, in their exact layouts: synthetic annotation, and frames of any content.

A tree is written from :class:`Take` objects, one per clip. Names, subjects and frame numbers are invented; only the
composition of the complete sets (``*_takes`` functions) is that of the publications. Frames are written by a function
``write(path, take, number)``: :func:`junk` (a few bytes, for all that opens no frame) or :class:`Faces` (drawn people).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from dataset_files import Cell, Take, Writer, first_rows, junk, records_of, sheet_rows, write_frames, write_table

from merflow.datasets.index import Index, Problem, index_dataset
from merflow.datasets.settings import DatasetSettings
from merflow.footage.clip import Clip


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
        return of_few_people(index_dataset(self.name, dataset_settings(**self.settings | changes)))

    def frame(self, clip: str, number: int) -> Path:
        """File of a frame, whatever its prefix and padding."""
        (file,) = [f for f in self.folders[clip].iterdir() if re.search(rf"(^|\D)0*{number}\.\w+$", f.name)]
        return file


def dataset_settings(**values: Any) -> DatasetSettings:
    """Settings of a dataset with the defaults of the configuration."""
    defaults = dict.fromkeys(("table", "images", "classes", "align", "corrections"))
    others = {"kind": "micro", "dataset_names": (), "on_problem": "skip-clip"}
    return DatasetSettings(**defaults | others | values)


def of_few_people(index: Index) -> Index:
    """The index without the notes on classes of one person, of which small datasets have many."""
    return replace(index, problems=[p for p in index.problems if "has usable clips of it" not in p.problem])


def reported(index: Index, **fields: Any) -> list[Problem]:
    """The problems whose fields have these values."""
    return [p for p in index.problems if all(getattr(p, name) == value for name, value in fields.items())]


def by_name(index: Index) -> dict[str, Clip]:
    """The clips by name."""
    return {clip.clip: clip for clip in index.clips}


def usable(index: Index) -> set[str]:
    """Names of the clips that can be used."""
    return {clip.clip for clip in index.clips if not clip.problem}


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
            "Action Units": "4+R7",
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
    """Ready-made flow images: ``flow images/samm/006 006_1_2 (TV-L1).png`` and a CSV."""
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


def flow_sequences(
    root: Path,
    images: Sequence[FlowImage],
    count: int,
    *,
    write: Callable[[Path, FlowImage, int], None] = lambda path, image, number: junk(path, image.take, number),
) -> Tree:
    """Ready-made flow images 1 to ``count`` of each clip, the face beside each, and a CSV; ``write`` makes both.

    The files are ``samm 006 006_1_2 1 image.png`` and ``... face.png``.
    """
    rows: list[list[Cell]] = [["dataset", "subject", "clip", "label", "index", "image", "face"]]
    root.mkdir(parents=True, exist_ok=True)
    for image in images:
        for number in range(1, count + 1):
            files = [f"{' '.join(image[:3])} {number} {kind}.png" for kind in ("image", "face")]
            for file in files:
                write(root / file, image, number)
            rows.append([*image[:4], number, *files])
    return Tree("flow-images", root, write_table(root / "flows.csv", rows))
