"""What the leakage audit checks, as the configuration asks for it."""

from dataclasses import replace

import pytest
from configurations import plan

from merflow.evaluation.settings import AuditSettings
from merflow.study.audit import audit_plan

# --- What a configuration asks for ------------------------------------------------------------------------------------


def planned(tmp_path, layouts, tables=None, floors=("majority",), **experiment):
    """The audit's plan for one experiment on a macro and a micro dataset of these layouts."""
    for name in ("macro", "micro"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "manifest.csv").touch()
    macro, micro = ({"layout": layout, "root": str(tmp_path / "macro")} for layout in layouts)
    for dataset, kind in ((macro, "macro"), (micro, "micro")):
        if dataset["layout"] in ("manifest", "demo"):
            dataset["kind"] = kind
        if dataset["layout"] == "demo":
            del dataset["root"]
    system = {} if "system" in experiment else {"system": "tsdgcn", "macro": "one"}
    base = {"micro": "two"} | system | experiment
    overlay = {"datasets": {"one": macro, "two": micro}, "experiments": {"mine": base}, "floors": list(floors)}
    plans = audit_plan(plan(overlay | {"tables": tables or {}}).training)
    return {entry.experiment: entry for entry in plans}


@pytest.mark.parametrize(
    ("changes", "fitted"),
    [
        ({}, ["train", "validation"]),
        ({"network": {"epoch_choice": "validation"}}, ["train"]),
        ({"network": {"epoch_choice": "fixed"}}, ["train", "validation"]),
    ],
)
def test_fitted_parts_follow_the_choice_of_the_epoch(tmp_path, changes, fitted):
    audited = planned(tmp_path, ("manifest", "manifest"), system="msjfn", **changes)
    assert audited["mine"].fitted_parts == fitted


@pytest.mark.parametrize(
    ("layouts", "same"),
    [
        (("mmew-macro", "mmew-micro"), True),
        (("manifest", "manifest"), True),
        (("ck-plus", "samm"), False),
        (("mmew-macro", "samm"), False),
        (("demo", "demo"), False),
    ],
)
def test_same_name_is_same_person_within_one_source(tmp_path, layouts, same):
    audited = planned(tmp_path, layouts)
    assert audited["mine"].same_people == (["two"] if same else [])
    assert audited["mine"].macro.endswith("/one/default/cache.h5") and not audited["mine"].excludes_test_people
    assert replace(audited["majority"], splits={}, caches={}) == AuditSettings(
        "majority", splits={}, caches={}, macro="", same_people=[], excludes_test_people=False,
        scorer="", scorer_people=[], divides_subjects=False, fitted_parts=["train", "validation"], scored=True,
    )  # fmt: skip


def test_audit_plan_follows_the_settings(tmp_path):
    layouts = ("mmew-macro", "mmew-micro")
    assert planned(tmp_path, layouts, pretrain={"exclude_test_subjects": True})["mine"].excludes_test_people
    audited = planned(tmp_path, layouts, macro="none")["mine"]
    assert (audited.macro, audited.same_people, audited.fitted_parts) == ("", [], ["train", "validation"])
    audited = planned(tmp_path, layouts, protocol="paper-holdout", seeds=[3, 5])
    assert audited["mine"].divides_subjects and list(audited["mine"].splits) == [3, 5]
    assert audited["majority"].splits == audited["mine"].splits, "the floor has the split of the experiment"


def test_audit_plan_has_table_cells_once_per_split(tmp_path):
    layouts = ("mmew-macro", "mmew-micro")
    table = {"of": "mine", "rows": {"loss.gamma": [1, 2]}}
    audited = planned(tmp_path, layouts, {"t": table})
    assert list(audited) == ["mine", "majority", "table t"] and not audited["table t"].scored
    assert audited["table t"].splits == audited["mine"].splits
    audited = planned(tmp_path, layouts, {"t": table | {"columns": {"protocol": ["loso", "paper-holdout"]}}})
    assert [entry.divides_subjects for name, entry in audited.items() if name.startswith("table t: ")] == [False, True]
    assert len(audited) == 4


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({"loss": {"name": "cross-entropy"}}, True),
        ({"head": {"learning_rate": 0.5}}, True),
        ({"head": {"validation": 0.3}}, False),
        ({"protocol": "subject-kfold"}, False),
        ({"classes": ["happiness", "surprise"]}, False),
    ],
    ids=["loss", "rate", "validation", "protocol", "classes"],
)
def test_experiments_share_a_split_of_equal_settings(tmp_path, changes, shared):
    plain = planned(tmp_path, ("demo", "demo"))["mine"].splits
    assert (planned(tmp_path, ("demo", "demo"), **changes)["mine"].splits == plain) is shared
