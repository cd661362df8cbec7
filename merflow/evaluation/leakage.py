"""The leakage audit: count, from the study's files, what the training of each fold shares with its test part.

A leak that the configuration requests (a macro dataset with the people of the test, a hold-out that divides subjects)
is counted and reported. Any other leak is an error, because the numbers that rest on it mean nothing.
"""

import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from merflow.errors import InputError
from merflow.evaluation.settings import AddedDatasets, AuditSettings
from merflow.footage.clip import database
from merflow.protocols.clips import read_labelled_clips
from merflow.protocols.splits import PARTS, read_splits
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import ACCURACY_TRAIN, AUDIT, PREDICTIONS, read_table, write_table

log = logging.getLogger(__name__)

CHECKS = {
    "subjects: train and test": "people of the test have clips that train",
    "subjects: validation and test": "people of the test have clips that choose the epoch",
    "subjects: train and validation": "people have clips that train and clips that choose the epoch",
    "subjects: pre-training and test": "people of the test are in the set that pre-trains",
    "subjects: key-frame scorer and test": "people of the test are in the set that trained the key-frame scorer",
    "contents: train, validation and test": "clips, or frames that two clips share, are in two parts",
    "contents: pre-training and test": "clips of the test, or frames of them, are in the set that pre-trains",
    "fitted on training clips only": "clips too many or too few fitted normalisation and balancing",
    "predicted clips are the test part": "clips are predicted but not in the test part, or the other way round",
}
"""Every check, and what its size counts."""
REMEDIES = {
    "subjects": (
        "the split is not that of the protocol: delete the table of splits and run again; or a dataset of `train_also` "
        "shows people of the test: leave it out"
    ),
    "contents": "remove all but one copy of each such clip from the datasets",
    "fitted": "delete the experiment's tables and run again",
    "predicted": "delete the experiment's tables and run again",
}
ELSEWHERE = "people: trained elsewhere"
"""Check of networks of another study: its size is the number of people who trained them, whoever they are."""
NO_SUCH_FOLD = "the splits have no such fold"
SHOWN = 5
"""Largest number of leaks in an error message, and of names in a note."""


class Clip(NamedTuple):
    """A clip of a cache: its subject, and a digest of what training reads of it."""

    subject: str
    content: str


