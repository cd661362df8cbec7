"""Splits as files: drawn once per protocol and seed, and read by every system that is compared.

A file names the part of each clip in each fold, and no class: whoever reads it learns which clips train, and nothing
about the labels of test clips.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import pandas as pd

from merflow.errors import InputError
from merflow.protocols.clips import read_labelled_clips
from merflow.protocols.folds import Fold, draw_folds
from merflow.protocols.settings import SplitSettings
from merflow.storage.tables import SPLITS, read_table_in_parts, write_table_in_parts

log = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
CHUNK_ROWS = 100_000
"""Rows of a table of splits that are read together."""


def make_splits(caches: Sequence[Path], output: Path, settings: SplitSettings, seed: int) -> None:
    """Draw the folds of a protocol, and write a table with the part of each clip in each fold.

    Raises:
        InputError: a cache cannot be read, or its clips are too few for the protocol.
    """
    files = read_labelled_clips(caches, settings.clips)
    clips = list(chain.from_iterable(file.clips for file in files))
    labels = np.concatenate([file.labels for file in files])
    folds = draw_folds(
        settings.protocol,
        [clip["subject"] for clip in clips],
        labels,
        validation=settings.validation,
        seed=seed,
        folds=settings.folds,
        test_clips=settings.test_clips,
    )

    def rows(fold: Fold) -> Iterable[dict[str, object]]:
        part_of = {int(index): part for part in PARTS for index in getattr(fold, part)}
        common = {"protocol": settings.protocol, "seed": seed, "fold": fold.name}
        return [common | clips[index] | {"part": part_of[index]} for index in sorted(part_of)]

    # Written fold by fold: one row per fold and clip is millions of rows for many subjects.
    write_table_in_parts(map(rows, folds), output, SPLITS)
    log.info("%s, seed %d: %d folds of %d clips", settings.protocol, seed, len(folds), len(clips))


def read_splits(path: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each fold of a table of splits with its rows, one fold in memory at a time, in the order of the file.

    Raises:
        InputError: the file is not such a table, names an unknown part, or the rows of a fold are not contiguous.
    """
    runs = (
        rows
        for table in read_table_in_parts(path, SPLITS, CHUNK_ROWS)
        for _, rows in table.groupby(table["fold"].ne(table["fold"].shift()).cumsum(), sort=False)
    )
    seen: set[str] = set()
    for name, parts in groupby(runs, key=lambda rows: str(rows["fold"].iloc[0])):
        if name in seen:
            raise InputError(f"{path}: the rows of fold {name} are not contiguous; delete the file and run again")
        seen.add(name)
        rows = pd.concat(parts)
        unknown = rows[~rows["part"].isin(PARTS)]
        if len(unknown):
            row, part = unknown.index[0] + 2, unknown["part"].iloc[0]
            raise InputError(f"{path}, row {row}: part is {part!r}; expected one of {', '.join(PARTS)}")
        yield name, rows


def read_folds(path: str | Path, clips: Sequence[Mapping[str, str]]) -> Iterator[Fold]:
    """Yield the folds of a table of splits, in its order, as indices among the clips (``dataset, subject, clip``).

    Raises:
        InputError: a fold of the file has other clips than ``clips``, or one of them twice.
    """
    index_of = {(clip["dataset"], clip["subject"], clip["clip"]): index for index, clip in enumerate(clips)}
    for number, (name, rows) in enumerate(read_splits(Path(path))):
        keys = list(zip(rows["dataset"], rows["subject"], rows["clip"], strict=True))
        different = set(keys) ^ set(index_of)
        if different or len(keys) != len(index_of):
            clip = " ".join(min(different)[::2]) if different else next(key[2] for key in keys if keys.count(key) > 1)
            problem = "is not both in the file and among the clips" if different else "is in it twice"
            raise InputError(f"{path}, fold {name}: clip {clip} {problem}; delete the file and run again")
        indices = np.array([index_of[key] for key in keys], np.int64)
        train, validation, test = (np.sort(indices[(rows["part"] == part).to_numpy()]) for part in PARTS)
        yield Fold(name, train, validation, test, number)
