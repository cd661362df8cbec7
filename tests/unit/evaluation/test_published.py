"""Our numbers beside published ones: what the paper printed, what differs, what could explain it."""

import math
import re
from itertools import product
from pathlib import Path

import dataset_trees
import numpy as np
import pandas as pd
import published_takes
import pytest
import yaml
from configurations import BASE, plan
from repository import REPO
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from merflow.errors import ConfigError
from merflow.evaluation.evaluate import evaluate
from merflow.evaluation.figure_tables import compare_confusion, compare_methods, compare_stages, compare_variants
from merflow.evaluation.published import differs, ledger, published
from merflow.evaluation.settings import EvaluationSettings, FigureExperiment
from merflow.storage.tables import ACCURACY_TRAIN, GRID, METRICS, PREDICTIONS, read_table, write_table
from merflow.study.load import load_config

CLASSES = ["happiness", "surprise", "anger"]


def entries(text):
    """Entries of the ledger that a table names: ``18 11 10``."""
    return [int(number) for number in text.split()]


def ours(system):
    return FigureExperiment(system, "none", ["d"], CLASSES)


def table_of(name: str) -> dict[tuple[str, str, str], float]:
    return {key[1:]: row["value"] for key, row in published().items() if key[0] == name}


def test_table_ii_is_the_papers():
    """22 methods and the paper's own; values as printed, and the paper's words on the best of the others."""
    mmew, samm = (table_of(f"tsdgcn-{d}-methods") for d in ("mmew", "samm"))
    assert len(mmew) == len(samm) == 23 and set(mmew) == set(samm)
    printed = {
        "FDM [50]": (34.6, 34.1),
        "ResNet10 [17]": (36.6, 39.3),
        "LBP+TOP [53]": (38.9, 37.0),
        "RHWP-TOP [2]": (45.9, 38.1),
        "Transfer Learning [40]": (52.4, 55.9),
        "MDMO [32]": (65.7, 50.0),
        "DTSCNN [39]": (65.9, 69.2),
        "TLCNN [42]": (69.4, 73.5),
        "TSDGCN": (72.7, 75.0),
    }
    for name, values in printed.items():
        own = [100 * table[name, "", "accuracy"] for table in (mmew, samm)]
        assert own == pytest.approx(values), name
    assert sum(100 * v for v in mmew.values()) == pytest.approx(1125.9), "sum of the column as printed"
    assert sum(100 * v for v in samm.values()) == pytest.approx(1102.0)
    for table in (mmew, samm):
        assert sorted(table, key=table.get)[-2:] == [("TLCNN [42]", "", "accuracy"), ("TSDGCN", "", "accuracy")]


def test_table_iii_is_the_papers():
    mmew, samm = (table_of(f"tsdgcn-{d}-stages") for d in ("mmew", "samm"))
    order = ("accuracy_pretrain", "accuracy_finetune", "accuracy")
    for table, macro, micro, ours, theirs in (
        (mmew, "MMEW (macro)", "MMEW (micro)", (98.7, 99.3, 72.7), (92.0, 96.6, 69.4)),
        (samm, "CK+", "SAMM", (99.7, 97.5, 75.0), (99.0, 99.7, 73.5)),
    ):
        assert len(table) == 6
        for row, values in (("TSDGCN", ours), ("Ben et al. [3]", theirs)):
            for metric, value in zip(order, values, strict=True):
                source = macro if metric == "accuracy_pretrain" else micro
                assert 100 * table[row, source, metric] == pytest.approx(value)


def test_figure_7_has_three_classes_with_full_recall():
    assert table_of("tsdgcn-samm-confusion") == {(name, name, "rate"): 1.0 for name in CLASSES}


def test_ledger_matches_the_fidelity_document():
    document = (REPO / "docs" / "fidelity.md").read_text()
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", document, re.MULTILINE)]
    assert list(ledger()) == numbers and all(ledger().values())
    named = {number for row in published().values() for number in entries(row["ledger"])}
    assert named <= set(numbers)
    for (table, row, *_), known in published().items():
        others = table.endswith(("methods", "stages")) and row not in ("TSDGCN", "MERSiamC3D")
        assert bool(known["ledger"]) != others, "what we rebuild may be explained; what others did is not compared"


