"""Mean and variance of the optical flow of every clip (Figure 8 of the TSDGCN paper)."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from merflow.errors import InputError
from merflow.storage.hdf5 import open_h5

log = logging.getLogger(__name__)


def flow_statistics(caches: Sequence[Path], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Statistics of the length of the flow vectors, in pixels of the crop, over all pixels and fields of a clip.

    The head's motion is not among it where the preparation subtracts it. One clip is in memory at a time.

    Args:
        caches: of each dataset.
        settings: ``datasets`` (names in the order of the caches), ``classes`` and, where they are not those of the
            caches, ``labels`` ({dataset: {clip: label}}); clips of no class are left out.

    Returns:
        For each clip, in order of class, then of the cache: ``clip, subject, label, mean, variance`` (pixels, pixels
        squared), ``fields`` (flow fields of the clip), ``dataset``.

    Raises:
        InputError: no clip of these classes has flow.
    """
    rows, classes = [], list(settings["classes"])
    for dataset, cache in zip(settings["datasets"], caches, strict=True):
        with open_h5(cache) as file:
            clips, people, labels = (file[name].asstr()[:] for name in ("clip", "subject", "label"))
            own = settings.get("labels", {}).get(dataset)
            for place, (clip, subject) in enumerate(zip(clips, people, strict=True)):
                label = labels[place] if own is None else own.get(clip, "")
                if label not in classes or not file["flow"].shape[1]:
                    continue
                field = file["flow"][place, :, :2].astype(np.float64)
                length = np.hypot(field[:, 0], field[:, 1])
                rows.append(
                    {"clip": clip, "subject": subject, "label": label}
                    | {"mean": float(length.mean()), "variance": float(length.var())}
                    | {"fields": len(field), "dataset": dataset}
                )
        log.info("%s: %d clips", dataset, len(rows))
    if not rows:
        raise InputError(f"no clip of {', '.join(settings['datasets'])} has a class and optical flow")
    return sorted(rows, key=lambda row: classes.index(row["label"]))
