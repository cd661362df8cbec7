"""Experiments in long videos: how they are configured, and what their jobs get."""

import re

import pytest
import yaml
from configurations import BASE, plan
from further_trees import frames
from repository import REPO

from merflow.errors import ConfigError
from merflow.study.load import load_config

SPOT = {"task": "spotting", "system": "search", "videos": "long"}


@pytest.fixture
def study(tmp_path):
    """A function that gives the overlay of a study with a dataset of two people."""
    for name in ("one", "two"):
        frames(tmp_path / name, range(1, 90))
    (tmp_path / "intervals.csv").write_text("video,subject,onset,offset\none,p,10,20\ntwo,q,,\n")

    def overlay(**experiments):
        datasets = {"long": {"layout": "long-manifest", "root": str(tmp_path)}, "demo": {"layout": "demo"}}
        return {"study": "mine", "datasets": datasets, "experiments": experiments}

    return overlay


def test_experiments_of_both_tasks_stand_side_by_side(study):
    made = plan(study(spot=SPOT, svm={"system": "linear-svm", "micro": "demo"}))
    assert list(made.config.experiments) == ["svm"] and list(made.spotting.blocks) == ["spot"]
    assert "spot" not in made.experiments


def test_a_study_may_consist_of_long_videos_alone(study):
    made = plan(study(spot=SPOT, peaks=SPOT | {"system": "peaks", "kinds": ["micro"]}))
    made.check()
    assert [video.video for video in made.spotting.listed] == ["one", "two"]
    assert made.spotting.tracks("spot") == [f"results/mine/spotting/motion/long/{name}.h5" for name in ("one", "two")]
    assert made.spotting.experiment_settings("peaks").kinds == ["micro"]
    assert made.spotting.page_settings().layouts == {"long": "long-manifest"}
    assert made.spotting.footage("long", "two")["subject"] == "long/q"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "serch"}, "experiments.spot.system: 'serch' is not allowed; allowed: search, peaks, learned"),
        ({"videos": "short"}, "experiments.spot.videos: no dataset 'short'; there are: long, demo"),
        ({"videos": ["demo"]}, "experiments.spot.videos: dataset 'demo' has layout demo, which has no long videos"),
        ({"micro": "long"}, "experiments.spot.micro: unknown key"),
    ],
)
def test_one_message_says_what_does_not_fit(study, changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_config(BASE, study(spot=SPOT | changes))
    assert "empty block" not in str(caught.value)


def test_too_few_people_for_the_folds(study):
    made = plan(study(spot=SPOT | {"protocol": "subject-kfold", "folds": 3}))
    with pytest.raises(ConfigError, match="experiments.spot.videos: 2 people; subject-kfold needs at least 3"):
        made.check()


def test_a_person_is_in_one_dataset_of_an_experiment(study, tmp_path):
    """Subject names of two manifests mean the same people, whom folds by dataset would train on and test."""
    (tmp_path / "more.csv").write_text("video,subject,onset,offset\none,q,10,20\ntwo,r,,\n")
    overlay = study(spot=SPOT | {"videos": ["long", "more"]})
    overlay["datasets"]["more"] = overlay["datasets"]["long"] | {"table": "more.csv"}
    with pytest.raises(ConfigError, match="experiments.spot.videos: long and more both show q, who would be trained"):
        plan(overlay).check()
    plan(overlay | {"experiments": {"one": SPOT, "two": SPOT | {"videos": "more"}}}).check()


LONG_PEOPLE = {"people": 2, "seconds": 10, "fps": 25, "micro": 6, "macro": 6}


def test_drawn_people_of_a_study_are_all_different():
    datasets = {
        "first": {"layout": "long-demo", "long_people": LONG_PEOPLE},
        "demo": {"layout": "demo"},
        "second": {"layout": "long-demo", "kind": "macro"},
    }
    made = plan(
        {"study": "mine", "datasets": datasets, "experiments": {"spot": SPOT | {"videos": ["first", "second"]}}}
    )
    made.check()
    assert [len(made.spotting.videos[name]) for name in ("first", "second")] == [2, 8]
    first, second = (made.data.settings(name) for name in ("first", "second"))
    assert second.first_person == first.first_person + 2 and second.kind == "macro"
    assert made.spotting.drawn("first", "p02") == ["results/data/first/videos/p02.mp4"]
    assert made.spotting.page_settings().synthetic
    assert made.data.drawing_settings("first").first_person == first.first_person
    assert made.data.subjects("first") == ["p01", "p02"], "its micro-expressions are clips"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"layout": "demo", "long_people": {}}, "datasets.long.long_people: only for layout long-demo"),
        ({"layout": "long-demo", "long_people": {"people": 1}}, "datasets.long.long_people.people: 1 is not allowed"),
        (
            {"layout": "long-demo", "classes": ["a", "b"]},
            "datasets.long.classes: synthetic people have classes of their",
        ),
        (
            {"layout": "long-demo", "people": {"subjects": 2, "clips": {"fear": 2, "anger": 2}}},
            "people: only for layout",
        ),
    ],
)
def test_blocks_of_synthetic_people_are_those_of_their_layout(block, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(BASE, {"study": "mine", "datasets": {"long": block}, "experiments": {"spot": SPOT}})


def test_drawn_study_has_three_systems_at_two_frame_rates():
    study = plan(yaml.safe_load((REPO / "studies" / "drawn_long.yaml").read_text()))
    study.check()
    blocks = study.spotting.blocks.values()
    assert {(block.system, *block.datasets) for block in blocks} == {
        (system, dataset) for system in ("search", "peaks", "learned") for dataset in ("drawn-30", "drawn-200")
    }
    assert [len(videos) for videos in study.spotting.videos.values()] == [8, 8]
