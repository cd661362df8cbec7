"""Which differences are real: all pairs on the same clips, the correction, the verdict."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from merflow.errors import InputError
from merflow.evaluation.metrics import OVERALL, holm, paired_differences, smallest_p
from merflow.evaluation.significance import compare, smallest_corrected_p
from merflow.storage.tables import DIFFERENCES, PREDICTIONS, read_table, write_table

CLASSES = ["a", "b", "c"]


def answers(experiment, skill, people=14, repeats=1, part=1.0, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.choice(CLASSES, people * 6)
    rows = []
    for repeat in range(repeats):
        for place in range(len(truth)):
            lucky = rng.random() < skill
            guess = str(rng.choice(CLASSES))
            if rng.random() < part:
                name = f"d/{place // 6}"
                rows.append({"experiment": experiment, "repeat": repeat, "fold": name, "dataset": "d", "subject": name,
                             "clip": str(place), "truth": truth[place],
                             "predicted": truth[place] if lucky else guess})  # fmt: skip
    return rows


def compared(tmp_path, *tables, classes=None):
    write_table([row for table in tables for row in table], tmp_path / "p.csv", PREDICTIONS)
    names = [table[0]["experiment"] for table in tables]
    compare(tmp_path / "p.csv", tmp_path / "d.csv", dict.fromkeys(names, CLASSES) | (classes or {}))
    return read_table(tmp_path / "d.csv", DIFFERENCES)


def test_every_pair_on_the_same_clips_is_compared_and_corrected(tmp_path):
    tables = [answers("good", 0.9), answers("fair", 0.85, repeats=3), answers("floor", 0.0)]
    differences = compared(tmp_path, *tables)
    assert list(differences) == DIFFERENCES and len(differences) == 3 * len(OVERALL)
    assert set(zip(differences["first"], differences["second"], strict=True)) == {
        ("good", "fair"), ("good", "floor"), ("fair", "floor")
    }  # fmt: skip
    for _, rows in differences.groupby("metric"):
        assert rows["p_holm"].tolist() == pytest.approx(holm(rows["p"]))
        verdicts = dict(zip(rows["first"] + rows["second"], rows["verdict"], strict=True))
        assert verdicts == {"goodfair": "unclear", "goodfloor": "first", "fairfloor": "first"}
    assert (differences["n_subjects"] == 14).all()
    turned = compared(tmp_path, tables[2], tables[0])
    assert set(turned["verdict"]) == {"second"} and (turned["difference"] < 0).all()


def test_difference_lost_by_correction_is_unclear(tmp_path):
    """Six people who all favour one system: p is 2 / 2^6 = 0.031, which is above 0.05 once corrected for more pairs."""
    good, bad = (answers(name, skill, people=6) for name, skill in (("good", 1.0), ("bad", 0.0)))
    assert set(compared(tmp_path, good, bad)["verdict"]) == {"first"}
    third = [row | {"experiment": "third"} for row in bad]
    differences = compared(tmp_path, good, bad, third).query("first == 'good'")
    assert (differences["p"] < 0.05).all() and (differences["p_holm"] > 0.05).all()
    assert set(differences["verdict"]) == {"unclear"}


def test_correction_grows_with_the_number_of_pairs(tmp_path):
    many = [answers(f"e{n}", 0.9, people=30, seed=0) for n in range(23)]
    differences = compared(tmp_path, *many, answers("wrong", 0.0, people=30)).query("metric == 'accuracy'")
    assert len(differences) == 276
    real = differences[differences["second"] == "wrong"]
    assert (real["verdict"] == "first").all(), "with 10,000 resamples the least p times 276 pairs would be 0.055"
    assert (differences["p_holm"] >= differences["p"]).all()


@pytest.mark.parametrize("people", [2, 3, 4, 5])
def test_smallest_p_is_that_of_all_outcomes(people):
    """Each person is classified better by the first system, by the second, or equally well by both."""
    rows = [{"truth": truth, "subject": str(n)} for n in range(people) for truth in CLASSES]
    table, resamples, ps = pd.DataFrame(rows), 200, []
    for outcome in product((1, 0, -1), repeat=people):
        better = np.repeat(outcome, len(CLASSES))
        right, wrong = table["truth"], table["truth"].map(dict(zip(CLASSES, CLASSES[1:] + CLASSES[:1], strict=True)))
        tables = {name: table.assign(predicted=right.where(better * sign >= 0, wrong))
                  for name, sign in (("first", 1), ("second", -1))}  # fmt: skip
        ps += [d.p for d in paired_differences(tables, CLASSES, resamples)["first", "second"].values()]
    signs = list(product((1, -1), repeat=people))
    assert min(ps) == smallest_p(people, resamples) == sum(abs(sum(s)) == people for s in signs) / len(signs)


def test_smallest_p_is_limited_by_the_resamples(tmp_path):
    tables = {name: pd.DataFrame(answers(name, skill, people=30)) for name, skill in (("good", 1.0), ("bad", 0.0))}
    differences = paired_differences(tables, CLASSES, 200)["good", "bad"]
    assert {d.p for d in differences.values()} == {2 / 201} == {smallest_p(30, 200)}


def test_smallest_corrected_p_is_that_of_all_tables():
    """Each pair has the smallest p value that it can have, or a large one."""
    subjects = [5, 8, 8, 1, 12, 2]
    least = {}
    for smallest in product((True, False), repeat=len(subjects)):
        ps = [np.nan if n < 2 else 2 / 2**n if small else 0.9 for n, small in zip(subjects, smallest, strict=True)]
        for n, p in zip(subjects, holm(ps), strict=True):
            least[n] = min(least.get(n, 1.0), p)
    del least[1]
    assert smallest_corrected_p(subjects) == pytest.approx(least)
    assert smallest_corrected_p([5]) == {5: 0.0625}, "no difference can be real"
    assert smallest_corrected_p([30] * 3) == pytest.approx({30: 3 * 2 / 10001})
    assert smallest_corrected_p([1]) == {}


def test_other_clips_classes_truths_or_repeats_are_not_compared(tmp_path):
    holdout = [answers(name, skill, repeats=2, part=0.3) for name, skill in (("h", 0.5), ("g", 0.4))]
    other = [row for row in answers("f", 0.5, repeats=3, part=0.3) if row["repeat"] != 1]
    differences = compared(tmp_path, *holdout, other)
    assert set(differences["first"]) == {"h"} and set(differences["second"]) == {"g"}, "f was tested on other clips"
    turned = [row | {"experiment": "t", "repeat": 1 - row["repeat"]} for row in holdout[0]]
    assert compared(tmp_path, holdout[0], turned).empty, "the same clips, each in the other repeat"
    system, other = answers("one", 0.5), answers("other", 0.5)
    assert compared(tmp_path, system, other, classes={"other": CLASSES[::-1]}).empty
    renamed = [row | {"truth": row["predicted"]} for row in other]
    assert compared(tmp_path, system, renamed).empty
    assert compared(tmp_path, system).empty


def test_two_people_are_too_few_and_nonsense_is_named(tmp_path):
    differences = compared(tmp_path, answers("good", 1.0, people=2), answers("bad", 0.0, people=2))
    assert set(differences["verdict"]) == {"unclear"} and (differences["p"] >= 0.5).all()
    rows = answers("one", 0.5)
    with pytest.raises(InputError, match="occurs twice"):
        compared(tmp_path, [*rows, rows[0]])
    write_table(pd.DataFrame(rows), tmp_path / "p.csv", PREDICTIONS)
    with pytest.raises(InputError, match="has no prediction"):
        compare(tmp_path / "p.csv", tmp_path / "d.csv", {"absent": CLASSES})
