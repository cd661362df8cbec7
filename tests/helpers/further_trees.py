"""Folder trees of long videos, CASME, 4DME and DFME in their exact layouts: invented rows, frames without content.

A tree is written from the rows of its workbook; the frames are written by the test.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dataset_files import Cell, write_table
from dataset_trees import Tree
from published_takes import dealt

Rows = Sequence[Sequence[Cell]]
HEADERS: dict[str, list[Cell]] = {
    "casme3-a": ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"],
    "casme3-a macro": ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "Expression type"],
    "casme3-c": ["sub", "count", "onset", "offset", "au", "emotion"],
    "samm-long": [
        "Subject", "Filename", "Inducement Code", "Onset", "Apex", "Offset", "Duration", "Type", "Action Units",
        "Notes",
    ],
    "smic-e": [
        "Subject", "Filename", None, "OnsetF", "OffsetF", "Onset2F", "Offset2F", "Total", "FirstF", "LastF", "Emotion",
    ],
    "casme": [
        "Subject", "Filename", None, "OnsetF", "ApexF1", "ApexF2", "OffsetF", None, "Onset", "Total", "AU", "Emotion",
    ],
    "4dme": [
        "sub_ID", "fold_name", "Onset", "Apex", "Offset", "AUs", "Emotion", "fold", "eye blink", "Positive", "AU4",
    ],
    "dfme": ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion", "AUs"],
}  # fmt: skip
BOOKS = {
    "casme3-a": ("cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", "label"),
    "casme3-a macro": ("CAS(ME)3_part_A_v2.xls", "AU+Emotion"),
    "casme3-c": ("CAS(ME)3_part_C_ME.xlsx", "mockCrimeME"),
    "casme-squared": ("CAS(ME)^2code_final.xlsx", "CASFEcode_final"),
    "samm-long": ("SAMM_LongVideos_V2_Release.xlsx", "FACS_Movement_Only"),
    "smic-e": ("SMIC-E_raw image/HS_long/SMIC-HS-E_annotation.xlsx", "Sheet1"),
    "casme": ("CASME-coded-20190721.xls", "Sheet1"),
    "4dme": ("4DME_Labelling_Micro_release v1.xlsx", "Sheet1"),
    "dfme": ("training_full_with_AU.xlsx", "Sheet1"),
}
"""File name and sheet of each workbook."""
SQUARED_PEOPLE = [15, 16, *range(19, 28), *range(29, 39), 40]
NAMING: dict[str, Rows] = {
    "naming rule1": [[n, f"s{n}", i] for i, n in enumerate(SQUARED_PEOPLE, 1)],
    "naming rule2": [[101, "disgust1"], ["0102", "disgust2"], [401, "anger1"], [402, "anger2"], ["0502", "happy1"]],
}


def frames(folder: Path, numbers: Iterable[int], pattern: str = "{}.jpg") -> Path:
    """Write frames with these numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / pattern.format(number)).write_bytes(b"frame")
    return folder


def tree(
    layout: str,
    root: Path,
    rows: Rows,
    *,
    table: str | None = None,
    header: Sequence[Cell] | None = None,
    preamble: int = 0,
    others: Mapping[str, Rows] | None = None,
) -> Tree:
    """The workbook of a layout, or of another one of its kind such as ``casme3-a macro``."""
    name, sheet = BOOKS[layout]
    head = HEADERS.get(layout) if header is None else header
    above = [[f"Note {i}"] for i in range(preamble)] + ([list(head)] if head else [])
    file = write_table(root / (table or name), [*above, *rows], sheet, others)
    return Tree(layout.split()[0], root, file)


CASME3_COUNTS = {"disgust": 250, "surprise": 187, "fear": 86, "anger": 64, "sad": 57, "happy": 55}


def casme3_published() -> Rows:
    """860 rows of 94 people, 88 of whom show more than ``others``; three rows have ``Others``."""
    clips = [(f"spNO.{1 + i % 88}", word) for i, word in enumerate(dealt(CASME3_COUNTS))]
    clips += [(f"spNO.{89 + i % 6}", "Others" if i > 157 else "others") for i in range(161)]
    return [[who, "a", 9 * i + 1, 9 * i + 3, 9 * i + 5, "4", "I", word] for i, (who, word) in enumerate(clips)]


def squared_published() -> Rows:
    """357 rows of 22 people: 57 micro- and 300 macro-expressions."""
    micro = {"negative": 21, "others": 19, "surprise": 9, "positive": 8}
    macro = {"positive": 116, "negative": 105, "others": 63, "surprise": 16}
    clips = [(word, "micro-expression") for word in dealt(micro)] + [
        (word, "macro-expression") for word in dealt(macro)
    ]
    return [
        [1 + i % 22, f"anger1_{1 + i // 22}", 9 * i + 1, 9 * i + 3, 9 * i + 5, "4", word, kind, "angry"]
        for i, (word, kind) in enumerate(clips)
    ]
