"""What profiles/slurm says of each rule, and that it is the default profile otherwise."""

import re

import pytest
import yaml
from repository import REPO

PROFILE, DEFAULT = (
    yaml.safe_load((REPO / "profiles" / name / "config.yaml").read_text()) for name in ("slurm", "default")
)
RULES = re.findall(
    r"^(?:use )?rule (?:\w+ as )?(\w+)(?::| with:)",
    "\n".join(file.read_text() for file in sorted((REPO / "workflow" / "rules").glob("*.smk"))),
    re.MULTILINE,
)


def test_a_run_on_slurm_reruns_schedules_and_tells_like_any_other():
    assert {key: PROFILE.get(key) for key in DEFAULT} == DEFAULT


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_memory_that_suffices_for_slurm_and_memory_and_time_that_grow(rule):
    asked = PROFILE["set-resources"][rule]
    for attempt in (1, 2):
        memory, minutes = (eval(asked[key], {"attempt": attempt}) for key in ("mem_mb", "runtime"))
        assert memory >= 800 * attempt and minutes >= 10 * attempt, "two Snakemakes in each SLURM job need 320 MB"


def test_the_documentation_says_what_is_asked_for():
    rows = re.findall(r"^\| ([\w, ]+) \| [\d, ]+ \| ([\d, ]+) \|$", (REPO / "docs/slurm.md").read_text(), re.MULTILINE)
    told = {
        rule: int(mb) for names, asked in rows for rule, mb in zip(names.split(", "), asked.split(", "), strict=True)
    }
    assert len(told) > 20
    for rule, memory in told.items():
        assert eval(PROFILE["set-resources"][rule]["mem_mb"], {"attempt": 1}) == memory, rule


def test_the_profile_names_no_rule_that_does_not_exist():
    assert {*PROFILE["set-resources"], *PROFILE["groups"]} <= set(RULES)
    assert {part.split("=")[0] for part in PROFILE["group-components"]} <= set(PROFILE["groups"].values())


def test_what_a_scorer_may_stand_between_is_in_two_groups():
    """One group would depend on itself where all faces teach the scorer that its members wait for."""
    groups = PROFILE["groups"]
    assert "train_scorer" not in groups
    assert groups["align_faces"] != groups["score_frames"] == groups["select_keyframes"] == groups["compute_flow"]
