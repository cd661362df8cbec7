"""Tables and figures of a study beside the published ones."""

import numpy as np
import pandas as pd
import pytest
from published_values import SAMM_CLASSES, ledger_entries, published_table
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from merflow.evaluation.evaluate import evaluate
from merflow.evaluation.figure_tables import compare_confusion, compare_methods, compare_stages, compare_variants
from merflow.evaluation.settings import EvaluationSettings, FigureExperiment
from merflow.storage.tables import ACCURACY_TRAIN, GRID, METRICS, PREDICTIONS, read_table, write_table


def ours(system):
    return FigureExperiment(system, "none", ["d"], SAMM_CLASSES)


def test_compare_variants_marks_differences_and_ledger(tmp_path):
    base = {"row": "8+2", "column": "temporal", "n_clips": 44}
    rows = [
        base | {"metric": "accuracy", "value": 0.45, "ci_low": 0.4, "ci_high": 0.5},  # printed 42.3
        base | {"metric": "accuracy_pretrain", "value": 0.95},  # printed 90.7
        base | {"metric": "uf1", "value": 0.3},
    ]
    write_table(rows, tmp_path / "t.csv", GRID)
    accuracy, pretrained, uf1 = compare_variants(read_table(tmp_path / "t.csv", GRID), "tsdgcn-mmew-graphs")
    assert accuracy["differs"] == "no" and accuracy["ledger"] == "" and accuracy["published"] == pytest.approx(0.423)
    assert pretrained["differs"] == "yes" and {11, 12} <= set(ledger_entries(pretrained["ledger"]))
    assert "published" not in uf1
    assert all("published" not in row for row in compare_variants(read_table(tmp_path / "t.csv", GRID), None))


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Predictions, metrics and training accuracies of one experiment; a third of the answers is drawn."""
    folder, rng, rows = tmp_path_factory.mktemp("answers"), np.random.default_rng(3), []
    for person in range(8):
        for place in range(9):
            truth = SAMM_CLASSES[place % 3]
            predicted = str(rng.choice(SAMM_CLASSES)) if rng.random() < 0.4 else truth
            row = {"experiment": "mine", "repeat": 0, "fold": f"p{person}", "dataset": "d", "subject": f"d/p{person}"}
            rows.append(row | {"clip": f"{person}-{place}", "truth": truth, "predicted": predicted})
    write_table(rows, folder / "predictions.csv", PREDICTIONS)
    evaluate(
        folder / "predictions.csv",
        folder / "metrics.csv",
        EvaluationSettings("mine", "loso", SAMM_CLASSES),
    )
    name = {"experiment": "mine", "repeat": 0}
    trained = [
        name | {"fold": "8+2", "stage": "pretrain", "accuracy": 0.9, "n": 100},
        name | {"fold": "4+0", "stage": "pretrain", "accuracy": 0.8, "n": 100},
        name | {"fold": "p0", "stage": "finetune", "accuracy": 1.0, "n": 30},
        name | {"fold": "p1", "stage": "finetune", "accuracy": 0.5, "n": 10},
        name | {"experiment": "another", "fold": "p1", "stage": "finetune", "accuracy": 0.0, "n": 10},
    ]
    write_table(trained, folder / "accuracy.csv", ACCURACY_TRAIN)
    return folder


def test_compare_methods_has_ours_and_published_ones(answers):
    metrics = read_table(answers / "metrics.csv", METRICS)
    table = read_table(answers / "predictions.csv", PREDICTIONS)
    rows = compare_methods(metrics, {"mine": ours("tsdgcn")}, "tsdgcn-samm-methods")
    first_row, others = rows[0], rows[1:]
    assert first_row["row"] == "mine" and first_row["protocol"] == "loso"
    assert first_row["value"] == pytest.approx((table["truth"] == table["predicted"]).mean(), abs=1e-8)
    assert first_row["ci_low"] < first_row["value"] < first_row["ci_high"] and first_row["published"] == 0.75
    assert len(others) == 23 and all("value" not in row and row["source"] and row["caveat"] for row in others)
    alone = compare_methods(metrics, {"mine": ours("tsdgcn")}, None)
    assert [row["metric"] for row in alone] == ["accuracy", "uf1", "uar"]
    assert not any("published" in row for row in alone)


@pytest.fixture(scope="module")
def composite(tmp_path_factory):
    """Metrics of two systems on clips of three databases, named as public tables of flow images name them."""
    folder, rng = tmp_path_factory.mktemp("composite"), np.random.default_rng(5)
    rows = [
        {"repeat": 0, "fold": f"{data}/p{person}", "dataset": data, "subject": f"{data}/p{person}",
         "clip": f"{data}/{person}-{place}", "truth": SAMM_CLASSES[place % 3]}
        for data in ("SMIC", "casme_2", "SAMM") for person in range(4) for place in range(6)
    ]  # fmt: skip
    tables = []
    for name in ("mine", "net"):
        predictions = [
            row | {"experiment": name, "predicted": str(rng.choice([row["truth"], *SAMM_CLASSES]))} for row in rows
        ]
        write_table(predictions, folder / f"{name}.csv", PREDICTIONS)
        settings = EvaluationSettings(name, "composite-loso", SAMM_CLASSES)
        evaluate(folder / f"{name}.csv", folder / "own.csv", settings)
        tables.append(read_table(folder / "own.csv", METRICS))
    return pd.concat(tables), pd.DataFrame(predictions)


@pytest.mark.parametrize(
    ("table", "column", "data"),
    [
        ("megc2019-methods", "", None),
        ("megc2019-smic-methods", "SMIC-HS", "SMIC"),
        ("megc2019-casme2-methods", "CASME II", "casme_2"),
        ("megc2019-samm-methods", "SAMM", "SAMM"),
    ],
)
def test_database_uf1_and_uar_are_compared(composite, table, column, data):
    metrics, predictions = composite
    rows = compare_methods(metrics, {"mine": ours("tsdgcn"), "net": ours("ststnet")}, table)
    values = {(row["row"], row["metric"]): row for row in rows if "value" in row}
    assert list(values) == [("mine", "uf1"), ("net", "uf1"), ("mine", "uar"), ("net", "uar")]
    of = predictions if data is None else predictions[predictions["dataset"] == data]
    expected = {
        "uf1": f1_score(of["truth"], of["predicted"], average="macro"),
        "uar": recall_score(of["truth"], of["predicted"], average="macro"),
    }
    printed = published_table(table)
    for metric, value in expected.items():
        row = values["net", metric]
        assert row["value"] == pytest.approx(value) and row["n_clips"] == len(of) and row["column"] == column
        assert row["published"] == printed["STSTNet", column, metric] and row["differs"] in ("yes", "no")
        assert row["ledger"] == "" and "published" not in values["mine", metric]
    others = [row for row in rows if "value" not in row]
    assert len(others) == len(printed) and all(row["caveat"] for row in others)


def test_compare_methods_of_missing_database_has_no_row(composite, caplog):
    metrics = composite[0][composite[0]["scope"] != "dataset:SAMM"]
    rows = compare_methods(metrics, {"mine": ours("tsdgcn")}, "megc2019-samm-methods")
    assert rows and not any("value" in row for row in rows)
    assert "mine has no clips of SAMM" in caplog.text


def test_compare_stages_of_an_experiment(answers):
    metrics, accuracy = (
        read_table(answers / "metrics.csv", METRICS),
        read_table(answers / "accuracy.csv", ACCURACY_TRAIN),
    )
    mine = {"mine": FigureExperiment("tsdgcn", "ck", ["a", "b"], SAMM_CLASSES)}
    rows = compare_stages(metrics, accuracy, mine, "tsdgcn-samm-stages")
    of_mine = [row for row in rows if row["row"] == "mine"]
    assert [(row["metric"], row["column"]) for row in of_mine] == [
        ("accuracy_pretrain", "ck"), ("accuracy_finetune", "a + b"), ("accuracy", "a + b")
    ]  # fmt: skip
    assert [row["value"] for row in of_mine[:2]] == pytest.approx([0.85, 0.875])
    assert [row["published"] for row in of_mine] == pytest.approx([0.997, 0.975, 0.75])
    assert [row["differs"] for row in of_mine[:2]] == ["yes", "yes"] and len(rows) == 3 + 6
    without = compare_stages(metrics, accuracy[accuracy["stage"] != "pretrain"], mine, None)
    assert [row["metric"] for row in without] == ["accuracy_finetune", "accuracy"]


def test_compare_confusion_equals_scikit_learn(answers):
    table, metrics = read_table(answers / "predictions.csv", PREDICTIONS), read_table(answers / "metrics.csv", METRICS)
    rows = pd.DataFrame(compare_confusion(table, metrics, {"mine": ours("tsdgcn")}, "tsdgcn-samm-confusion"))
    reference = confusion_matrix(table["truth"], table["predicted"], labels=SAMM_CLASSES)
    shares = confusion_matrix(table["truth"], table["predicted"], labels=SAMM_CLASSES, normalize="true")
    counts = rows.pivot(index="row", columns="column", values="count").loc[SAMM_CLASSES, SAMM_CLASSES]
    rates = rows.pivot(index="row", columns="column", values="value").loc[SAMM_CLASSES, SAMM_CLASSES]
    assert reference.min() < reference.max() and (counts.to_numpy() == reference).all()
    assert rates.to_numpy() == pytest.approx(shares)
    right = rows[rows["row"] == rows["column"]]
    assert (right["ci_low"] <= right["value"]).all() and (right["value"] <= right["ci_high"]).all()
    assert rows.loc[rows["row"] != rows["column"], ["ci_low", "ci_high"]].isna().all(axis=None), "of recalls only"
    assert (right["published"] == 1).all() and rows["published"].notna().sum() == 3
    assert (right["differs"] == np.where(right["ci_high"] < 0.9995, "yes", "no")).all()
