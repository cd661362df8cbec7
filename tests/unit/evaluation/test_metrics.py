"""Metrics against scikit-learn and hand-made matrices; intervals against brute force."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from merflow.errors import InputError
from merflow.evaluation.metrics import (
    OVERALL,
    bootstrap_subjects,
    fold_mean_f1,
    holm,
    mean_rates,
    paired_differences,
    rates,
    score,
    spread,
    subject_counts,
)

CLASSES = ["a", "b", "c", "d"]
LABELS = st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=60)


def predictions(seed: int, subjects: int = 9, clips: int = 8, skill: float = 0.5, repeats: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    number = subjects * clips
    table = pd.DataFrame(
        {
            "subject": np.repeat([f"s{i}" for i in range(subjects)], clips),
            "clip": [f"c{i}" for i in range(number)],
            "truth": rng.choice(CLASSES, number),
        }
    )
    copies = []
    for repeat in range(repeats):
        right = rng.random(number) < skill
        copies.append(
            table.assign(repeat=repeat, predicted=np.where(right, table["truth"], rng.choice(CLASSES, number)))
        )
    return pd.concat(copies, ignore_index=True)


# --- score ------------------------------------------------------------------------------------------------------------


@given(LABELS)
def test_score_equals_scikit_learn_on_classes_that_occur(pairs):
    truth, predicted = zip(*pairs, strict=True)
    result = score(truth, predicted, CLASSES)
    present = sorted(set(truth))
    assert result["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert result["uf1"] == pytest.approx(f1_score(truth, predicted, labels=present, average="macro", zero_division=0))
    assert result["uar"] == pytest.approx(
        recall_score(truth, predicted, labels=present, average="macro", zero_division=0)
    )
    assert result["absent"] == [name for name in CLASSES if name not in present]
    assert sum(map(sum, result["confusion"])) == sum(result["support"].values()) == result["n"] == len(pairs)


def test_score_of_a_hand_made_matrix():
    # rows truth a, b; columns predicted a, b: [[3, 1], [2, 4]]
    truth, predicted = list("aaaabbbbbb"), list("aaab" + "aabbbb")
    result = score(truth, predicted, ["a", "b"])
    assert result["confusion"] == [[3, 1], [2, 4]]
    assert result["accuracy"] == pytest.approx(7 / 10)
    assert result["recall"] == pytest.approx({"a": 3 / 4, "b": 4 / 6})
    assert result["precision"] == pytest.approx({"a": 3 / 5, "b": 4 / 5})
    assert result["f1"] == pytest.approx({"a": 6 / 9, "b": 8 / 11})
    assert result["uf1"] == pytest.approx((6 / 9 + 8 / 11) / 2)
    assert result["uar"] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert result["support"] == {"a": 4, "b": 6}


def test_class_without_true_clips_is_left_out_and_named():
    result = score(["a", "a", "b"], ["a", "c", "b"], ["a", "b", "c"])
    assert result["absent"] == ["c"]
    assert result["uar"] == pytest.approx((0.5 + 1) / 2)
    assert result["uf1"] == pytest.approx((2 / 3 + 1) / 2)
    assert math.isnan(result["recall"]["c"]) and math.isnan(result["f1"]["c"])
    assert math.isnan(score(["a", "b"], ["a", "a"], ["a", "b"])["precision"]["b"])


@pytest.mark.parametrize(
    "truth, predicted, message",
    [
        ([], [], "no prediction"),
        (["a"], ["a", "b"], "1 true labels but 2"),
        (["x"], ["a"], "true label 'x'"),
        (["a"], ["x"], "prediction 'x'"),
    ],
)
def test_score_names_what_is_wrong(truth, predicted, message):
    with pytest.raises(InputError, match=message):
        score(truth, predicted, ["a", "b"])


@given(LABELS)
def test_rates_of_counts_equal_score(pairs):
    truth, predicted = zip(*pairs, strict=True)
    expected = score(truth, predicted, CLASSES)
    computed = rates(np.array(expected["confusion"]))
    for name in OVERALL:
        assert computed[name] == pytest.approx(expected[name])
    for name in ("f1", "recall", "precision"):
        np.testing.assert_allclose(computed[name], list(expected[name].values()))


# --- intervals --------------------------------------------------------------------------------------------------------


def brute_force(table: pd.DataFrame, draws: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of each resample, from rows copied out and scored by scikit-learn."""
    names = sorted(table["subject"].unique())
    values = {name: [] for name in OVERALL}
    for draw in draws:
        rows = pd.concat(
            [table[table["subject"] == name] for name, n in zip(names, draw, strict=True) for _ in range(n)]
        )
        by_repeat = [score(part["truth"], part["predicted"], CLASSES) for _, part in rows.groupby("repeat")]
        for name in OVERALL:
            values[name].append(np.mean([scores[name] for scores in by_repeat]))
    return {name: np.array(scores) for name, scores in values.items()}


