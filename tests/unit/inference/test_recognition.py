"""Spot, then recognise: detections as clips, and who answers whom."""

import re

import h5py
import numpy as np
import pandas as pd
import pytest
from small_ensembles import CLASSES, FOLDS, trained

from merflow.errors import InputError
from merflow.inference.candidates import read_micro
from merflow.inference.recognition import people_by_fold, recognise_detections
from merflow.inference.settings import RecognitionSettings
from merflow.storage.tables import AUDIT, DETECTIONS, read_table, write_table


@pytest.fixture(scope="module")
def study(results, tmp_path_factory):
    """The clips of the training cache as detections in long videos of the same people, and one macro-expression."""
    _, predictions, _ = trained(results, "ststnet")
    folder = tmp_path_factory.mktemp("detections")
    rows = []
    for n, row in enumerate(predictions.to_dict("records")):
        subject = row["subject"].replace("micro/", "long/")
        found = {
            "experiment": "spot",
            "dataset": "long",
            "video": f"v{subject[-1]}",
            "subject": subject,
            "fold": subject,
        }
        rows.append(found | {"onset": 10 * n, "apex": 10 * n + 4, "offset": 10 * n + 9, "kind": "micro", "score": 1.0})
    macro = rows[0] | {"kind": "macro"}
    write_table([*rows, macro], folder / "detections.csv", DETECTIONS)
    names = dict(zip(predictions["clip"], read_micro(folder / "detections.csv")["clip"], strict=True))
    with h5py.File(results / "micro.h5") as source, h5py.File(folder / "cache.h5", "w") as file:
        for name in ("spatial", "flow", "apex_index"):
            file[name] = source[name][()]
        clips = [names[clip] for clip in source["clip"].asstr()]
        file.create_dataset("clip", data=clips, dtype=h5py.string_dtype())
    return folder, predictions, results / "study/experiments/ststnet"


def recognise(study, same_people, detections="detections.csv", cache="cache.h5"):
    folder, _, experiment = study
    splits = experiment / "folds/micro-s0/splits/0.csv"
    settings = RecognitionSettings("str", "ststnet", [{0: str(splits)}], {"long": same_people})
    outputs = folder / "out.csv", folder / "audit.csv"
    recognise_detections(settings, folder / detections, folder / cache, experiment / "ensemble.json", *outputs)
    return read_table(outputs[0], DETECTIONS), read_table(outputs[1], AUDIT)


def test_each_person_is_answered_by_the_fold_that_tested_this_person(study):
    recognised, audit = recognise(study, ["micro"])
    predictions = study[1]
    assert recognised["label"].tolist() == predictions["predicted"].tolist()
    columns = [f"p_{name}" for name in CLASSES]
    np.testing.assert_allclose(recognised[columns], predictions[columns].to_numpy(float), atol=1e-5)
    assert set(recognised["kind"]) == {"micro"} and set(recognised["experiment"]) == {"str"}
    assert audit["note"].tolist() == [f"networks of fold {fold}" for fold in FOLDS] and not audit["size"].any()


def test_people_whom_no_network_saw_are_answered_by_all(study):
    recognised, audit = recognise(study, [])
    by_fold, _ = recognise(study, ["micro"])
    assert set(audit["note"]) == {"all networks; ststnet has no clip of this person"}
    columns = [f"p_{name}" for name in CLASSES]
    assert not np.allclose(recognised[columns], by_fold[columns], atol=1e-3)


def test_person_whom_every_network_saw_is_one_error(study, monkeypatch):
    everybody = {(0, fold): {f"micro/s{n}" for n in range(3)} for fold in FOLDS}
    monkeypatch.setattr("merflow.inference.recognition.people_by_fold", lambda splits: everybody)
    with pytest.raises(InputError, match=re.escape("every network of ststnet has seen long/s0; give it a protocol")):
        recognise(study, ["micro"])


def test_audit_counts_networks_that_saw_the_person(study, monkeypatch):
    """As if the choice of networks did not work: of three, two saw each person."""
    monkeypatch.setattr("merflow.inference.ensemble.Ensemble.of_folds", lambda ensemble, folds: ensemble)
    _, audit = recognise(study, ["micro"])
    assert audit["size"].tolist() == [2, 2, 2]


def test_detection_without_a_face_has_no_label(study):
    folder, *_ = study
    with h5py.File(folder / "cache.h5") as source, h5py.File(folder / "fewer.h5", "w") as file:
        for name in ("spatial", "flow", "apex_index", "clip"):
            file[name] = source[name][1:]
        lost = source["clip"].asstr()[0]
    recognised, _ = recognise(study, ["micro"], cache="fewer.h5")
    missing = read_micro(folder / "detections.csv")["clip"] == lost
    assert (recognised.loc[missing, "label"] == "").all() and (recognised.loc[~missing, "label"] != "").all()


def test_nothing_spotted(study):
    folder, *_ = study
    write_table(pd.DataFrame(columns=DETECTIONS), folder / "none.csv", DETECTIONS)
    recognised, audit = recognise(study, ["micro"], detections="none.csv")
    assert len(recognised) == len(audit) == 0


def test_people_of_a_fold_are_those_who_train_or_choose_the_epoch(study):
    splits = study[2] / "folds/micro-s0/splits/0.csv"
    people = people_by_fold({0: str(splits)})
    assert {key: set(names) for key, names in people.items()} == {(0, fold): set(FOLDS) - {fold} for fold in FOLDS}, (
        "of three people, one is tested"
    )
