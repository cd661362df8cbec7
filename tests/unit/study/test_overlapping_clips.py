"""Clips of one video that share frames, in one dataset or in two that list its micro- and its macro-expressions."""

import further_trees
from configurations import experiment, plan
from further_trees import NAMING, frames

from merflow.study.audit import audited_overlaps

ROWS = [
    [1, "anger1_1", 20, 24, 32, "4", "negative", "micro-expression", ""],
    [1, "anger1_2", 32, 36, 40, "12", "positive", "micro-expression", ""],
    [1, "anger1_3", 38, 44, 60, "4", "negative", "macro-expression", ""],
    [3, "anger1_1", 20, 24, 32, "4", "positive", "micro-expression", ""],
]


def test_pairs_of_all_audited_datasets(tmp_path):
    for person in (15, 19):
        frames(tmp_path / f"rawpic/s{person}/{person}_0401girlcrashing", range(1, 90), "img{:03d}.jpg")
    further_trees.tree("casme-squared", tmp_path, ROWS, others=NAMING)
    overlay = experiment(system="tsdgcn", macro="macros", micro="micros")
    for kind in ("micro", "macro"):
        overlay["datasets"][f"{kind}s"] = {"layout": "casme-squared", "root": str(tmp_path), "kind": kind}
    study = plan(overlay)
    assert audited_overlaps(study.training) == [
        ["micros", "s15/anger1_1", "micros", "s15/anger1_2"],
        ["micros", "s15/anger1_2", "macros", "s15/anger1_3"],
    ]
    assert study.data.overlaps(["demo-micro"]) == [], "each has a folder of its own"