@pytest.mark.parametrize("repeats", [1, 3])
def test_bootstrap_equals_brute_force_on_the_same_draws(repeats):
    table = predictions(1, subjects=6, clips=4, repeats=repeats)
    draws = np.random.default_rng(5).multinomial(6, np.full(6, 1 / 6), size=40)
    computed = bootstrap_subjects(table, CLASSES, resamples=40, seed=5)
    for name, values in brute_force(table, draws).items():
        assert computed[name] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_bootstrap_agrees_with_draws_of_subjects_by_name():
    table = predictions(2)
    rng = np.random.default_rng(0)
    draws = [np.bincount(rng.integers(0, 9, 9), minlength=9) for _ in range(150)]
    expected = np.quantile(brute_force(table, np.array(draws))["uf1"], [0.025, 0.975])
    assert bootstrap_subjects(table, CLASSES)["uf1"] == pytest.approx(tuple(expected), abs=0.04)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 3))
def test_interval_holds_the_value_and_ignores_the_order_of_rows(seed, subjects, repeats):
    table = predictions(seed, subjects, repeats=repeats)
    values, intervals = mean_rates(table, CLASSES), bootstrap_subjects(table, CLASSES, resamples=200)
    assert intervals == bootstrap_subjects(table.sample(frac=1, random_state=seed), CLASSES, resamples=200)
    low, high = intervals["accuracy"]
    assert 0 <= low <= values["accuracy"] + 0.05 and values["accuracy"] - 0.05 <= high <= 1
    assert (low, high) != (0, 1)


def test_class_missing_in_a_resample_is_left_out():
    # Only s0 has class b, and always wrong. Without s0 in the resample UAR is 1, not 1/2.
    table = pd.DataFrame({"subject": ["s0", "s1", "s2"], "truth": ["b", "a", "a"], "predicted": ["a", "a", "a"]})
    assert bootstrap_subjects(table, ["a", "b"])["uar"][1] == 1
    assert bootstrap_subjects(table, ["a", "b"])["recall"]["b"] == (0, 0)


def test_equal_names_in_two_datasets_are_two_people():
    table = predictions(3, subjects=2)
    both = pd.concat([table.assign(dataset="x"), table.assign(dataset="y")])
    assert subject_counts(table, CLASSES).shape[1] == 2
    assert subject_counts(both, CLASSES).shape[1] == 4


def test_one_subject_has_no_interval():
    intervals = bootstrap_subjects(predictions(4, subjects=1), CLASSES)
    assert all(map(math.isnan, intervals["accuracy"]))
    assert all(math.isnan(low) for low, _ in intervals["f1"].values())


