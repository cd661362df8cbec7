"""The studies of MSJFN, MERSiamC3D and of all systems: what they plan, on datasets as distributed and on the demo."""

import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import dataset_trees
import published_takes
import pytest
import yaml
from configurations import plan
from repository import REPO, yaml_blocks

from merflow.systems.registry import SYSTEMS

READING = "our reading of the abstract"


def planned(name, root=None):
    overlay = yaml.safe_load((REPO / "studies" / f"{name}.yaml").read_text())
    for dataset in overlay.get("datasets", {}).values():
        dataset["root"] = str(root / Path(dataset["root"]).name)
    study = plan(overlay)
    study.check()
    return study


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """CASME II, SAMM and SMIC with their published clips, without frames."""
    root = tmp_path_factory.mktemp("three")
    dataset_trees.casme2(root / "CASME2", published_takes.casme2_takes())
    dataset_trees.samm(root / "SAMM", published_takes.samm_takes())
    dataset_trees.smic_hs(root / "SMIC", published_takes.smic_takes())
    return root


def only_difference(study, first_name, second_name):
    """The key in which the training settings of two experiments differ, if it is one; otherwise None."""
    first, second = (asdict(study.training.clip_network_settings(name, 0)) for name in (first_name, second_name))
    for settings in (first, second):
        settings |= settings.pop("network") | settings.pop("loss")
        settings |= settings.pop("options")
    changed = {key for key in first if first[key] != second.get(key)} - {"experiment"}
    return changed.pop() if len(changed) == 1 else None


def test_compare_has_all_systems_on_the_same_splits():
    study = planned("compare")
    experiments = study.experiments
    systems = {e.system for e in experiments.blocks.values()}
    assert systems == {"majority", "linear-svm", "softmax", "ststnet", *study.config.experiments}
    assert study.experiments["ensemble"].of == ["tsdgcn", "msjfn", "ststnet", "linear-svm"]
    assert len({tuple(study.training.splits(name).values()) for name in experiments}) == 1
    preparations = {name: e.prep for name, e in experiments.blocks.items()}
    assert preparations.pop("mersiamc3d") == "adaptive" and set(preparations.values()) == {"default"}
    shown = study.figures.settings("systems")
    assert set(study.figures.blocks["systems"]["of"]) == set(experiments)
    assert f"msjfn: {READING}" in shown.reading and f"mersiamc3d: {READING} and of one" in shown.reading
    readings = {name: experiment.reading for name, experiment in study.publishing.report_settings().experiments.items()}
    both = {"msjfn": READING, "mersiamc3d": f"{READING} and of one secondary source"}
    assert {name: text for name, text in readings.items() if text} == both


def test_other_alignment_is_another_comparison():
    overlay = yaml.safe_load((REPO / "studies" / "compare.yaml").read_text())
    overlay["preparations"]["adaptive"]["align"] = {"size": 96}
    study = plan(overlay)
    assert study.training.splits("mersiamc3d") != study.training.splits("msjfn") == study.training.splits("tsdgcn")
    assert sum(e.system == "majority" for e in study.experiments.blocks.values()) == 2


def test_msjfn_study_has_all_datasets_and_ablations(three):
    study = planned("msjfn_3db", three)
    clips = {name: sum(row["indexed"] for row in study.experiments.class_counts(name)) for name in study.experiments}
    assert clips["msjfn"] == 442 and clips["msjfn-smic"] == 164
    assert (clips["msjfn-casme2"], clips["msjfn-samm"]) == (246, 136)
    assert study.experiments["msjfn"].network.modules == 3
    for name, key in (
        ("msjfn-2-modules", "modules"),
        ("msjfn-1-module", "modules"),
        ("msjfn-0-modules", "modules"),
        ("msjfn-learned-fusion", "fusion"),
        ("msjfn-no-fusion", "fusion"),
    ):
        assert only_difference(study, "msjfn", name) == key, name


def test_floor_in_a_figure_is_the_one_beside_its_experiment(three):
    shown = planned("msjfn_3db", three).figures.blocks["methods"]["of"]
    assert shown == ["msjfn", "ststnet-casme2-samm-smic-default-composite-loso"]


