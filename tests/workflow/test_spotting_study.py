"""Long videos of two drawn people through Snakemake: spot, recognise by fold, score, and the page."""

import shutil

import pandas as pd
import pytest
from repository import copy_repository, planned, snakemake

from merflow.evaluation.spotting_scores import score_intervals

PEOPLE = {"people": 2, "seconds": 10, "fps": 25, "micro": 12, "macro": 6}
CONFIG = {
    "study": "talkers",
    "datasets": {"videos": {"layout": "long-demo", "long_people": PEOPLE}},
    "floors": [],
    "experiments": {
        "search": {"task": "spotting", "system": "search", "videos": "videos"},
        "peaks": {"task": "spotting", "system": "peaks", "videos": "videos", "kinds": ["micro"]},
        "learned": {"task": "spotting", "system": "learned", "videos": "videos", "protocol": "loso"},
        "net": {"system": "ststnet", "micro": "videos", "network": {"epochs": 2, "epoch_choice": "fixed"}},
        "both": {"task": "spot-then-recognise", "spotter": "search", "recogniser": "net"},
    },
}


def test_each_person_is_drawn_measured_and_prepared_once(tmp_path):
    jobs = planned(copy_repository(tmp_path), CONFIG)
    for person in ("p01", "p02"):
        assert f"Draw the long video of videos/{person}" in jobs and f"Measure the motion of videos/{person}" in jobs
        assert f"Compute the flow of what search spotted of videos/{person}" in jobs
        assert f"Compute the flow of what peaks spotted of videos/{person}" not in jobs
    assert {"Recognise what was spotted by both", "Write the page of the long videos of talkers"} <= jobs


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = copy_repository(tmp_path_factory.mktemp("talkers"))
    snakemake(folder, config=CONFIG)
    return folder / "results/talkers/spotting"


@pytest.mark.slow
def test_scores_are_those_of_the_detections(study):
    metrics = pd.read_csv(study / "metrics.csv").set_index(["experiment", "dataset", "kind"]).sort_index()
    for name, kinds in (("search", ["micro", "macro", "all"]), ("peaks", ["micro"]), ("both", ["micro"])):
        truth = pd.read_csv(study / "truth.csv")
        truth[truth["kind"].isin(kinds)].to_csv(study / "some.csv", index=False)
        scores = score_intervals(study / name / "detections.csv", study / "some.csv", study / "videos.csv")
        for row in scores:
            if row["kind"] in kinds:
                assert (
                    metrics.loc[(name, "videos", row["kind"]), ["tp", "fp", "fn"]] == [row["tp"], row["fp"], row["fn"]]
                ).all()
    assert metrics["minutes"].to_numpy() == pytest.approx(20 / 60)


@pytest.mark.slow
def test_people_are_recognised_by_the_networks_of_their_fold(study):
    spotted, recognised = (pd.read_csv(study / name / "detections.csv") for name in ("search", "both"))
    spotted = spotted[spotted["kind"] == "micro"].reset_index(drop=True)
    assert len(recognised) and (recognised[["video", "onset", "offset"]] == spotted[["video", "onset", "offset"]]).all(
        axis=None
    )
    assert set(recognised["label"]) <= {"negative", "positive", "surprise"}
    audit = pd.read_csv(study / "both/audit.csv")
    assert (audit["note"] == "networks of fold " + audit["fold"]).all() and not audit["size"].any()


@pytest.mark.slow
def test_page_shows_what_was_recognised(study):
    page = (study / "index.html").read_text()
    assert "What both recognised" in page and page.count('<figure class="timeline">') == 2
    assert "The people are synthetic" in page and "https://" not in page


@pytest.mark.slow
@pytest.mark.parametrize("spotter", ["learned", "search", "none"])
def test_fitted_system_searches_a_new_video(study, spotter):
    folder = study.parents[2]
    shutil.copy(folder / "results/data/videos/videos/p01.mp4", folder / "new.mp4")
    changes = {"clips": str(folder / "new.mp4"), "predict": {"spotter": None if spotter == "learned" else spotter}}
    snakemake(folder, "predict", config=CONFIG | changes)
    page = (study.parent / "predict/new.mp4/index.html").read_text()
    said = (
        "the thresholds of <code>predict.spotting</code>"
        if spotter == "none"
        else f"by the system of experiment <b>{spotter}</b>"
    )
    assert said in page
