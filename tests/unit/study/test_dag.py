"""The jobs that the report tells of a study are those that Snakemake would run."""

import re
from collections import Counter

import pytest
from repository import copy_repository, snakemake

from merflow.report.pipeline import needed, pipeline
from merflow.study.config import load_config
from merflow.study.dag import stages
from merflow.study.study import Study

IN_FOLD = {
    "system": "tsdgcn",
    "micro": "demo-micro",
    "macro": "none",
    "transfer": "end-to-end",
    "protocol": "subject-kfold",
    "folds": 2,
    "seeds": [0, 1],
}
"""Beside what is shipped: folds of their own, tables of variants, figures, and key-frames that are learned."""
WIDE = {
    "demo": {"subjects": 8, "frames": 20},
    "experiments": {
        "tsdgcn": {"system": "tsdgcn", "micro": "demo-micro", "macro": "demo-macro"},
        "in-fold": IN_FOLD,
        "learned": {"system": "tsdgcn", "micro": "demo-micro", "macro": "demo-macro", "prep": "adaptive"},
    },
    "preparations": {"adaptive": {"keyframes": {"method": "adaptive"}}},
    "tables": {"branches": {"of": "tsdgcn", "rows": {"branches": [["spatial"], ["temporal"]]}}},
    "figures": {"methods": {"kind": "methods", "of": ["tsdgcn"]}, "flow": {"kind": "flow-statistics", "of": "tsdgcn"}},
}


def of_snakemake(folder, config):
    """Jobs of each rule, and the pairs of rules (first, what needs it), as Snakemake plans them."""
    graph = snakemake(folder, "--dag", "dot", config=config).stdout
    names = dict(re.findall(r'(\d+)\[label = "(\w+)', graph))
    links = {(names[one], names[other]) for one, other in re.findall(r"(\d+) -> (\d+)", graph)}
    return Counter(rule for rule in names.values() if rule != "all"), {link for link in links if link[1] != "all"}


SHIPPED = {"demo": {"subjects": 8, "frames": 20}}


@pytest.mark.parametrize(
    "config", [pytest.param(SHIPPED, marks=pytest.mark.slow, id="as shipped"), pytest.param(WIDE, id="wide")]
)
def test_the_rules_and_their_jobs_are_those_of_snakemake(tmp_path, monkeypatch, config):
    folder = copy_repository(tmp_path)
    jobs, links = of_snakemake(folder, config)
    monkeypatch.chdir(folder)
    found = stages(Study(load_config(folder / "config.yaml", overlay=config)))
    assert {row["rule"]: row["jobs"] for row in found} == jobs
    assert {(need, row["rule"]) for row in found for need in row["needs"]} == links
    seen = set()
    for row in found:
        assert seen.issuperset(row["needs"]), f"{row['rule']} stands before what it needs"
        seen.add(row["rule"])


ROWS = [
    {"rule": "first", "jobs": 2, "needs": []},
    {"rule": "second", "jobs": 1, "needs": ["first"]},
    {"rule": "third", "jobs": 4, "needs": ["first", "second"]},
]


def test_a_link_that_follows_from_others_is_not_drawn_but_stands_in_the_csv():
    assert needed(ROWS) == {"first": [], "second": ["first"], "third": ["second"]}
    found = pipeline({"dag": ROWS})
    assert found["jobs"] == 7
    assert found["drawing"]["csv"] == "rule,jobs,needs\nfirst,2,\nsecond,1,first\nthird,4,first\nthird,4,second\n"
    assert "third, 4 jobs, after second" in found["drawing"]["svg"] and found == pipeline({"dag": ROWS})


def test_a_study_that_does_not_give_its_jobs_has_no_such_drawing():
    assert pipeline({}) is None
