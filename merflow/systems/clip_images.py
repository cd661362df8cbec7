"""What floors and networks see of a clip: the flow at the apex, all flows, or the key-frames, at a small size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from merflow.errors import InputError
from merflow.footage.clip import database
from merflow.preprocessing.resize import area_resize
from merflow.storage.disk_arrays import DiskArray
from merflow.storage.hdf5 import open_h5
from merflow.systems.tsdgcn.signals import grey_signal

SIDE = 28
"""Side of the images of the field's shallow networks, and of the floors, in pixels."""
READS = {
    "flow-image": "u, v and strain between onset and apex, ``[3, side * side]``",
    "flows": "the same to each key-frame, from where ``flow.reference`` says, ``[3, M * side * side]``",
    "key-frames": "grey key-frames, scaled, less their mean over the clip, ``[1, M * side * side]``",
}
"""What can be read, with the shape of a clip."""


@dataclass(frozen=True)
class ClipImages:
    """Labelled clips and their images.

    Attributes:
        dataset: name of the dataset of each clip.
        subject: subject of each clip.
        clip: name of each clip.
        label: class of each clip.
        images: float32 ``[n, ...]`` as in :data:`READS`, or stored; None if not asked for.
    """

    dataset: list[str]
    subject: list[str]
    clip: list[str]
    label: np.ndarray
    images: np.ndarray | DiskArray | None

    @property
    def clips(self) -> list[dict[str, str]]:
        """``dataset, subject, clip`` of each."""
        columns = zip(self.dataset, self.subject, self.clip, strict=True)
        return [{"dataset": dataset, "subject": subject, "clip": clip} for dataset, subject, clip in columns]


def read_clip_images(
    caches: Sequence[Path],
    classes: Sequence[str],
    images: bool = True,
    labels: Mapping[str, Mapping[str, str]] | None = None,
    reads: str = "flow-image",
    side: int = SIDE,
    stored: bool = False,
) -> ClipImages:
    """Labelled clips of some caches; clips with another or no label are left out.

    ``labels`` ({dataset: {clip: label}}) stand in place of those of the caches; ``reads``: one of :data:`READS`;
    ``stored``: whether the images wait on the disk (:class:`merflow.storage.disk_arrays.DiskArray`), one clip in memory
    at a time.

    Raises:
        InputError: a cache cannot be read or has not what is read, the caches differ in their key-frames, or no clip is
            left.
    """
    dataset: list[str] = []
    found: dict[str, list] = {"subject": [], "clip": [], "label": []}
    places: dict[Path, np.ndarray] = {}
    for path in caches:
        with open_h5(path) as file:
            columns = {column: file[column].asstr()[()] for column in found}
            name = str(file.attrs["dataset"])
            if name in (labels or {}):
                columns["label"] = np.array([labels[name].get(clip, "") for clip in columns["clip"]], dtype=object)
            chosen = np.flatnonzero(np.isin(columns["label"], list(classes)))
            source = "spatial" if reads == "key-frames" else "flow"
            if images and file[source].shape[1] == 0 and chosen.size:
                raise InputError(f"{path} holds {LACKS[source]}")
            places[path] = chosen
            dataset += [database(columns["subject"][place], name) for place in chosen]
            for column in found:
                found[column] += columns[column][chosen].tolist()
    if not dataset:
        raise InputError(f"no clip of {', '.join(map(str, caches))} has one of the labels {', '.join(classes)}")
    gathered = None
    if images:
        pictures = _images(places, reads, side)
        try:
            gathered = DiskArray(pictures) if stored else np.stack(list(pictures))
        except ValueError as error:
            raise InputError(
                "the caches differ in their numbers of key-frames; prepare all datasets in the same way"
            ) from error
    return ClipImages(dataset, found["subject"], found["clip"], np.array(found["label"]), gathered)


def _images(places: Mapping[Path, np.ndarray], reads: str, side: int) -> Iterator[np.ndarray]:
    """What is read of the clips at some places of some caches."""
    for path, chosen in places.items():
        with open_h5(path) as file:
            apex, names = file["apex_index"][()], file["clip"].asstr()
            for place in chosen:
                image = clip_image(file, place, apex[place], reads, side)
                if not np.isfinite(image).all():
                    raise InputError(f"{path}: the flow of clip {names[place]} is not finite; make it anew")
                yield image


LACKS = {
    "flow": "still images without flow; flow images need moving clips",
    "spatial": "flow images and no frames; choose a system that reads flow, or network.reads: flows",
}


def clip_image(source: Mapping[str, Any], place: int, apex: int, reads: str, side: int) -> np.ndarray:
    """What is read of one clip.

    Args:
        source: ``spatial, flow`` by name: an open cache, or arrays.
        place: of the clip.
        apex: place of the apex among its key-frames.
        reads: one of :data:`READS`.
        side: of the image.

    Returns:
        float32 ``[channels, pixels]``.
    """
    if reads == "key-frames":
        frames = grey_signal(source["spatial"][place], side)
        # What stays is who is seen, and outweighs what moves: with it, nothing is learnt from some hundred clips.
        still = frames.mean(axis=0) if len(frames) > 1 else 0
        return (frames - still).reshape(1, -1)
    if reads == "flow-image":
        return area_resize(source["flow"][place, apex].astype(np.float32), side).reshape(3, -1)
    flows = area_resize(source["flow"][place].astype(np.float32), side)
    return np.moveaxis(flows, 1, 0).reshape(3, -1)
