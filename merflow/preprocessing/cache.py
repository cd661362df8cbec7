"""One HDF5 file per prepared dataset, which training streams from, and the table of how each clip fared."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from merflow.errors import InputError
from merflow.preprocessing.flow import optical_strain
from merflow.storage.files import atomic_write, digest, safe_filename
from merflow.storage.hdf5 import check_readable, open_h5_raw
from merflow.storage.tables import KEYFRAMES, QUALITY, read_table, write_table

log = logging.getLogger(__name__)


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
    settings: Mapping[str, Any],
    classes: Sequence[str],
    code: str,
    stop: bool = False,
) -> None:
    """Gather the key-frames and flows of all subjects of a dataset.

    Clips keep the order of ``clips.csv``; one clip is in memory at a time. Where all clips are stills the cache holds
    one image and no flow per clip; a still among moving clips has its image in every place and a flow of zero (``kind``
    tells which clips those are).

    Args:
        clips: rows of the index, in its order: ``clip, subject, label, kind``.
        faces: ``faces/{subject}.h5`` of every subject.
        keyframes: ``keyframes/{subject}.csv``, in the same order.
        flow: ``flow/{subject}.h5``, in the same order.
        cache: output. Datasets ``clip, subject, label, kind`` (text [n]), ``spatial`` uint8 [n, Ms, S, S], ``flow``
            float16 [n, Mt, 3 (u, v, strain), S, S] in pixels of the crop, ``apex_index`` int64 [n] (place of the apex
            among the key-frames); attributes ``dataset, preparation, classes, size, config_digest, code_version``.
        quality: output, a row for every indexed clip.
        dataset: name of the dataset.
        preparation: name of the preparation.
        settings: the preparation.
        classes: class names of the dataset, in order.
        code: digest of the code that made the file.
        stop: whether a clip that failed is an error (``on_problem: stop``).

    Raises:
        InputError: no clip of the dataset came through, or one did not and ``stop``.
    """
    table = pd.DataFrame(clips)
    chosen = pd.concat([read_table(file, KEYFRAMES) for file in keyframes])
    chosen = {name: rows for name, rows in chosen.groupby("clip", sort=False)}
    rows = {row["clip"]: row for row in table.to_dict("records")}
    found = {}
    for pair in zip(faces, flow, strict=True):  # Two files open at a time, however many subjects there are.
        with _opened(pair) as files:
            for group in files[0].values():
                if row := rows.get(group.attrs["clip"]):
                    found[row["clip"]] = _report(row, files), str(group.attrs["kind"])
    reports = [found[clip][0] for clip in rows]
    write_table(pd.DataFrame(reports, columns=QUALITY), quality, QUALITY)
    tell_failures(dataset, reports, quality, stop)
    good = {clip: place for place, clip in enumerate(r["clip"] for r in reports if r["status"] == "ok")}
    if not good:
        reasons = "\n".join(f"  - {report['clip']}: {report['reason']}" for report in reports)
        raise InputError(f"no clip of dataset {dataset} could be processed:\n{reasons}")
    size, count = settings["align"]["size"], settings["keyframes"]["count"]
    kinds = [found[clip][1] for clip in good]
    images, flows = (1, 0) if all(kind == "still" for kind in kinds) else (count, count)
    with atomic_write(cache) as temporary, h5py.File(temporary, "w") as file:
        text = h5py.string_dtype()
        file.create_dataset("clip", data=list(good), dtype=text)
        for column in ("subject", "label"):
            file.create_dataset(column, data=[rows[clip][column] for clip in good], dtype=text)
        file.create_dataset("kind", data=kinds, dtype=text)
        spatial = _by_clip(file, "spatial", (len(good), images, size, size), np.uint8)
        motion = _by_clip(file, "flow", (len(good), flows, 3, size, size), np.float16)
        apex = np.zeros(len(good), np.int64)
        done = 0
        for pair in zip(faces, flow, strict=True):
            with _opened(pair) as files:
                for face in files[0].values():
                    clip = face.attrs["clip"]
                    if clip not in good:
                        continue
                    n, field = good[clip], files[1][safe_filename(clip)]
                    spatial[n], apex[n] = _keyframes(face, chosen[clip])
                    if flows and len(field["flow"]):
                        uv = field["flow"][:].astype(np.float32)
                        motion[n] = np.concatenate([uv, optical_strain(uv)[:, None]], 1)
                    done += 1
                    if done % 50 == 0 or done == len(good):
                        log.info("%d of %d clips", done, len(good))
        file["apex_index"] = apex
        file.attrs.update(
            dataset=dataset,
            preparation=preparation,
            classes=list(classes),
            size=size,
            flow_backend=settings["flow"]["backend"],
            flow_channels=["u", "v", "strain"],
            flow_unit="pixels of the crop",
            config_digest=digest(json.dumps(settings, sort_keys=True)),
            code_version=code,
        )


@contextmanager
def _opened(pair: tuple[str | Path, str | Path]) -> Iterator[tuple[h5py.File, h5py.File]]:
    """Faces and flow of one subject; the error of a damaged one names that one."""
    try:
        with open_h5_raw(pair[0]) as faces, open_h5_raw(pair[1]) as flow:
            yield faces, flow
    except (OSError, KeyError, RuntimeError):
        for file in pair:
            check_readable(file)
        raise


def tell_failures(dataset: str, reports: Sequence[Mapping[str, Any]], quality: str | Path, stop: bool = False) -> None:
    """Say on stderr which clips were left out on the way, and why.

    Raises:
        InputError: the same, if ``stop``.
    """
    failed = [report for report in reports if report["status"] == "failed"]
    if failed:
        reasons = "\n".join(f"  - {report['clip']}: {report['reason']}" for report in failed)
        if stop:
            raise InputError(f"dataset {dataset} has clips that failed and `on_problem: stop`:\n{reasons}")
        print(
            f"merflow: dataset {dataset}: {len(failed)} of {len(reports)} clips failed (table: {quality}):\n{reasons}",
            file=sys.stderr,
        )


def _by_clip(file: h5py.File, name: str, shape: tuple[int, ...], dtype: type) -> h5py.Dataset:
    """A dataset chunked by clip; one without elements (stills have no flow) cannot be chunked."""
    chunks = (1, *shape[1:]) if all(shape) else None
    return file.create_dataset(name, shape, dtype, chunks=chunks)


def _report(row: Mapping[str, Any], pair: tuple[h5py.File, h5py.File]) -> dict[str, Any]:
    """The row of ``quality.csv`` of one clip: the first stage that failed gives the reason."""
    groups = [file[safe_filename(row["clip"])] for file in pair]
    reasons = [group.attrs["status"] for group in groups if group.attrs["status"] != "ok"]
    face, motion = (group.attrs for group in groups)
    return {
        **{name: row[name] for name in ("clip", "subject", "label")},
        "status": "failed" if reasons else "ok",
        "reason": reasons[0] if reasons else "",
        "alignment": face.get("alignment"),
        "face_width_px": face.get("face_width_px"),
        "interocular_px": face.get("interocular_px"),
        "head_motion_px": motion.get("head_motion_px"),
        "frames": len(groups[0]["frame_numbers"]) if "frame_numbers" in groups[0] else 0,
    }


def _keyframes(face: h5py.Group, rows: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Key-frames 1..M of a clip, uint8 [M, S, S], and the place of the apex among them."""
    rows = rows[rows["index"] > 0].sort_values("index")
    numbers = face["frame_numbers"][:]
    wanted = rows["frame"].astype(int).to_numpy()
    frames = np.stack([face["frames"][place] for place in np.searchsorted(numbers, wanted)])
    source = rows["apex_source"].iloc[0]
    if source == "still":
        return frames, 0
    apex = int(rows[f"apex_{source}"].iloc[0])
    if apex <= numbers[0]:  # An apex annotated at the onset, which is no key-frame: where the most has happened.
        return frames, int(rows["magnitude_px"].astype(float).to_numpy().argmax())
    return frames, int(np.abs(wanted - apex).argmin())  # Steps of time may pass the apex by; the nearest shows it.
