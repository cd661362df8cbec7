"""profiles/slurm has resources for each rule and otherwise equals profiles/default."""

import re

import pytest
import yaml
from repository import REPO, copy_repository, snakemake

PROFILE, DEFAULT = (
    yaml.safe_load((REPO / "profiles" / name / "config.yaml").read_text()) for name in ("slurm", "default")
)
RULES = re.findall(
    r"^(?:use )?rule (?:\w+ as )?(\w+)(?::| with:)",
    "\n".join(file.read_text() for file in sorted((REPO / "workflow" / "rules").glob("*.smk"))),
    re.MULTILINE,
)


def test_slurm_profile_contains_the_default_profile():
    assert {key: PROFILE.get(key) for key in DEFAULT} == DEFAULT


@pytest.mark.parametrize("rule", RULES)
def test_memory_and_time_suffice_and_grow_with_attempts(rule):
    requested = PROFILE["set-resources"][rule]
    for attempt in (1, 2):
        memory, minutes = (eval(requested[key], {"attempt": attempt}) for key in ("mem_mb", "runtime"))
        assert memory >= 800 * attempt and minutes >= 10 * attempt, "two Snakemakes in each SLURM job need 320 MB"


def test_documented_memory_equals_profile():
    rows = re.findall(r"^\| ([\w, ]+) \| [\d, ]+ \| ([\d, ]+) \|$", (REPO / "docs/slurm.md").read_text(), re.MULTILINE)
    documented = {
        rule: int(mb)
        for names, mb_list in rows
        for rule, mb in zip(names.split(", "), mb_list.split(", "), strict=True)
    }
    assert len(documented) > 20
    for rule, memory in documented.items():
        assert eval(PROFILE["set-resources"][rule]["mem_mb"], {"attempt": 1}) == memory, rule


def test_profile_names_only_existing_rules():
    assert {*PROFILE["set-resources"], *PROFILE["groups"]} <= set(RULES)
    assert {part.split("=")[0] for part in PROFILE["group-components"]} <= set(PROFILE["groups"].values())


def test_faces_and_keyframes_are_in_different_groups():
    """A scorer between them learns from all faces, so one group would depend on itself."""
    groups = PROFILE["groups"]
    assert "train_scorer" not in groups
    assert groups["align_faces"] != groups["score_frames"] == groups["select_keyframes"] == groups["compute_flow"]


@pytest.mark.parametrize(("arguments", "jobs"), [((), 30), (("--config", "folds_per_job=5"), 6)])
def test_folds_per_job_of_profile_and_command_line(tmp_path, arguments, jobs):
    """The profile takes precedence over the configuration file."""
    folder = copy_repository(tmp_path)
    options = ("-n", "--workflow-profile", "profiles/slurm", *arguments)
    assert re.search(
        rf"^train_clip_network +{jobs}$", snakemake(folder, *options, config={"folds_per_job": 12}).stdout, re.M
    )
