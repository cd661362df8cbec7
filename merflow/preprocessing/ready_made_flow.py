"""A cache made from flow images that others computed, and the faces beside them, if they come with some; no frames."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from merflow.errors import ClipError, InputError, shorten
from merflow.footage.images import read_image
from merflow.preprocessing.cache import CHANNELS, new_cache, report_failures
from merflow.storage.files import digest
from merflow.storage.tables import QUALITY, write_table

log = logging.getLogger(__name__)

SCALING = "each channel scaled to 0..255 by its maker, zero flow not known; the cache holds value / 255"
"""Unit of flow images if the dataset's key ``scaling`` does not say."""


def read_flow_image(file: str | Path, channels: Sequence[str] = CHANNELS) -> np.ndarray:
    """Return a flow image as float32 [3 (u, v, strain), S, S], 0 to 1.

    Args:
        file: image of 8 bits and three channels (a fourth, alpha, is ignored).
        channels: contents of red, green and blue; the default is that of the sets published with code.

    Raises:
        ClipError: the image cannot be decoded, or is not square with three channels of 8 bits.
    """
    image = read_image(file, cv2.IMREAD_UNCHANGED, "image")
    if image.ndim != 3 or image.dtype != np.uint8:
        kind = f"{image.dtype}, {1 if image.ndim == 2 else image.shape[2]} channels"
        raise ClipError(f"image {file} is {kind}; a flow image has three channels of 8 bits")
    height, width = image.shape[:2]
    if height != width:
        raise ClipError(f"image {file} is {width}x{height}; a flow image is square")
    rgb = image[:, :, 2::-1]
    return np.stack([rgb[:, :, channels.index(name)] for name in CHANNELS]).astype(np.float32) / 255


def read_face_image(file: str | Path, size: int) -> np.ndarray:
    """Return a face image of any size, grey or colour, as grey uint8 [size, size]; raises as ``read_image``."""
    face = read_image(file, cv2.IMREAD_GRAYSCALE, "face")
    return cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)


def import_flow_images(
    clips: Sequence[Mapping[str, Any]],
    cache: str | Path,
    quality: str | Path,
    *,
    dataset: str,
    preparation: str,
    face_size: int,
    channels: Sequence[str] | None,
    scaling: str | None,
    classes: Sequence[str],
    code: str,
    stop: bool = False,
) -> None:
    """Write the cache and the quality table of a dataset of flow images; one clip is in memory at a time.

    A clip is left out, with the reason, if one of its images cannot be read or has not the most frequent size. Mt is
    the number of images of the longest clip; those of the others are repeated evenly.

    Args:
        clips: rows of the index: ``clip, subject, label, kind, problem``, and ``flows, faces, apex``
            (:class:`merflow.datasets.raw_clip.ClipImages`).
        cache: output, as of :func:`merflow.preprocessing.cache.build_cache` with Ms = Mt, or Ms = 0 without faces, and
            attributes ``flow_channels`` (in the order of the cache), ``flow_unit`` and ``flow_source_channels``
            (contents of red, green and blue).
        quality: output, a row for every indexed clip.
        dataset: its name.
        preparation: its name.
        face_size: side of ``spatial`` in pixels; 0 without faces.
        channels: contents of red, green and blue; None for the default of :func:`read_flow_image`.
        scaling: how the values were scaled, in words; None if unknown.
        classes: class names of the dataset, in order.
        code: digest of the code that made the file.
        stop: whether an unusable image is an error (``on_problem: stop``).

    Raises:
        InputError: no image can be used, or one cannot and ``stop`` is set.
    """
    source_channels = list(channels or CHANNELS)
    reasons: dict[str, str] = {row["clip"]: row["problem"] for row in clips}
    sizes: dict[str, list[int]] = {}
    for row in clips:
        if not row["problem"]:
            try:
                sizes[row["clip"]] = [read_flow_image(file, source_channels).shape[-1] for file in row["flows"]]
                for file in row["faces"]:
                    read_face_image(file, face_size)
            except ClipError as error:
                reasons[row["clip"]] = str(error)
    size = Counter(chain.from_iterable(sizes.values())).most_common(1)[0][0] if sizes else 0
    for row in clips:
        for file, side in zip(row["flows"], sizes.get(row["clip"], ()), strict=False):
            if side != size:
                image = f"image {file}" if len(row["flows"]) > 1 else "the image"
                reasons[row["clip"]] = f"{image} is {side}x{side}, most of the dataset are {size}x{size}"
    reports = [_report(row, reasons[row["clip"]]) for row in clips]
    write_table(pd.DataFrame(reports), quality, QUALITY)
    report_failures(dataset, clips, reports, quality, stop)
    usable = [row for row in clips if not reasons[row["clip"]]]
    if not usable:
        listed = "\n".join(f"  - {clip}: {shorten(reason)}" for clip, reason in reasons.items())
        raise InputError(f"no image of dataset {dataset} could be used:\n{listed}")
    attributes = {
        "dataset": dataset,
        "preparation": preparation,
        "classes": list(classes),
        "size": size,
        "flow_backend": "flow images",
        "flow_channels": CHANNELS,
        "flow_source_channels": source_channels,
        "flow_unit": scaling or SCALING,
        "config_digest": digest(channels, scaling),
        "code_version": code,
    } | ({"face_size": face_size} if face_size else {})
    count = max(len(row["flows"]) for row in usable)
    with new_cache(cache, usable, count if face_size else 0, count, attributes) as file:
        for index, row in enumerate(usable):
            chosen = np.linspace(0, len(row["flows"]) - 1, count).round().astype(int)
            file["flow"][index] = np.stack([read_flow_image(row["flows"][n], source_channels) for n in chosen])
            if face_size:
                file["spatial"][index] = np.stack([read_face_image(row["faces"][n], face_size) for n in chosen])
            file["apex_index"][index] = np.flatnonzero(chosen == row["apex"])[0]
    log.info("%d of %d clips, images of %dx%d", len(usable), len(clips), size, size)


def _report(row: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return the row of ``quality.csv`` of one image, which has no face measurements."""
    identity = {name: row[name] for name in ("clip", "subject", "label")}
    return identity | {"status": "failed" if reason else "ok", "reason": reason, "frames": 0}
