"""A study of action units on synthetic people, whose units are known: one of two datasets is left out in turn."""

import re

import pandas as pd
import pytest
from repository import copy_repository, snakemake

UNITS = [1, 2, 4]
TASK = {"task": "action-units", "units": UNITS, "micro": ["first", "second"], "protocol": "cross-dataset"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = copy_repository(tmp_path_factory.mktemp("units"))
    people = {"subjects": 4, "clips": {"disgust": 14, "surprise": 14}, "fps": 50, "interocular_px": 50}
    graphs = {"system": "tsdgcn", "macro": "none", "graphs": ["8+2"], "graph": {"side": 28}}
    training = {"epochs": 60, "learning_rate": 0.002, "epoch_choice": "fixed"}
    config = {
        "study": "units",
        "datasets": {name: {"layout": "demo", "people": people} for name in TASK["micro"]},
        "floors": ["majority", "softmax"],
        "experiments": {
            "ststnet": TASK | {"system": "ststnet", "network": training},
            "tsdgcn": TASK | graphs | {"branches": ["temporal"], "head": training | {"epochs": 12}},
        },
    }
    snakemake(folder, config=config)
    return folder / "results/units"


def test_systems_are_above_the_all_ones_floor(study):
    metrics = pd.read_csv(study / "metrics.csv").set_index(["experiment", "scope", "metric"])["value"]
    for scope in ("pooled", "datasets"):
        for metric in ("f1", "macro_f1"):
            floor = metrics["all-ones", scope, metric]
            assert min(metrics[name, scope, metric] for name in ("ststnet", "softmax")) > floor + 0.1, (scope, metric)
        # TSDGCN trains for a few epochs only.
        assert metrics["tsdgcn", scope, "macro_f1"] > metrics["all-ones", scope, "macro_f1"] + 0.1


def test_truth_is_what_the_people_show(study):
    predictions = pd.read_csv(study / "predictions.csv")
    shown = {
        (name, clip): "+".join(f"AU{unit}" for unit in UNITS if str(unit) in str(cell).split("+")) or "none"
        for name in TASK["micro"]
        for clip, cell in pd.read_csv(study.parent / f"data/{name}/clips.csv")[["clip", "action_units"]].to_numpy()
    }
    assert set(predictions["experiment"]) == {"ststnet", "tsdgcn", "all-ones", "softmax"}
    for _, rows in predictions.groupby("experiment"):
        truth = zip(rows["dataset"], rows["clip"], rows["truth"], strict=True)
        assert {(name, clip): text for name, clip, text in truth} == shown
        assert (rows["fold"] == rows["dataset"]).all()


def test_report_has_units_and_no_section_of_classes(study):
    page = (study / "report.html").read_text()
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections[0] == "action_units" and not {"answer", "results", "differences", "classes"} & set(sections)
    assert (study / "report_figures/units-ststnet.csv").is_file() and "all-ones (floor)" in page
    assert "published" not in page[page.index('id="action_units"') : page.index('id="audit"')], "the people are drawn"
