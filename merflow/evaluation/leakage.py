"""The leakage audit: what each fold's training could know of its test, counted from the study's files.

A leak that the configuration asks for (a macro set with the people of the test, a hold-out that divides subjects) is
counted and told. Any other one is an error: numbers that rest on it mean nothing.
"""

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from safetensors import SafetensorError, safe_open

from merflow.errors import InputError
from merflow.footage.clip import database
from merflow.protocols.splits import PARTS, read_splits
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import ACCURACY_TRAIN, AUDIT, PREDICTIONS, read_table, write_table

log = logging.getLogger(__name__)

CHECKS = {
    "subjects: train and test": "people of the test have clips that train",
    "subjects: validation and test": "people of the test have clips that choose the epoch",
    "subjects: train and validation": "people have clips that train and clips that choose the epoch",
    "subjects: pre-training and test": "people of the test are in the set that pre-trains",
    "subjects: key-frame scorer and test": "people of the test are in the set that taught the scorer of key-frames",
    "contents: train, validation and test": "clips are in two parts under two names, or in two parts by one name",
    "contents: pre-training and test": "clips of the test are in the set that pre-trains, under another name",
    "fitted on training clips only": "clips more or fewer than the training part fitted normalisation and balancing",
    "predicted clips are the test part": "clips are predicted and not in the test part, or the other way round",
}
"""Every check, with what its size counts."""
REMEDIES = {
    "subjects": "the split is not that of the protocol: delete the table of splits and run again",
    "contents": "remove all but one of such clips from the datasets",
    "fitted": "delete the experiment's tables and run again",
    "predicted": "delete the experiment's tables and run again",
}
SHOWN = 5
"""Leaks that an error lists, and names that a note lists."""


class Clip(NamedTuple):
    """A clip of a cache: who is seen, and a digest of what training gets of it."""

    subject: str
    content: str


def audit(
    plan: Sequence[Mapping[str, Any]],
    predictions: Path,
    accuracy_train: Path,
    output: Path,
) -> None:
    """Check every fold, and write what was found.

    Args:
        plan: of each experiment (or cells of a table with the same splits) ``experiment`` (name), ``splits`` ({seed:
            table of splits}), ``caches`` ({micro dataset: file}), ``macro`` (cache of the pre-training set, or empty),
            ``same_people`` (micro datasets that are of one source with the macro set: a name stands for one person in
            both), ``excluded`` (whether a fold pre-trains without the people it tests), ``scorer`` (weights of a
            scorer of key-frames that learnt from a dataset, or empty), ``scorer_people`` (micro datasets that are of
            one source with that dataset), ``divides`` (whether the protocol divides subjects), ``fitted`` (parts that
            train), ``scored`` (whether it has rows in the tables).
        predictions: table of the study.
        accuracy_train: table of the study.
        output: table: see :data:`merflow.storage.tables.AUDIT`; a row per experiment, repeat, fold and check.

    Raises:
        InputError: a leak was found that the configuration does not ask for.
    """
    answered = read_table(predictions, PREDICTIONS)
    trained = read_table(accuracy_train, ACCURACY_TRAIN)
    trained = trained[trained["stage"] == "finetune"]
    answers = {key: rows for key, rows in answered.groupby(["experiment", "repeat", "fold"])}
    counts = {
        (e, r, f): int(n) for e, r, f, n in trained[["experiment", "repeat", "fold", "n"]].itertuples(index=False)
    }
    read, cached_teachers = cache(read_clips), cache(read_teachers)
    rows, checked = [], set()
    for entry in plan:
        clips: dict[tuple[str, str], Clip] = {}
        for dataset, file in entry["caches"].items():
            clips |= read(file, dataset)
        macro = read(entry["macro"], "", labelled=True) if entry["macro"] else {}
        teachers = cached_teachers(entry["scorer"]) if entry["scorer"] else None
        for seed, path in entry["splits"].items():
            for fold, own in read_splits(path):
                name = (entry["experiment"], seed, fold)
                known = {"answers": answers.get(name), "count": counts.get(name)} if entry["scored"] else {}
                common = {"experiment": entry["experiment"], "repeat": seed, "fold": fold}
                rows += [common | row for row in check_fold(own, entry, clips, macro, teachers, **known)]
                checked.add(name)
        # Answers to folds that no table of splits has: of another run, or of a split that was changed since.
        for name in sorted(key for key in answers if entry["scored"] and key[0] == entry["experiment"]):
            if name not in checked:
                common = dict(zip(("experiment", "repeat", "fold"), name, strict=True))
                found = {"size": len(answers[name]), "allowed": "no", "note": "the splits have no such fold"}
                rows.append(common | {"check": "predicted clips are the test part"} | found)
        log.info("%s: %d rows", entry["experiment"], len(rows))
    leaks = [row for row in rows if row["size"] and row["allowed"] == "no"]
    if leaks:
        raise InputError(_told(leaks))
    write_table(rows, output, AUDIT)


