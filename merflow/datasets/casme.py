"""Layout ``casme``: ``CASME_raw_selected/sub01/EP01_12/EP01_12-73.jpg``, or cropped frames, and a workbook.

Yan, Wu, Liu, Wang, Fu: CASME database, FG 2013.
"""

from collections.abc import Iterator

from merflow.datasets.casme2 import subject_clips
from merflow.datasets.checks import parse_frame_number
from merflow.datasets.index import Index
from merflow.datasets.layouts import finish, workbook_rows
from merflow.datasets.settings import DatasetSettings
from merflow.datasets.workbook import Row

COLUMNS = {
    "subject": ("Subject",),
    "filename": ("Filename",),
    "onset": ("OnsetF",),
    "apex": ("ApexF1", "ApexF"),
    "offset": ("OffsetF",),
    "emotion": ("Emotion", "Estimated Emotion"),
}
OPTIONAL = {"onset_ms": ("Onset",), "total_ms": ("Total",)}
FPS = 60
TREE = "CASME_raw_selected/sub01/EP01_12/EP01_12-73.jpg"


def index(name: str, settings: DatasetSettings) -> Index:
    """Index CASME, whose tree is that of CASME II; times in the workbook are compared with its frame numbers."""
    example = "CASME-coded-20190721.xls"
    table, rows, notes = workbook_rows(name, settings, r"casme.?cod", example, optional=OPTIONAL, columns=COLUMNS)
    raw_clips, more = subject_clips(name, settings, table, rows, TREE, "emotion")
    for raw, row in zip(raw_clips, rows, strict=True):
        raw.notes += _wrong_times(row)
    return finish(name, settings, raw_clips, notes + more)


def _wrong_times(row: Row) -> Iterator[tuple[str, str]]:
    """Yield a note for each time, in ms from the onset, that is not that of its frame, by half a frame or more."""
    for time, last in (("onset_ms", "apex"), ("total_ms", "offset")):
        first, number = parse_frame_number(row.cells["onset"]), parse_frame_number(row.cells[last])
        try:
            frames = float(row.cells[time]) * FPS / 1000
        except ValueError:
            continue
        if first is not None and number is not None and abs(frames - (number - first + 1)) >= 0.5:
            text = (
                f"{OPTIONAL[time][0]} {row.cells[time]} ms is {frames:.1f} frames, onset..{last} {first}..{number} has"
            )
            yield last, f"{text} {number - first + 1}"
