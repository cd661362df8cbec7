"""Metrics against scikit-learn and hand-made matrices; intervals against brute force."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from merflow.errors import InputError
from merflow.metrics import OVERALL, bootstrap_subjects, mean_rates, paired_difference, rates, score, subject_counts

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
def test_score_is_scikit_learns_over_the_classes_that_occur(pairs):
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


def test_a_class_without_a_true_clip_is_left_out_and_named():
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
    found = rates(np.array(expected["confusion"]))
    for name in OVERALL:
        assert found[name] == pytest.approx(expected[name])
    for name in ("f1", "recall", "precision"):
        np.testing.assert_allclose(found[name], list(expected[name].values()))


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
            values[name].append(np.mean([own[name] for own in by_repeat]))
    return {name: np.array(own) for name, own in values.items()}


@pytest.mark.parametrize("repeats", [1, 3])
def test_bootstrap_equals_brute_force_on_the_same_draws(repeats):
    table = predictions(1, subjects=6, clips=4, repeats=repeats)
    draws = np.random.default_rng(5).multinomial(6, np.full(6, 1 / 6), size=40)
    found = bootstrap_subjects(table, CLASSES, repeats=40, seed=5)
    for name, values in brute_force(table, draws).items():
        assert found[name] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


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
    values, intervals = mean_rates(table, CLASSES), bootstrap_subjects(table, CLASSES, repeats=200)
    assert intervals == bootstrap_subjects(table.sample(frac=1, random_state=seed), CLASSES, repeats=200)
    low, high = intervals["accuracy"]
    assert 0 <= low <= values["accuracy"] + 0.05 and values["accuracy"] - 0.05 <= high <= 1
    assert (low, high) != (0, 1)


def test_a_class_missing_in_a_resample_is_left_out_of_it():
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
    held = []
    for seed in range(150):
        table = clustered(seed)
        if by_clip:
            table["subject"] = [f"c{i}" for i in range(len(table))]
        low, high = bootstrap_subjects(table, CLASSES, repeats=300)["accuracy"]
        held.append(low <= 0.5 <= high)
    return float(np.mean(held))


def test_intervals_hold_the_truth_as_often_as_they_say_and_intervals_over_clips_would_not():
    assert coverage(by_clip=False) >= 0.88
    assert coverage(by_clip=True) < 0.88


def test_several_repeats_give_the_mean_of_their_pooled_values():
    table = predictions(6, repeats=3)
    each = [score(part["truth"], part["predicted"], CLASSES)["uf1"] for _, part in table.groupby("repeat")]
    assert len(set(each)) == 3
    assert mean_rates(table, CLASSES)["uf1"] == pytest.approx(np.mean(each))


# --- two systems ------------------------------------------------------------------------------------------------------


def test_paired_difference_is_zero_for_the_same_and_signed_for_the_better():
    good, poor = predictions(7, skill=0.9), predictions(7, skill=0.1)
    assert paired_difference(good, good, CLASSES)["uf1"] == (0, 0, 0)
    difference, low, high = paired_difference(good, poor, CLASSES)["uf1"]
    assert 0 < low < difference < high
    assert paired_difference(poor, good, CLASSES)["uf1"] == pytest.approx((-difference, -high, -low), abs=1e-12)
    gap = mean_rates(good, CLASSES)["uf1"] - mean_rates(poor, CLASSES)["uf1"]
    assert difference == pytest.approx(gap)


def test_paired_difference_uses_the_same_draw_for_both():
    # The second system errs on one clip of each subject more: the difference hardly varies, though accuracy does.
    table = clustered(1)
    worse = table.copy()
    first_right = worse[worse["truth"] == worse["predicted"]].groupby("subject").head(1).index
    worse.loc[first_right, "predicted"] = np.roll(CLASSES, 1)[worse.loc[first_right, "truth"].map(CLASSES.index)]
    _, low, high = paired_difference(table, worse, CLASSES)["accuracy"]
    own = bootstrap_subjects(table, CLASSES)["accuracy"]
    assert high - low < 0.25 * (own[1] - own[0])


def test_systems_on_other_clips_cannot_be_compared():
    with pytest.raises(InputError, match="same clips"):
        paired_difference(predictions(8), predictions(8, subjects=8), CLASSES)
