"""Layout ``smic-hs``: ``HS/s1/micro/negative/s1_ne_01/image090823.jpg``; the folders are the annotation.

Li, Pfister, Huang, Zhao, Pietikäinen: A spontaneous micro-expression database, FG 2013.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from merflow.datasets.folders import clip_folders, parents_of, subfolders, subject_number
from merflow.datasets.index import Index
from merflow.datasets.layouts import choose_variant, finish, first_and_last, images_root
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.settings import DatasetSettings
from merflow.footage.frames import image_paths

TREE = "HS/s1/micro/negative/s1_ne_01/image090823.jpg"
CODES = {"ne": "negative", "po": "positive", "sur": "surprise", "su": "surprise"}
PERSON = r"s\d{1,2}"
CLIP = r"s\d{1,2}[_-][a-z]+[_-]\d+"


def index(name: str, settings: DatasetSettings) -> Index:
    """Index SMIC-HS: onset and offset are the first and last frame, there is no apex.

    Folders of the other cameras (VIS, NIR) and of the long clips are skipped.
    """
    root = images_root(settings)
    variants = [f for f in parents_of(root, PERSON) if _is_high_speed(f"{root.name}/{f.relative_to(root)}")]
    variants = [f for f in variants if any((person / "micro").is_dir() for person in subfolders(f))]
    parts = "folders of subjects (s1, s2, ...) with a folder micro"
    frames, notes = choose_variant(name, settings, variants, parts, TREE)
    people = sorted(subfolders(frames), key=lambda f: (str(subject_number(f.name)).zfill(4), f.name))
    raw_clips = [
        raw for person in people if re.fullmatch(PERSON, person.name, re.IGNORECASE) for raw in short_clips(person)
    ]
    return finish(name, settings, raw_clips, notes)


def short_clips(person: Path) -> Iterator[RawClip]:
    """Yield the clips of a person's folder ``micro``, if there is one."""
    if not (person / "micro").is_dir():
        return
    for folder in clip_folders(person / "micro", CLIP):
        number, code = subject_number(person.name), re.split("[_-]", folder.name)[1].lower()
        raw = RawClip(folder.name, f"s{number:02d}", str(folder), "micro", str(folder))
        raw.source = {"emotion": folder.parent.name.lower()}
        images = image_paths(folder)
        raw.align = "auto" if images and images[0].rpartition("/")[2].lower().startswith("reg") else "detect"
        first, last = first_and_last(images)
        raw.numbers = {"onset": first, "apex": None, "offset": last}
        if CODES.get(code) != raw.source["emotion"]:
            raw.problems.append(("label", f"folder {folder.parent.name} contradicts the name {folder.name}"))
        if subject_number(re.split("[_-]", folder.name)[0]) != number:
            raw.problems.append(("subject", f"folder {person.name} contradicts the name {folder.name}"))
        yield raw


def _is_high_speed(path: str) -> bool:
    """Whether a folder is not one of another camera (VIS, NIR) or of long or expression-free clips."""
    parts = re.split(r"[/\\_ .-]", path.lower())
    return not {"vis", "nir", "long", "e", "non"} & set(parts)
