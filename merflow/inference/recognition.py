"""Spot, then recognise: the detections in a person's long videos, answered by networks that never saw that person.

Which networks have seen whom is read from the table of splits with which they were trained.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from merflow.errors import InputError
from merflow.inference.candidates import read_micro
from merflow.inference.ensemble import ClipArrays
from merflow.inference.settings import RecognitionSettings
from merflow.inference.system_ensemble import load_systems
from merflow.protocols.splits import read_splits
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import AUDIT, DETECTIONS, write_table

log = logging.getLogger(__name__)

CHECK = "networks that saw the person and answer"
"""Check of the audit; its size is their number."""


def recognise_detections(
    settings: RecognitionSettings, detections: Path, cache: Path, ensemble: Path, output: Path, audit: Path
) -> None:
    """Write ``detections.csv`` with a label for each detection, and ``audit.csv`` with the networks that answered.

    The answer is the most probable class of the mean over the networks, each at temperature 1: the temperature of the
    ensemble was fitted on validation clips of all folds, those of the tested person among them. A detection that could
    not be prepared, because no face was found, has no label.

    Args:
        settings: the experiment.
        detections: those of the spotter.
        cache: of all detections.
        ensemble: ``ensemble.json`` of the recogniser.
        output: the detections with ``label`` and ``p_{class}``.
        audit: rows :data:`merflow.storage.tables.AUDIT`, one for each person.

    Raises:
        InputError: every network has seen a person, or a file cannot be read.
    """
    table, systems = read_micro(detections), load_systems(ensemble)
    seen = [people_by_fold(splits) for splits in settings.splits]
    with open_h5(cache) as file:
        place = {str(clip): index for index, clip in enumerate(file["clip"].asstr()[:])}
    probs = np.full((len(table), len(systems.classes)), np.nan)
    rows = []
    for (dataset, subject), part in table.groupby(["dataset", "subject"], sort=True):
        person = {f"{name}/{str(subject).partition('/')[2]}" for name in settings.same_people[str(dataset)]}
        unseen = [
            network.of_folds({fold for fold, people in by_fold.items() if not person & people})
            for network, by_fold in zip(systems.networks, seen, strict=True)
        ]
        members = [member for network in unseen for member in network.metadata["members"]]
        if not all(network.metadata["members"] for network in unseen):
            raise InputError(
                f"experiment {settings.experiment}: every network of {settings.recogniser} has seen {subject}; give it "
                "a protocol that leaves people out, such as loso"
            )
        if any(person & people for by_fold in seen for people in by_fold.values()):
            note = f"networks of fold {', '.join(sorted({str(member['fold']) for member in members}))}"
        else:
            note = f"all networks; {settings.recogniser} has no clip of this person"
        saw = [
            bool(person & by_fold[member["seed"], member["fold"]])
            for network, by_fold in zip(unseen, seen, strict=True)
            for member in network.metadata["members"]
        ]
        counts = {"check": CHECK, "size": sum(saw), "allowed": "no", "note": note}
        rows.append({"experiment": settings.experiment, "repeat": 0, "fold": subject} | counts)
        usable = part[part["clip"].isin(place)]
        if len(usable):
            clips = ClipArrays.of_cache(cache, [place[clip] for clip in usable["clip"]])
            of_systems = [network.members(clips, calibrated=False).mean(axis=0) for network in unseen]
            probs[usable.index] = np.mean(of_systems, axis=0)
        log.info("%s: %d of %d detections recognised by %s", subject, len(usable), len(part), note)
    prepared = table["clip"].isin(place)
    table["label"] = np.where(prepared, np.array(systems.classes)[np.nan_to_num(probs).argmax(axis=1)], "")
    table["experiment"] = settings.experiment
    columns = pd.DataFrame(probs, columns=[f"p_{name}" for name in systems.classes])
    write_table(table.drop(columns="clip").join(columns), output, DETECTIONS)
    write_table(rows, audit, AUDIT)


def people_by_fold(splits: Mapping[int, str]) -> dict[tuple[int, str], set[str]]:
    """Return the people whose clips trained each fold or chose its epoch, by seed and fold.

    ``splits``: the table of each seed.
    """
    return {
        (int(seed), fold): set(rows.loc[rows["part"] != "test", "subject"])
        for seed, path in splits.items()
        for fold, rows in read_splits(Path(path))
    }