def test_mersiamc3d_study_has_all_datasets_and_ablations(three):
    study = planned("mersiamc3d_3db", three)
    clips = {name: sum(row["indexed"] for row in study.experiments.class_counts(name)) for name in study.experiments}
    assert (clips["mersiamc3d"], clips["mersiamc3d-samm-5"], clips["mersiamc3d-casme2"]) == (133, 136, 246)
    plain = study.training.clip_network_settings("mersiamc3d", 0)
    assert asdict(plain.loss) == {"name": "focal", "alpha": 1.0, "gamma": 2.0, "weights": "none"}
    assert plain.network.input_kind == "flows"
    assert only_difference(study, "mersiamc3d", "mersiamc3d-no-prior") == "prior"
    assert only_difference(study, "mersiamc3d", "mersiamc3d-key-frames") == "input_kind"
    entropy = study.training.clip_network_settings("mersiamc3d-cross-entropy", 0)
    assert entropy == replace(plain, experiment="mersiamc3d-cross-entropy", loss=entropy.loss)
    methods = {
        name: study.config.preparations[study.experiments[name].prep].keyframes.method
        for name in ("mersiamc3d", "mersiamc3d-adaptive", "mersiamc3d-uniform")
    }
    assert list(methods.values()) == ["proportional", "adaptive", "uniform"]
    assert study.training.splits("mersiamc3d") == study.training.splits("mersiamc3d-uniform")


def test_readings_of_mersiamc3d_are_on_the_drawn_composite_and_differ_in_one_thing():
    composite, readings = (
        yaml.safe_load((REPO / "studies" / f"{name}.yaml").read_text()) for name in ("drawn_composite", "mersiamc3d")
    )
    assert all(readings[block] == composite[block] for block in ("demo", "datasets"))
    study = plan(readings)
    study.check()
    names = list(study.config.experiments)
    assert len({tuple(study.training.splits(name).values()) for name in names}) == 1
    own, base = plan(composite).config.experiments["mersiamc3d"], study.config.experiments["mersiamc3d"]
    network = own.network.model_copy(update={"epochs": 15, "epoch_choice": "fixed"})
    assert base == own.model_copy(update={"prep": "interpolated", "graph": base.graph, "network": network})
    assert study.figures.blocks["readings"]["of"] == names

    def settings_of(name):
        training = asdict(study.training.clip_network_settings(name, 0)) | {"experiment": ""}
        prepared = asdict(study.data.preparation(study.experiments[name].prep))
        return training.pop("network") | training | prepared["keyframes"] | prepared["flow"] | {"options": None}

    paper = settings_of("mersiamc3d")
    assert [paper[key] for key in ("method", "count", "reference")] == ["proportional", 10, "consecutive"]
    changed = {
        name.removeprefix("mersiamc3d-"): {key for key, value in settings_of(name).items() if value != paper[key]}
        for name in names[1:]
    }
    assert changed == {
        "proportional": {"interpolate"},
        "adaptive": {"method", "interpolate"},
        "uniform": {"method", "interpolate"},
        "farneback": {"backend"},
        "magnitude": {"input_kind"},
        "thesis": {"backend", "input_kind"},
        "key-frames": {"input_kind"},
        "not-augmented": {"augment"},
        "from-onset": {"method", "count", "interpolate", "reference"},
    }


def test_demo_ablations_are_those_of_the_real_studies(three):
    demo = set(planned("ablations_demo").config.experiments)
    real = {**planned("msjfn_3db", three).config.experiments, **planned("mersiamc3d_3db", three).config.experiments}
    networks = {name for name, experiment in real.items() if experiment.system in ("msjfn", "mersiamc3d")}
    assert demo == {name for name in networks if not name.endswith(("smic", "casme2", "samm", "samm-5"))}


