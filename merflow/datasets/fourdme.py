"""Layout ``4dme``: grey frames, ``gray_micro/{person}/{clip}``, and a workbook with action units.

Li, Cheng, Li, Behzad, Shen, Zafeiriou, Pantic, Zhao: 4DME, IEEE TAC 2022.
"""

from merflow.datasets.folders import folders_by_name, no_such_part
from merflow.datasets.index import Index
from merflow.datasets.layouts import COLUMNS, finish, images_root, workbook_clip, workbook_rows
from merflow.datasets.settings import DatasetSettings

OWN_COLUMNS = COLUMNS | {"subject": ("sub_ID", "Subject"), "filename": ("fold_name", "Filename")}
TREE = "gray_micro/{sub_ID}/{fold_name}"


def index(name: str, settings: DatasetSettings) -> Index:
    """Index 4DME. A clip may have several emotions, so it has no label until a class map reads one of the columns.

    The folder of a clip has its name, inside that of the person or with the person before it.
    """
    example = "4DME_Labelling_Micro_release v1.xlsx"
    table, rows, notes = workbook_rows(name, settings, r"4dme.*micro", example, columns=OWN_COLUMNS)
    root = images_root(settings)
    names = [(row.cells["subject"], row.cells["filename"]) for row in rows]
    spelled = {clip.casefold() for _, clip in names} | {f"{person}_{clip}".casefold() for person, clip in names}
    folders = folders_by_name(root, spelled)
    if not folders:
        raise no_such_part(root, "folders of clips", TREE)
    raw_clips = []
    for row, (person, clip) in zip(rows, names, strict=True):
        places = folders.get(f"{person}_{clip}".casefold(), []) + folders.get(clip.casefold(), [])
        inside = [folder for folder in places if folder.parent.name.casefold() == person.casefold()]
        missing = root / person / (clip or "...")
        raw = workbook_clip(row, f"{person}/{clip}", person, (inside or places or [missing])[0], table, "emotion")
        raw.name, raw.source["label"] = clip, ""
        raw_clips.append(raw)
    return finish(name, settings, raw_clips, notes)
