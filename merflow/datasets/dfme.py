"""Layout ``dfme``: ``train_data/sub0003_01/00000.png``, or parts such as ``USTC_MEv4_partA_...``, and a workbook.

Zhao, Tang, Mao, Liu, Zhang, Wang, Xu, Chen: DFME, a dynamic facial micro-expressions database, IEEE TAC 2023.
"""

import re

from merflow.datasets.folders import folders_by_name, no_such_part, subject_number
from merflow.datasets.index import Index
from merflow.datasets.layouts import COLUMNS, finish, images_root, workbook_clip, workbook_rows
from merflow.datasets.settings import DatasetSettings

REQUIRED = {name: names for name, names in COLUMNS.items() if name != "offset"}
OPTIONAL = {"offset": COLUMNS["offset"], "fps": ("fps",)}
TREE = "train_data/sub0003_01/00000.png or USTC_MEv4_partA_sub0001_sub0015/micro/{emotion}/sub0003_01"


def index(name: str, settings: DatasetSettings) -> Index:
    """Index DFME. Frames per second are those of the table or of the folder's name, ``..._500fps``, else unknown.

    A clip without a column of the offset ends at its last frame.
    """
    pattern, example = r"full.?with.?au|dfme|ustc|mev4", "training_full_with_AU.xlsx"
    table, rows, notes = workbook_rows(name, settings, pattern, example, "Sheet1", OPTIONAL, REQUIRED)
    root = images_root(settings)
    folders = folders_by_name(root, {row.cells["filename"].casefold() for row in rows})
    if not folders:
        raise no_such_part(root, "folders of clips (sub0003_01, ...)", TREE)
    raw_clips = []
    for row in rows:
        clip, number = row.cells["filename"], subject_number(row.cells["subject"])
        subject = f"sub{number:04d}" if isinstance(number, int) else number
        folder = folders.get(clip.casefold(), [root / "..." / clip])[0]
        raw = workbook_clip(row, clip or f"row-{row.number}", subject, folder, table, "emotion")
        fps = re.search(r"_(\d+)fps", str(folder))
        raw.fps = row.cells["fps"] or (fps[1] if fps else "")
        if clip and subject_number(clip.partition("_")[0]) != number:
            raw.problems.append(("subject", f"subject {row.cells['subject']!r} contradicts the file name {clip}"))
        raw_clips.append(raw)
    return finish(name, settings, raw_clips, notes)
