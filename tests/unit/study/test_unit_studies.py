"""Studies of action units: what jobs get, which clips take part, and what is refused."""

from dataclasses import replace
from pathlib import Path

import dataset_trees
import further_trees
import published_takes
import pytest
import yaml
from configurations import BASE, experiment, plan
from further_trees import frames
from repository import REPO

from merflow.errors import ConfigError
from merflow.study.load import load_config
from merflow.systems.registry import NETWORKS

UNITS = {"task": "action-units", "units": [4, 12], "system": "ststnet", "micro": "demo-micro", "protocol": "loso"}
CELLS = {"people": ("4", "L12B+4", "", "none", "12 or 4"), "more": ("14", "12", "nan")}


@pytest.fixture
def study(tmp_path):
    """A function that plans an experiment on manifests with a column ``au``, the first two clips of one person."""

    def make(cells=CELLS, **changes):
        overlay = {"datasets": {}, "floors": ["majority", "linear-svm"]}
        for name, texts in cells.items():
            rows = ["clip,subject,label,frames,au"]
            for number, text in enumerate(texts):
                folder = tmp_path / name / str(number)
                folder.mkdir(parents=True, exist_ok=True)
                for frame in range(3):
                    (folder / f"{frame}.png").write_bytes(b"not looked into")
                rows.append(f"c{number},s{max(number, 1)},joy,{number},{text}")
            (tmp_path / name / "manifest.csv").write_text("\n".join(rows) + "\n")
            overlay["datasets"][name] = {"layout": "manifest", "root": str(tmp_path / name)}
        overlay["experiments"] = {"mine": UNITS | {"micro": list(cells), "protocol": "cross-dataset"} | changes}
        return plan(overlay)

    return make


def test_units_of_coded_clips_reach_the_jobs(study):
    planned = study()
    planned.check()
    clips = planned.experiments.clip_settings("mine")
    assert clips.units and list(clips.classes) == ["AU4", "AU12"]
    assert clips.labels == {
        "people": {"c0": "AU4", "c1": "AU4+AU12", "c2": "", "c3": "none", "c4": "none"},
        "more": {"c0": "none", "c1": "AU12", "c2": ""},
    }
    assert [clip.clip for clip in planned.experiments.usable_clips("mine")] == ["c0", "c1", "c3", "c4", "c0", "c1"]
    assert [count["indexed"] for count in planned.experiments.class_counts("mine")] == [2, 2]
    settings = planned.training.clip_network_settings("mine", 0)
    assert settings.loss.name == "binary-cross-entropy" and planned.experiments.evaluation_settings("mine").units
    assert planned.publishing.report_settings().experiments["mine"].coded == {"people": [4, 1], "more": [2, 1]}


def test_floors_have_the_units_and_all_ones_in_place_of_majority(study):
    planned = study(train_also=["more"], micro="people", protocol="subject-kfold", folds=2)
    assert {name: e.units for name, e in planned.experiments.blocks.items()} == dict.fromkeys(
        ["mine", "all-ones", "linear-svm"], [4, 12]
    )
    assert planned.training.linear_settings("all-ones").clips == planned.experiments.clip_settings("mine")
    assert len({tuple(planned.training.splits(name).values()) for name in planned.experiments}) == 1
    others = study(units=[4])
    assert others.training.splits("mine") != planned.training.splits("mine")


def test_classes_and_units_of_one_study_stay_apart():
    overlay = experiment()
    overlay["experiments"] = {"mine": {"system": "ststnet", "micro": "demo-micro"}}
    overlay["experiments"] |= {"aus": UNITS, "msjfn": UNITS | {"system": "msjfn"}}
    overlay["floors"] = ["majority", "softmax"]
    planned = plan(overlay)
    planned.check()
    experiments = planned.experiments
    assert experiments.class_networks == experiments.calibrated_experiments == planned.publishing.exported == ["mine"]
    assert set(experiments.class_experiments) == {n for n, e in experiments.blocks.items() if not e.recognises_units}
    systems = sorted(e.system for n, e in experiments.blocks.items() if n not in planned.config.experiments)
    assert systems == ["all-ones", "majority", "softmax", "softmax"]
    assert planned.training.clip_network_settings("msjfn", 0).network.options["units"] is True
    labels = experiments.labels("aus")["demo-micro"]
    assert any("AU4" in label for label in labels.values()) and "none" in labels.values()


