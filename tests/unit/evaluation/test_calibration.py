"""Calibration: temperature, calibration error and losses against their definitions; no use of test labels."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from merflow.errors import InputError
from merflow.evaluation import calibration
from merflow.evaluation.calibration import (
    LEAST,
    MOST,
    ValidationProbs,
    brier_scores,
    calibrate,
    calibrated_probs,
    coverage,
    expected_calibration_error,
    fit_temperature,
    log_losses,
    read_probs,
    reliability,
    temper,
)
from merflow.storage.tables import CALIBRATION, COVERAGE, PREDICTIONS, RELIABILITY, read_table, write_table

CLASSES = ["a", "b", "c"]
FILES = ("calibration", "reliability", "coverage")


def drawn(seed: int, count: int = 60, classes: int = 3, spread: float = 2.0):
    """Probabilities, and classes drawn by them: perfectly calibrated."""
    rng = np.random.default_rng(seed)
    probs = temper(rng.dirichlet(np.full(classes, 1.0), count), 1 / spread)
    return probs, np.array([rng.choice(classes, p=row) for row in probs])


cases = st.tuples(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 5))
temperatures = st.floats(LEAST, MOST)


@given(cases, temperatures)
def test_temperature_keeps_the_order_of_classes(case, temperature):
    probs, _ = drawn(*case)
    tempered = temper(probs, temperature)
    assert (tempered.argmax(axis=1) == probs.argmax(axis=1)).all()
    np.testing.assert_allclose(tempered.sum(axis=1), 1)
    np.testing.assert_array_equal(temper(probs, 1), probs)


@given(cases, temperatures, temperatures)
def test_temperatures_multiply(case, first, second):
    probs, _ = drawn(*case)
    probs = 0.98 * probs + 0.02 / probs.shape[1]  # Away from what no logarithm is taken of.
    if 0.3 < first < 3 and 0.3 < second < 3:
        np.testing.assert_allclose(temper(temper(probs, first), second), temper(probs, first * second), atol=1e-9)


@given(cases)
def test_fitted_temperature_never_raises_its_loss(case):
    probs, labels = drawn(*case)
    temperature = fit_temperature(probs, labels)
    before = log_losses(probs, labels).mean()
    assert LEAST <= temperature <= MOST
    assert log_losses(temper(probs, temperature), labels).mean() <= before + 1e-12


@given(cases)
def test_fitted_temperature_is_best_of_a_grid(case):
    probs, labels = drawn(*case)
    best = log_losses(temper(probs, fit_temperature(probs, labels)), labels).mean()
    for temperature in np.geomspace(LEAST, MOST, 60):
        assert best <= log_losses(temper(probs, temperature), labels).mean() + 1e-4


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_fit_temperature_recovers_a_known_one(factor):
    """It is 1 for calibrated answers, above 1 for overconfident ones, below 1 for underconfident ones."""
    probs, labels = drawn(0, 20_000)
    assert fit_temperature(temper(probs, 1 / factor), labels) == pytest.approx(factor, rel=0.03)


def test_without_clips_the_temperature_is_one():
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1
    assert fit_temperature(np.full((4, 3), 1 / 3), np.zeros(4, int)) == 1


def reference_ece(probs, labels, bins):
    """By the definition, clip by clip."""
    groups = {}
    for chance, label in zip(probs, labels, strict=True):
        top = max(chance)
        number = next(n for n in range(bins) if top <= (n + 1) / bins + 1e-15)
        groups.setdefault(number, []).append((top, float(np.argmax(chance) == label)))
    gaps = [len(g) * abs(sum(t for t, _ in g) / len(g) - sum(r for _, r in g) / len(g)) for g in groups.values()]
    return sum(gaps) / len(labels)


@given(cases, st.integers(1, 15))
def test_calibration_error_and_losses_equal_their_definitions(case, bins):
    probs, labels = drawn(*case)
    assert expected_calibration_error(probs, labels, bins) == pytest.approx(reference_ece(probs, labels, bins))
    rows = reliability(probs, labels, bins)
    assert sum(row["n"] for row in rows) == len(labels)
    assert sum(row["n"] * row["accuracy"] for row in rows if row["n"]) == pytest.approx(
        (probs.argmax(axis=1) == labels).sum()
    )
    floored = np.maximum(probs, 1e-12)
    expected = log_loss(labels, floored / floored.sum(axis=1, keepdims=True), labels=range(probs.shape[1]))
    assert log_losses(probs, labels).mean() == pytest.approx(expected, abs=1e-6)
    squares = [sum((p - (n == y)) ** 2 for n, p in enumerate(c)) for c, y in zip(probs, labels, strict=True)]
    assert brier_scores(probs, labels).mean() == pytest.approx(np.mean(squares))


@given(cases)
def test_fewer_clips_are_answered_as_the_threshold_rises(case):
    probs, labels = drawn(*case)
    rows = coverage(probs, labels)
    answered = [row["answered"] for row in rows]
    assert answered[0] == 1 and answered == sorted(answered, reverse=True) and len(rows) == 101
    assert rows[0]["accuracy"] == pytest.approx((probs.argmax(axis=1) == labels).mean())
    row = rows[50]
    kept = probs.max(axis=1) >= 0.5
    assert row["threshold"] == 0.5 and row["answered"] == pytest.approx(kept.mean())


def table(seed, folds=4, clips=6, fold_clips=6):
    """Predictions of several folds, each fold a subject."""
    rows = []
    for fold in range(folds):
        probs, labels = drawn(seed + fold, clips)
        for number, (chance, label) in enumerate(zip(probs, labels, strict=True)):
            row = {"experiment": "net", "repeat": 0, "fold": f"s{fold}", "dataset": "d", "subject": f"s{fold}"}
            row |= {"clip": f"c{fold}-{number}", "truth": CLASSES[label], "predicted": CLASSES[chance.argmax()]}
            rows.append(row | {f"p_{name}": share for name, share in zip(CLASSES, chance, strict=True)})
    return pd.DataFrame(rows)


def test_temperature_of_a_fold_ignores_test_labels(tmp_path):
    tests, validation = table(0), table(100)
    validation = validation[validation["fold"] != "s3"]
    validation_probs = read_validation(validation, tmp_path)
    calibrated = calibrated_probs(tests, validation_probs, CLASSES, tmp_path)
    columns = [f"p_{name}" for name in CLASSES]
    for fold in ("s0", "s1", "s2"):
        fold_tests, fold_validation = tests[tests["fold"] == fold], validation[validation["fold"] == fold]
        labels = fold_validation["truth"].map(CLASSES.index).to_numpy()
        temperature = fit_temperature(fold_validation[columns].to_numpy(), labels)
        np.testing.assert_allclose(
            calibrated[tests["fold"] == fold], temper(fold_tests[columns].to_numpy(), temperature)
        )
    np.testing.assert_array_equal(
        calibrated[tests["fold"] == "s3"], tests.loc[tests["fold"] == "s3", columns].to_numpy()
    )
    poisoned = tests.assign(truth=np.roll(tests["truth"], 1))
    np.testing.assert_array_equal(calibrated_probs(poisoned, validation_probs, CLASSES, tmp_path), calibrated)


def read_validation(rows, folder):
    write_table(rows, folder / "validation.csv", PREDICTIONS)
    return ValidationProbs.read(folder / "validation.csv", CLASSES)


def run(folder, tests, validation):
    write_table(tests, folder / "p.csv", PREDICTIONS)
    write_table(validation, folder / "v.csv", PREDICTIONS)
    outputs = [folder / f"{name}.csv" for name in FILES]
    kinds = dict(zip(("calibration", "reliability_table", "coverage_table"), outputs, strict=True))
    calibrate({"net": CLASSES}, [folder / "p.csv"], [folder / "v.csv"], **kinds)
    return [read_table(*pair) for pair in zip(outputs, (CALIBRATION, RELIABILITY, COVERAGE), strict=True)]


def test_calibrate_writes_the_tables_of_a_study(tmp_path):
    tests, validation = table(0, folds=6, clips=12), table(100, folds=6, clips=30)
    figures, bins, thresholds = run(tmp_path, tests, validation)
    rows = figures.set_index("metric")
    columns = [f"p_{name}" for name in CLASSES]
    labels = tests["truth"].map(CLASSES.index).to_numpy()
    probs = tests[columns].to_numpy()
    assert rows.loc["nll_raw", "value"] == pytest.approx(log_losses(probs, labels).mean(), rel=1e-6)
    calibrated = calibrated_probs(tests, read_validation(validation, tmp_path), CLASSES, tmp_path)
    assert rows.loc["ece", "value"] == pytest.approx(reference_ece(calibrated, labels, 10), rel=1e-6)
    assert rows.loc["brier", "value"] == pytest.approx(brier_scores(calibrated, labels).mean(), rel=1e-6)
    validation_labels = validation["truth"].map(CLASSES.index).to_numpy()
    assert rows.loc["temperature", "value"] == pytest.approx(
        fit_temperature(validation[columns].to_numpy(), validation_labels), rel=1e-6
    )
    assert (figures["n_clips"] == 72).all() and len(rows) == 7
    for metric in ("nll_raw", "nll", "brier_raw", "brier"):
        assert rows.loc[metric, "ci_low"] < rows.loc[metric, "value"] < rows.loc[metric, "ci_high"]
    assert bins.groupby("kind")["n"].sum().to_dict() == {"raw": 72, "calibrated": 72} and len(bins) == 20
    assert len(thresholds) == 101 and thresholds["answered"].iloc[0] == 1


def test_intervals_are_over_subjects_not_clips(tmp_path):
    """Many clips of two people give as wide an interval as few clips."""
    tests = table(0, folds=2, clips=200)
    bad = tests["subject"] == "s1"
    tests.loc[bad, "truth"] = "a"
    tests.loc[bad, ["p_a", "p_b", "p_c"]] = [0.01, 0.01, 0.98]
    figures, *_ = run(tmp_path, tests, table(100, folds=2))
    row = figures.set_index("metric").loc["brier_raw"]
    assert row["ci_high"] - row["ci_low"] > 1.0, "from the one person to the other"


def test_table_without_its_classes_is_named(tmp_path):
    with pytest.raises(InputError, match="v.csv: column p_c missing"):
        run(tmp_path, table(0), table(1).drop(columns="p_c"))
    with pytest.raises(InputError, match="v.csv: truth 'z' is not among the classes a, b, c"):
        run(tmp_path, table(0), table(1).assign(truth="z"))


@pytest.mark.parametrize("rows", [1, 7, 10**6])
def test_validation_read_in_parts_equals_whole_table(tmp_path, monkeypatch, rows):
    written = pd.concat(
        [table(seed, clips=9).assign(repeat=seed, clip=lambda t: t["clip"] + ' "=,') for seed in (0, 1)]
    )
    write_table(written, tmp_path / "v.csv", PREDICTIONS)
    whole = read_table(tmp_path / "v.csv", PREDICTIONS)
    temperature = fit_temperature(*read_probs(whole, CLASSES, tmp_path))
    monkeypatch.setattr(calibration, "ROWS_AT_ONCE", rows)
    validation = ValidationProbs.read(tmp_path / "v.csv", CLASSES)
    for mine, theirs in zip(validation[:2], read_probs(whole, CLASSES, tmp_path), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (
        fit_temperature(validation.probs, validation.labels) == temperature
        and validation.clips == whole["clip"].nunique()
    )
    groups = dict(list(whole.groupby(["repeat", "fold"])))
    assert set(validation.folds) == set(groups) and len(groups) == 8
    for name, rows_of_fold in groups.items():
        probs, labels = read_probs(rows_of_fold, CLASSES, tmp_path)
        np.testing.assert_array_equal(validation.probs[validation.folds[name]], probs)
        np.testing.assert_array_equal(validation.labels[validation.folds[name]], labels)


def test_validation_clips_are_not_kept_as_text(tmp_path, monkeypatch):
    """There is a row for each fold and clip: millions in a study of many people. As text a row takes about 1 kB."""
    monkeypatch.setattr(calibration, "ROWS_AT_ONCE", 250)
    part, sizes, peaks = table(0, folds=1, clips=250), [], []
    for count in (2, 2, 42):  # The first one warms up.
        write_table(pd.concat([part] * count), tmp_path / "v.csv", PREDICTIONS)
        tracemalloc.start()
        validation = ValidationProbs.read(tmp_path / "v.csv", CLASSES)
        sizes.append(tracemalloc.get_traced_memory()[0])
        fit_temperature(validation.probs, validation.labels)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert len(validation.labels) == 42 * len(part)
    assert (sizes[2] - sizes[1]) / (40 * len(part)) < 8 * len(CLASSES) + 32, "probabilities, label and two indices"
    assert (peaks[2] - peaks[1]) / (40 * len(part)) < 8 * 8 * len(CLASSES), "while the temperature is fitted"


@pytest.mark.parametrize("cell", ["", "inf", "none", "nan"])
def test_invalid_probability_is_refused(tmp_path, cell):
    """Otherwise its temperature would be 1, whatever the other rows hold."""
    good, bad = table(0), table(1).astype({"p_b": object})
    bad.loc[7, "p_b"] = cell
    for name, tables in (("p.csv", (bad, good)), ("v.csv", (good, bad))):
        with pytest.raises(InputError, match=f"{name} is damaged .a probability of clip c1-1 is not"):
            run(tmp_path, *tables)


def test_truncated_validation_table_is_refused(tmp_path):
    run(tmp_path, table(0), table(1))
    file = tmp_path / "v.csv"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"v\.csv is damaged \(it was cut short\); remove it and run again"):
        ValidationProbs.read(file, CLASSES)
