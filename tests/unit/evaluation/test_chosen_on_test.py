"""What an epoch chosen on the test clips would have scored: against values by hand."""

import numpy as np
import pandas as pd
import pytest

from merflow.evaluation.chosen_on_test import tabulate_chosen_on_test
from merflow.evaluation.metrics import score
from merflow.storage.tables import CHOSEN_ON_TEST, METRICS, TEST_EPOCHS, read_table, write_table

CLASSES = ["left", "right"]


def kept(fold, truths, answers, every=1, repeat=0):
    """Rows of a fold; ``answers``: one text of class numbers per clip."""
    names = {"experiment": "net", "repeat": repeat, "fold": fold, "dataset": "d", "subject": fold, "every": every}
    pairs = zip(truths, answers, strict=True)
    return [names | {"clip": f"{fold}-{n}", "truth": truth, "answers": text} for n, (truth, text) in enumerate(pairs)]


def chosen(folder, rows):
    write_table(rows, folder / "e.csv", TEST_EPOCHS)
    results = [
        {"experiment": "net", "protocol": "loso", "scope": scope, "metric": metric, "value": value, "repeats": 1}
        for scope, value in (("pooled", 0.5), ("class:left", 0.1))
        for metric in ("accuracy", "uf1", "uar")
    ]
    write_table(results, folder / "m.csv", METRICS)
    tabulate_chosen_on_test({"net": folder / "e.csv"}, folder / "m.csv", folder / "out.csv", {"net": CLASSES})
    table = read_table(folder / "out.csv", CHOSEN_ON_TEST)
    assert set(table["result"]) <= {0.5} and "class:left" not in table.to_csv()
    return {choice: rows.set_index("metric")["chosen_on_test"] for choice, rows in table.groupby("choice")}


def assert_scores(values, truth, predicted):
    expected = score(truth, predicted, CLASSES)
    assert {name: values[name] for name in ("accuracy", "uf1", "uar")} == pytest.approx(
        {name: expected[name] for name in ("accuracy", "uf1", "uar")}
    )


def test_one_epoch_is_best_over_all_folds_and_a_stopped_fold_keeps_its_last_answers(tmp_path):
    rows = kept("a", ["left", "right"], ["0 0 1", "0 1 1"]) + kept(
        "b", ["left", "right", "right"], ["1 1", "0 1", "1 0"]
    )
    values = chosen(tmp_path, rows)
    # After epoch 1: 0 0 | 1 0 1; epoch 2: 0 1 | 1 1 0 (the best); epoch 3: 1 1 | 1 1 0.
    truth = ["left", "right", "left", "right", "right"]
    assert_scores(values["one epoch"], truth, ["left", "right", "right", "right", "left"])
    # Fold a is best after epoch 2; in fold b both have one right answer, and the first is taken.
    assert_scores(values["an epoch of each fold"], truth, ["left", "right", "right", "left", "right"])


def test_folds_with_other_spacing_are_compared_at_the_same_epoch(tmp_path):
    rows = kept("a", ["left", "left"], ["1 1 0", "1 1 0"], every=2) + kept("b", ["right"], ["0 0 0 1 0 1"])
    values = chosen(tmp_path, rows)
    # Only after epoch 6 all are right: a has answers after epochs 2, 4 and 6.
    assert_scores(values["one epoch"], ["left", "left", "right"], ["left", "left", "right"])


def test_each_repeat_chooses_for_itself(tmp_path):
    rows = kept("a", CLASSES, ["0 1", "1 0"]) + kept("a", CLASSES, ["1 0", "0 1"], repeat=1)
    values = chosen(tmp_path, rows)
    assert values["one epoch"]["uf1"] == values["an epoch of each fold"]["uf1"] == 1


def test_best_epoch_of_random_answers_is_above_chance(tmp_path):
    """The reason for the red letters: choosing among 200 epochs of coin flips looks like learning."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(20):
        answers = rng.integers(0, 2, (6, 200))
        rows += kept(f"s{number}", CLASSES * 3, [" ".join(map(str, line)) for line in answers])
    values = chosen(tmp_path, rows)
    assert 0.58 < values["one epoch"]["uar"] < 0.7 < 0.9 < values["an epoch of each fold"]["uar"]


def test_experiment_without_answers_is_left_out(tmp_path, caplog):
    assert chosen(tmp_path, kept("a", ["left"], [""])) == {}
    assert "net: a training stopped before its first kept epoch" in caplog.text
    assert isinstance(read_table(tmp_path / "out.csv", CHOSEN_ON_TEST), pd.DataFrame)