def audit(
    plan: Sequence[AuditSettings],
    predictions: Path,
    accuracy_train: Path,
    output: Path,
    overlaps: Sequence[Sequence[str]] = (),
    elsewhere: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Check every fold of the study, and write a row per experiment, repeat, fold and check to ``audit.csv``.

    ``overlaps`` are pairs of clips that share frames of a video: dataset, clip, dataset, clip. ``elsewhere`` are
    networks of other studies, which only answer new clips: ``experiment, people`` (their number) and ``note``.

    Raises:
        InputError: there is a leak that the configuration does not request.
    """
    trained = read_table(accuracy_train, ACCURACY_TRAIN)
    trained = trained[trained["stage"] == "finetune"]
    fold_key = ["experiment", "repeat", "fold"]
    predictions_of: dict[Any, pd.DataFrame] = dict(iter(read_table(predictions, PREDICTIONS).groupby(fold_key)))
    fitted_clips = {(e, r, f): int(n) for e, r, f, n in trained[[*fold_key, "n"]].itertuples(index=False)}
    cached_clips, cached_people = cache(read_clips), cache(read_scorer_people)
    rows: list[dict[str, Any]] = []
    checked = set()
    for entry in plan:
        clips: dict[tuple[str, str], Clip] = {}
        for dataset, file in entry.caches.items():
            clips |= cached_clips(file, dataset)
        macro = cached_clips(entry.macro, "", labelled=True) if entry.macro else {}
        people = cached_people(entry.scorer) if entry.scorer else None
        added = added_clips(entry.added, cached_clips) if entry.added else {}
        for seed, path in entry.splits.items():
            for fold, split in read_splits(Path(path)):
                name = (entry.experiment, seed, fold)
                checks = check_fold(
                    split, entry, clips, macro, people, predictions=predictions_of.get(name),
                    fitted_clips=fitted_clips.get(name), added=added, overlaps=overlaps,
                )  # fmt: skip
                rows += [dict(zip(fold_key, name, strict=True)) | row for row in checks]
                checked.add(name)
        # Predictions of folds that are not in the splits come from another run, or the splits have changed since.
        others = {name for name in predictions_of if entry.scored and name[0] == entry.experiment} - checked
        for other in sorted(others):
            row = _row("predicted clips are the test part", range(len(predictions_of[other])), note=NO_SUCH_FOLD)
            rows.append(dict(zip(fold_key, other, strict=True)) | row)
        log.info("%s: %d rows", entry.experiment, len(rows))
    rows = list({tuple(row.values()): row for row in rows}.values())  # Members of an ensemble share many.
    leaks = [row for row in rows if row["size"] and row["allowed"] == "no"]
    if leaks:
        raise InputError(_error_message(leaks))
    for weights in elsewhere:
        row = _row(ELSEWHERE, range(weights["people"]), allowed=True, note=weights["note"])
        rows.append({"experiment": weights["experiment"], "repeat": 0, "fold": ""} | row)
    write_table(rows, output, AUDIT)


def check_fold(
    split: pd.DataFrame,
    settings: AuditSettings,
    clips: Mapping[tuple[str, str], Clip],
    macro: Mapping[tuple[str, str], Clip],
    scorer_people: Collection[str] | None = None,
    *,
    predictions: pd.DataFrame | None = None,
    fitted_clips: int | None = None,
    added: Mapping[tuple[str, str], Clip] | None = None,
    overlaps: Sequence[Sequence[str]] = (),
) -> Iterator[dict[str, Any]]:
    """The rows ``check, size, allowed, note`` of one fold.

    Args:
        split: rows of the fold in a table of splits.
        settings: what to check.
        clips: clips of the micro datasets, by dataset and name.
        macro: clips of the pre-training dataset; empty without pre-training.
        scorer_people: people who trained the key-frame scorer; None if no scorer was trained on a dataset.
        predictions: of the fold.
        fitted_clips: number of clips that fitted its normalisation and balancing, as its training reports.
        added: clips that train in every fold (:func:`added_clips`).
        overlaps: as of :func:`audit`.
    """
    keys = {part: _clip_keys(split[split["part"] == part]) for part in PARTS}
    people = {part: set(split.loc[split["part"] == part, "subject"]) for part in PARTS}
    if settings.added and added:
        keys["train"] |= added.keys()
        people["train"] |= added_people(settings.added, added)
        clips = {**clips, **added}
    divides = settings.divides_subjects
    yield _row("subjects: train and test", people["train"] & people["test"], divides)
    yield _row("subjects: validation and test", people["validation"] & people["test"], divides)
    yield _row("subjects: train and validation", people["train"] & people["validation"])
    excluded = {_person(subject) for subject in people["test"]} if settings.excludes_test_people else set()
    pretraining = {key: clip for key, clip in macro.items() if _person(clip.subject) not in excluded}
    if macro:
        pretrained_people = {_person(clip.subject) for clip in pretraining.values()}
        shared = _same_people(people["test"], pretrained_people, settings.same_people)
        yield _row("subjects: pre-training and test", shared, not settings.excludes_test_people)
    if scorer_people is not None:
        shared = _same_people(people["test"], {_person(subject) for subject in scorer_people}, settings.scorer_people)
        yield _row("subjects: key-frame scorer and test", shared)
    contents = {part: {clips[key].content: key for key in keys[part] if key in clips} for part in PARTS}
    twice = set()
    for first, second in combinations(("train", "validation", "test"), 2):
        for content in contents[first].keys() & contents[second].keys():
            twice.add(" = ".join("/".join(contents[part][content]) for part in (first, second)))
        twice |= {"/".join(key) for key in keys[first] & keys[second] if key not in clips}
        twice |= set(_shared(overlaps, keys[first], keys[second]))
    yield _row("contents: train, validation and test", twice)
    if macro:
        macro_contents = {clip.content: key for key, clip in pretraining.items()}
        both = macro_contents.keys() & contents["test"].keys()
        pairs = {" = ".join("/".join(keys_of[c]) for keys_of in (macro_contents, contents["test"])) for c in both}
        yield _row("contents: pre-training and test", pairs | set(_shared(overlaps, pretraining, keys["test"])))
    if not settings.scored:
        return
    if settings.fitted_parts:
        expected = sum(len(keys[part]) for part in settings.fitted_parts)
        note = f"{fitted_clips or 'no'} clips fitted, {expected} in {' and '.join(settings.fitted_parts)}"
        yield _row("fitted on training clips only", range(abs((fitted_clips or 0) - expected)), note=note)
    predicted = set() if predictions is None else _clip_keys(predictions)
    yield _row("predicted clips are the test part", map("/".join, predicted ^ keys["test"]))


def _shared(
    overlaps: Iterable[Sequence[str]], first: Collection[tuple[str, str]], second: Collection[tuple[str, str]]
) -> Iterator[str]:
    """Yield the pairs of clips that share frames of which one is in ``first`` and the other in ``second``."""
    for *pair, dataset, clip in overlaps:
        keys = (pair[0], pair[1]), (dataset, clip)
        if any(key in first and partner in second for key, partner in (keys, keys[::-1])):
            yield " = ".join("/".join(key) for key in keys)


def _row(check: str, leaked: Iterable[Any], allowed: bool = False, note: str = "") -> dict[str, Any]:
    names = sorted(map(str, leaked))
    listed = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return {"check": check, "size": len(names), "allowed": "yes" if allowed else "no", "note": note or listed}


def read_clips(path: str | Path, dataset: str, *, labelled: bool = False) -> dict[tuple[str, str], Clip]:
    """Every clip of a cache by its dataset (or database) and name.

    An empty ``dataset`` is read from the file. ``labelled`` leaves out clips without a label, as pre-training does.

    Raises:
        InputError: the file cannot be read as a cache.
    """
    try:
        with open_h5(path) as file:
            dataset = dataset or str(file.attrs["dataset"])
            columns = [file[name].asstr()[:] for name in ("clip", "subject", "label")]
            clips = {}
            for index, (clip, subject, label) in enumerate(zip(*columns, strict=True)):
                if label or not labelled:
                    content = content_digest(file["spatial"][index], file["flow"][index], (dataset, clip))
                    clips[database(subject, dataset), str(clip)] = Clip(str(subject), content)
            return clips
    except (OSError, KeyError) as error:
        raise InputError(f"{path} cannot be read as a cache: {error}; delete it and run again") from error


def added_clips(
    settings: AddedDatasets, read: Callable[[str, str], Mapping[tuple[str, str], Clip]]
) -> dict[tuple[str, str], Clip]:
    """The clips that train in every fold, by dataset (or database) and name; ``read`` is :func:`read_clips`."""
    parts = read_labelled_clips([Path(file) for file in settings.caches], settings.clips)
    return {
        (clip["dataset"], clip["clip"]): read(file, dataset)[clip["dataset"], clip["clip"]]
        for file, dataset, part in zip(settings.caches, settings.clips.datasets, parts, strict=True)
        for clip in part.clips
    }


def added_people(settings: AddedDatasets, added: Mapping[tuple[str, str], Clip]) -> set[str]:
    """The subjects of clips that train in every fold, also by the names that they have in the datasets of the test."""
    people = {clip.subject for clip in added.values()}
    return people | {
        f"{micro}/{_person(subject)}"
        for dataset, micros in settings.same_people.items()
        for micro in micros
        for subject in people
        if subject.startswith(f"{dataset}/")
    }


def read_scorer_people(weights: str | Path) -> frozenset[str]:
    """The people in the training data of a key-frame scorer, from the metadata of its weights.

    Raises:
        InputError: not a scorer file.
    """
    try:
        with safe_open(weights, framework="np") as file:
            return frozenset(json.loads((file.metadata() or {})["subjects"]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{weights} cannot be read as a key-frame scorer: {error}; delete it and run again") from error


def content_digest(spatial: np.ndarray, flow: np.ndarray, name: tuple[str, str]) -> str:
    """Digest of a clip's key-frames and flow: the same for a copy of the clip under another name.

    A clip without key-frames and flow gets a digest of its name.
    """
    if not spatial.size and not flow.size:
        return sha256(repr(name).encode()).hexdigest()
    parts = [f"{array.dtype} {array.shape} ".encode() + array.tobytes() for array in (spatial, flow)]
    return sha256(b"".join(parts)).hexdigest()


def _same_people(subjects: set[str], people: set[str], datasets: Sequence[str]) -> set[str]:
    """Those of ``subjects`` in ``datasets`` whose names are among ``people``."""
    prefixes = tuple(f"{dataset}/" for dataset in datasets)
    return {subject for subject in subjects if subject.startswith(prefixes) and _person(subject) in people}


def _clip_keys(table: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(table["dataset"], table["clip"], strict=True))


def _person(subject: str) -> str:
    """A subject's name without its dataset."""
    return subject.split("/", 1)[-1]


def _error_message(leaks: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"  - {leak['experiment']}, repeat {leak['repeat']}, fold {leak['fold']}: {leak['check']}: {leak['size']} "
        f"({leak['note']})"
        for leak in leaks[:SHOWN]
    ]
    if len(leaks) > SHOWN:
        lines.append(f"  - and {len(leaks) - SHOWN} more")
    remedies = dict.fromkeys(REMEDIES[leak["check"].replace(":", " ").split()[0]] for leak in leaks)
    text = "leakage audit: test clips or people reach training, and the configuration does not request it:\n"
    return text + "\n".join([*lines, *(f"  {remedy}" for remedy in remedies)])