def test_published_numbers_have_system_data_and_source():
    for (table, row, _, metric), known in published().items():
        assert all(known[name].strip() for name in ("system", "dataset", "protocol", "source", "caveat")), (table, row)
        assert 0 < known["value"] <= 1
        if table.endswith(("methods", "stages")):
            assert row.split(" [UAR")[0] == known["system"]
        else:
            assert known["system"] == "TSDGCN"
        pretraining = {"MMEW (macro)", "CK+"}
        assert (known["dataset"] in pretraining) == (metric == "accuracy_pretrain")
        stated = table.startswith("megc2019") and row != "MERSiamC3D"
        assert known["protocol"] == ("composite-loso" if stated else "not stated")


def test_the_composites_numbers_are_those_of_the_challenge():
    """UF1 and UAR of all clips and of CASME II; of STSTNet the mean recall of its released predictions."""
    printed = {
        "LBP-TOP": (0.5882, 0.5785, 0.7026, 0.7429),
        "Bi-WOOF": (0.6296, 0.6227, 0.7805, 0.8026),
        "OFF-ApexNet": (0.7196, 0.7096, 0.8764, 0.8681),
        "CapsuleNet": (0.6520, 0.6506, 0.7068, 0.7018),
        "Dual-Inception": (0.7322, 0.7278, 0.8621, 0.8560),
        "STSTNet": (0.7353, 0.7186, 0.8382, 0.8190),
        "EMR": (0.7885, 0.7824, 0.8293, 0.8209),
    }
    full, casme2 = table_of("megc2019-methods"), table_of("megc2019-casme2-methods")
    for name, values in printed.items():
        own = [t[name, c, m] for t, c in ((full, ""), (casme2, "CASME II")) for m in ("uf1", "uar")]
        assert own == pytest.approx(values), name
    assert len(full) == len(casme2) == 2 * len(printed) + 1
    assert {column for _, column, _ in table_of("megc2019-smic-methods")} == {"SMIC-HS"}
    assert {column for _, column, _ in table_of("megc2019-samm-methods")} == {"SAMM"}


def test_uar_that_is_macro_precision_is_not_compared():
    printed = {"": 0.7605, "SMIC-HS": 0.7013, "CASME II": 0.8686, "SAMM": 0.6810}
    found = {key: row for key, row in published().items() if key[1] == "STSTNet [UAR as printed]"}
    assert {key[2]: row["value"] for key, row in found.items()} == pytest.approx(printed)
    assert all("macro precision" in row["caveat"] and key[3] == "uar" for key, row in found.items())
    compared = [row for key, row in published().items() if key[0].startswith("megc2019") and key[1] == "STSTNet"]
    assert len(compared) == 8 and not {row["value"] for row in compared} & set(printed.values())


def both_fit(uf1: float, uar: float, clips: tuple[int, int, int]) -> bool:
    """Whether three classes of so many clips have a confusion with this UF1 and this UAR, as printed (four digits)."""
    for right in product(*(range(n + 1) for n in clips)):
        if abs(np.mean([r / n for r, n in zip(right, clips, strict=True)]) - uar) > 5e-5:
            continue
        missed = [n - r for r, n in zip(right, clips, strict=True)]
        wrong = sum(missed)
        for first, second in product(*(range(wrong - m + 1) for m in missed[:2])):
            false = (first, second, wrong - first - second)
            if not 0 <= false[2] <= wrong - missed[2]:
                continue
            scores = [2 * r / (2 * r + f + m) for r, f, m in zip(right, false, missed, strict=True)]
            if abs(np.mean(scores) - uf1) <= 5e-5:
                return True
    return False


def test_mersiamc3d_numbers_do_not_fit_composite_clips():
    """So neither number is said to be the composite's; STSTNet's pair does fit, which checks the check."""
    samm, part, own = (92, 26, 15), table_of("megc2019-samm-methods"), table_of("mersiamc3d-samm-methods")
    assert own == pytest.approx({("MERSiamC3D", "", "accuracy"): 0.7280, ("MERSiamC3D", "", "uf1"): 0.7475})
    assert part["MERSiamC3D", "SAMM", "uf1"] == own["MERSiamC3D", "", "uf1"]
    assert ("MERSiamC3D", "SAMM", "uar") not in part, "what is quoted is called accuracy, and may be neither"
    assert both_fit(part["STSTNet", "SAMM", "uf1"], part["STSTNet", "SAMM", "uar"], samm)
    assert not both_fit(own["MERSiamC3D", "", "uf1"], own["MERSiamC3D", "", "accuracy"], samm)
    assert not any(abs(n / sum(samm) - 0.7280) < 0.0005 for n in range(sum(samm))), "nor is it an accuracy of them"


