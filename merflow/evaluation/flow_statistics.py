"""Mean and variance of the optical flow of every clip (Figure 8 of the TSDGCN paper)."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from merflow.errors import InputError
from merflow.evaluation.settings import ClipLabels
from merflow.storage.hdf5 import open_h5

log = logging.getLogger(__name__)


def flow_statistics(caches: Sequence[Path], clips: ClipLabels) -> list[dict[str, Any]]:
    """Statistics of the length of the flow vectors, in pixels of the crop, over all pixels and fields of a clip.

    Head motion is not included if the preparation subtracts it. One clip is in memory at a time.

    Args:
        caches: cache of each dataset.
        clips: datasets in the order of the caches, classes, and labels; clips of no class are left out.

    Returns:
        For each clip, in order of class, then of the cache: ``clip, subject, label, mean, variance`` (pixels, pixels
        squared), ``fields`` (flow fields of the clip), ``dataset``.

    Raises:
        InputError: no clip of these classes has flow.
    """
    rows, classes = [], list(clips.classes)
    for dataset, cache in zip(clips.datasets, caches, strict=True):
        with open_h5(cache) as file:
            columns = [file[name].asstr()[:] for name in ("clip", "subject", "label")]
            for index, (clip, subject, cached_label) in enumerate(zip(*columns, strict=True)):
                label = clips.labels[dataset].get(clip, "") if clips.labels else cached_label
                if label not in classes or not file["flow"].shape[1]:
                    continue
                field = file["flow"][index, :, :2].astype(np.float64)
                length = np.hypot(field[:, 0], field[:, 1])
                rows.append(
                    {"clip": clip, "subject": subject, "label": label}
                    | {"mean": float(length.mean()), "variance": float(length.var())}
                    | {"fields": len(field), "dataset": dataset}
                )
        log.info("%s: %d clips", dataset, len(rows))
    if not rows:
        raise InputError(f"no clip of {', '.join(clips.datasets)} has a class and optical flow")
    return sorted(rows, key=lambda row: classes.index(row["label"]))
