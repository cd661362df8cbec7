"""Layout ``ck-plus``: ``cohn-kanade-images/S005/001/S005_001_00000011.png``, macro-expressions from neutral to peak.

Lucey, Cohn, Kanade, Saragih, Ambadar, Matthews: The extended Cohn-Kanade dataset (CK+), CVPR workshops 2010.
"""

import re
from pathlib import Path

from merflow.datasets.folders import folders_named, no_such_part, parents_of, subfolders
from merflow.datasets.index import NOTED, Index, Problem
from merflow.datasets.layouts import finish, first_and_last, images_root
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.settings import DatasetSettings
from merflow.footage.frames import image_paths

TREE = "cohn-kanade-images/S005/001/S005_001_00000011.png and Emotion/S005/001/S005_001_00000011_emotion.txt"
EMOTIONS = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
CODES: dict[float, str] = dict(enumerate(EMOTIONS))
"""Meaning of the number in a label file."""


def index(name: str, settings: DatasetSettings) -> Index:
    """Index CK+: the first frame of a sequence is neutral, the last one its apex.

    Sequences without a label are listed too: the release labels 327 of its 593.
    """
    root = images_root(settings)
    images = folders_named(root, r"(extended-)?cohn-kanade-images") or [root]
    tops = [folder for top in images for folder in parents_of(top, r"S\d{3}")]
    labels = [f for f in folders_named(root, r"emotions?([ _-]labels)?") if parents_of(f, r"S\d{3}")]
    tops = [top for top in tops if not any(label == top or label in top.parents for label in labels)]
    if not tops:
        raise no_such_part(root, "folders of subjects (S005, S010, ...)", TREE)
    if not labels:
        raise no_such_part(root, "folder Emotion with the label files", TREE)
    label_root = parents_of(labels[0], r"S\d{3}")[0]
    raw_clips = []
    for person in subfolders(tops[0]):
        if not re.fullmatch(r"S\d{3}", person.name, re.IGNORECASE):
            continue
        for folder in subfolders(person):
            clip = f"{person.name}_{folder.name}"
            raw = RawClip(clip, person.name, str(folder), "macro", str(folder))
            first, last = first_and_last(image_paths(folder))
            raw.numbers = {"onset": first, "apex": last, "offset": last}
            raw.source = {"emotion": _label(label_root / person.name / folder.name, raw)}
            raw_clips.append(raw)
    clips = {raw.clip for raw in raw_clips}
    notes = [
        Problem(name, str(folder), None, clip, "frames", "a label without a sequence of this name", NOTED)
        for person in subfolders(label_root)
        for folder in subfolders(person)
        if (clip := f"{person.name}_{folder.name}") not in clips and _label_files(folder)
    ]
    unlabelled = [raw for raw in raw_clips if not raw.source["emotion"]]
    if unlabelled:
        text = f"{len(unlabelled)} of {len(raw_clips)} sequences have no label (the release labels 327 of 593)"
        notes.append(Problem(name, str(label_root), None, "", "label", text, NOTED))
    return finish(name, settings, raw_clips, notes)


def _label(folder: Path, raw: RawClip) -> str:
    """Return the emotion of a sequence; empty if there is no label file, or a problem if it cannot be read."""
    files = _label_files(folder)
    if not files:
        return ""
    if len(files) > 1:
        raw.notes.append(("label", f"{folder} holds {len(files)} label files; {files[0].name} is read"))
    peak, last = re.search(r"(\d+)_emotion$", files[0].stem), raw.numbers["offset"]
    if peak and last and int(peak[1]) > int(last):
        raw.problems.append(
            ("offset", f"the peak, frame {int(peak[1])} by {files[0].name}, is missing; last is {last}")
        )
    try:
        text = files[0].read_text(encoding="ascii").strip()
        return CODES[float(text)]
    except OSError as error:
        raw.problems.append(("label", f"{files[0]} cannot be read ({error.strerror})"))
    except (ValueError, KeyError):
        text = files[0].read_bytes()[:40].decode("ascii", "replace").strip()
        raw.problems.append(("label", f"{files[0]} holds {text!r}; a number from 0 to {len(CODES) - 1} is expected"))
    return ""


def _label_files(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.glob("*_emotion.txt")) if f.name[0] != "." and f.is_file()]