@pytest.mark.parametrize(
    ("table", "row", "column", "metric", "named", "not_named"),
    [
        ("focal", "alpha 1", "gamma 1", "accuracy", {10, 11, 18, 5}, {19}),
        ("graphs", "8+2", "temporal", "accuracy", {13, 14, 15, 16, 1, 3}, {10, 12}),
        ("graphs", "8+2", "spatial", "accuracy", {1, 2, 3, 4, 6, 12, 18}, {13, 14, 16}),
        ("graphs", "8+2", "spatial", "accuracy_pretrain", {11, 12}, {13, 18}),
        ("ablation", "spatial and temporal, cross-entropy, 8+2 and 4+0", "", "accuracy", {9, 13}, {10}),
    ],
)
def test_what_could_explain_a_number_fits_it(table, row, column, metric, named, not_named):
    for data in ("mmew", "samm"):
        found = set(entries(published()[f"tsdgcn-{data}-{table}", row, column, metric]["ledger"]))
        assert named <= found and not found & not_named
    people = {d: published()[f"tsdgcn-{d}-methods", "TSDGCN", "", "accuracy"]["ledger"] for d in ("mmew", "samm")}
    assert 19 in entries(people["mmew"]) and 19 not in entries(people["samm"]), "only MMEW's people are in both"


@pytest.mark.parametrize(
    ("value", "low", "high", "printed", "expected"),
    [
        (0.70, 0.60, 0.80, 0.727, False),
        (0.70, 0.60, 0.72, 0.727, True),
        (0.70, 0.60, 0.80, 0.591, True),
        (0.70, 0.60, 0.72668, 0.727, False),  # printed with one decimal
        (0.75, 0.72732, 0.80, 0.727, False),
        (0.75, 0.7280, 0.80, 0.727, True),
        (0.6875, math.nan, math.nan, 0.688, False),
        (0.6875, math.nan, math.nan, 0.689, True),
        (0.70, 0.60, 0.80, math.nan, None),
        (math.nan, math.nan, math.nan, 0.7, None),
    ],
)
def test_differs_outside_interval_or_beyond_rounding(value, low, high, printed, expected):
    assert differs(value, low, high, printed) is expected


