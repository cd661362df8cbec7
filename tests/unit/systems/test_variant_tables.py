"""Tables of variants: cells, their names, the paper's numbers, and each cell as an experiment of its own."""

import re

import numpy as np
import pytest
import yaml
from configurations import BASE, plan
from graph_caches import HEAD, PRETRAIN, SETTINGS, make_cache
from repository import REPO
from training_jobs import finetune, finetune_settings, pretrain

from merflow.errors import ConfigError
from merflow.evaluation.metrics import score
from merflow.evaluation.published import published
from merflow.protocols.variants import variant_label, variants, with_overrides
from merflow.storage.tables import GRID, PREDICTIONS, read_table
from merflow.study.load import load_config
from merflow.systems.registry import complete_block, network_settings
from merflow.systems.settings import CellSettings
from merflow.systems.tsdgcn.features import extract
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.pretrain import outcome
from merflow.systems.tsdgcn.variant_tables import run_table


def test_variant_label_names_varied_settings():
    assert variant_label({"loss.alpha": 0.5}) == "alpha 0.5" and variant_label({"loss.gamma": 1.0}) == "gamma 1"
    assert variant_label({"graphs": ["8+2", "4+0"]}) == "8+2 and 4+0"
    assert variant_label({"branches": ["spatial"], "loss.name": "focal"}) == "spatial, focal"


def test_with_overrides_changes_named_keys_only():
    base = {"loss": {"name": "focal", "alpha": 1.0}, "graphs": ["8+2"]}
    changed = with_overrides(base, {"loss.alpha": 2, "graphs": ["4+0"]})
    assert changed == {"loss": {"name": "focal", "alpha": 2}, "graphs": ["4+0"]}
    assert base == {"loss": {"name": "focal", "alpha": 1.0}, "graphs": ["8+2"]}
    network = network_settings("msjfn", complete_block("msjfn", {"weight_decay": 0.0, "epoch_choice": "validation"}))
    changed = with_overrides(network, {"width": 8, "epochs": 3})
    assert (changed.options["width"], changed.epochs, network.options["width"]) == (8, 3, 16)
    assert variants({"loss.alpha": [1, 2]}) == [{"loss.alpha": 1}, {"loss.alpha": 2}] and variants(None) == [{}]


def test_published_numbers_are_those_of_the_paper():
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
def test_studies_have_every_published_cell(name):
    study = yaml.safe_load((REPO / "studies" / f"tsdgcn_{name}.yaml").read_text())
    for table in study["tables"].values():
        cells = {
            (variant_label(r), variant_label(c))
            for r in variants(table["rows"])
            for c in variants(table.get("columns"))
        }
        printed = {key[1:3] for key in published() if key[0] == table["published"]}
        assert cells == printed, table["published"]


def test_demo_study_plans_all_cells():
    overlay = yaml.safe_load((REPO / "studies" / "tsdgcn_demo.yaml").read_text())
    study = plan(overlay)
    study.check()
    assert [len(study.training.cells(name)) for name in ("focal", "graphs", "ablation")] == [25, 20, 6]
    assert {g.p * 100 + g.q for g in study.training.graphs.values()} == {400, 406, 802, 1200}
    assert len(study.training.networks_by_weights) == 22, "four single graphs, and two for each of nine pairs"
    focal = study.training.cells("focal")
    assert len({tuple(f) for cell in focal for d in cell.features.values() for f in d}) == 1, "extracted once"
    assert {(c.finetune.loss.alpha, c.finetune.loss.gamma) for c in focal} == {
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
def test_mistake_in_a_table_is_named(table, message):
    whole = {"of": "tsdgcn", "rows": {"loss.gamma": [1, 2]}} | table
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(BASE, {"tables": {"t": whole}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    build_graph(16, 4, 0).save(folder / "graph.h5")
    macro, micro = make_cache(folder / "macro.h5", 4, 2, 0, "macro"), make_cache(folder / "micro.h5", 4, 2, 1, "micro")
    weights = folder / "w.safetensors"
    pretrain(macro, folder / "graph.h5", weights, folder / "w.csv", PRETRAIN | {"epochs": 4}, seed=3)
    extract(micro, weights, folder / "graph.h5", folder / "f.h5", "magnitude")
    return folder


def test_run_table_trains_each_cell_as_an_experiment(folder, tmp_path):
    features, weights = {0: [[folder / "f.h5"]]}, [folder / "w.safetensors"]
    short = SETTINGS | {"head": HEAD | {"epochs": 6}}
    cells = {
        "gamma 1": short | {"loss": {"name": "focal", "alpha": 1.0, "gamma": 1.0}},
        "gamma 0.5": short | {"loss": {"name": "focal", "alpha": 1.0, "gamma": 0.5}, "branches": ["spatial"]},
    }
    settings = {name: finetune_settings([folder / "f.h5"], cell, [0], tmp_path) for name, cell in cells.items()}
    run_table(
        [CellSettings("alpha 1", name, "loso", cell, features, weights) for name, cell in settings.items()],
        tmp_path / "t.csv",
        tmp_path / "t" / "predictions.csv",
        paper="tsdgcn-samm-focal",
    )
    table = read_table(tmp_path / "t.csv", GRID)
    predictions = read_table(tmp_path / "t" / "predictions.csv", PREDICTIONS)
    for name, cell in cells.items():
        alone = [tmp_path / file for file in ("p.csv", "a.csv", "c.csv")]
        finetune(features, *alone, cell)
        reference = read_table(alone[0], PREDICTIONS)
        in_table = predictions[predictions["experiment"] == f"alpha 1 | {name}"]
        assert in_table["predicted"].tolist() == reference["predicted"].tolist()
        figures = score(reference["truth"], reference["predicted"], ["up", "down", "left"])
        rows = table[table["column"] == name].set_index("metric")
        for metric in ("accuracy", "uf1", "uar"):
            assert rows.loc[metric, "value"] == pytest.approx(figures[metric], abs=1e-8)
        assert rows.loc["accuracy", "ci_low"] <= figures["accuracy"] <= rows.loc["accuracy", "ci_high"]
        assert rows.loc["accuracy_pretrain", "value"] == pytest.approx(outcome(weights[0])["accuracy_train"])
    published = table[table["metric"] == "accuracy"].set_index("column")["published"]
    assert published["gamma 1"] == pytest.approx(0.75) and published["gamma 0.5"] == pytest.approx(0.7438)
    assert np.isnan(table[table["metric"] == "uf1"]["published"].astype(float)).all()
    assert sorted(f.name for f in (tmp_path / "t").iterdir()) == ["predictions.csv"], "no temporary file is left"
