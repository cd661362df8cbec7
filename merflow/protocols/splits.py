"""Splits as files: drawn once per protocol and seed, then read by every system that is compared.

A file names the part of each clip in each fold, and no class: who reads it learns which clips train, and nothing of
those that are tested.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from merflow.errors import InputError
from merflow.footage.clip import database
from merflow.protocols.folds import Fold, folds
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import SPLITS, read_table_in_parts, write_table_in_parts

log = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
ROWS_AT_ONCE = 100_000
"""Rows of a table of splits that are read together."""


def make_splits(caches: Sequence[Path], output: Path, settings: Mapping[str, Any], seed: int) -> None:
    """Draw the folds of a protocol once, and write which clip is in which part.

    Args:
        caches: micro datasets.
        output: table, a row per fold and clip.
        settings: ``protocol, validation``, the protocol's own (:func:`merflow.protocols.folds`), ``datasets`` (names,
            in the order of the caches), ``classes`` (in order) and, where they are not those of the caches, ``labels``.
        seed: of every draw.

    Raises:
        InputError: a cache cannot be read, or its clips are too few for the protocol.
    """
    clips, labels = usable_clips(caches, settings)
    subjects = [clip["subject"] for clip in clips]
    protocol, share = settings["protocol"], settings["validation"]
    parts = folds(protocol, subjects, labels, validation=share, seed=seed, settings=settings)

    def rows(fold: Fold) -> list[dict[str, Any]]:
        part_of = {int(place): part for part in PARTS for place in getattr(fold, part)}
        common = {"protocol": protocol, "seed": seed, "fold": fold.name}
        return [common | clips[place] | {"part": part_of[place]} for place in sorted(part_of)]

    # Fold by fold: a row per fold and clip is millions where people are many.
    write_table_in_parts(map(rows, parts), output, SPLITS)
    log.info("%s, seed %d: %d folds of %d clips", protocol, seed, len(parts), len(clips))


def usable_clips(caches: Sequence[Path], settings: Mapping[str, Any]) -> tuple[list[dict[str, str]], np.ndarray]:
    """The clips that came through and have a class: ``dataset, subject, clip`` of each, and the number of its class.

    Raises:
        InputError: a cache cannot be read, or no clip is left.
    """
    classes, clips, labels = list(settings["classes"]), [], []
    for path, name in zip(caches, settings["datasets"], strict=True):
        try:
            with open_h5(path) as file:
                ids, people, own = (file[column].asstr()[:] for column in ("clip", "subject", "label"))
        except (OSError, KeyError) as error:
            raise InputError(f"{path} cannot be read as a cache: {error}; make it anew") from error
        relabelled = settings.get("labels", {}).get(name)
        for clip, subject, label in zip(ids, people, own, strict=True):
            label = label if relabelled is None else relabelled.get(clip, "")
            if label in classes:
                clips.append({"dataset": database(subject, name), "subject": str(subject), "clip": str(clip)})
                labels.append(classes.index(label))
    if not clips:
        raise InputError(f"no clip of {', '.join(map(str, caches))} has one of the labels {', '.join(classes)}")
    return clips, np.array(labels, np.int64)


def read_splits(path: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """The folds of a table of splits and their rows, one in memory at a time, in the order of the file.

    Raises:
        InputError: it is none, names a part that there is not, or a fold's rows are not together.
    """
    waiting: list[pd.DataFrame] = []
    seen: set[str] = set()

    def fold() -> tuple[str, pd.DataFrame]:
        rows = pd.concat(waiting)
        waiting.clear()
        name = str(rows["fold"].iloc[0])
        if name in seen:
            raise InputError(f"{path}: the rows of fold {name} are not together; delete the file and run again")
        seen.add(name)
        return name, rows

    for table in read_table_in_parts(path, SPLITS, ROWS_AT_ONCE):
        strange = table[~table["part"].isin(PARTS)]
        if len(strange):
            place = strange.index[0]
            raise InputError(
                f"{path}, row {place + 2}: part is {table['part'][place]!r}; expected one of {', '.join(PARTS)}"
            )
        for _, rows in table.groupby((table["fold"] != table["fold"].shift()).cumsum(), sort=False):
            if waiting and waiting[0]["fold"].iloc[0] != rows["fold"].iloc[0]:
                yield fold()
            waiting.append(rows)
    if waiting:
        yield fold()


def read_folds(path: Path, clips: Sequence[Mapping[str, str]]) -> Iterator[Fold]:
    """The folds of a file, one at a time, in its order, as places among ``clips``.

    Args:
        path: table of splits.
        clips: ``dataset, subject, clip`` of each clip that a system has; the same ones as in every fold of the file.

    Raises:
        InputError: the file holds other clips than ``clips`` in a fold, or one of them twice.
    """
    place_of = {(clip["dataset"], clip["subject"], clip["clip"]): place for place, clip in enumerate(clips)}
    for name, rows in read_splits(path):
        keys = list(zip(rows["dataset"], rows["subject"], rows["clip"], strict=True))
        other = set(keys) ^ set(place_of)
        if other or len(keys) != len(place_of):
            shown = " ".join(min(other)[::2]) if other else next(key[2] for key in keys if keys.count(key) > 1)
            what = "is not both in the file and among the clips" if other else "is there twice"
            raise InputError(f"{path}, fold {name}: clip {shown} {what}; delete the file and run again")
        places = np.array([place_of[key] for key in keys], np.int64)
        yield Fold(name, *(np.sort(places[(rows["part"] == part).to_numpy()]) for part in PARTS))
