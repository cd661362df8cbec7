"""The mean of calibrated systems, against a computation of its own."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from merflow.errors import InputError
from merflow.evaluation.averaging import average_systems
from merflow.evaluation.settings import AveragingSettings
from merflow.storage.tables import PREDICTIONS, read_table, write_table

CLASSES = ["fear", "joy", "calm"]
COLUMNS = [f"p_{name}" for name in CLASSES]


def predicted(seed, repeats, name, people=6):
    """Random predictions of clips of two folds, with labels that they predict more often than not."""
    rng, rows = np.random.default_rng(seed), []
    for repeat in repeats:
        for number in range(5 * people):
            label = number % 3
            probs = rng.dirichlet(np.ones(3) + 2 * np.eye(3)[label])
            rows.append({"experiment": name, "repeat": repeat, "fold": f"group{number % 2}", "dataset": "people",
                         "subject": f"people/s{number % people}", "clip": f"c{number}", "truth": CLASSES[label],
                         "predicted": CLASSES[probs.argmax()]} | dict(zip(COLUMNS, probs, strict=True)))  # fmt: skip
    return pd.DataFrame(rows)


def averaged(folder, members, seeds):
    """The ensemble of members (test predictions, validation predictions)."""
    files = [[folder / f"{kind}{number}.csv" for number in range(len(members))] for kind in ("test", "validation")]
    for number, tables in enumerate(members):
        for kind, table in enumerate(tables):
            write_table(table, files[kind][number], PREDICTIONS)
    average_systems(*files, folder / "mean.csv", folder / "none.csv", AveragingSettings("mix", CLASSES, seeds))
    assert read_table(folder / "none.csv", PREDICTIONS).empty
    return read_table(folder / "mean.csv", PREDICTIONS)


def calibrated(test, validation):
    """Probabilities at the temperature of the validation clips of their repeat and fold, by another optimiser."""
    test = test.copy()
    for name, rows in test.groupby(["repeat", "fold"]):
        held_out = validation[(validation["repeat"] == name[0]) & (validation["fold"] == name[1])]
        logs, truth = np.log(held_out[COLUMNS].to_numpy()), held_out["truth"].map(CLASSES.index).to_numpy()

        def loss(inverse, logs=logs, truth=truth):
            scores = logs * inverse[0]
            return (np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(truth)), truth]).mean()

        inverse = minimize(loss, [1.0], bounds=[(0.1, 10)]).x[0]
        powers = rows[COLUMNS].to_numpy() ** inverse
        test.loc[rows.index, COLUMNS] = powers / powers.sum(axis=1, keepdims=True)
    return test


def test_ensemble_is_the_mean_of_calibrated_members(tmp_path):
    first = predicted(0, [0, 1], "a"), predicted(1, [0, 1], "a")
    second = predicted(2, [7], "b").sample(frac=1, random_state=0), predicted(3, [7], "b")
    table = averaged(tmp_path, [first, second], [0, 1])
    assert table["repeat"].tolist() == [0] * 30 + [1] * 30 and set(table["experiment"]) == {"mix"}
    for seed in (0, 1):
        of_seed = table[table["repeat"] == seed].set_index("clip")
        one = calibrated(*first).query("repeat == @seed").set_index("clip")
        other = calibrated(*second).set_index("clip")
        expected = (one[COLUMNS] + other[COLUMNS].loc[one.index]) / 2
        np.testing.assert_allclose(of_seed[COLUMNS].loc[one.index], expected, atol=1e-4)
        assert (of_seed["predicted"] == [CLASSES[n] for n in of_seed[COLUMNS].to_numpy().argmax(axis=1)]).all()
        pd.testing.assert_series_equal(of_seed["truth"], one["truth"].loc[of_seed.index])


def test_labels_of_test_clips_have_no_influence(tmp_path):
    members = [(predicted(n, [0], name), predicted(n + 9, [0], name)) for n, name in enumerate("ab")]
    before = averaged(tmp_path, members, [0])
    for test, _ in members:
        test["truth"] = "joy"
    after = averaged(tmp_path, members, [0])
    pd.testing.assert_frame_equal(before[COLUMNS], after[COLUMNS])
    assert (before["truth"] != after["truth"]).any()


@pytest.mark.parametrize(
    "changed",
    [lambda table: table.iloc[1:], lambda table: table.assign(fold="group0"), lambda table: table.assign(truth="joy")],
    ids=["clip", "fold", "truth"],
)
def test_members_of_other_clips_or_folds_are_refused(tmp_path, changed):
    first, validation = predicted(0, [0], "a"), predicted(1, [0], "a")
    with pytest.raises(InputError, match=r"test1\.csv: its clips or folds of repeat 0 are not those of .*test0\.csv"):
        averaged(tmp_path, [(first, validation), (changed(first), validation)], [0])
