"""The cache of all candidates, as a study's own clips have one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from merflow.errors import InputError
from merflow.preprocessing.cache import build_cache
from merflow.storage.files import atomic_write, digest
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import QUALITY, read_table, write_table


def gather_candidates(
    looked: Sequence[str | Path],
    intervals: Sequence[str | Path],
    faces: Sequence[str | Path],
    keyframes: Sequence[str | Path],
    flow: Sequence[str | Path],
    *,
    cache: Path,
    quality: Path,
    preparation: str,
    settings: Mapping[str, Any],
    code: str,
) -> None:
    """Build ``cache.h5`` and ``quality.csv`` of the candidates of all sources
    (:func:`merflow.preprocessing.cache.build_cache`).

    A video in which nothing was found to happen has no candidate; where no source has one the cache is empty.

    Args:
        looked: ``looked.h5`` of every source.
        intervals: ``intervals.csv``, in the same order, as all that follow.
        faces: aligned candidates.
        keyframes: their key-frames.
        flow: their flow.
        cache: output.
        quality: output.
        preparation: its name.
        settings: the preparation.
        code: digest of the code.

    Raises:
        InputError: no source could be looked through, or no candidate came through.
    """
    failed, good = [], 0
    for file in looked:
        with open_h5(file) as source:
            status, clip = str(source.attrs["status"]), str(source.attrs["clip"])
        good += status == "ok"
        failed += [] if status == "ok" else [f"  - {clip}: {status}"]
    if not good:
        raise InputError("nothing of what `clips` names can be answered:\n" + "\n".join(failed))
    rows = [
        {"clip": str(clip), "subject": f"clips/{source}", "label": "", "kind": "micro"}
        for file in intervals
        for clip, source in read_table(file, ["clip", "source"])[["clip", "source"]].itertuples(index=False)
    ]
    if rows:
        build_cache(
            rows, faces, keyframes, flow, cache=cache, quality=quality, dataset="clips", preparation=preparation,
            settings=settings, classes=[], code=code,
        )  # fmt: skip
        return
    write_table([], quality, QUALITY)
    size, count = settings["align"]["size"], settings["keyframes"]["count"]
    with atomic_write(cache) as temporary, h5py.File(temporary, "w") as file:
        for name in ("clip", "subject", "label", "kind"):
            file.create_dataset(name, (0,), h5py.string_dtype())
        file["spatial"] = np.zeros((0, count, size, size), np.uint8)
        file["flow"] = np.zeros((0, count, 3, size, size), np.float16)
        file["apex_index"] = np.zeros(0, np.int64)
        file.attrs.update(dataset="clips", preparation=preparation, classes=[], size=size, code_version=code)
        file.attrs["config_digest"] = digest(json.dumps(settings, sort_keys=True))
