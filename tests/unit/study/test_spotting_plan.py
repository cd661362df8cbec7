"""Experiments in long videos: how they are configured, and what their jobs get."""

import re

import pytest
from configurations import BASE, plan
from further_trees import frames

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
