"""Networks on flow images through the workflow: as experiments and as floors, with one job per fold."""

import os
import signal
import subprocess
import sys
import time

import dataset_trees
import pandas as pd
import people
import pytest
import yaml
from configurations import plan
from repository import REPO, copy_repository, planned, snakemake

from merflow.systems.registry import NETWORKS

SYSTEMS = ("ststnet", "off-apexnet")
pytestmark = pytest.mark.slow  # The demo study trains one of these networks in `make test`.
SHORT = {"epochs": 15, "patience": 5, "learning_rate": 0.002}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = copy_repository(tmp_path_factory.mktemp("networks"))
    tree = people.flow_images(folder / "flows", {"casme2": (1, 2), "samm": (6,)})
    config = {
        "study": "nets",
        "datasets": {"flows": tree.settings | {"classes": "megc2019"}},
        "floors": ["majority", "off-apexnet"],
        "network": SHORT,
        "folds_per_job": 1,
        "experiments": {
            "shallow": {"system": "ststnet", "micro": "flows", "protocol": "composite-loso", "seeds": [3]},
        },
    }
    return folder, snakemake(folder, config=config), config


def table(folder, name):
    return pd.read_csv(folder / "results/nets" / f"{name}.csv")


def test_every_clip_is_predicted_once_per_repeat(study):
    folder, *_ = study
    rows = table(folder, "predictions")
    assert set(rows["experiment"]) == {"shallow", "off-apexnet", "majority"}
    for _, group in rows.query("experiment != 'majority'").groupby(["experiment", "repeat"]):
        assert len(group) == group["clip"].nunique() == 9 and (group["fold"] == group["subject"]).all()
    assert rows.groupby("experiment")["repeat"].unique().map(list).to_dict() == {
        "shallow": [3],
        "off-apexnet": [3],
        "majority": [0],
    }, "a network among the floors uses the seeds of the experiment"


def test_folds_write_logs_and_curves(study):
    folder, *_ = study
    logs = sorted((folder / "results/logs/train_clip_network/nets/shallow").rglob("*.log"))
    assert len(logs) == 3, "a job per person"
    assert all("epoch 1 of 15, train loss" in log.read_text() for log in logs)
    curves = table(folder, "curves")
    assert curves.groupby("experiment")["name"].nunique().to_dict() == {"off-apexnet": 3, "shallow": 3}
    assert set(curves["split"]) == {"train", "validation"}


def test_report_labels_floors_among_networks(study):
    folder, *_ = study
    page = (folder / "results/nets/report.html").read_text()
    assert "off-apexnet (floor)" in page and "shallow (floor)" not in page


def test_changed_network_setting_reruns_only_networks(study):
    folder, _, config = study
    assert planned(folder, config) == set()
    jobs = planned(folder, config | {"network": SHORT | {"batch": 4}})
    assert {job.split()[0] for job in jobs} == {"Train", "Gather", "Evaluate", "Calibrate", "Compare", "Audit", "Write"}
    assert not any("majority" in job for job in jobs)


def test_changed_network_file_reruns_only_its_folds(study):
    folder, _, config = study
    file = folder / "merflow/systems/ststnet.py"
    text = file.read_text()
    file.write_text(text + "\n# changed\n")
    jobs = planned(folder, config)
    file.write_text(text)
    assert len([job for job in jobs if job.startswith("Train the fold") and "shallow" in job]) == 3
    assert not any(job.startswith(("Run the floor", "List", "Gather the flow")) for job in jobs)


def test_killed_run_continues_from_checkpoints(study, tmp_path):
    """SIGKILL of the run after the pairs of a fold were learnt; the same command continues after --unlock."""
    folder, _, config = study
    network = {"side": 28, "width": 4, "epochs": 150, "patience": 150, "prior_epochs": 2, "epoch_choice": "validation"}
    mine = {"system": "mersiamc3d", "micro": "flows", "network": network, "protocol": "subject-kfold", "folds": 2}
    config = config | {"experiments": {"mine": mine}, "floors": ["majority"]}
    (tmp_path / "killed.yaml").write_text(yaml.safe_dump(config | {"study": "killed"}))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--no-hooks", "--rerun-incomplete"]
    command += ["--configfile", str(tmp_path / "killed.yaml")]
    folds = folder / "results/killed/experiments/mine/folds"
    run = subprocess.Popen(command, cwd=folder, start_new_session=True)
    try:
        for _ in range(600):
            if list(folds.rglob("checkpoints/1.safetensors")) or run.poll() is not None:
                break
            time.sleep(0.2)
        assert run.poll() is None, "training on the classes has started"
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    (state,) = folds.rglob("checkpoints/1.safetensors")
    assert not (state.parents[1] / "predictions.csv").exists()
    snakemake(folder, "--unlock", config=config | {"study": "killed"})
    snakemake(folder, "--rerun-incomplete", config=config | {"study": "killed"})
    logs = [log.read_text() for log in (folder / "results/logs/train_clip_network/killed/mine").rglob("*/*.log")]
    assert len(logs) == 2 and sum("pairs: resumed after epoch 2" in log for log in logs) == 1
    assert not list(folds.rglob("checkpoints"))
    snakemake(folder, config=config | {"study": "whole"})
    for name in ("predictions.csv", "curves.csv", "accuracy_train.csv", "metrics.csv"):
        assert (folder / "results/killed" / name).read_bytes() == (folder / "results/whole" / name).read_bytes(), name


def test_megc2019_study_has_the_systems_it_promises(tmp_path):
    settings = yaml.safe_load((REPO / "studies/megc2019.yaml").read_text())
    images = [
        dataset_trees.FlowImage(f"base{n % 3}", f"{n % 5}", f"{n}", ("negative", "positive", "surprise")[n % 3])
        for n in range(9)
    ]
    tree = dataset_trees.flow_images(tmp_path, images, write=lambda path, image: path.write_bytes(b"x"))
    settings["datasets"]["flows"]["root"] = str(tree.root)
    study = plan(settings)
    study.check()
    systems = {experiment.system for experiment in study.experiments.blocks.values()}
    assert systems == {"tsdgcn", "majority", "linear-svm", "rbf-svm", "softmax", "ensemble", *NETWORKS}
    networks = [study.experiments[system].network for system in SYSTEMS]
    assert [network.learning_rate for network in networks] == [NETWORKS[s].settings["learning_rate"] for s in SYSTEMS]
