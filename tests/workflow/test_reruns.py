"""A finished study: what `snakemake -n` plans after each change."""

import csv
import os
import re
import shutil
from pathlib import Path

import people
import pytest
from repository import REPO, copy_repository, planned, snakemake

from merflow.runtime.code_hash import needed

MESSAGE = {
    "index_clips": "List the clips of",
    "align_faces": "Align the faces of",
    "select_keyframes": "Select the key-frames of",
    "compute_flow": "Compute the flow of",
    "build_cache": "Gather the cache of",
    "build_graph": "Build the graph",
    "pretrain_sgcn": "Pre-train SGCN",
    "extract_features": "Extract features of",
    "make_splits": "Split the clips",
    "finetune": "Fine-tune experiment",
    "run_floor": "Run the floor",
    "evaluate": "Evaluate",
    "gather_tables": "Gather the tables of",
    "audit_leakage": "Audit the study",
    "compare_systems": "Compare the systems",
    "write_report": "Write the report of",
}
AFTER_HEAD = {"finetune", "evaluate", "gather_tables", "audit_leakage", "compare_systems", "write_report"}
AFTER_FLOW = AFTER_HEAD | {"build_cache", "make_splits", "extract_features", "run_floor"}
IMPORTERS = {
    "learning/losses": {"finetune", "pretrain_sgcn", "extract_features"},
    "systems/tsdgcn/graph": {"build_graph", "pretrain_sgcn", "extract_features", "write_report"},
    "report/images": {"write_report"},
    "preprocessing/keyframes": {"select_keyframes"},
}
"""Rules of this study whose script imports a module, directly or through another one; written by hand."""


def rules(jobs: set[str]) -> set[str]:
    """The rules of planned jobs."""
    return {rule for job in jobs for rule, message in MESSAGE.items() if job.startswith(message)}


def subjects(jobs: set[str]) -> set[str]:
    """Subjects whose faces, key-frames or flow would be made."""
    return {job.split(" of ")[1] for job in jobs if re.match("Align|Select|Compute", job)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A copy of the repository with a finished study in it; returns (folder, config)."""
    folder = copy_repository(tmp_path_factory.mktemp("reruns"))
    people.draw(folder / "people", "micro", 3, 3)
    people.draw(folder / "posed", "macro", 2, 0)
    settings = people.config(folder, floors=["majority"])
    snakemake(folder, config=settings)
    return folder, settings


@pytest.fixture
def restored(study):
    """The study, with the user's clips and the library as they were before the test, times included."""
    folder, settings = study
    kept = folder.with_name(folder.name + "-kept")
    for name in ("people", "merflow", "workflow"):
        shutil.copytree(folder / name, kept / name)
    yield folder, settings
    for name in ("people", "merflow", "workflow"):
        shutil.rmtree(folder / name)
        shutil.copytree(kept / name, folder / name)
    shutil.rmtree(kept)


def test_finished_study_has_nothing_to_do(study):
    folder, settings = study
    assert planned(folder, settings) == set()
    for name in ("report.html", "metrics.csv", "predictions.csv", "accuracy_train.csv", "curves.csv"):
        assert (folder / "results" / "mine" / name).stat().st_size


def test_touched_files_rerun_nothing(restored):
    folder, settings = restored
    for pattern in (
        "people/**/*",
        "posed/**/*",
        "merflow/**/*",
        "workflow/**/*",
        "results/**/*",
        "config.yaml",
        "Snakefile",
    ):
        for file in folder.glob(pattern):
            if file.is_file():
                os.utime(file)
    assert planned(folder, settings) == set()


def test_overwritten_frame_reruns_its_subject(restored):
    folder, settings = restored
    clip = next((folder / "people" / "s02").glob("s02_happiness*"))
    frames = sorted(clip.glob("*.jpg"))
    frames[3].write_bytes(frames[4].read_bytes())
    jobs = planned(folder, settings)
    assert subjects(jobs) == {"people/s02"}
    assert rules(jobs) == AFTER_FLOW | {"align_faces", "select_keyframes", "compute_flow"}
    assert "Gather the cache of posed" not in jobs


def test_added_clip_reruns_its_subject(restored):
    folder, settings = restored
    source = next((folder / "people" / "s01").glob("s01_happiness*"))
    shutil.copytree(source, folder / "people" / "extra")
    with (folder / "people" / "manifest.csv").open("a") as table:
        table.write("extra,s01,happiness,extra,,,,\n")
    jobs = planned(folder, settings)
    assert subjects(jobs) == {"people/s01"}
    assert rules(jobs) == AFTER_FLOW | {"index_clips", "align_faces", "select_keyframes", "compute_flow"}
    assert "List the clips of posed" not in jobs


def test_corrected_label_reruns_nothing_before_the_cache(restored):
    folder, settings = restored
    table = folder / "people" / "manifest.csv"
    rows = list(csv.reader(table.open()))
    rows[1][2] = "surprise"
    table.write_text("\n".join(map(",".join, rows)) + "\n")
    assert rules(planned(folder, settings)) == AFTER_FLOW | {"index_clips"}


def test_changed_loss_reruns_from_fine_tuning(study):
    folder, settings = study
    changed = settings | {
        "experiments": {"tsdgcn": settings["experiments"]["tsdgcn"] | {"loss": {"name": "focal", "gamma": 2.0}}}
    }
    jobs = planned(folder, changed)
    assert rules(jobs) == AFTER_HEAD
    assert "Run the floor majority" not in jobs and "Evaluate majority" not in jobs


def test_changed_flow_reruns_from_flow(study):
    folder, settings = study
    changed = settings | {"preparations": {"default": {"keyframes": {"count": 3}, "flow": {"lambda": 0.1}}}}
    jobs = planned(folder, changed)
    assert rules(jobs) == AFTER_FLOW | {"compute_flow", "pretrain_sgcn"}
    assert {"people/s01", "people/s02", "people/s03"} < subjects(jobs)


SLOW_MODULES = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("preprocessing/flow", "evaluation/metrics", "preprocessing/keyframes", "preprocessing/cache")
]
"""More modules for the next test; tests/unit/runtime/test_code_hash.py tests that hashes follow imports."""


