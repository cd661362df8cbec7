"""The tables of metrics: values, scopes, repeats, and tables that cannot be evaluated."""

import numpy as np
import pandas as pd
import pytest

from merflow.errors import InputError
from merflow.evaluation.evaluate import evaluate, merge
from merflow.evaluation.metrics import bootstrap_subjects, score
from merflow.evaluation.settings import EvaluationSettings
from merflow.runtime.summary import SYNTHETIC_MARK, summary
from merflow.runtime.summary import main as summary_main
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, METRICS, PREDICTIONS, read_table

CLASSES = ["happiness", "surprise", "disgust"]
SETTINGS = {"experiment": "mine", "protocol": "loso", "classes": CLASSES}


def predictions(repeats: int = 1, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for repeat in range(repeats):
        for dataset in ("x", "y"):
            for subject in range(4):
                for number, truth in enumerate(CLASSES if dataset == "x" else CLASSES[:2]):
                    rows.append(
                        {
                            "experiment": "mine",
                            "repeat": repeat,
                            "fold": f"{dataset}/{subject}",
                            "dataset": dataset,
                            "subject": f"{dataset}/{subject}",
                            "clip": f"{subject}-{number}",
                            "truth": truth,
                            "predicted": truth if rng.random() < 0.6 else str(rng.choice(CLASSES)),
                            "p_happiness": rng.random(),
                        }
                    )
    return pd.DataFrame(rows, columns=[*PREDICTIONS, "p_happiness"])


def evaluated(table: pd.DataFrame, folder, **settings) -> pd.DataFrame:
    table.to_csv(folder / "predictions.csv", index=False)
    evaluate(folder / "predictions.csv", folder / "metrics.csv", EvaluationSettings(**SETTINGS | settings))
    return read_table(folder / "metrics.csv", METRICS)


def value(metrics: pd.DataFrame, scope: str, metric: str) -> pd.Series:
    (row,) = metrics[(metrics["scope"] == scope) & (metrics["metric"] == metric)].to_dict("records")
    return row


def test_pooled_dataset_and_class_rows(tmp_path):
    table = predictions()
    metrics = evaluated(table, tmp_path)
    scopes = [f"{part}class:{name}" for part in ("", "dataset:x/", "dataset:y/") for name in CLASSES]
    assert set(metrics["scope"]) == {"pooled", "dataset:x", "dataset:y", *scopes}
    expected = score(table["truth"], table["predicted"], CLASSES)
    for metric in ("accuracy", "uf1", "uar"):
        row = value(metrics, "pooled", metric)
        assert row["value"] == pytest.approx(expected[metric], abs=1e-8)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(bootstrap_subjects(table, CLASSES)[metric], abs=1e-8)
        assert (row["n_clips"], row["n_subjects"], row["repeats"], row["protocol"]) == (20, 8, 1, "loso")
    row = value(metrics, "class:disgust", "recall")
    assert row["value"] == pytest.approx(expected["recall"]["disgust"], abs=1e-8)
    assert (row["n_clips"], row["n_subjects"]) == (4, 4)
    part = table[table["dataset"] == "y"]  # has no clip of disgust
    assert value(metrics, "dataset:y", "uar")["value"] == pytest.approx(
        score(part["truth"], part["predicted"], CLASSES)["uar"], abs=1e-8
    )
    of_part = score(part["truth"], part["predicted"], CLASSES)
    for name in CLASSES:
        for metric in ("f1", "recall", "precision"):
            row = value(metrics, f"dataset:y/class:{name}", metric)
            assert row["value"] == pytest.approx(of_part[metric][name], abs=1e-8, nan_ok=True)
            assert row["n_clips"] == (part["truth"] == name).sum()
    alone = evaluated(table[table["dataset"] == "x"], tmp_path)
    assert not alone["scope"].str.contains("/class:").any(), "one dataset is all clips"
    row = value(metrics, "dataset:y", "uar")
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(bootstrap_subjects(part, CLASSES)["uar"], abs=1e-8)


def test_value_is_pooled_and_not_a_mean_over_folds(tmp_path):
    table = predictions()
    folds = [score(part["truth"], part["predicted"], CLASSES)["uf1"] for _, part in table.groupby("fold")]
    assert value(evaluated(table, tmp_path), "pooled", "uf1")["value"] != pytest.approx(np.mean(folds), abs=1e-3)


def test_repeats_are_averaged_and_the_subject_stays_the_unit(tmp_path):
    table = predictions(repeats=3)
    metrics = evaluated(table, tmp_path)
    each = [score(part["truth"], part["predicted"], CLASSES)["uar"] for _, part in table.groupby("repeat")]
    row = value(metrics, "pooled", "uar")
    assert row["value"] == pytest.approx(np.mean(each), abs=1e-8) and len(set(each)) > 1
    assert (row["n_clips"], row["n_subjects"], row["repeats"]) == (20, 8, 3)
    # Three copies of one repeat add no information, so the interval must not shrink.
    repeat = predictions()
    (tmp_path / "copies").mkdir()
    copies = evaluated(pd.concat([repeat.assign(repeat=r) for r in range(3)]), tmp_path / "copies")
    for column in ("ci_low", "ci_high"):
        expected = value(evaluated(repeat, tmp_path), "pooled", "uar")[column]
        assert value(copies, "pooled", "uar")[column] == pytest.approx(expected)


def test_undefined_values_are_empty_cells(tmp_path):
    table = predictions()
    table = table[table["truth"] != "disgust"].assign(predicted="happiness")
    metrics = evaluated(table, tmp_path)
    assert np.isnan(float(value(metrics, "class:disgust", "recall")["value"]))
    assert np.isnan(float(value(metrics, "class:surprise", "precision")["value"]))
    assert value(metrics, "class:disgust", "recall")["n_clips"] == 0
    assert value(metrics, "pooled", "uar")["value"] == pytest.approx(0.5)
    assert "nan" not in (tmp_path / "metrics.csv").read_text()


def test_evaluate_gives_same_bytes_twice(tmp_path):
    evaluated(predictions(), tmp_path)
    before = (tmp_path / "metrics.csv").read_bytes()
    evaluated(predictions(), tmp_path)
    assert (tmp_path / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.iloc[:0], "has no prediction"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "row 22: clip 0-0 occurs twice"),
        (lambda t: t.assign(truth="anger"), "row 2 .clip 0-0.: truth is 'anger'; expected one of happiness, surprise"),
        (lambda t: t.assign(predicted=""), "row 2 .clip 0-0.: predicted is ''"),
        (lambda t: pd.concat([t, t.assign(repeat=1, truth="disgust")]), "different true labels in different repeats"),
        (lambda t: t.drop(columns="subject"), "column subject missing"),
    ],
)
def test_invalid_predictions_are_refused_without_output(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        evaluated(change(predictions()), tmp_path)
    assert not (tmp_path / "metrics.csv").exists()


# --- merge ------------------------------------------------------------------------------------------------------------


def test_merge_keeps_every_cell_as_it_is(tmp_path):
    common = dict.fromkeys(PREDICTIONS, "007") | {"experiment": "one, two", "repeat": "0"}
    pd.DataFrame([common | {"p_a": "0.10", "p_b": "0.90"}]).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame([common | {"p_c": "1e-5"}]).to_csv(tmp_path / "b.csv", index=False)
    merge([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "predictions.csv")
    table = pd.read_csv(tmp_path / "predictions.csv", dtype=str, keep_default_na=False)
    assert list(table) == [*PREDICTIONS, "p_a", "p_b", "p_c"]
    assert table["subject"].tolist() == ["007", "007"] and table["experiment"].tolist() == ["one, two"] * 2
    assert table["p_a"].tolist() == ["0.10", ""] and table["p_c"].tolist() == ["", "1e-5"]


@pytest.mark.parametrize("name, columns", [("curves", CURVES), ("accuracy_train", ACCURACY_TRAIN)])
def test_merge_of_nothing_has_the_columns_of_the_contract(tmp_path, name, columns):
    merge([], tmp_path / f"{name}.csv")
    assert read_table(tmp_path / f"{name}.csv", columns).empty


def test_merge_names_a_table_that_is_missing_or_not_of_its_kind(tmp_path):
    with pytest.raises(InputError, match="nothing.csv does not exist"):
        merge([tmp_path / "nothing.csv"], tmp_path / "metrics.csv")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="bad.csv: column experiment.* missing; found: a, b"):
        merge([tmp_path / "bad.csv"], tmp_path / "metrics.csv")
    assert not (tmp_path / "metrics.csv").exists()


# --- summary ---------------------------------------------------------------------------------------------------------


def test_summary_has_path_metrics_and_synthetic_note(tmp_path, capsys):
    metrics = evaluated(predictions(), tmp_path)
    (tmp_path / "report.html").write_text("<!DOCTYPE html><html><head>")
    text = summary(tmp_path)
    row = value(metrics, "pooled", "uf1")
    assert f"{row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]" in text
    assert str(tmp_path / "report.html") in text and "mine" in text and "synthetic" not in text
    (tmp_path / "report.html").write_text(f"<!DOCTYPE html><html><head>{SYNTHETIC_MARK}")
    assert "synthetic demo data" in summary(tmp_path)
    assert summary_main([str(tmp_path)]) == 0 and "UF1" in capsys.readouterr().out


def test_summary_of_long_videos_alone_has_f1_of_each_dataset_and_kind(tmp_path):
    rows = [("one", "d", "micro", 0.25, 0.1, 0.5), ("one", "all", "micro", 0.25, 0.1, 0.5)]
    rows += [("two", dataset, "macro", 0.5, None, None) for dataset in ("d", "e", "all")]
    (tmp_path / "spotting").mkdir()
    table = pd.DataFrame(rows, columns=["experiment", "dataset", "kind", "f1", "f1_low", "f1_high"])
    table.to_csv(tmp_path / "spotting/metrics.csv", index=False)
    (tmp_path / "spotting/index.html").write_text(f"<!DOCTYPE html><html><head>{SYNTHETIC_MARK}")
    text = summary(tmp_path)
    assert [line.split() for line in text.splitlines()[2:7]] == [
        ["experiment", "long", "videos", "kind", "F1"],
        ["one", "d", "micro", "0.250", "[0.100,", "0.500]"],
        *(["two", dataset, "macro", "0.500"] for dataset in ("d", "e", "all")),
    ]
    assert text.endswith(f"Report: {tmp_path}/spotting/index.html") and "synthetic demo data" in text


def test_summary_of_unfinished_study_is_one_message(tmp_path, capsys):
    assert summary_main([str(tmp_path)]) == 1
    assert "metrics.csv does not exist; run the workflow first" in capsys.readouterr().err


def test_summary_takes_the_file_of_a_study(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("study: demo\nresults: out\n")
    (tmp_path / "mine.yaml").write_text("study: mine\n")
    for arguments, study in (([], "demo"), (["mine.yaml"], "mine")):
        assert summary_main(arguments) == 1
        assert f"out/{study}/metrics.csv does not exist" in capsys.readouterr().err


def test_summary_of_unreadable_configuration_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert summary_main([]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "config.yaml cannot be read: No such file or directory; name a" in error
