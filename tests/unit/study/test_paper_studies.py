"""The papers' studies: every table and figure is shown, and mistakes in figures are named."""

import re
from pathlib import Path

import dataset_trees
import published_takes
import pytest
import yaml
from configurations import BASE, plan
from published_values import published_table
from repository import REPO

from merflow.errors import ConfigError
from merflow.evaluation.published import published
from merflow.study.load import load_config


def test_paper_studies_show_every_table_and_figure():
    for name, number in (("demo", 6), ("mmew", 6), ("samm", 7)):
        study = yaml.safe_load((REPO / "studies" / f"tsdgcn_{name}.yaml").read_text())
        kinds = {block: figure["kind"] for block, figure in study["figures"].items()}
        assert kinds == {
            "table-II": "methods", "table-III": "stages", f"figure-{number}": "confusion", "figure-8": "flow-statistics"
        }  # fmt: skip
        tables = {key[0] for key in published()}
        for block in [*study["figures"].values(), *study["tables"].values()]:
            assert block.get("published", "") in ({""} if name == "demo" else tables | {""})
            assert name == "demo" or f"-{name}-" in block.get("published", f"-{name}-")


def test_studies_of_the_paper_are_planned(tmp_path):
    """51 cells, of which three are repeated or are the experiment itself, and one experiment on unseen people."""
    dataset_trees.mmew_micro(tmp_path / "MMEW", published_takes.mmew_takes())
    dataset_trees.mmew_macro(tmp_path / "MMEW", published_takes.mmew_macro_takes())
    dataset_trees.samm(tmp_path / "SAMM", published_takes.samm_takes())
    dataset_trees.ck_plus(tmp_path / "CK+", published_takes.ck_takes())
    for name, number in (("mmew", 6), ("samm", 7)):
        overlay = yaml.safe_load((REPO / "studies" / f"tsdgcn_{name}.yaml").read_text())
        for dataset in overlay["datasets"].values():
            dataset["root"] = str(tmp_path / Path(dataset["root"]).name)
        study = plan(overlay)
        study.check()
        assert study.figures.tried == 49 + 2, "the two other systems"
        settings = {figure: study.figures.settings(figure) for figure in study.figures.blocks}
        assert not any(figure.synthetic for figure in settings.values())
        assert study.figures.inputs("figure-8") == {"caches": [f"results/data/{name}/default/cache.h5"]}
        assert settings["figure-8"].flow_labels.classes == study.experiments.classes("tsdgcn")
        shown = settings[f"figure-{number}"].experiments
        assert list(shown) == ["tsdgcn", "tsdgcn-loso"]
        if name == "samm":
            named = {row for row, *_ in published_table("tsdgcn-samm-confusion")}
            assert named < set(shown["tsdgcn"].classes), "named as the classes of the study"
            assert settings["table-III"].experiments["tsdgcn"].macro == "ck"


def test_tried_counts_each_configuration_once():
    overlay = yaml.safe_load((REPO / "studies" / "tsdgcn_demo.yaml").read_text())
    study = plan(overlay)
    assert len(study.config.tables) == 4
    # 25 + 20 + 6 + 7 cells; Table VII repeats a cell of Table V and two of Table VI; the experiment is one of Table IV.
    assert study.figures.tried == 25 + 20 + 6 + 7 - 3 + 2, "the two other systems"
    assert plan({}).figures.tried == 3, "the three systems"
    tsdgcn = yaml.safe_load(BASE.read_text())["experiments"]["tsdgcn"]
    unused = {
        name: tsdgcn | {"loss": {"name": "cross-entropy", "gamma": gamma}} for name, gamma in (("a", 1), ("b", 2))
    }
    used = {name: tsdgcn | {"loss": {"name": "focal", "gamma": gamma}} for name, gamma in (("a", 1), ("b", 2))}
    weights = {name: tsdgcn | {"loss": {"name": "cross-entropy", "weights": name}} for name in ("none", "balanced")}
    assert [plan({"experiments": e}).figures.tried for e in (unused, used, weights)] == [1, 2, 2]
    assert study.figures.settings("focal").tried == 25 and study.figures.settings("table-II").tried == 57


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"of": "nobody"}, "figures.f.of: no experiment 'nobody'; there are: tsdgcn"),
        ({"kind": "pie"}, "figures.f.kind: 'pie' is not allowed; allowed: methods, stages, confusion, flow-statistics"),
        ({"published": "nobody"}, "figures.f.published: no table 'nobody'; there are: megc2019-casme2-methods"),
        ({"kind": "flow-statistics", "of": ["tsdgcn", "two"]}, "figures.f.of: flow-statistics show the clips of one"),
        ({"kind": "flow-statistics", "published": "tsdgcn-mmew-focal"}, "flow-statistics have no published numbers"),
        (
            {"kind": "flow-statistics", "of": "majority"},
            "figures.f.of: no experiment 'majority'; there are: tsdgcn, msjfn, mersiamc3d, two",
        ),
        ({"colour": "red"}, "figures.f.colour: unknown key"),
    ],
)
def test_problems_of_a_figure_are_named(figure, message):
    two = yaml.safe_load(BASE.read_text())["experiments"]
    experiments = two | {"two": two["tsdgcn"]}
    whole = {"kind": "methods", "of": "tsdgcn"} | figure
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(BASE, {"figures": {"f": whole}, "experiments": experiments})


def test_composite_study_shows_every_published_table(tmp_path):
    overlay = yaml.safe_load((REPO / "studies" / "megc2019.yaml").read_text())
    images = [dataset_trees.FlowImage(f"base{n % 3}", f"{n % 5}", f"{n}", "surprise") for n in range(9)]
    tree = dataset_trees.flow_images(tmp_path, images, write=lambda path, image: path.write_bytes(b"x"))
    overlay["datasets"]["flows"]["root"] = str(tree.root)
    study = plan(overlay)
    shown = {figure["published"]: study.figures.settings(name) for name, figure in study.figures.blocks.items()}
    assert set(shown) == {key[0] for key in published() if key[0].startswith("megc2019")} and len(shown) == 4
    for settings in shown.values():
        systems = [experiment.system for experiment in settings.experiments.values()]
        assert systems == ["tsdgcn", "msjfn", "mersiamc3d", "ensemble", "ststnet", "off-apexnet"], "floors among them"


def test_figure_of_unknown_floor_names_the_floors():
    tsdgcn = yaml.safe_load(BASE.read_text())["experiments"]["tsdgcn"]
    two = {"a": tsdgcn, "b": tsdgcn | {"protocol": "subject-kfold"}}  # Floors of two protocols have longer names.
    figures = {"f": {"kind": "methods", "of": ["majority"]}}
    with pytest.raises(
        ConfigError, match=r"figures\.f\.of: no experiment or floor 'majority'; there are: a, b, majority-"
    ):
        plan({"experiments": two, "figures": figures})


def test_figure_must_not_have_the_name_of_a_table():
    table = {"of": "tsdgcn", "rows": {"loss.gamma": [1, 2]}}
    with pytest.raises(ConfigError, match="figures.t: a table of variants has this name"):
        load_config(BASE, {"tables": {"t": table}, "figures": {"t": {"kind": "methods", "of": "tsdgcn"}}})