def test_a_table_of_variants_says_what_differs_and_why_it_may(tmp_path):
    base = {"row": "8+2", "column": "temporal", "n_clips": 44}
    rows = [
        base | {"metric": "accuracy", "value": 0.45, "ci_low": 0.4, "ci_high": 0.5},  # printed 42.3
        base | {"metric": "accuracy_pretrain", "value": 0.95},  # printed 90.7
        base | {"metric": "uf1", "value": 0.3},
    ]
    write_table(rows, tmp_path / "t.csv", GRID)
    accuracy, pretrained, uf1 = compare_variants(read_table(tmp_path / "t.csv", GRID), "tsdgcn-mmew-graphs")
    assert accuracy["differs"] == "no" and accuracy["ledger"] == "" and accuracy["published"] == pytest.approx(0.423)
    assert pretrained["differs"] == "yes" and {11, 12} <= set(entries(pretrained["ledger"]))
    assert "published" not in uf1
    assert all("published" not in row for row in compare_variants(read_table(tmp_path / "t.csv", GRID), None))


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Predictions, metrics and training accuracies of one experiment; a third of the answers is drawn."""
    folder, rng, rows = tmp_path_factory.mktemp("answers"), np.random.default_rng(3), []
    for person in range(8):
        for place in range(9):
            truth = CLASSES[place % 3]
            given = str(rng.choice(CLASSES)) if rng.random() < 0.4 else truth
            row = {"experiment": "mine", "repeat": 0, "fold": f"p{person}", "dataset": "d", "subject": f"d/p{person}"}
            rows.append(row | {"clip": f"{person}-{place}", "truth": truth, "predicted": given})
    write_table(rows, folder / "predictions.csv", PREDICTIONS)
    evaluate(
        folder / "predictions.csv",
        folder / "metrics.csv",
        EvaluationSettings("mine", "loso", CLASSES),
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


def test_our_accuracy_stands_beside_the_published_methods(answers):
    metrics = read_table(answers / "metrics.csv", METRICS)
    table = read_table(answers / "predictions.csv", PREDICTIONS)
    rows = compare_methods(metrics, {"mine": ours("tsdgcn")}, "tsdgcn-samm-methods")
    own, others = rows[0], rows[1:]
    assert own["row"] == "mine" and own["protocol"] == "loso"
    assert own["value"] == pytest.approx((table["truth"] == table["predicted"]).mean(), abs=1e-8)
    assert own["ci_low"] < own["value"] < own["ci_high"] and own["published"] == 0.75
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
         "clip": f"{data}/{person}-{place}", "truth": CLASSES[place % 3]}
        for data in ("SMIC", "casme_2", "SAMM") for person in range(4) for place in range(6)
    ]  # fmt: skip
    tables = []
    for name in ("mine", "net"):
        own = [row | {"experiment": name, "predicted": str(rng.choice([row["truth"], *CLASSES]))} for row in rows]
        write_table(own, folder / f"{name}.csv", PREDICTIONS)
        settings = EvaluationSettings(name, "composite-loso", CLASSES)
        evaluate(folder / f"{name}.csv", folder / "own.csv", settings)
        tables.append(read_table(folder / "own.csv", METRICS))
    return pd.concat(tables), pd.DataFrame(own)


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
    own = {(row["row"], row["metric"]): row for row in rows if "value" in row}
    assert list(own) == [("mine", "uf1"), ("net", "uf1"), ("mine", "uar"), ("net", "uar")]
    of = predictions if data is None else predictions[predictions["dataset"] == data]
    expected = {
        "uf1": f1_score(of["truth"], of["predicted"], average="macro"),
        "uar": recall_score(of["truth"], of["predicted"], average="macro"),
    }
    known = table_of(table)
    for metric, value in expected.items():
        row = own["net", metric]
        assert row["value"] == pytest.approx(value) and row["n_clips"] == len(of) and row["column"] == column
        assert row["published"] == known["STSTNet", column, metric] and row["differs"] in ("yes", "no")
        assert row["ledger"] == "" and "published" not in own["mine", metric]
    others = [row for row in rows if "value" not in row]
    assert len(others) == len(known) and all(row["caveat"] for row in others)


def test_a_database_that_a_study_lacks_has_no_row_of_ours(composite, caplog):
    metrics = composite[0][composite[0]["scope"] != "dataset:SAMM"]
    rows = compare_methods(metrics, {"mine": ours("tsdgcn")}, "megc2019-samm-methods")
    assert rows and not any("value" in row for row in rows)
    assert "mine has no clips of SAMM" in caplog.text


def test_stages_are_those_of_the_experiment(answers):
    metrics, accuracy = (
        read_table(answers / "metrics.csv", METRICS),
        read_table(answers / "accuracy.csv", ACCURACY_TRAIN),
    )
    mine = {"mine": FigureExperiment("tsdgcn", "ck", ["a", "b"], CLASSES)}
    rows = compare_stages(metrics, accuracy, mine, "tsdgcn-samm-stages")
    own = [row for row in rows if row["row"] == "mine"]
    assert [(row["metric"], row["column"]) for row in own] == [
        ("accuracy_pretrain", "ck"), ("accuracy_finetune", "a + b"), ("accuracy", "a + b")
    ]  # fmt: skip
    assert [row["value"] for row in own[:2]] == pytest.approx([0.85, 0.875])
    assert [row["published"] for row in own] == pytest.approx([0.997, 0.975, 0.75])
    assert [row["differs"] for row in own[:2]] == ["yes", "yes"] and len(rows) == 3 + 6
    without = compare_stages(metrics, accuracy[accuracy["stage"] != "pretrain"], mine, None)
    assert [row["metric"] for row in without] == ["accuracy_finetune", "accuracy"]


def test_confusion_is_that_of_scikit_learn(answers):
    table, metrics = read_table(answers / "predictions.csv", PREDICTIONS), read_table(answers / "metrics.csv", METRICS)
    rows = pd.DataFrame(compare_confusion(table, metrics, {"mine": ours("tsdgcn")}, "tsdgcn-samm-confusion"))
    reference = confusion_matrix(table["truth"], table["predicted"], labels=CLASSES)
    shares = confusion_matrix(table["truth"], table["predicted"], labels=CLASSES, normalize="true")
    counts = rows.pivot(index="row", columns="column", values="count").loc[CLASSES, CLASSES]
    rates = rows.pivot(index="row", columns="column", values="value").loc[CLASSES, CLASSES]
    assert reference.min() < reference.max() and (counts.to_numpy() == reference).all()
    assert rates.to_numpy() == pytest.approx(shares)
    right = rows[rows["row"] == rows["column"]]
    assert (right["ci_low"] <= right["value"]).all() and (right["value"] <= right["ci_high"]).all()
    assert rows.loc[rows["row"] != rows["column"], ["ci_low", "ci_high"]].isna().all(axis=None), "of recalls only"
    assert (right["published"] == 1).all() and rows["published"].notna().sum() == 3
    assert (right["differs"] == np.where(right["ci_high"] < 0.9995, "yes", "no")).all()


def test_the_papers_studies_show_every_table_and_figure():
    for name, number in (("demo", 6), ("mmew", 6), ("samm", 7)):
        study = yaml.safe_load((REPO / "studies" / f"tsdgcn_{name}.yaml").read_text())
        kinds = {block: figure["kind"] for block, figure in study["figures"].items()}
        assert kinds == {
            "table-II": "methods", "table-III": "stages", f"figure-{number}": "confusion", "figure-8": "flow-statistics"
        }  # fmt: skip
        known = {key[0] for key in published()}
        for block in [*study["figures"].values(), *study["tables"].values()]:
            assert block.get("published", "") in ({""} if name == "demo" else known | {""})
            assert name == "demo" or f"-{name}-" in block.get("published", f"-{name}-")


def test_studies_of_the_paper_are_planned(tmp_path):
    """51 cells, of which three are there twice or are the experiment itself, and the one on unseen people."""
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
        assert not any(one.synthetic for one in settings.values())
        assert study.figures.inputs("figure-8") == {"caches": [f"results/data/{name}/default/cache.h5"]}
        assert settings["figure-8"].flow_labels.classes == study.experiments.classes("tsdgcn")
        shown = settings[f"figure-{number}"].experiments
        assert list(shown) == ["tsdgcn", "tsdgcn-loso"]
        if name == "samm":
            named = {row for row, *_ in table_of("tsdgcn-samm-confusion")}
            assert named < set(shown["tsdgcn"].classes), "named as the classes of the study"
            assert settings["table-III"].experiments["tsdgcn"].macro == "ck"


def test_a_study_counts_every_different_configuration_once():
    overlay = yaml.safe_load((REPO / "studies" / "tsdgcn_demo.yaml").read_text())
    study = plan(overlay)
    assert len(study.config.tables) == 3
    # 25 + 20 + 6 cells; Table VII repeats a cell of Table V and two of Table VI; the experiment is one of Table IV.
    assert study.figures.tried == 25 + 20 + 6 - 3 + 2, "the two other systems"
    assert plan({}).figures.tried == 3, "the three systems"
    one = yaml.safe_load(BASE.read_text())["experiments"]["tsdgcn"]
    unused = {name: one | {"loss": {"name": "cross-entropy", "gamma": gamma}} for name, gamma in (("a", 1), ("b", 2))}
    used = {name: one | {"loss": {"name": "focal", "gamma": gamma}} for name, gamma in (("a", 1), ("b", 2))}
    assert [plan({"experiments": e}).figures.tried for e in (unused, used)] == [1, 2]
    assert study.figures.settings("focal").tried == 25 and study.figures.settings("table-II").tried == 50


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
def test_a_mistake_in_a_figure_is_named(figure, message):
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
        assert systems == ["tsdgcn", "msjfn", "mersiamc3d", "ststnet", "off-apexnet"], "floors among them"


def test_a_floor_that_is_not_there_by_this_name_is_told():
    one = yaml.safe_load(BASE.read_text())["experiments"]["tsdgcn"]
    two = {"a": one, "b": one | {"protocol": "subject-kfold"}}  # Floors of two protocols have longer names.
    figures = {"f": {"kind": "methods", "of": ["majority"]}}
    with pytest.raises(
        ConfigError, match=r"figures\.f\.of: no experiment or floor 'majority'; there are: a, b, majority-"
    ):
        plan({"experiments": two, "figures": figures})


def test_a_figure_may_not_take_the_name_of_a_table():
    table = {"of": "tsdgcn", "rows": {"loss.gamma": [1, 2]}}
    with pytest.raises(ConfigError, match="figures.t: a table of variants has this name"):
        load_config(BASE, {"tables": {"t": table}, "figures": {"t": {"kind": "methods", "of": "tsdgcn"}}})
