"""`keyframes: adaptive`: which jobs are planned, a whole run, and what reruns after changes."""

import re

import h5py
import pandas as pd
import people
import pytest
from repository import copy_repository, planned, snakemake

from merflow.datasets.synthetic import scorer_people

PREPARATIONS = {"default": {"keyframes": {"count": 3}}, "learned": {"keyframes": "adaptive"}}


def test_scorer_is_planned_only_for_adaptive_keyframes(tmp_path):
    folder = copy_repository(tmp_path)
    floor = {"system": "softmax", "micro": "demo-micro"}
    config = {"demo": {"subjects": 4, "emotions": ["fear", "anger"]}, "floors": []}
    config["preparations"] = PREPARATIONS | {
        "taught": {"keyframes": {"method": "adaptive", "learn_from": "demo-macro"}}
    }
    without = planned(folder, config | {"experiments": {"plain": floor}})
    experiments = {prep: floor | {"prep": prep} for prep in config["preparations"]}
    jobs = planned(folder, config | {"experiments": experiments})
    added = {f"Train the frame scorer of {name}" for name in ("learned on _drawn", "taught on demo-macro")}
    added |= {f"Score the frames of demo-micro/s{n:02d}" for n in (1, 2)} | {"Align the faces of demo-macro/s01"}
    drawn = [f"_drawn/s{n:02d}" for n in range(1, scorer_people.SETTINGS.subjects + 1)]
    added |= {f"Make the synthetic clips of {name}" for name in drawn} | {
        f"Align the faces of {name}" for name in drawn
    }
    assert added <= jobs and not added & without and not any("_drawn" in job for job in without)
    assert "Score the frames of demo-macro/s01" not in jobs and "Score the frames of _drawn/s01" not in jobs


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = copy_repository(tmp_path_factory.mktemp("adaptive"))
    people.draw(folder / "people", "micro", 3, 0)
    floor = {"system": "softmax", "micro": "people"}
    small = {"branches": ["temporal"], "graphs": ["8+2"], "graph": {"side": 28}, "head": {"epochs": 2}}
    config = people.config(folder, floors=[], preparations=PREPARATIONS)
    del config["datasets"]["posed"]
    config["experiments"] = {
        "plain": floor,
        "adaptive": floor | {"prep": "learned"},
        "tsdgcn": {"system": "tsdgcn", "macro": "none", "micro": "people", "prep": "learned"} | small,
    }
    snakemake(folder, config=config)
    return folder, config


@pytest.mark.slow
def test_systems_predict_every_clip_on_adaptive_keyframes(study):
    folder, config = study
    results = folder / "results"
    answers = pd.read_csv(results / "mine" / "predictions.csv").groupby("experiment")["clip"].nunique()
    assert answers.to_dict() == {"plain": 9, "adaptive": 9, "tsdgcn": 9}
    assert planned(folder, config) == set()
    frames = {}
    for prep, count in (("default", 3), ("learned", 5)):
        tables = [pd.read_csv(file) for file in sorted((results / f"data/people/{prep}/keyframes").glob("*.csv"))]
        frames[prep] = pd.concat(tables)
        assert frames[prep].groupby("clip").size().eq(count + 1).all()
        with h5py.File(results / f"data/people/{prep}/cache.h5") as cache:
            assert cache["spatial"].shape[1] == count
    assert (frames["learned"]["apex_spotted"] - frames["learned"]["apex_annotated"]).abs().mean() < 1
    assert (results / "scorers" / "_drawn" / "learned.safetensors").stat().st_size < 100_000
    audit = pd.read_csv(results / "mine" / "audit.csv")
    assert not audit["check"].str.contains("scorer").any(), "synthetic people are no subjects of the study"
    assert "scorer</th>" in (results / "mine" / "report.html").read_text(), "its time counts"


@pytest.mark.slow
def test_changed_scorer_reruns_only_its_preparation(study):
    folder, config = study
    library = folder / "merflow/preprocessing/frame_scorer/scorer.py"
    kept = library.read_text()
    library.write_text(kept + "\n# changed\n")
    try:
        jobs = planned(folder, config)
        plain = config | {"experiments": {"plain": config["experiments"]["plain"]}}
        done = snakemake(folder, "-n", "--until", "build_cache", config=plain)
    finally:
        library.write_text(kept)
    assert "Train the frame scorer of learned on _drawn" in jobs and "Score the frames of people/s01" in jobs
    assert not any(job.startswith(("Draw", "Align")) for job in jobs)
    assert not re.search(r"^Job \d+:", done.stdout + done.stderr, re.MULTILINE), done.stdout


@pytest.mark.slow
def test_frames_of_a_test_subject_change_no_other_subject(study):
    """The last test: it changes the study."""
    folder, config = study

    def made():
        files = [*(folder / "results/data/people/learned/keyframes").glob("*.csv")]
        files += (folder / "results/scorers").rglob("*.safetensors")
        return {file.name: file.read_bytes() for file in files}

    before = made()
    assert len(before) == 4
    for clip in (folder / "people").glob("s02/*"):
        frames = sorted(clip.glob("*.jpg"))
        for early, late in zip(frames[: len(frames) // 2], reversed(frames), strict=False):
            early.write_bytes(late.read_bytes())
    jobs = planned(folder, config)
    assert "Score the frames of people/s02" in jobs and "Select the key-frames of people/s02" in jobs
    assert not {"Score the frames of people/s01", "Select the key-frames of people/s01"} & jobs
    assert not any("scorer" in job or "_drawn" in job for job in jobs)
    snakemake(folder, "--until", "select_keyframes", config=config)
    after = made()
    assert {name for name in after if after[name] != before[name]} == {"s02.csv"}
