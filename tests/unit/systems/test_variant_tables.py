"""Tables of variants: cells, their names, the paper's numbers, and each cell as an experiment of its own."""

import re

import numpy as np
import pytest
import yaml
from graph_caches import HEAD, PRETRAIN, SETTINGS, make_cache
from repository import REPO

from merflow.errors import ConfigError
from merflow.evaluation.metrics import score
from merflow.evaluation.published import published
from merflow.protocols.variants import label, variants, varied
from merflow.storage.tables import GRID, PREDICTIONS, read_table
from merflow.study.config import load_config
from merflow.study.study import Study
from merflow.systems.tsdgcn.features import extract
from merflow.systems.tsdgcn.finetune import finetune
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.pretrain import outcome, pretrain
from merflow.systems.tsdgcn.variant_tables import run_table

BASE = REPO / "config.yaml"


def test_a_variant_is_named_by_what_it_varies():
    assert label({"loss.alpha": 0.5}) == "alpha 0.5" and label({"loss.gamma": 1.0}) == "gamma 1"
    assert label({"graphs": ["8+2", "4+0"]}) == "8+2 and 4+0"
    assert label({"branches": ["spatial"], "loss.name": "focal"}) == "spatial, focal"


def test_dotted_keys_change_what_they_name_and_nothing_else():
    base = {"loss": {"name": "focal", "alpha": 1.0}, "graphs": ["8+2"]}
    changed = varied(base, {"loss.alpha": 2, "graphs": ["4+0"]})
    assert changed == {"loss": {"name": "focal", "alpha": 2}, "graphs": ["4+0"]}
    assert base == {"loss": {"name": "focal", "alpha": 1.0}, "graphs": ["8+2"]}
    assert variants({"loss.alpha": [1, 2]}) == [{"loss.alpha": 1}, {"loss.alpha": 2}] and variants(None) == [{}]


def test_the_papers_numbers_are_its_own():
    """Best cells as the text quotes them; Table IV in multiples of 1/44 (two cells are not), Table V of 1/160."""
    table = published()
    assert table["tsdgcn-mmew-focal", "alpha 1.5", "gamma 0.2", "accuracy"]["value"] == pytest.approx(0.7273)
    assert table["tsdgcn-samm-focal", "alpha 1", "gamma 1", "accuracy"]["value"] == pytest.approx(0.75)
    four, five = (
        [r["value"] for (t, *_), r in table.items() if t == f"tsdgcn-{d}-focal"] for d in ("mmew", "samm")
    )  # fmt: skip
    assert len(four) == len(five) == 25 and max(four) == pytest.approx(0.7273) and max(five) == pytest.approx(0.75)
    assert sum(abs(v * 44 - round(v * 44)) > 0.0025 for v in four) == 2
    assert all(abs(v * 160 - round(v * 160)) < 0.02 for v in five)
    assert all(0 <= row["value"] <= 1 and row["source"] for row in table.values())


@pytest.mark.parametrize("name", ["mmew", "samm"])
def test_the_papers_studies_meet_every_cell_that_it_printed(name):
    study = yaml.safe_load((REPO / "studies" / f"tsdgcn_{name}.yaml").read_text())
    for table in study["tables"].values():
        cells = {(label(r), label(c)) for r in variants(table["rows"]) for c in variants(table.get("columns"))}
        printed = {key[1:3] for key in published() if key[0] == table["published"]}
        assert cells == printed, table["published"]


