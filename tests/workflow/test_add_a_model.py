"""The code blocks of docs/add-a-model.md are written where the page says; the new system runs beside others."""

import json
import re

import pandas as pd
import people
import pytest
from repository import REPO, copy_repository, planned, snakemake

pytestmark = pytest.mark.slow
PAGE = REPO / "docs" / "add-a-model.md"


def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def add(folder, name="two"):
    """Add the page's model to a copy of the repository, under ``name``."""
    model, entry, augmentation = (re.sub(r"\btwo(?=[-_])", name, block) for block in blocks())
    code = model.replace("from torch import", "import torch\nfrom torch import") + "\n" + augmentation
    (folder / model.split("\n", 1)[0].removeprefix("# ")).write_text(code)
    registry = folder / "merflow/systems/registry.py"
    text = registry.read_text()
    assert text.count("NETWORKS = {\n") == 1
    registry.write_text(text.replace("NETWORKS = {\n", "NETWORKS = {\n" + entry))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = copy_repository(tmp_path_factory.mktemp("model"))
    tree = people.flow_images(folder / "flows", {"samm": (1, 2, 3)})
    config = {
        "study": "toy",
        "datasets": {"flows": tree.settings | {"classes": "megc2019"}},
        "floors": ["majority"],
        "folds_per_job": 1,
        "experiments": {
            "mine": {"system": "two-layers", "micro": "flows", "network": {"epochs": 8, "filters": 16}, **HALVES},
            "shallow": {"system": "ststnet", "micro": "flows", "network": {"epochs": 2}, **HALVES},
        },
    }
    add(folder)
    snakemake(folder, config=config)
    return folder, config


HALVES = {"protocol": "subject-kfold", "folds": 2}


def test_page_needs_at_most_40_lines_for_a_model():
    assert len(PAGE.read_text().split("\n## ")[0].splitlines()) <= 40


def test_added_model_is_compared_with_other_systems(study):
    folder, *_ = study
    rows = pd.read_csv(folder / "results/toy/predictions.csv").query("experiment == 'mine'")
    assert len(rows) == rows["clip"].nunique() == 9 and rows["fold"].nunique() == 2
    differences = pd.read_csv(folder / "results/toy/differences.csv")
    assert {("mine", "majority"), ("mine", "shallow")} <= set(
        zip(differences["first"], differences["second"], strict=True)
    )
    assert ">mine<" in (folder / "results/toy/report.html").read_text()
    assert "mine" in set(pd.read_csv(folder / "results/toy/audit.csv")["experiment"])


def test_folds_per_job_changes_jobs_and_no_result(study):
    folder, config = study
    together = config | {"folds_per_job": 2}
    assert planned(folder, together) == {"Write the report of toy"}, "trained folds keep their groups"
    snakemake(folder, "--forcerun", "train_clip_network", config=together)
    snakemake(folder, config=together | {"study": "together"})
    single, pairs = folder / "results/toy", folder / "results/together"
    assert not (single / "experiments/mine/folds/0/fold-1+2").exists(), "not when they train again either"
    assert not (pairs / "experiments/mine/folds/0/fold-1").exists()
    for name in ("predictions", "metrics", "curves", "accuracy_train", "calibration", "audit"):
        assert (single / f"{name}.csv").read_bytes() == (pairs / f"{name}.csv").read_bytes(), name
    for name in ("mine", "shallow"):
        first, second = (
            json.loads((study / f"experiments/{name}/ensemble.json").read_text()) for study in (single, pairs)
        )
        assert first["temperature"] == second["temperature"]
        assert [member["fold"] for member in first["members"]] == [member["fold"] for member in second["members"]]


def test_changed_model_reruns_only_its_folds(study):
    folder, config = study
    add(folder, name="other")
    assert planned(folder, config) <= {"Write the report of toy"}
    file = folder / "merflow/systems/two_layers.py"
    file.write_text(file.read_text().replace("nn.ReLU()", "nn.ELU()"))
    trained = [job for job in planned(folder, config) if job.startswith(("Train", "Run"))]
    assert len(trained) == 2 and all("of experiment mine" in job for job in trained)


def test_options_of_added_model_are_checked(study):
    folder, config = study
    config = config | {"experiments": {"mine": config["experiments"]["mine"] | {"network": {"filters": 0}}}}
    done = snakemake(folder, "-n", config=config, ok=False)
    assert re.search(
        r"experiments\.mine\.network\.filters: 0 is not allowed.*: of both layers", done.stdout + done.stderr
    )
    config["experiments"]["mine"]["network"] = {"modules": 2}
    done = snakemake(folder, "-n", config=config, ok=False)
    expected = (
        "experiments.mine.network.modules: two-layers has no such key (its options: filters); it belongs to msjfn"
    )
    assert expected in done.stdout + done.stderr
