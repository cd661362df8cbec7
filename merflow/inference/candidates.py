"""The cache of all candidates, as a study's own clips have one."""

from collections.abc import Sequence
from pathlib import Path

from merflow.errors import InputError
from merflow.preprocessing.cache import build_cache, cache_attributes, new_cache
from merflow.preprocessing.settings import PreparationSettings
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
    settings: PreparationSettings,
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
    attributes = cache_attributes("clips", preparation, settings, [], code)
    with new_cache(cache, [], settings.keyframes.count, settings.keyframes.count, attributes):
        pass
