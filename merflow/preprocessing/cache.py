"""``cache.h5``, the arrays of one prepared dataset that training reads, and the quality table of its clips."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from merflow.errors import InputError, shorten
from merflow.preprocessing.flow import optical_strain
from merflow.preprocessing.interpolation import keyframe_images
from merflow.preprocessing.settings import PreparationSettings
from merflow.storage.files import atomic_write, digest, safe_filename
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import KEYFRAMES, QUALITY, read_table, write_table

log = logging.getLogger(__name__)

CHANNELS = ["u", "v", "strain"]
"""Channels of ``flow``, in order."""


def build_cache(
    clips: Sequence[Mapping[str, Any]],
    faces: Sequence[str | Path],
    keyframes: Sequence[str | Path],
    flow: Sequence[str | Path],
    *,
    cache: str | Path,
    quality: str | Path,
    dataset: str,
    preparation: str,
    settings: PreparationSettings,
    classes: Sequence[str],
    code: str,
    stop: bool = False,
) -> None:
    """Write the key-frames and flows of all subjects of a dataset into one file.

    Clips keep the order of ``clips.csv``; one clip is in memory at a time. If all clips are stills, the cache holds one
    image and no flow per clip; a still among moving clips has its image at every index and zero flow (``kind`` tells
    which clips are stills).

    Args:
        clips: rows of the index, in its order: ``clip, subject, label, kind``, and ``problem`` if there is one.
        faces: ``faces/{subject}.h5`` of every subject.
        keyframes: ``keyframes/{subject}.csv``, in the same order.
        flow: ``flow/{subject}.h5``, in the same order.
        cache: output. Datasets ``clip, subject, label, kind`` (text [n]), ``spatial`` uint8 [n, Ms, S, S], ``flow``
            float16 [n, Mt, 3 (u, v, strain), S, S] in pixels of the crop, ``apex_index`` int64 [n] (index of the apex
            among them, from 0); attributes ``dataset, preparation, classes, size, config_digest, code_version``.
        quality: output, a row for every indexed clip.
        dataset: its name.
        preparation: its name.
        settings: of the preparation.
        classes: class names of the dataset, in order.
        code: digest of the code that made the file.
        stop: whether a failed clip is an error (``on_problem: stop``).

    Raises:
        InputError: all clips of the dataset failed, or one failed and ``stop`` is set.
    """
    rows = {str(row["clip"]): row for row in clips}
    by_clip: dict[str, dict[str, Any]] = {}
    for faces_file, flow_file in zip(faces, flow, strict=True):
        of_subject = {}
        with open_h5(faces_file) as file:
            for group in file.values():
                if group.attrs["clip"] in rows:
                    of_subject[group.attrs["clip"]] = _report(rows[group.attrs["clip"]], group)
        with open_h5(flow_file) as file:
            for clip, report in of_subject.items():
                report["head_motion_px"] = file[safe_filename(clip)].attrs.get("head_motion_px")
        by_clip |= of_subject
    reports = [by_clip[clip] for clip in rows]
    write_table(pd.DataFrame(reports, columns=QUALITY), quality, QUALITY)
    report_failures(dataset, clips, reports, quality, stop)
    usable = [report["clip"] for report in reports if report["status"] == "ok"]
    if not usable:
        reasons = "\n".join(f"  - {report['clip']}: {shorten(report['reason'])}" for report in reports)
        raise InputError(f"no clip of dataset {dataset} could be processed:\n{reasons}")
    count = settings.keyframes.count
    stills = all(rows[clip]["kind"] == "still" for clip in usable)
    attributes = cache_attributes(dataset, preparation, settings, classes, code)
    table = pd.concat([read_table(file, KEYFRAMES) for file in keyframes])
    keyframe_rows = {str(name): part for name, part in table.groupby("clip", sort=False)}
    cache_index = {clip: index for index, clip in enumerate(usable)}
    kept = [rows[clip] for clip in usable]
    with new_cache(cache, kept, 1 if stills else count, 0 if stills else count, attributes) as file:
        apex = np.zeros(len(usable), np.int64)
        for number, (faces_file, flow_file) in enumerate(zip(faces, flow, strict=True), start=1):
            with open_h5(faces_file) as aligned, open_h5(flow_file) as fields:
                for name, face in aligned.items():
                    if (clip := face.attrs["clip"]) not in cache_index:
                        continue
                    index, flows = cache_index[clip], fields[name]
                    file["spatial"][index], apex[index] = read_keyframes(face, flows, keyframe_rows[clip])
                    uv = flows["flow"][:].astype(np.float32)
                    if len(uv):
                        file["flow"][index] = np.concatenate([uv, optical_strain(uv)[:, None]], 1)
            log.info("%d of %d subjects", number, len(faces))
        file["apex_index"][:] = apex


def cache_attributes(
    dataset: str, preparation: str, settings: PreparationSettings, classes: Sequence[str], code: str
) -> dict[str, Any]:
    """Return the attributes of a cache that was made from frames; arguments as of :func:`build_cache`."""
    return {
        "dataset": dataset,
        "preparation": preparation,
        "classes": list(classes),
        "size": settings.align.size,
        "flow_backend": settings.flow.backend,
        "flow_channels": CHANNELS,
        "flow_unit": "pixels of the crop",
        "config_digest": digest(json.dumps(asdict(settings), sort_keys=True)),
        "code_version": code,
    }


@contextmanager
def new_cache(
    path: str | Path, rows: Sequence[Mapping[str, Any]], images: int, flows: int, attributes: Mapping[str, Any]
) -> Iterator[h5py.File]:
    """Write a cache (:func:`build_cache`) atomically; its arrays contain zeros for the caller to set.

    Args:
        path: output.
        rows: ``clip, subject, label, kind`` of each clip.
        images: number of images of each clip (Ms).
        flows: number of flows of each clip (Mt).
        attributes: attributes of the file, ``size`` among them, and ``face_size`` if the images have another side.
    """
    count, size = len(rows), attributes["size"]
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        for name in ("clip", "subject", "label", "kind"):
            file.create_dataset(name, data=[row[name] for row in rows], dtype=h5py.string_dtype())
        side = attributes.get("face_size", size)
        shapes = {"spatial": (count, images, side, side), "flow": (count, flows, 3, size, size)}
        for name, dtype in (("spatial", np.uint8), ("flow", np.float16)):
            shape = shapes[name]
            # Chunked by clip; HDF5 cannot chunk a dataset without elements.
            file.create_dataset(name, shape, dtype, chunks=(1, *shape[1:]) if all(shape) else None)
        file["apex_index"] = np.zeros(count, np.int64)
        file.attrs.update(attributes)
        yield file


def report_failures(
    dataset: str,
    clips: Sequence[Mapping[str, Any]],
    reports: Sequence[Mapping[str, Any]],
    quality: str | Path,
    stop: bool = False,
) -> None:
    """Print on stderr which clips failed when their files were opened, and why.

    The other failed clips have a ``problem`` in the index, which has been printed before.

    Raises:
        InputError: the same, if ``stop``.
    """
    usable = [report for clip, report in zip(clips, reports, strict=True) if not clip.get("problem")]
    failed = [report for report in usable if report["status"] == "failed"]
    if failed:
        reasons = "\n".join(f"  - {report['clip']}: {shorten(report['reason'])}" for report in failed)
        if stop:
            raise InputError(
                f"dataset {dataset} has clips that failed and `on_problem: stop`{cut_off(failed)}:\n{reasons}"
            )
        count = f"{len(failed)} of {len(usable)} clips failed when their files were opened{cut_off(failed)}"
        print(f"merflow: dataset {dataset}: {count} (table: {quality}):\n{reasons}", file=sys.stderr)


def cut_off(failed: Sequence[Mapping[Any, Any]]) -> str:
    """How many failed clips (rows of ``quality.csv``) show a face that the picture cuts; empty if none does."""
    count = sum("`least_inside`" in str(row["reason"]) for row in failed)
    advice = "if the pictures are face crops, set `align: auto` for the dataset, which keeps them"
    return f", {count} of them because the picture cuts the face off: {advice}" if count else ""


def _report(row: Mapping[str, Any], face: h5py.Group) -> dict[str, Any]:
    """Return the row of ``quality.csv`` of one clip, without its head motion."""
    status = face.attrs["status"]
    return {
        **{name: row[name] for name in ("clip", "subject", "label")},
        "status": "ok" if status == "ok" else "failed",
        "reason": "" if status == "ok" else status,
        **{name: face.attrs.get(name) for name in ("alignment", "detector", "face_width_px", "interocular_px")},
        "frames": len(face["frame_numbers"]) if "frame_numbers" in face else 0,
        "notes": face.attrs.get("notes", ""),
    }


def read_keyframes(face: h5py.Group, flows: h5py.Group, rows: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Return the key-frames of a clip, uint8 [M, S, S], and the index of the apex among them, from 0.

    Arguments as of :func:`merflow.preprocessing.interpolation.keyframe_images`.
    """
    counted = rows["index"].notna().to_numpy()  # All but the onset.
    frames, rows = keyframe_images(face, flows, rows)[counted], rows[counted]
    source = rows["apex_source"].iloc[0]
    if source == "still":
        return frames, 0
    apex = int(rows[f"apex_{source}"].iloc[0])
    if apex <= face["frame_numbers"][0]:  # Annotated at the onset, which is no key-frame: take the largest motion.
        return frames, int(np.nanargmax(rows["magnitude_px"].astype(float)))
    return frames, int(np.nanargmin((rows["frame"] - apex).abs()))  # Uniform ones may skip the apex; take the nearest.