def check_fold(
    split: pd.DataFrame,
    entry: Mapping[str, Any],
    clips: Mapping[tuple[str, str], Clip],
    macro: Mapping[tuple[str, str], Clip],
    teachers: Collection[str] | None = None,
    *,
    answers: pd.DataFrame | None = None,
    count: int | None = None,
) -> Iterator[dict[str, Any]]:
    """The rows ``check, size, allowed, note`` of one fold.

    Args:
        split: rows of the fold in a table of splits.
        entry: as in :func:`audit`.
        clips: clips of the micro datasets, by dataset and name.
        macro: clips that pre-train; empty where nothing does.
        teachers: people whom a scorer of key-frames learnt from; None where none learnt from a dataset.
        answers: predictions of the fold.
        count: clips that fitted its normalisation and balancing, as its training reports.
    """
    keys = {part: _keys(split[split["part"] == part]) for part in PARTS}
    people = {part: set(split.loc[split["part"] == part, "subject"]) for part in PARTS}

    def row(check: str, found: Iterable[Any], allowed: bool = False, note: str = "") -> dict[str, Any]:
        names = sorted(map(str, found))
        listed = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        return {"check": check, "size": len(names), "allowed": "yes" if allowed else "no", "note": note or listed}

    divides = entry["divides"]
    yield row("subjects: train and test", people["train"] & people["test"], divides)
    yield row("subjects: validation and test", people["validation"] & people["test"], divides)
    yield row("subjects: train and validation", people["train"] & people["validation"])
    alike = {f"{d}/" for d in entry["same_people"]}
    tested = {own for own in people["test"] if own.startswith(tuple(alike))} if alike else set()
    names = {_name(subject) for subject in people["test"]} if entry["excluded"] else set()
    pretrains = {key: clip for key, clip in macro.items() if _name(clip.subject) not in names}
    seen = {_name(clip.subject) for clip in pretrains.values()}
    if macro:
        found = {subject for subject in tested if _name(subject) in seen}
        yield row("subjects: pre-training and test", found, not entry["excluded"])
    if teachers is not None:
        known, same = {_name(subject) for subject in teachers}, tuple(f"{d}/" for d in entry["scorer_people"])
        found = {own for own in people["test"] if own.startswith(same) and _name(own) in known}
        yield row("subjects: key-frame scorer and test", found)
    contents = {part: {clips[key].content: key for key in keys[part] if key in clips} for part in PARTS}
    twice = set()
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        pairs = contents[one].keys() & contents[other].keys()
        twice |= {f"{_shown(contents[one][c])} = {_shown(contents[other][c])}" for c in pairs}
        twice |= {_shown(key) for key in keys[one] & keys[other] if key not in clips}
    yield row("contents: train, validation and test", twice)
    if macro:
        given = {clip.content: key for key, clip in pretrains.items()}
        both = given.keys() & contents["test"].keys()
        found = {f"{_shown(given[c])} = {_shown(contents['test'][c])}" for c in both}
        yield row("contents: pre-training and test", found)
    if not entry["scored"]:
        return
    expected = sum(len(keys[part]) for part in entry["fitted"])
    difference = range(abs((count or 0) - expected))
    note = f"{'no' if count is None else count} clips fitted, {expected} in {' and '.join(entry['fitted'])}"
    yield row("fitted on training clips only", difference, note=note)
    predicted = set() if answers is None else _keys(answers)
    yield row("predicted clips are the test part", map(_shown, predicted ^ keys["test"]))


def read_clips(path: str | Path, dataset: str, *, labelled: bool = False) -> dict[tuple[str, str], Clip]:
    """Every clip of a cache by its dataset (or database) and name.

    Args:
        path: cache.
        dataset: its name; empty: that in the file.
        labelled: whether clips without a label are left out, as they are in pre-training.

    Raises:
        InputError: the file cannot be read as a cache.
    """
    try:
        with open_h5(path) as file:
            dataset = dataset or str(file.attrs["dataset"])
            columns = [file[name].asstr()[:] for name in ("clip", "subject", "label")]
            found = {}
            for place, (clip, subject, label) in enumerate(zip(*columns, strict=True)):
                if label or not labelled:
                    own = content(file["spatial"][place], file["flow"][place], (dataset, clip))
                    found[database(subject, dataset), str(clip)] = Clip(str(subject), own)
            return found
    except (OSError, KeyError) as error:
        raise InputError(f"{path} cannot be read as a cache: {error}; make it anew") from error


def read_teachers(weights: str | Path) -> frozenset[str]:
    """The people whom a scorer of key-frames learnt from, as its file says.

    Raises:
        InputError: the file is no scorer's.
    """
    try:
        with safe_open(weights, framework="np") as file:
            return frozenset(json.loads((file.metadata() or {})["subjects"]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{weights} cannot be read as a scorer of key-frames: {error}; make it anew") from error


def content(spatial: Any, flow: Any, name: tuple[str, str]) -> str:
    """A digest of a clip's key-frames and flow: the same for a clip that was copied under another name.

    Clips that show nothing at all are told apart by their names.
    """
    if not spatial.size and not flow.size:
        return sha256(repr(name).encode()).hexdigest()
    parts = [f"{array.dtype} {array.shape} ".encode() + array.tobytes() for array in (spatial, flow)]
    return sha256(b"".join(parts)).hexdigest()


def _keys(table: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(table["dataset"], table["clip"], strict=True))


def _name(subject: str) -> str:
    """A person without the dataset."""
    return subject.split("/", 1)[-1]


def _shown(key: tuple[str, str]) -> str:
    return "/".join(key)


def _told(leaks: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"  - {leak['experiment']}, repeat {leak['repeat']}, fold {leak['fold']}: {leak['check']}: {leak['size']} "
        f"({leak['note']})"
        for leak in leaks[:SHOWN]
    ]
    if len(leaks) > SHOWN:
        lines.append(f"  - and {len(leaks) - SHOWN} more")
    remedies = dict.fromkeys(REMEDIES[leak["check"].replace(":", " ").split()[0]] for leak in leaks)
    text = "leakage audit: test clips or people reach training, and the configuration does not ask for it:\n"
    return text + "\n".join([*lines, *(f"  {remedy}" for remedy in remedies)])
