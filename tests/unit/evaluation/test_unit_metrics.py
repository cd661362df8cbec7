"""F1 of action units: against scikit-learn, published numbers of the all-ones floor, and resampled people."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from merflow.errors import InputError
from merflow.evaluation.action_units import unit_f1, unit_metrics
from merflow.evaluation.evaluate import evaluate
from merflow.evaluation.settings import EvaluationSettings
from merflow.storage.tables import METRICS, PREDICTIONS, read_table, write_table

SIX = ["AU1", "AU2", "AU4", "AU5", "AU6", "AU7", "AU9", "AU10", "AU12", "AU14", "AU15", "AU17"]
SHOWN = {
    "casme": (189, "23 17 70 0 1 4 40 3 9 23 14 13"),
    "casme2": (256, "26 22 130 2 13 39 13 16 34 27 16 25"),
    "samm": (159, "6 18 23 10 3 46 5 6 28 13 4 6"),
    "4dme": (267, "46 54 102 8 25 89 1 2 53 4 6 11"),
    "mmew": (300, "50 41 109 70 10 47 8 38 37 17 6 11"),
    "casme3a": (860, "153 128 274 44 8 27 50 10 15 193 6 20"),
}
"""Clips and clips that show each unit of six datasets, counted in their workbooks by MEB."""
UNITS = ["AU1", "AU4", "AU12"]


def label(flags, units=UNITS):
    return "+".join(unit for unit, flag in zip(units, flags, strict=True) if flag) or "none"


@cache
def predictions(people=8, repeats=2, seed=0):
    """Two datasets with the same subject names; answers are right in four of five cases. AU12 is in the second only."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(6 * people):
        dataset = ("a", "b")[number % 2]
        truth = rng.random(3) < (0.5, 0.3, 0.3 if dataset == "b" else 0)
        for repeat in range(repeats):
            answer = truth ^ (rng.random(3) < 0.2)
            clip = {"dataset": dataset, "subject": f"s{number % people // 2}", "clip": f"c{number}"}
            rows.append({"experiment": "x", "repeat": repeat, "fold": "f", **clip}
                        | {"truth": label(truth), "predicted": label(answer)})  # fmt: skip
    return pd.DataFrame(rows)


def metrics_of(table, tmp_path, units=UNITS):
    write_table(table, tmp_path / "p.csv", PREDICTIONS)
    evaluate(tmp_path / "p.csv", tmp_path / "m.csv", EvaluationSettings("x", "cross-dataset", units, units=True))
    return read_table(tmp_path / "m.csv", METRICS).set_index(["scope", "metric"])


def test_all_ones_reach_the_published_scores_on_six_datasets(tmp_path):
    rows = []
    for dataset, (count, shown) in SHOWN.items():
        for clip in range(count):
            truth = label([clip < int(n) for n in shown.split()], SIX)
            rows.append({"experiment": "x", "repeat": 0, "fold": dataset, "dataset": dataset, "subject": clip % 9}
                        | {"clip": clip, "truth": truth, "predicted": "+".join(SIX)})  # fmt: skip
    values = metrics_of(pd.DataFrame(rows), tmp_path, SIX)["value"]
    for scope in ("pooled", "datasets"):
        assert (round(values[scope, "f1"], 3), round(values[scope, "macro_f1"], 3)) == (0.178, 0.089)


@pytest.mark.parametrize(("metric", "average"), [("f1", "binary"), ("macro_f1", "macro")])
def test_scores_are_those_of_scikit_learn_by_unit_and_dataset(tmp_path, metric, average):
    table = predictions()
    got = metrics_of(table, tmp_path)

    def score(part, unit):
        flags = [part[name].str.split("+").map(lambda names: unit in names) for name in ("truth", "predicted")]
        return f1_score(*flags, average=average, zero_division=0)

    def mean(part):
        return np.mean([[score(rows, unit) for unit in UNITS] for _, rows in part.groupby("repeat")])

    for unit in UNITS:
        expected = np.mean([score(rows, unit) for _, rows in table.groupby("repeat")])
        assert got.loc[(f"unit:{unit}", metric), "value"] == pytest.approx(expected)
    assert got.loc[("pooled", metric), "value"] == pytest.approx(mean(table))
    parts = [mean(part) for _, part in table.groupby("dataset")]
    assert got.loc[("dataset:a", metric), "value"] == pytest.approx(parts[0])
    assert got.loc[("datasets", metric), "value"] == pytest.approx(np.mean(parts))
    assert (
        got.loc[("dataset:b/unit:AU12", metric), "n_clips"] > 0 == got.loc[("dataset:a/unit:AU12", metric), "n_clips"]
    )


def test_unit_that_is_absent_and_never_predicted():
    counts = np.array([[[9, 0], [0, 0]], [[5, 4], [0, 0]], [[0, 0], [0, 0]]])
    scores = unit_f1(counts)
    np.testing.assert_allclose(scores["f1"], [0, 0, np.nan])
    np.testing.assert_allclose(scores["macro_f1"], [1, (10 / 14) / 2, np.nan])


def test_intervals_are_over_people_of_each_dataset():
    table = predictions()
    got = {scope: estimates for scope, _, estimates in unit_metrics(table, UNITS)}
    alone = {name: f"{name}-{clip}" for clip, name in enumerate(table["clip"].unique())}
    by_clip = {scope: e for scope, _, e in unit_metrics(table.assign(subject=table["clip"].map(alone)), UNITS)}
    one = {s: e for s, _, e in unit_metrics(table.assign(subject="s", dataset="a"), UNITS)}
    assert got["pooled"]["f1"][0] == by_clip["pooled"]["f1"][0], "people matter for the interval only"
    for scope, estimates in got.items():
        for metric, (value, low, high) in estimates.items():
            assert low <= value <= high or value == 0, (scope, metric)
    assert got["pooled"]["f1"][1:] != by_clip["pooled"]["f1"][1:] and np.isnan(one["pooled"]["f1"][1])


def test_unit_lost_in_a_resample_is_left_out_of_it():
    """One person shows AU4, always recognised; another one shows AU1. The mean never falls below 1."""
    rows = [("p", "AU1"), ("q", "AU4"), ("r", "none")]
    table = pd.DataFrame([{"dataset": "a", "subject": s, "truth": t, "predicted": t} for s, t in rows])
    _, _, estimates = next(iter(unit_metrics(table, ["AU1", "AU4"])))
    assert estimates == {"f1": (1, 1, 1), "macro_f1": (1, 1, 1)}


@pytest.mark.parametrize("column", ["truth", "predicted"])
def test_unknown_unit_is_named_with_its_row(tmp_path, column):
    table = predictions().copy()
    table.loc[4, column] = "AU1+AU99"
    with pytest.raises(InputError, match=f"row 6: {column} has 'AU99'; expected none or some of AU1, AU4, AU12"):
        metrics_of(table, tmp_path)
