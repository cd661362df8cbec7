"""A cache from flow images that somebody else computed: one picture per clip, three channels, no frames."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pandas as pd

from merflow.errors import ClipError, InputError
from merflow.footage.images import read_picture
from merflow.preprocessing.cache import tell_failures
from merflow.storage.files import atomic_write, digest
from merflow.storage.tables import QUALITY, write_table

log = logging.getLogger(__name__)

CHANNELS = ["u", "v", "strain"]
"""What red, green and blue hold in the sets that circulate with public code, and the order of the cache."""
SCALING = "each channel scaled to 0..255 by its maker, zero flow not known; the cache holds value / 255"


def read_flow_image(file: str | Path, channels: Sequence[str] = CHANNELS) -> np.ndarray:
    """A flow image as float32 [3 (u, v, strain), S, S], 0 to 1.

    Args:
        file: picture of 8 bits and three channels (a fourth, alpha, is ignored).
        channels: what red, green and blue hold.

    Raises:
        ClipError: it cannot be decoded, or is no square of three channels of 8 bits.
    """
    image = read_picture(file, cv2.IMREAD_UNCHANGED, "image")
    if image.ndim != 3 or image.dtype != np.uint8:
        kind = f"{image.dtype}, {1 if image.ndim == 2 else image.shape[2]} channels"
        raise ClipError(f"image {file} is {kind}; a flow image has three channels of 8 bits")
    height, width = image.shape[:2]
    if height != width:
        raise ClipError(f"image {file} is {width}x{height}; a flow image is square")
    rgb = image[:, :, 2::-1]
    return np.stack([rgb[:, :, channels.index(name)] for name in CHANNELS]).astype(np.float32) / 255


def import_flow_images(
    clips: Sequence[Mapping[str, Any]],
    cache: str | Path,
    quality: str | Path,
    *,
    dataset: str,
    preparation: str,
    settings: Mapping[str, Any],
    classes: Sequence[str],
    code: str,
    stop: bool = False,
) -> None:
    """Write the cache and the quality table of a dataset of flow images; one image is in memory at a time.

    Images whose size is not that of most are left out, with the reason.

    Args:
        clips: rows of the index: ``clip, subject, label, kind, frames`` (the image) and ``problem``.
        cache: output, as of :func:`merflow.preprocessing.cache.build_cache` with Ms = 0, Mt = 1, and attributes
            ``flow_channels`` (in the order of the cache), ``flow_unit`` and ``flow_source_channels`` (what red, green
            and blue held).
        quality: output, a row for every indexed clip.
        dataset: name of the dataset.
        preparation: name of the preparation.
        settings: ``channels`` (of red, green and blue) and ``scaling`` (in words); either may be left out.
        classes: class names of the dataset, in order.
        code: digest of the code that made the file.
        stop: whether an image that cannot be used is an error (``on_problem: stop``).

    Raises:
        InputError: no image can be used, or one cannot and ``stop``.
    """
    channels = list(settings.get("channels") or CHANNELS)
    rows = list(clips)
    reasons = {row["clip"]: row["problem"] for row in rows}
    sizes: dict[str, int] = {}
    for row in rows:
        if not row["problem"]:
            try:
                sizes[row["clip"]] = read_flow_image(row["frames"], channels).shape[-1]
            except ClipError as error:
                reasons[row["clip"]] = str(error)
    size = Counter(sizes.values()).most_common(1)[0][0] if sizes else 0
    for clip, own in sizes.items():
        if own != size:
            reasons[clip] = f"the image is {own}x{own}, most of the dataset are {size}x{size}"
    reports = [_report(row, reasons[row["clip"]]) for row in rows]
    write_table(pd.DataFrame(reports), quality, QUALITY)
    tell_failures(dataset, reports, quality, stop)
    good = [row for row in rows if not reasons[row["clip"]]]
    if not good:
        listed = "\n".join(f"  - {clip}: {reason}" for clip, reason in reasons.items())
        raise InputError(f"no image of dataset {dataset} could be used:\n{listed}")
    with atomic_write(cache) as temporary, h5py.File(temporary, "w") as file:
        for name in ("clip", "subject", "label", "kind"):
            file.create_dataset(name, data=[row[name] for row in good], dtype=h5py.string_dtype())
        file.create_dataset("spatial", (len(good), 0, size, size), np.uint8)
        flow = file.create_dataset("flow", (len(good), 1, 3, size, size), np.float16, chunks=(1, 1, 3, size, size))
        for n, row in enumerate(good):
            flow[n, 0] = read_flow_image(row["frames"], channels)
        file["apex_index"] = np.zeros(len(good), np.int64)
        file.attrs.update(
            dataset=dataset,
            preparation=preparation,
            classes=list(classes),
            size=size,
            flow_backend="flow images",
            flow_channels=CHANNELS,
            flow_source_channels=channels,
            flow_unit=settings.get("scaling") or SCALING,
            config_digest=digest(sorted((str(k), str(v)) for k, v in settings.items())),
            code_version=code,
        )
    log.info("%d of %d images of %dx%d", len(good), len(rows), size, size)


def _report(row: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """The row of ``quality.csv`` of one image: there is no face to measure."""
    own = {name: row[name] for name in ("clip", "subject", "label")}
    return own | {"status": "failed" if reason else "ok", "reason": reason, "frames": 0}
