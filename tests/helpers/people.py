"""Small studies for the workflow tests: synthetic people as clips of a user, listed in manifests."""

from dataclasses import replace
from pathlib import Path

import dataset_files
import dataset_trees

from merflow.datasets.settings import STANDARD_MACRO, STANDARD_MICRO
from merflow.datasets.synthetic.plan import plan_clips
from merflow.datasets.synthetic.render import make_subject

EMOTIONS = ["happiness", "surprise", "disgust"]
SMALL = {
    # Small enough to run in seconds, large enough for every stage to do its work.
    "graph": {"side": 32},
    "pretrain": {"epochs": 2, "patience": 2},
    "head": {"epochs": 5, "hidden": 32},
    "preparations": {"default": {"keyframes": {"count": 3}}},
    "floors": ["majority", "linear-svm", "softmax"],
}


def draw(folder: Path, kind: str, subjects: int, first: int, **changes) -> list:
    """Render ``subjects`` people into ``folder`` and write their manifest; returns the clips."""
    values = {
        "root": str(folder),
        "subjects": subjects,
        "first_subject": first,
        "emotions": tuple(EMOTIONS),
        "clips_per_emotion": 1,
        "frames": 20 if kind == "micro" else 10,
        "seed": 1,
    }
    settings = replace(STANDARD_MICRO if kind == "micro" else STANDARD_MACRO, **values | changes)
    clips = plan_clips(folder.name, settings)
    for subject in sorted({clip.subject for clip in clips}):
        name = subject.split("/")[1]
        make_subject(folder.name, name, settings, folder / name)
    write_manifest(folder, [row_of(clip, folder) for clip in clips])
    return clips


def row_of(clip, folder: Path) -> list:
    """Return the manifest row of a synthetic clip."""
    frames = Path(clip.frames).relative_to(folder) if Path(clip.frames).is_absolute() else clip.frames
    return [clip.clip, clip.subject.split("/")[1], clip.label, frames, clip.onset, clip.apex, clip.offset, clip.fps]


def write_manifest(folder: Path, rows: list[list]) -> None:
    """Write ``manifest.csv``."""
    lines = ["clip,subject,label,frames,onset,apex,offset,fps"]
    lines += [",".join("" if value is None else str(value) for value in row) for row in rows]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def config(folder: Path, **changes) -> dict:
    """Return a study of the people in ``folder / people`` with macro clips in ``folder / posed``."""
    return {
        "study": "mine",
        "datasets": {
            "people": {"layout": "manifest", "root": str(folder / "people"), "kind": "micro"},
            "posed": {"layout": "manifest", "root": str(folder / "posed"), "kind": "macro"},
        },
        "experiments": {"tsdgcn": {"system": "tsdgcn", "macro": "posed", "micro": "people"}},
        **SMALL,
        **changes,
    }


THREE = ("disgust", "happiness", "surprise")


MEGC = {"disgust": "negative", "happiness": "positive", "surprise": "surprise"}


def takes(subjects, name, **changes):
    """Return a take of each emotion and subject, 13 frames from onset to offset."""
    times = {"onset": 21, "apex": 27, "offset": 33} | changes
    return [
        dataset_files.Take(subject, name(subject, emotion, n), emotion, objective=n, **times)
        for subject in subjects
        for n, emotion in enumerate(THREE, 1)
    ]


def rows_of(databases: dict[str, tuple[int, ...]]) -> list[dataset_trees.FlowImage]:
    """Return a row for each subject of each database and each class of MEGC2019."""
    return [
        dataset_trees.FlowImage(database, f"s {take.subject}", f"clip {take.name}", MEGC[take.emotion], take)
        for database, subjects in databases.items()
        for take in takes(subjects, lambda subject, emotion, n: f"{subject}{n}")
    ]


def flow_images(folder: Path, databases: dict[str, tuple[int, ...]]) -> dataset_trees.Tree:
    """Write ready-made flow images of the subjects of each database, one per MEGC2019 class, and their table."""
    faces = dataset_files.Faces(size=240, interocular=60)
    return dataset_trees.flow_images(
        folder,
        rows_of(databases),
        write=lambda path, image: dataset_files.save(path, faces.flow_picture(image.take)),
    )


def flow_sequences(folder: Path, databases: dict[str, tuple[int, ...]]) -> dataset_trees.Tree:
    """Write three flow images of each clip of :func:`flow_images`, the last to the apex, and the face at each."""
    faces = dataset_files.Faces(size=240, interocular=60, crop=70)

    def write(path: Path, image: dataset_trees.FlowImage, number: int) -> None:
        if path.stem.endswith("face"):
            faces(path, image.take, image.take.apex - 6 + 2 * number)
        else:
            dataset_files.save(path, faces.flow_picture(image.take, before_apex=6 - 2 * number))

    return dataset_trees.flow_sequences(folder, rows_of(databases), 3, write=write)
