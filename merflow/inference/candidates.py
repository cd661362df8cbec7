"""Which candidates are shown, and the cache of candidates and detections, in the form of a dataset's cache."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from merflow.errors import InputError
from merflow.inference.settings import SEARCHED
from merflow.preprocessing.cache import build_cache, cache_attributes, new_cache
from merflow.preprocessing.settings import PreparationSettings
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import DETECTIONS, QUALITY, read_table, write_table

MAX_SHOWN = 40
"""Candidates that the page shows in full, the strongest first, and clips whose video strip it shows."""


def strength(candidate: Mapping[Any, Any]) -> float:
    """Return the strength of a row of ``intervals.csv``; candidates that were not searched come before all others."""
    return float(candidate["strength"]) if candidate["found"] == SEARCHED else math.inf


def shown_candidates(candidates: Iterable[Mapping[Any, Any]]) -> set[str]:
    """Return the clips of the candidates that are shown in full, from rows of the ``intervals.csv`` of all sources."""
    ordered = sorted(candidates, key=strength, reverse=True)
    return {str(candidate["clip"]) for candidate in ordered[:MAX_SHOWN]}


def gather_candidates(
    search_results: Sequence[str | Path],
    intervals: Sequence[str | Path],
    faces: Sequence[str | Path],
    keyframes: Sequence[str | Path],
    flow: Sequence[str | Path],
    *,
    cache: Path,
    quality: Path,
    preparation: str,
    settings: PreparationSettings,
    code: str,
) -> None:
    """Write ``cache.h5`` and ``quality.csv`` of the candidates of all sources.

    A long video without a peak of motion has no candidate; if no source has one, the cache is empty.

    ``search_results`` to ``flow`` list the files of all sources in one order; the other arguments are those of
    :func:`merflow.preprocessing.cache.build_cache`.

    Raises:
        InputError: all sources failed, or all candidates failed.
    """
    failed = []
    for file in search_results:
        with open_h5(file) as source:
            if source.attrs["status"] != "ok":
                failed.append(f"  - {source.attrs['clip']}: {source.attrs['status']}")
    if len(failed) == len(search_results):
        raise InputError("no clip of `clips` can be answered:\n" + "\n".join(failed))
    rows = [
        {"clip": str(clip), "subject": f"clips/{source}", "label": "", "kind": "micro"}
        for file in intervals
        for clip, source in read_table(file, ["clip", "source"])[["clip", "source"]].itertuples(index=False)
    ]
    cache_or_empty(
        rows, faces, keyframes, flow, cache=cache, quality=quality, dataset="clips", preparation=preparation,
        settings=settings, code=code,
    )  # fmt: skip


def read_micro(detections: str | Path) -> pd.DataFrame:
    """Return the micro-expressions of a ``detections.csv``, with the name of each as a clip in the column ``clip``."""
    table = read_table(detections, DETECTIONS)
    table = table[table["kind"] == "micro"].reset_index(drop=True)
    bounds = table["onset"].astype(str) + "-" + table["offset"].astype(str)
    return table.assign(clip=table["dataset"] + "/" + table["video"] + "@" + bounds)


def cache_or_empty(
    rows: Sequence[Mapping[str, Any]],
    faces: Sequence[str | Path],
    keyframes: Sequence[str | Path],
    flow: Sequence[str | Path],
    *,
    cache: Path,
    quality: Path,
    dataset: str,
    preparation: str,
    settings: PreparationSettings,
    code: str,
) -> None:
    """Write ``cache.h5`` and ``quality.csv`` as ``build_cache`` does, without clips if there are no ``rows``."""
    if rows:
        build_cache(
            rows, faces, keyframes, flow, cache=cache, quality=quality, dataset=dataset, preparation=preparation,
            settings=settings, classes=[], code=code,
        )  # fmt: skip
        return
    write_table([], quality, QUALITY)
    attributes = cache_attributes(dataset, preparation, settings, [], code)
    with new_cache(cache, [], settings.keyframes.count, settings.keyframes.count, attributes):
        pass