def clustered(seed: int, people: int = 20) -> pd.DataFrame:
    """People of very different difficulty; the true accuracy is one half."""
    rng = np.random.default_rng(seed)
    skill = np.repeat(rng.beta(1, 1, people), 10)
    truth = np.tile(CLASSES, people * 10 // 4)
    wrong = np.roll(truth, 1)
    right = rng.random(len(truth)) < skill
    subject = np.repeat([f"s{i}" for i in range(people)], 10)
    return pd.DataFrame({"subject": subject, "truth": truth, "predicted": np.where(right, truth, wrong)})


def coverage(by_clip: bool) -> float:
    covered = []
    for seed in range(150):
        table = clustered(seed)
        if by_clip:
            table["subject"] = [f"c{i}" for i in range(len(table))]
        low, high = bootstrap_subjects(table, CLASSES, resamples=300)["accuracy"]
        covered.append(low <= 0.5 <= high)
    return float(np.mean(covered))


def test_interval_coverage_over_subjects_and_over_clips():
    assert coverage(by_clip=False) >= 0.88
    assert coverage(by_clip=True) < 0.88


def test_several_repeats_give_the_mean_of_their_pooled_values():
    table = predictions(6, repeats=3)
    each = [score(part["truth"], part["predicted"], CLASSES)["uf1"] for _, part in table.groupby("repeat")]
    assert len(set(each)) == 3
    assert mean_rates(table, CLASSES)["uf1"] == pytest.approx(np.mean(each))


# --- two systems ------------------------------------------------------------------------------------------------------


def paired_difference(first, second, repeats=2000, seed=0):
    """The difference of two systems: {metric: (value, low, high)}."""
    (metrics,) = paired_differences({"one": first, "other": second}, CLASSES, repeats, seed).values()
    return {metric: difference[:3] for metric, difference in metrics.items()}


def test_paired_difference_has_a_sign():
    good, poor = predictions(7, skill=0.9), predictions(7, skill=0.1)
    assert paired_difference(good, good)["uf1"] == (0, 0, 0)
    difference, low, high = paired_difference(good, poor)["uf1"]
    assert 0 < low < difference < high
    assert paired_difference(poor, good)["uf1"] == pytest.approx((-difference, -high, -low), abs=1e-12)
    gap = mean_rates(good, CLASSES)["uf1"] - mean_rates(poor, CLASSES)["uf1"]
    assert difference == pytest.approx(gap)


def test_paired_difference_uses_the_same_draw_for_both():
    # The second system makes one more error per subject, so the difference hardly varies, although accuracy does.
    table = clustered(1)
    worse = table.copy()
    first_right = worse[worse["truth"] == worse["predicted"]].groupby("subject").head(1).index
    worse.loc[first_right, "predicted"] = np.roll(CLASSES, 1)[worse.loc[first_right, "truth"].map(CLASSES.index)]
    _, low, high = paired_difference(table, worse)["accuracy"]
    interval = bootstrap_subjects(table, CLASSES)["accuracy"]
    assert high - low < 0.25 * (interval[1] - interval[0])


def test_systems_on_other_clips_cannot_be_compared():
    others = predictions(8).assign(subject=lambda table: "t" + table["subject"])
    for other in (predictions(8, subjects=8), others):
        with pytest.raises(InputError, match="differ in their subjects"):
            paired_differences({"one": predictions(8), "other": other}, CLASSES)


# --- which differences are real ---------------------------------------------------------------------------------------


def test_all_pairs_equal_each_pair_alone():
    tables = {name: predictions(5, skill=skill, repeats=2) for name, skill in (("a", 0.3), ("b", 0.6), ("c", 0.9))}
    computed = paired_differences(tables, CLASSES, repeats=500, seed=3)
    assert list(computed) == [("a", "b"), ("a", "c"), ("b", "c")]
    for (first, second), metrics in computed.items():
        alone = paired_difference(tables[first], tables[second], repeats=500, seed=3)
        for name in OVERALL:
            assert metrics[name][:3] == pytest.approx(alone[name], abs=1e-12)


def test_p_value_equals_brute_force():
    first, second = predictions(1, skill=0.55), predictions(1, skill=0.45)
    computed = paired_differences({"one": first, "other": second}, CLASSES, repeats=300, seed=1)["one", "other"]
    draws = np.random.default_rng(1).multinomial(9, np.full(9, 1 / 9), size=300)
    people = sorted(set(first["subject"]))
    apart = []
    for draw in draws:
        resampled = []
        for table in (first, second):
            rows = pd.concat(
                [table[table["subject"] == p] for p, n in zip(people, draw, strict=True) for _ in range(n)]
            )
            resampled.append(accuracy_score(rows["truth"], rows["predicted"]))
        apart.append(resampled[0] - resampled[1])
    apart = np.round(apart, 12)
    expected = 2 * min((apart <= 0).sum() + 1, (apart >= 0).sum() + 1) / 301
    assert 0.01 < expected < 1, "a case in which something is counted"
    assert computed["accuracy"].p == pytest.approx(expected)


@pytest.mark.parametrize(("people", "least"), [(1, math.nan), (4, 0.125), (5, 0.0625), (20, 2 / 2001)])
def test_few_people_give_no_significant_difference(people, least):
    good = predictions(2, subjects=people, skill=1.0)
    wrong = good.assign(predicted=good["truth"].map(dict(zip("abcd", "bcda", strict=True))))
    computed = paired_differences({"good": good, "wrong": wrong}, CLASSES, repeats=2000)["good", "wrong"]
    assert computed["accuracy"].value == 1 and computed["accuracy"].p == pytest.approx(least, nan_ok=True)
    same = paired_differences({"good": good, "same": good}, CLASSES, repeats=200)["good", "same"]
    assert same["uf1"].value == 0 and (people == 1 or same["uf1"].p == 1)


def test_equal_systems_rarely_differ_significantly():
    """Equal systems on people of very different difficulty: about one difference in twenty may be significant."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(150):
        easy = rng.uniform(0, 1, 20).repeat(10)
        tables = {}
        for name in ("one", "other"):
            right = rng.random(200) < easy
            clips = {"subject": np.repeat([f"s{n}" for n in range(20)], 10), "clip": np.arange(200), "truth": "a"}
            tables[name] = pd.DataFrame(clips | {"predicted": np.where(right, "a", "b")})
        wrong += paired_differences(tables, CLASSES, repeats=400)["one", "other"]["accuracy"].p < 0.05
    assert wrong / 150 < 0.12


@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_is_its_definition(values):
    computed = holm([*values, math.nan])
    assert math.isnan(computed[-1])
    order = sorted(range(len(values)), key=lambda place: values[place])
    for rank, place in enumerate(order):
        stepwise = [min(1.0, (len(values) - k) * values[order[k]]) for k in range(rank + 1)]
        assert computed[place] == max(stepwise)


def test_holm_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_spread_is_the_deviation_over_repeats():
    table = predictions(3, repeats=4)
    each = [f1_score(t["truth"], t["predicted"], average="macro") for _, t in table.groupby("repeat")]
    assert spread(table, CLASSES)["uf1"] == pytest.approx(np.std(each, ddof=1)) and np.std(each) > 0
    assert math.isnan(spread(predictions(3), CLASSES)["uf1"])
    once = predictions(3)
    often = pd.concat([once.assign(repeat=repeat) for repeat in range(5)])
    assert spread(often, CLASSES)["uf1"] == 0
    single, repeated = bootstrap_subjects(once, CLASSES), bootstrap_subjects(often, CLASSES)
    assert single["uf1"] == pytest.approx(repeated["uf1"]), "five equal seeds are no more people than one"


def test_fold_mean_f1_equals_scikit_learn():
    table = predictions(4, repeats=2).assign(fold=lambda t: t["subject"])
    each = [f1_score(t["truth"], t["predicted"], average="macro") for _, t in table.groupby(["repeat", "fold"])]
    assert fold_mean_f1(table) == pytest.approx(np.mean(each))
    assert abs(fold_mean_f1(table) - mean_rates(table, CLASSES)["uf1"]) > 0.01
