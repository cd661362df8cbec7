"""One flow image per clip: u, v and optical strain between onset and apex, at the size of the field's shallow networks.

The floors and the networks of :mod:`merflow.models.registry` see nothing else of a clip.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from merflow.clips import database
from merflow.errors import InputError
from merflow.resize import area_resize

SIDE = 28
"""Side of the flow image in pixels."""


@dataclass(frozen=True)
class FlowImages:
    """Labelled clips and their flow images.

    Attributes:
        dataset: name of the dataset of each clip.
        subject: subject of each clip.
        clip: name of each clip.
        label: class of each clip.
        images: float32 [n, 3 * SIDE * SIDE], u, v and strain at the apex; None if not asked for.
    """

    dataset: list[str]
    subject: list[str]
    clip: list[str]
    label: np.ndarray
    images: np.ndarray | None

    @property
    def clips(self) -> list[dict[str, str]]:
        """``dataset, subject, clip`` of each."""
        columns = zip(self.dataset, self.subject, self.clip, strict=True)
        return [{"dataset": dataset, "subject": subject, "clip": clip} for dataset, subject, clip in columns]


def read_flow_images(
    caches: Sequence[Path],
    classes: Sequence[str],
    images: bool = True,
    labels: Mapping[str, Mapping[str, str]] | None = None,
) -> FlowImages:
    """Labelled clips of some caches, one clip in memory at a time; clips with another or no label are left out.

    ``labels`` ({dataset: {clip: label}}) stand in place of those of the caches.

    Raises:
        InputError: a cache cannot be read, has no flow, or no clip is left.
    """
    dataset: list[str] = []
    found: dict[str, list] = {"subject": [], "clip": [], "label": []}
    vectors = []
    for path in caches:
        try:
            file = h5py.File(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read as a cache: {error}; make it anew") from error
        with file:
            columns = {column: file[column].asstr()[()] for column in found}
            name = str(file.attrs["dataset"])
            if name in (labels or {}):
                columns["label"] = np.array([labels[name].get(clip, "") for clip in columns["clip"]], dtype=object)
            chosen = np.flatnonzero(np.isin(columns["label"], list(classes)))
            if images and file["flow"].shape[1] == 0 and chosen.size:
                raise InputError(f"{path} holds still images without flow; baselines on flow images need moving clips")
            apex = file["apex_index"][()] if images else None
            for place in chosen:
                if images:
                    image = file["flow"][place, apex[place]].astype(np.float32)
                    if not np.isfinite(image).all():
                        raise InputError(
                            f"{path}: the flow of clip {columns['clip'][place]} is not finite; make it anew"
                        )
                    vectors.append(area_resize(image, SIDE).ravel())
            dataset += [database(columns["subject"][place], name) for place in chosen]
            for column in found:
                found[column] += columns[column][chosen].tolist()
    if not dataset:
        raise InputError(f"no clip of {', '.join(map(str, caches))} has one of the labels {', '.join(classes)}")
    stacked = np.stack(vectors) if images else None
    return FlowImages(dataset, found["subject"], found["clip"], np.array(found["label"]), stacked)
