"""A study of one's own clips: run once for real, then ask `snakemake -n` what each change would rerun."""

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
    # By hand, from reading: what the hash of the code must find out by itself.
    "losses": {"finetune", "pretrain_sgcn", "extract_features"},  # the last two through `training`
    "graph": {"build_graph", "pretrain_sgcn", "extract_features", "write_report"},  # the last draws graphs on a face
    "report/figures": {"write_report"},
    "keyframes": {"select_keyframes"},
}


def rules(jobs: set[str]) -> set[str]:
    """The rules of planned jobs."""
    return {rule for job in jobs for rule, message in MESSAGE.items() if job.startswith(message)}


def subjects(jobs: set[str]) -> set[str]:
    """Whose faces, key-frames or flow would be made."""
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


def test_a_finished_study_has_nothing_to_do(study):
    folder, settings = study
    assert planned(folder, settings) == set()
    for name in ("report.html", "metrics.csv", "predictions.csv", "accuracy_train.csv", "curves.csv"):
        assert (folder / "results" / "mine" / name).stat().st_size


def test_touching_files_reruns_nothing(restored):
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


def test_overwriting_a_frame_in_place_reruns_that_subject_and_what_follows(restored):
    folder, settings = restored
    clip = next((folder / "people" / "s02").glob("s02_happiness*"))
    frames = sorted(clip.glob("*.jpg"))
    frames[3].write_bytes(frames[4].read_bytes())
    jobs = planned(folder, settings)
    assert subjects(jobs) == {"people/s02"}
    assert rules(jobs) == AFTER_FLOW | {"align_faces", "select_keyframes", "compute_flow"}
    assert "Gather the cache of posed" not in jobs


def test_adding_a_clip_reruns_that_subject_and_what_follows(restored):
    folder, settings = restored
    source = next((folder / "people" / "s01").glob("s01_happiness*"))
    shutil.copytree(source, folder / "people" / "extra")
    with (folder / "people" / "manifest.csv").open("a") as table:
        table.write("extra,s01,happiness,extra,,,,\n")
    jobs = planned(folder, settings)
    assert subjects(jobs) == {"people/s01"}
    assert rules(jobs) == AFTER_FLOW | {"index_clips", "align_faces", "select_keyframes", "compute_flow"}
    assert "List the clips of posed" not in jobs


def test_correcting_a_label_reruns_nothing_before_the_cache(restored):
    folder, settings = restored
    table = folder / "people" / "manifest.csv"
    rows = list(csv.reader(table.open()))
    rows[1][2] = "surprise"
    table.write_text("\n".join(map(",".join, rows)) + "\n")
    assert rules(planned(folder, settings)) == AFTER_FLOW | {"index_clips"}


def test_a_focal_loss_parameter_reruns_fine_tuning_and_after(study):
    folder, settings = study
    changed = settings | {
        "experiments": {"tsdgcn": settings["experiments"]["tsdgcn"] | {"loss": {"name": "focal", "gamma": 2.0}}}
    }
    jobs = planned(folder, changed)
    assert rules(jobs) == AFTER_HEAD
    assert "Run the floor majority" not in jobs and "Evaluate majority" not in jobs


def test_a_flow_parameter_reruns_flow_and_after_and_no_alignment(study):
    folder, settings = study
    changed = settings | {"preparations": {"default": {"keyframes": {"count": 3}, "flow": {"lambda": 0.1}}}}
    jobs = planned(folder, changed)
    assert rules(jobs) == AFTER_FLOW | {"compute_flow", "pretrain_sgcn"}
    assert {"people/s01", "people/s02", "people/s03"} < subjects(jobs)


# The others show the same of another file; that hashes follow imports is in test_codehash.py.
AND_SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in ("flow", "metrics", "keyframes", "cache")]


@pytest.mark.parametrize("module", ["graph", "losses", "report/figures", *AND_SLOWLY])
def test_changing_a_library_module_reruns_the_rules_that_import_it(restored, module):
    """Rules whose scripts need the module start the reruns; what depends on those follows; nothing else."""
    folder, settings = restored
    with (folder / "merflow" / f"{module}.py").open("a") as file:
        file.write("\n# changed\n")
    changed = REPO / "merflow" / f"{module}.py"
    scripts = {s.stem for s in (REPO / "workflow" / "scripts").glob("*.py") if changed in needed(s)}
    done = snakemake(folder, "-n", config=settings)
    text = done.stdout + done.stderr
    began = set()
    for message, reason in re.findall(r"^Job \d+: (.*)\nReason: (.*)$", text, re.MULTILINE):
        if "Params have changed" in reason or "Code has changed" in reason:
            began |= rules({message})
    # A rule that follows from another one that changed too is planned for that reason; it still must be there.
    all_rules = rules(set(re.findall(r"^Job \d+: (.*)$", text, re.MULTILINE)))
    mine = {rule for rule in scripts if rule in MESSAGE}
    assert mine and began <= mine <= all_rules
    assert mine == IMPORTERS.get(module, mine)
    assert began, "something starts the rerun"


@pytest.mark.slow  # Two minutes; the proofs of every part are in its own tests.
def test_one_core_and_two_give_the_same_bytes(study, tmp_path):
    folder, settings = study
    other = copy_repository(tmp_path / "one-core")
    snakemake(other, config=settings, cores=1)
    for name in ("predictions.csv", "metrics.csv", "curves.csv"):
        assert (other / "results" / "mine" / name).read_bytes() == (folder / "results" / "mine" / name).read_bytes()


def test_snakemakes_own_report_is_written(study):
    folder, settings = study
    target = Path(folder / "snakemake-report.html")
    snakemake(folder, "--report", str(target), config=settings)
    assert "metrics.csv" in target.read_text(errors="ignore")
