"""Read a dataset, align a clip and compute flow from Python, without a workflow (docs/from-python.md)."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from merflow.datasets.index import Index, index_dataset
from merflow.datasets.registry import LAYOUTS
from merflow.datasets.settings import DatasetSettings
from merflow.footage.clip import Clip
from merflow.preprocessing.faces import AlignedClip
from merflow.preprocessing.faces import align_clip as align
from merflow.preprocessing.flow import clip_flow
from merflow.preprocessing.geometry import face_weights
from merflow.preprocessing.settings import STANDARD_GEOMETRY, PreparationSettings
from merflow.study.config_data import DatasetBlock, PreparationBlock


def read_dataset(root: str | Path, layout: str = "manifest", *, name: str = "dataset", **keys: Any) -> Index:
    """List the clips of a dataset and everything that is wrong with it; no frame is opened.

    Args:
        root: folder of the dataset.
        layout: how it lies on disk, such as ``casme2`` (docs/datasets.md).
        name: before the names of subjects, as in ``dataset/s01``.
        keys: further keys of a dataset in the configuration, such as ``classes="megc2019"``.

    Returns:
        ``clips``, ``classes``, ``problems`` and more.

    Raises:
        InputError: the folder or its table cannot be read, or no clip can be used.
        pydantic.ValidationError: a key has another name or value.
    """
    block = DatasetBlock(layout=layout, root=str(root), **keys)
    values = block.model_dump(include={field.name for field in fields(DatasetSettings)})
    values["kind"] = block.kind or LAYOUTS[layout].kind or "micro"
    return index_dataset(name, DatasetSettings(**values, dataset_names=()))


def align_clip(clip: Clip, **keys: Any) -> AlignedClip:
    """Crop the face from the frames of a clip, onset to offset, by one similarity transform for the whole clip.

    Args:
        clip: one of :func:`read_dataset`, or ``Clip(name, subject, label, "micro", frames)`` with a folder of images or
            a video as ``frames``.
        keys: keys of the block ``align`` of a preparation (docs/configuration.md), such as ``size=224``.

    Returns:
        ``frames`` uint8 ``[T, size, size]``, ``frame_numbers``, ``apex`` and ``placement`` (transform and face).

    Raises:
        ClipError: the clip cannot be used; the message names the file.
    """
    return align(clip, _preparation(align=keys).align)


def optical_flow(frames: np.ndarray, **keys: Any) -> np.ndarray:
    """Return the TV-L1 flow from the first of some aligned frames to each other one, without the motion of the head.

    Args:
        frames: uint8 ``[T, S, S]``, as of :func:`align_clip`.
        keys: keys of the block ``flow`` of a preparation (docs/configuration.md), such as ``rigid=False``.

    Returns:
        float32 ``[T - 1, 2 (u, v), S, S]``, in pixels, u to the right and v down.
    """
    weights = face_weights(frames.shape[-1], STANDARD_GEOMETRY)
    return clip_flow(frames, [(0, index) for index in range(1, len(frames))], _preparation(flow=keys).flow, weights)[0]


def _preparation(**blocks: dict[str, Any]) -> PreparationSettings:
    """Return the settings of a preparation with some keys other than the defaults."""
    return PreparationSettings.from_block(PreparationBlock(**blocks).model_dump(by_alias=True))  # type: ignore[arg-type]
