"""Scores of spotted intervals, against published numbers, a worked example and counts made by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merflow.evaluation.interval_matching import adds_match, matches, overlaps
from merflow.evaluation.interval_metrics import interval_rates, match_tables, spotting_curve, spotting_metrics

TRUE = ["dataset", "video", "onset", "apex", "offset", "label", "kind"]
spans = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda ends: tuple(sorted(ends)))


def videos(*names, fps=25.0, last=1499):
    """Videos of one dataset, a minute each; the subject is the part before the hyphen."""
    rows = [("d", name, name.split("-")[0], 0, last, fps) for name in names]
    return pd.DataFrame(rows, columns=["dataset", "video", "subject", "first", "last", "fps"])


def intervals(*rows):
    """Rows ``video, onset, offset, label, kind``; the apex is the middle."""
    full = [("d", v, on, (on + off) // 2, off, label, kind) for v, on, off, label, kind in rows]
    return pd.DataFrame(full, columns=TRUE)


def counts(tp, fp, fn):
    zero = {"minutes": 0.0, "apex_ms": 0.0, "apexes": 0}
    return {"tp": tp, "fp": fp, "fn": fn, **zero, "confusion": np.zeros((0, 1))}


# --- published numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tp, fp, fn, f1",
    [
        (109, 1414, 191, 0.1196), (21, 5014, 36, 0.0082), (130, 6428, 227, 0.0376),  # MDMD on CAS(ME)^2, MEGC2020
        (22, 334, 321, 0.0629), (29, 1407, 130, 0.0364), (51, 1741, 451, 0.0445),  # and on SAMM-LV
        (159, 85, 85, 0.6516), (60, 97, 97, 0.3822), (31, 40, 40, 0.4366), (22, 49, 49, 0.3099),  # MEAN, short clips
        (17, 206, 40, 0.1214), (26, 363, 133, 0.0949),  # MEAN on CAS(ME)^2 and SAMM-LV
    ],
)  # fmt: skip
def test_f1_of_published_counts(tp, fp, fn, f1):
    assert interval_rates(counts(tp, fp, fn))["f1"] == pytest.approx(f1, abs=5e-5)


@pytest.mark.parametrize(
    "tp, fp, fn, analysis, strs",
    [
        (159, 85, 85, 0.5927, 0.3862), (60, 97, 97, 0.5149, 0.1968), (31, 40, 40, 0.7470, 0.3261),
        (22, 49, 49, 0.6667, 0.2066), (17, 206, 40, 0.6667, 0.0809), (26, 363, 133, 0.5263, 0.0499),
    ],
)  # fmt: skip
def test_strs_of_mean_is_its_f1_times_its_analysis(tp, fp, fn, analysis, strs):
    assert interval_rates(counts(tp, fp, fn))["f1"] * analysis == pytest.approx(strs, abs=1e-4)


def example():
    """Five videos of five people: happiness, others and repression."""
    names = [f"s{n}" for n in range(5)]
    spotted = [(10, 70, "h"), (100, 170, "o"), (0, 70, "o"), (20, 90, "h"), (70, 140, "h")]
    true = [(45, 85, "h"), (130, 160, "o"), (20, 75, "o"), (45, 95, "r"), (30, 140, "r")]
    return videos(*names), *(
        intervals(*[(name, on, off, label, "micro") for name, (on, off, label) in zip(names, rows, strict=True)])
        for rows in (true, spotted)
    )


def test_worked_example_of_spot_then_recognise():
    row = only(*example(), ["h", "o", "r"])
    assert (row["tp"], row["fp"], row["fn"]) == (3, 2, 2)
    assert (row["f1"], row["f1_analysis"], row["strs"]) == pytest.approx((0.6, 1 / 3, 0.2))


# --- where the public scorer is wrong ---------------------------------------------------------------------------------


def only(table, true, spotted, classes=()):
    return next(row for row in spotting_metrics(table, true, spotted, ["micro"], classes) if row["dataset"] == "all")


def test_subjects_without_predictions_count_as_missed():
    true = intervals(("a-1", 10, 20, "", "micro"), ("b-1", 10, 20, "", "micro"))
    row = only(videos("a-1", "b-1"), true, intervals(("a-1", 10, 20, "", "micro")))
    assert (row["tp"], row["fp"], row["fn"]) == (1, 0, 1)


def test_videos_without_labels_count_as_false_alarms_and_minutes():
    true = intervals(("a-1", 10, 20, "", "micro"))
    spotted = intervals(("a-1", 10, 20, "", "micro"), ("a-2", 10, 20, "", "micro"), ("b-1", 5, 9, "", "micro"))
    row = only(videos("a-1", "a-2", "b-1"), true, spotted)
    assert (row["tp"], row["fp"], row["fn"]) == (1, 2, 0)
    assert row["minutes"] == pytest.approx(3) and row["false_alarms_per_minute"] == pytest.approx(2 / 3)


def test_one_prediction_finds_one_label_only():
    true = intervals(("a-1", 10, 19, "x", "micro"), ("a-1", 12, 21, "y", "micro"))
    row = only(videos("a-1"), true, intervals(("a-1", 11, 20, "x", "micro")))
    assert (row["tp"], row["fp"], row["fn"]) == (1, 0, 1)


def test_analysis_has_recall_beside_precision():
    """Three of class x, one of which is called y; one of class y, called z, which is never true."""
    labels = [("x", "x"), ("x", "x"), ("x", "y"), ("y", "z")]
    true, spotted = (
        intervals(*[("a-1", 100 * n, 100 * n + 9, pair[side], "micro") for n, pair in enumerate(labels)])
        for side in (0, 1)
    )
    row = only(videos("a-1"), true, spotted, ["x", "y", "z"])
    precision, recall = (1 + 0 + 0) / 3, (2 / 3 + 0 + 0) / 3
    assert row["f1_analysis"] == pytest.approx(2 * precision * recall / (precision + recall)) != precision


def test_labels_outside_the_classes_are_left_out_of_the_analysis_alone():
    true = intervals(("a-1", 10, 20, "x", "micro"), ("a-1", 50, 60, "others", "micro"))
    spotted = intervals(("a-1", 10, 20, "x", "micro"), ("a-1", 50, 60, "x", "micro"))
    row = only(videos("a-1"), true, spotted, ["x"])
    assert (row["tp"], row["f1_analysis"]) == (2, 1)
    wrong = only(videos("a-1"), true, spotted.assign(label="others"), ["x"])
    assert wrong["f1_analysis"] == 0


# --- counts, kinds, datasets and people -------------------------------------------------------------------------------


def test_kinds_are_matched_apart_and_added():
    true = intervals(("a-1", 10, 20, "", "micro"), ("a-1", 100, 200, "", "macro"), ("a-1", 300, 400, "", "macro"))
    spotted = intervals(("a-1", 10, 20, "", "macro"), ("a-1", 100, 200, "", "macro"))
    rows = {row["kind"]: row for row in spotting_metrics(videos("a-1"), true, spotted) if row["dataset"] == "d"}
    assert [tuple(rows[kind][name] for name in ("tp", "fp", "fn")) for kind in ("micro", "macro", "all")] == [
        (0, 0, 1), (1, 1, 1), (1, 1, 2),
    ]  # fmt: skip


def test_datasets_are_scored_apart_and_together():
    """Equal names of videos and people in two datasets are two videos and two people."""
    true = intervals(("a-1", 10, 20, "", "micro"))
    both = pd.concat([true, true.assign(dataset="e")], ignore_index=True)
    listed = pd.concat([videos("a-1"), videos("a-1").assign(dataset="e")], ignore_index=True)
    rows = {row["dataset"]: row for row in spotting_metrics(listed, both, true, ["micro"])}
    assert {name: (row["tp"], row["fn"]) for name, row in rows.items()} == {"d": (1, 0), "e": (0, 1), "all": (1, 1)}
    assert rows["all"]["f1_low"] < rows["all"]["f1"] < rows["all"]["f1_high"] and math.isnan(rows["d"]["f1_low"])


def test_apex_error_is_the_mean_of_hits_in_ms():
    true = intervals(("a-1", 10, 20, "", "micro"), ("a-1", 50, 60, "", "micro"), ("a-1", 90, 99, "", "micro"))
    spotted = true.assign(apex=[16, 54, np.nan])
    assert only(videos("a-1"), true, spotted)["apex_error_ms"] == pytest.approx((40 + 40) / 2)


def test_undefined_rates_are_nan_and_an_analysis_without_hits_is_zero():
    nothing = intervals()
    row = only(videos("a-1", "b-1"), nothing, nothing)
    assert math.isnan(row["f1"]) and math.isnan(row["precision"]) and row["false_alarms_per_minute"] == 0
    row = only(videos("a-1", "b-1"), intervals(("a-1", 1, 9, "x", "micro")), nothing, ["x"])
    assert (row["f1"], row["recall"], row["f1_analysis"], row["strs"]) == (0, 0, 0, 0)


def test_intervals_over_people_are_those_of_resampled_tables():
    """The bootstrap of the counts against scoring tables in which people are repeated."""
    rng = np.random.default_rng(0)
    people = [f"{p}-1" for p in "abcdef"]
    rows = [(p, 100 * n, 100 * n + 9, "", "micro") for p in people for n in range(4)]
    true = intervals(*rows)
    spotted = intervals(*[row for row in rows if rng.random() < ord(row[0][0]) % 6 / 6])
    row = only(videos(*people), true, spotted)
    values = []
    for _ in range(300):
        drawn = rng.choice(people, len(people))
        found = sum((spotted["video"] == p).sum() for p in drawn)
        values.append(2 * found / (found + 4 * len(people)))
    assert (row["f1_low"], row["f1_high"]) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.06)


# --- the curve --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.lists(spans, max_size=6), st.lists(spans, max_size=8))
def test_pairs_added_in_order_are_those_of_the_largest_matching(truth, spotted):
    added = adds_match(overlaps(truth, spotted) >= 0.5)
    for number in range(len(spotted) + 1):
        assert sum(added[:number]) == len(matches(truth, spotted[:number]))


def test_curve_equals_scores_at_each_threshold():
    rng = np.random.default_rng(1)
    listed = videos("a-1", "a-2", "b-1")
    true = intervals(*[(v, n, n + 9, "", "micro") for v in ("a-1", "b-1") for n in range(0, 200, 25)])
    rows = [(v, n, n + 9, "", "micro") for v in listed["video"] for n in rng.integers(0, 200, 30)]
    candidates = intervals(*rows).assign(score=rng.integers(0, 12, 90) / 4)
    curve = [row for row in spotting_curve(listed, true, candidates, ["micro"]) if row["dataset"] == "d"]
    assert [row["threshold"] for row in curve] == sorted({row["threshold"] for row in curve}, reverse=True)
    for point in curve:
        row = only(listed, true, candidates[candidates["score"] >= point["threshold"]])
        assert (row["tp"], row["fp"]) == (point["hits"], point["false_alarms"])
        assert row["recall"] == pytest.approx(point["recall"])
        assert row["false_alarms_per_minute"] == pytest.approx(point["false_alarms_per_minute"])
    assert curve[-1]["threshold"] == candidates["score"].min()


def test_match_tables_names_rows_by_their_index():
    true = intervals(("a-1", 10, 20, "", "micro"), ("a-2", 10, 20, "", "micro")).set_axis([7, 8])
    spotted = intervals(("a-2", 10, 20, "", "micro"), ("a-2", 40, 50, "", "micro")).set_axis([3, 4])
    assert match_tables(true, spotted).to_dict("records") == [{"truth": 8, "spotted": 3}]
