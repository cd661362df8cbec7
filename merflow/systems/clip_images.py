"""What baselines and networks read of a clip: the flow at the apex, all flows, or the key-frames, at a small size."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from merflow.errors import InputError
from merflow.preprocessing.resize import area_resize
from merflow.protocols.settings import ClipSettings
from merflow.systems.samples import Samples, read_samples
from merflow.systems.tsdgcn.signals import grey_signal, less_clip_mean

SIDE = 28
"""Side of the images of the field's shallow networks, and of the linear baselines, in pixels."""
INPUT_KINDS = {
    "flow-image": "u, v and strain between onset and apex, ``[3, side * side]``",
    "flows": "the same for each key-frame, from the frame that ``flow.reference`` names, ``[3, M * side * side]``",
    "flows-magnitude": "likewise, with the length of (u, v) in place of strain",
    "key-frames": "grey key-frames, scaled, minus their mean over the clip, ``[1, M * side * side]``",
}
"""What a system can read of a clip, with the shape of a clip."""
MISSING = {
    "flow": "still images without flow; flow images need moving clips",
    "spatial": "flow images and no frames; choose a system that reads flow, or network.input_kind: flows",
}
"""What a cache holds instead, by the array that it lacks."""


def read_clip_images(
    caches: Sequence[Path],
    clips: ClipSettings,
    input_kind: str = "flow-image",
    side: int = SIDE,
    *,
    in_memory: bool = False,
) -> Samples:
    """Read the labelled clips of the caches of some datasets, with rows as in :data:`INPUT_KINDS`.

    ``in_memory``: as in :func:`merflow.systems.samples.read_samples`.

    Raises:
        InputError: a cache cannot be read or lacks what is read, the caches differ in their numbers of key-frames, or
            no clip is left.
    """

    def read_clip(files: Sequence[h5py.File], index: int) -> np.ndarray:
        (file,) = files
        source = "spatial" if input_kind == "key-frames" else "flow"
        if not file[source].shape[1]:
            raise InputError(f"{file.filename} holds {MISSING[source]}")
        image = clip_image(file, index, int(file["apex_index"][index]), input_kind, side)
        if not np.isfinite(image).all():
            clip = file["clip"].asstr()[index]
            raise InputError(f"{file.filename}: the flow of clip {clip} is not finite; delete the cache and run again")
        return image

    return read_samples([[path] for path in caches], clips, read_clip, in_memory=in_memory)


def clip_image(source: Mapping[str, Any], index: int, apex: int, input_kind: str, side: int) -> np.ndarray:
    """Return what a system reads of the clip at an index, float32 ``[channels, pixels]`` (:data:`INPUT_KINDS`).

    ``source``: ``spatial, flow`` by name, an open cache or arrays; ``apex``: index of the apex among its key-frames.
    """
    if input_kind == "key-frames":
        frames = grey_signal(source["spatial"][index], side)
        return less_clip_mean(frames[None]).reshape(1, -1)
    if input_kind == "flow-image":
        return area_resize(source["flow"][index, apex].astype(np.float32), side).reshape(3, -1)
    flows = area_resize(source["flow"][index].astype(np.float32), side)
    if input_kind == "flows-magnitude":
        flows[:, 2] = np.hypot(flows[:, 0], flows[:, 1])
    return np.moveaxis(flows, 1, 0).reshape(3, -1)


def image_fields(input_kind: str, pixels: int, side: int) -> list[str]:
    """Return what each image of a clip shows (:class:`merflow.learning.augmentation.Augmentation`).

    ``pixels``: pixels of a channel, those of all its images.
    """
    count = pixels // side**2
    third = "magnitude" if input_kind == "flows-magnitude" else "strain"
    return ["grey"] * count if input_kind == "key-frames" else ["u"] * count + ["v"] * count + [third] * count
