"""The studies of MSJFN, MERSiamC3D and of all systems: what they plan, on datasets as distributed and on the demo."""

from dataclasses import asdict
from pathlib import Path

import pytest
import trees
import yaml
from repository import REPO

from merflow.learning.settings import LossSettings
from merflow.study.config import load_config
from merflow.study.study import Study

BASE = REPO / "config.yaml"
READING = "our reading of the abstract"


def planned(name, root=None):
    overlay = yaml.safe_load((REPO / "studies" / f"{name}.yaml").read_text())
    for dataset in overlay.get("datasets", {}).values():
        dataset["root"] = str(root / Path(dataset["root"]).name)
    study = Study(load_config(BASE, overlay))
    study.check()
    return study


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """CASME II, SAMM and SMIC with their published clips, without frames."""
    root = tmp_path_factory.mktemp("three")
    trees.casme2(root / "CASME2", trees.casme2_takes())
    trees.samm(root / "SAMM", trees.samm_takes())
    trees.smic_hs(root / "SMIC", trees.smic_takes())
    return root


def different(study, one, two, key):
    """Whether two experiments differ in one setting, a dotted key, and in nothing else."""
    return changed_settings(study, one, two) == {key}


def changed_settings(study, one, two):
    """Dotted keys of the settings in which two experiments differ, options of the network included."""
    first, second = (flat(asdict(study.network_settings(name, "0"))) for name in (one, two))
    return {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)} - {"experiment"}


def flat(settings):
    """Settings by dotted key; the options of a network count as keys of the network."""
    keys = {}
    for name, value in settings.items():
        if isinstance(value, dict) and name != "splits":
            prefix = "" if name == "options" else f"{name}."
            keys |= {f"{prefix}{inner}": leaf for inner, leaf in flat(value).items()}
        else:
            keys[name] = value
    return keys


def test_compare_has_all_systems_on_the_same_splits():
    study = planned("compare")
    systems = {e["system"] for e in study.experiments.values()}
    assert systems == {"tsdgcn", "majority", "linear-svm", "softmax", "msjfn", "mersiamc3d", "ststnet", "off-apexnet"}
    assert len({tuple(study.split_files(name).values()) for name in study.experiments}) == 1
    preparations = {name: e["prep"] for name, e in study.experiments.items()}
    assert preparations.pop("mersiamc3d") == "adaptive" and set(preparations.values()) == {"default"}
    shown = study.figure_settings("systems")
    assert set(study.figures["systems"]["of"]) == set(study.experiments)
    assert f"msjfn, mersiamc3d: {READING}" in shown.reading
    readings = {name: experiment.reading for name, experiment in study.report_settings().experiments.items()}
    assert {name: text for name, text in readings.items() if text} == {"msjfn": READING, "mersiamc3d": READING}


def test_another_alignment_is_another_comparison():
    overlay = yaml.safe_load((REPO / "studies" / "compare.yaml").read_text())
    overlay["preparations"]["adaptive"]["align"] = {"size": 96}
    study = Study(load_config(BASE, overlay))
    assert study.split_files("mersiamc3d") != study.split_files("msjfn") == study.split_files("tsdgcn")
    assert sum(e["system"] == "majority" for e in study.experiments.values()) == 2


def test_msjfn_is_shown_on_each_dataset_and_on_all_with_its_ablations(three):
    study = planned("msjfn_3db", three)
    clips = {name: sum(row["found"] for row in study.class_counts(name)) for name in study.experiments}
    assert clips["msjfn"] == 442 and clips["msjfn-smic"] == 164
    assert (clips["msjfn-casme2"], clips["msjfn-samm"]) == (246, 136)
    assert study.experiments["msjfn"]["network"]["modules"] == 3
    for name, key in (
        ("msjfn-2-modules", "network.modules"),
        ("msjfn-1-module", "network.modules"),
        ("msjfn-0-modules", "network.modules"),
        ("msjfn-learned-fusion", "network.fusion"),
        ("msjfn-no-fusion", "network.fusion"),
    ):
        assert different(study, "msjfn", name, key), name


def test_mersiamc3d_is_shown_on_each_dataset_with_its_ablations(three):
    study = planned("mersiamc3d", three)
    clips = {name: sum(row["found"] for row in study.class_counts(name)) for name in study.experiments}
    assert (clips["mersiamc3d"], clips["mersiamc3d-samm-5"], clips["mersiamc3d-casme2"]) == (133, 136, 246)
    plain = study.network_settings("mersiamc3d", "0")
    assert plain.loss == LossSettings("focal", 1.0, 2.0) and plain.network.input_kind == "flows"
    assert different(study, "mersiamc3d", "mersiamc3d-no-prior", "network.prior")
    assert different(study, "mersiamc3d", "mersiamc3d-key-frames", "network.input_kind")
    entropy = changed_settings(study, "mersiamc3d", "mersiamc3d-cross-entropy")
    assert entropy == {"loss.name", "loss.gamma"}
    ways = {name: study.experiments[name]["prep"] for name in ("mersiamc3d", "mersiamc3d-uniform")}
    kinds = {prep: study.config["preparations"][prep]["keyframes"]["method"] for prep in ways.values()}
    assert kinds == {"adaptive": "adaptive", "uniform": "uniform"}
    assert study.split_files("mersiamc3d") == study.split_files("mersiamc3d-uniform")


def test_the_ablations_of_the_demo_are_those_of_the_real_studies(three):
    demo = {name for name in planned("ablations_demo").config["experiments"]}
    real = [*planned("msjfn_3db", three).config["experiments"], *planned("mersiamc3d", three).config["experiments"]]
    ablations = {name for name in real if not name.endswith(("smic", "casme2", "samm", "samm-5"))}
    assert demo == ablations