def test_the_demo_study_is_planned_with_its_graphs_and_cells():
    overlay = yaml.safe_load((REPO / "studies" / "tsdgcn_demo.yaml").read_text())
    study = Study(load_config(BASE, overlay))
    study.check()
    assert [len(study.cells(name)) for name in ("focal", "graphs", "ablation")] == [25, 20, 6]
    assert {g["p"] * 100 + g["q"] for g in study._graphs.values()} == {400, 406, 802, 1200}
    assert len(study._weights) == 6, "four graphs, and a second network of 8+2 and of 4+0 (Table VII)"
    focal = study.cells("focal")
    assert len({tuple(f) for cell in focal for d in cell["features"].values() for f in d}) == 1, "extracted once"
    assert {(c["settings"]["loss"]["alpha"], c["settings"]["loss"]["gamma"]) for c in focal} == {
        (a, g) for a in (0.1, 0.5, 1, 1.5, 2) for g in (0.1, 0.2, 0.5, 1, 1.5)
    }


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"of": "majority"}, "tables.t.of: no experiment 'majority' that trains a network; there are: tsdgcn"),
        ({"rows": {"loss.alfa": [1]}}, "loss.alfa: unknown key (did you mean `alpha`?)"),
        ({"rows": {"graphs": [["30+0"]]}}, "30+0 is more than the 24 neighbours"),
        ({"rows": {"macro": ["none"]}, "columns": {"loss.gamma": [1]}}, "tables are for transfer: frozen"),
        ({"rows": {"transfer": ["end-to-end"]}}, "tables are for transfer: frozen"),
        ({"rows": {"loss.gamma": [1, 1.0]}}, "two cells have the same name"),
        ({"published": "nobody"}, "tables.t.published: no table 'nobody'; there are: megc2019-casme2-methods"),
        ({"rows": []}, "tables.t.rows: [] is not allowed; expected variants"),
    ],
)
def test_a_mistake_in_a_table_is_named(table, message):
    whole = {"of": "tsdgcn", "rows": {"loss.gamma": [1, 2]}} | table
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(BASE, {"tables": {"t": whole}})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    build_graph(16, 4, 0).save(folder / "graph.h5")
    macro, micro = make_cache(folder / "macro.h5", 4, 2, 0, "macro"), make_cache(folder / "micro.h5", 4, 2, 1, "micro")
    weights = folder / "w.safetensors"
    pretrain(macro, folder / "graph.h5", weights, folder / "w.csv", PRETRAIN | {"epochs": 4}, seed=3)
    extract(micro, weights, folder / "graph.h5", folder / "f.h5", {"signal": "magnitude"})
    return folder


def cell(made, row, column, **changes):
    settings = SETTINGS | {"head": HEAD | {"epochs": 6}, "classes": ["up", "down", "left"]} | changes
    features = {0: [[made / "f.h5"]]}
    return {
        "row": row,
        "column": column,
        "settings": settings,
        "features": features,
        "weights": [made / "w.safetensors"],
    }


def test_a_cell_is_what_its_experiment_alone_would_be(made, tmp_path):
    cells = [
        cell(made, "alpha 1", "gamma 1", loss={"name": "focal", "alpha": 1.0, "gamma": 1.0}),
        cell(made, "alpha 1", "gamma 0.5", loss={"name": "focal", "alpha": 1.0, "gamma": 0.5}, branches=["spatial"]),
    ]
    run_table(cells, tmp_path / "t.csv", tmp_path / "t" / "predictions.csv", paper="tsdgcn-samm-focal")
    table = read_table(tmp_path / "t.csv", GRID)
    answers = read_table(tmp_path / "t" / "predictions.csv", PREDICTIONS)
    for one in cells:
        alone = [tmp_path / name for name in ("p.csv", "a.csv", "c.csv")]
        finetune(one["features"], *alone, one["settings"])
        reference = read_table(alone[0], PREDICTIONS)
        own = answers[answers["experiment"] == f"{one['row']} | {one['column']}"]
        assert own["predicted"].tolist() == reference["predicted"].tolist()
        figures = score(reference["truth"], reference["predicted"], ["up", "down", "left"])
        rows = table[(table["row"] == one["row"]) & (table["column"] == one["column"])].set_index("metric")
        for metric in ("accuracy", "uf1", "uar"):
            assert rows.loc[metric, "value"] == pytest.approx(figures[metric], abs=1e-8)
        assert rows.loc["accuracy", "ci_low"] <= figures["accuracy"] <= rows.loc["accuracy", "ci_high"]
        assert rows.loc["accuracy_pretrain", "value"] == pytest.approx(
            outcome(made / "w.safetensors")["accuracy_train"]
        )
    printed = table[table["metric"] == "accuracy"].set_index("column")["published"]
    assert printed["gamma 1"] == pytest.approx(0.75) and printed["gamma 0.5"] == pytest.approx(0.7438)
    assert np.isnan(table[table["metric"] == "uf1"]["published"].astype(float)).all()
    assert sorted(f.name for f in (tmp_path / "t").iterdir()) == ["predictions.csv"], "nothing is left beside it"