@pytest.mark.parametrize("module", ["systems/tsdgcn/graph", "learning/losses", "report/images", *SLOW_MODULES])
def test_changed_module_reruns_rules_that_import_it(restored, module):
    """Rules whose scripts import the module rerun, and what depends on them; nothing else."""
    folder, settings = restored
    changed = REPO / "merflow" / f"{module}.py"
    (folder / "merflow" / f"{module}.py").write_text(changed.read_text() + "\n# changed\n")
    scripts = {s.stem for s in (REPO / "workflow" / "scripts").glob("*.py") if changed in needed(s)}
    done = snakemake(folder, "-n", config=settings)
    text = done.stdout + done.stderr
    began = set()
    for message, reason in re.findall(r"^Job \d+: (.*)\nReason: (.*)$", text, re.MULTILINE):
        if "Params have changed" in reason or "Code has changed" in reason:
            began |= rules({message})
    # Snakemake prints one reason per job, and for a rule that imports the module this may be a changed input. So every
    # importer must be among all planned rules.
    all_rules = rules(set(re.findall(r"^Job \d+: (.*)$", text, re.MULTILINE)))
    importers = {rule for rule in scripts if rule in MESSAGE}
    assert importers and began <= importers <= all_rules
    assert importers == IMPORTERS.get(module, importers)
    assert began, "at least one rule reruns because its code changed"


@pytest.mark.slow  # Two minutes; unit tests show the same for each part.
def test_one_core_and_two_give_the_same_bytes(study, tmp_path):
    folder, settings = study
    other = copy_repository(tmp_path / "one-core")
    snakemake(other, config=settings, cores=1)
    for name in ("predictions.csv", "metrics.csv", "curves.csv"):
        assert (other / "results" / "mine" / name).read_bytes() == (folder / "results" / "mine" / name).read_bytes()


def test_snakemake_report_is_written(study):
    folder, settings = study
    target = Path(folder / "snakemake-report.html")
    snakemake(folder, "--report", str(target), config=settings)
    assert "metrics.csv" in target.read_text(errors="ignore")