def test_dataset_without_coding_is_named(study):
    with pytest.raises(ConfigError, match="no clip of more has coded action units"):
        study({"people": ("4", "12"), "more": ("", "nan")}).check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": None}, "mine: missing units"),
        ({"units": []}, "mine.units"),
        ({"units": [4, 4]}, "an entry occurs twice"),
        ({"task": "classes"}, "mine.units: only for task: action-units"),
        ({"system": "majority"}, "the floor of task: action-units is all-ones"),
        ({"protocol": "composite-loso"}, "has loso, subject-kfold, cross-dataset, not composite-loso"),
        ({"classes": ["a", "b"]}, "mine.classes: not for task: action-units: the units take the place of classes"),
        ({"loss": {"name": "focal"}}, "mine.loss: not for task: action-units: the loss is binary cross entropy"),
        ({"selection": "nested", "grid": {"network.epochs": [1, 2]}}, "mine.selection: not for task: action-units"),
        ({"task": "classes", "units": None, "system": "all-ones"}, "for classes there is majority"),
    ],
)
def test_what_the_task_lacks_is_refused(changes, message):
    overlay = {"datasets": {"demo-micro": {"layout": "demo"}}}
    overlay["experiments"] = {"mine": {k: v for k, v in (UNITS | changes).items() if v is not None}}
    with pytest.raises(ConfigError) as error:
        load_config(BASE, overlay)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("blocks", "where"),
    [
        ({"figures": {"f": {"kind": "confusion", "of": "mine"}}}, "figures.f.of: 'mine' recognises action units"),
        ({"export": {"experiments": ["mine"]}}, "export.experiments: 'mine' recognises action units"),
    ],
)
def test_what_shows_classes_refuses_units(blocks, where):
    overlay = {"datasets": {"demo-micro": {"layout": "demo"}}, "experiments": {"mine": UNITS}} | blocks
    with pytest.raises(ConfigError) as error:
        load_config(BASE, overlay)
    assert where in str(error.value)


def test_ensemble_refuses_units():
    overlay = {"datasets": {"demo-micro": {"layout": "demo"}}, "experiments": {"mine": UNITS}}
    overlay["experiments"]["both"] = {"system": "ensemble", "of": ["mine", "softmax"]}
    with pytest.raises(ConfigError, match="both.of: 'mine' recognises action units; an ensemble averages classes"):
        load_config(BASE, overlay)


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """A few clips of each of six datasets, without pictures."""
    root = tmp_path_factory.mktemp("six")
    coded = {"cells": {"Action Units": "4+R14"}}
    dataset_trees.casme2(root / "CASME2", [replace(take, **coded) for take in published_takes.casme2_takes()[::9]])
    dataset_trees.samm(root / "SAMM", [replace(take, **coded) for take in published_takes.samm_takes()[::7]])
    dataset_trees.mmew_micro(root / "MMEW", published_takes.mmew_takes()[::20])
    words = ["tense", "happiness", "disgust", "surprise"]
    casme = [[n % 3 + 1, f"EP01_{n}", None, 5, 9, None, 20, None, None, None, "4", words[n % 4]] for n in range(8)]
    further_trees.tree("casme", root / "CASME", casme)
    for row in casme:
        frames(root / f"CASME/CASME_raw_selected/sub{row[0]:02d}/{row[1]}", range(5, 21), f"{row[1]}-{{}}.jpg")
    fourdme = [
        [f"S{n}", "1st_1", 5, 8, 15, "12", ("Positive", "Surprise+Positive")[n % 2], 1, 0, 1, 0] for n in range(4)
    ]
    further_trees.tree("4dme", root / "4DME", fourdme)
    casme3 = [["spNO.1", "a", 10 * n, 10 * n + 3, 10 * n + 8, "1", "I", ("happy", "fear")[n % 2]] for n in range(1, 5)]
    further_trees.tree("casme3-a", root / "CASME3", [*casme3, ["spNO.2", "a", 1, 3, 8, None, "I", "sad"]])
    for person in (1, 2):
        frames(root / f"CASME3/part_A/spNO.{person}/a/color", range(1, 60))
    for row in fourdme:
        frames(root / "4DME/gray_micro" / row[0] / row[1], range(1, 20))
    return root


def planned(name, root):
    overlay = yaml.safe_load((REPO / "studies" / f"{name}.yaml").read_text())
    for dataset in overlay["datasets"].values():
        dataset["root"] = str(root / Path(dataset["root"]).name)
    study = plan(overlay)
    study.check()
    return study


def test_study_of_six_datasets_leaves_one_out_in_turn(six):
    study = planned("action_units_six_datasets", six)
    systems = {e.system for e in study.experiments.blocks.values()}
    assert systems == {*NETWORKS, "tsdgcn", "all-ones", "linear-svm", "rbf-svm", "softmax"}
    for name in study.experiments:
        assert set(study.experiments.folds(name).values()) == set(study.config.datasets), name
        assert len(study.experiments.classes(name)) == 12
    coded = study.publishing.report_settings().experiments["ststnet"].coded
    assert all(count > 0 for count, _ in coded.values()) and coded["casme3a"] == [4, 1]
    settings = study.training.clip_network_settings("off-apexnet", 0)
    assert (settings.network.epochs, settings.members, settings.augment, settings.selection.epoch) == (
        3000,
        5,
        None,
        "fixed",
    )


def test_study_of_more_training_data_maps_classes_and_keeps_the_test(six):
    study = planned("more_training_data", six)
    for plain, more in (("ststnet", "ststnet-more"), ("units", "units-more")):
        assert study.training.splits(plain) == study.training.splits(more)
        added = study.publishing.report_settings().experiments[more].added
        assert [part.dataset for part in added] == ["casme", "mmew", "casme3a", "4dme"]
        assert all(part.clips for part in added)
    assert study.experiments.classes("ststnet-more") == ["negative", "positive", "surprise"]
    assert {clip.label for clip in study.data.index("casme").clips} == {"", "positive", "negative", "surprise"}
    assert [clip.label for clip in study.data.index("4dme").clips] == ["positive", "", "positive", ""]