def test_page_without_macro_clips_plans_networks_and_floors(tmp_path):
    (overlay,) = (block for block in yaml_blocks("own-clips.md") if "floors" in block)
    overlay["datasets"]["people"]["root"] = str(tmp_path)
    rows = ["clip,subject,label,frames"]
    for clip, subject, label in (("a", "p1", "joy"), ("b", "p1", "fear"), ("c", "p2", "joy"), ("d", "p2", "fear")):
        (tmp_path / clip).mkdir()
        for n in range(2):
            (tmp_path / clip / f"{n}.png").write_bytes(b"not looked into")
        rows.append(f"{clip},{subject},{label},{clip}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    study = plan(overlay)
    study.check()
    experiments = study.experiments
    assert {*experiments} == {"ststnet", "msjfn", "majority", "linear-svm"}
    assert [d for d, _ in experiments.prepared()] == ["people"], "no macro set, real or synthetic"
    epochs = {study.training.clip_network_settings(name, 0).network.epochs for name in ("ststnet", "msjfn")}
    assert epochs == set(overlay["network"].values()) == {100}


def test_page_lists_all_systems_that_need_no_macro_clips():
    text = (REPO / "docs" / "own-clips.md").read_text().split("## Without macro clips")[1].split("```")[0]
    assert set(re.findall("`([^`]+)`", text)) == set(SYSTEMS) - {"ensemble", "all-ones"}


def test_ablations_are_on_the_drawn_composite_and_differ_in_one_thing():
    composite, ablations = (
        yaml.safe_load((REPO / "studies" / f"{name}.yaml").read_text())
        for name in ("drawn_composite", "drawn_ablations")
    )
    assert all(ablations[block] == composite[block] for block in ("demo", "datasets", "graph"))
    study = plan(ablations)
    study.check()
    splits = {tuple(Path(split).name for split in study.training.splits(name).values()) for name in study.experiments}
    own = plan(composite).training.splits("msjfn")
    assert splits == {tuple(Path(split).name for split in own.values())}
    shown = [name for figure in study.figures.blocks.values() for name in figure["of"]]
    assert sorted(shown) == sorted(study.config.experiments), "each variant once"
    differences = {
        name: only_difference(study, f"{name.partition('-')[0]}-plain", name)
        for name in study.config.experiments
        if not name.startswith("tsdgcn") and not name.endswith("plain")
    }
    for name, key in differences.items():
        several = name.partition("-")[2] in ("fixed", "average", "cosine", "augment-balanced")
        assert several or key in ("augment", "weights", "selection", "members"), (name, key)


def test_drawn_composite_is_the_composite_of_drawn_people():
    """Clips, people and classes of MEGC2019; ten groups of people and three seeds, the same for every system."""
    overlay = yaml.safe_load((REPO / "studies" / "drawn_composite.yaml").read_text())
    study = plan(overlay)
    study.check()
    clips = {name: study.data.index(name).clips for name in study.config.datasets}
    assert {name: len(of) for name, of in clips.items()} == {"drawn-casme2": 145, "drawn-samm": 133, "drawn-smic": 164}
    people = {name: len({clip.subject for clip in of}) for name, of in clips.items()}
    assert people == {"drawn-casme2": 24, "drawn-samm": 28, "drawn-smic": 16}
    labels = Counter(clip.label for of in clips.values() for clip in of)
    assert labels == {"negative": 250, "positive": 109, "surprise": 83}
    settings = [study.data.settings(name) for name in clips]
    numbers = [set(range(s.first_subject, s.first_subject + s.subjects)) for s in settings]
    assert len(set().union(*numbers)) == 68, "no person is in two datasets"
    assert all(s.annotated for s in settings)
    assert len({(s.fps, s.noise, s.light, s.interocular_px) for s in settings}) == 3
    for name, experiment in study.experiments.blocks.items():
        if experiment.system != "majority":
            assert (experiment.protocol, experiment.folds, list(experiment.seeds)) == (
                "subject-kfold",
                10,
                [0, 1, 2],
            ), name
    assert len({tuple(study.training.splits(name).values()) for name in study.experiments}) == 1


def test_demo_shows_annotated_people_at_its_frame_rate():
    data = plan({"demo": {"fps": 60}}).data
    macro, micro = data.settings("demo-macro"), data.settings("demo-micro")
    assert micro.annotated and not macro.annotated and (macro.fps, micro.fps) == (25, 60)
    assert {clip.fps for clip in data.index("demo-micro").clips} == {60}
