"""Folds: subjects stay apart, and training gets no test label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merflow.errors import ConfigError, InputError
from merflow.protocols.folds import Fold, draw_folds, fold_names, hold_out, largest_remainder
from merflow.systems.samples import FoldData

PEOPLE = st.lists(st.sampled_from([f"demo/s{n:02d}" for n in range(9)]), min_size=2, max_size=60).filter(
    lambda subjects: len(set(subjects)) > 1
)


def is_sound(parts: list[Fold], subjects: list[str]) -> bool:
    """Every clip is tested once, and no subject is in two parts of a fold."""
    subjects = np.array(subjects)
    tested = np.concatenate([fold.test for fold in parts])
    return sorted(tested) == list(range(len(subjects))) and all(
        sorted([*fold.train, *fold.validation, *fold.test]) == list(range(len(subjects)))
        and set(subjects[fold.test]) == {fold.name}
        and not set(subjects[fold.train]) & set(subjects[fold.validation])
        and len(fold.train) > 0
        and (len(fold.validation) > 0 or len(set(subjects)) == 2)
        for fold in parts
    )


@settings(max_examples=60, deadline=None)
@given(subjects=PEOPLE, share=st.floats(0.05, 0.5), seed=st.integers(0, 1000))
def test_subjects_stay_apart(subjects, share, seed):
    labels = [len(subject) + index % 4 for index, subject in enumerate(subjects)]
    parts = draw_folds("loso", subjects, labels, validation=share, seed=seed)
    assert is_sound(parts, subjects)
    assert [fold.name for fold in parts] == sorted(set(subjects))
    people = len(set(subjects)) - 1
    for fold in parts:
        held_out = len({subjects[index] for index in fold.validation})
        assert held_out == (min(max(1, round(share * people)), people - 1) if people > 1 else 0)


def test_disjointness_check_detects_a_leak():
    subjects = ["a", "a", "b", "b", "c", "c"]
    leaky = [
        Fold(name, np.flatnonzero(np.arange(6) % 2 == 0), np.array([1]), np.flatnonzero(np.array(subjects) == name))
        for name in "abc"
    ]
    assert not is_sound(leaky, subjects)


@settings(max_examples=30, deadline=None)
@given(subjects=PEOPLE, seed=st.integers(0, 100))
def test_test_labels_do_not_change_the_split(subjects, seed):
    labels = np.arange(len(subjects)) % 3
    for number, fold in enumerate(draw_folds("loso", subjects, labels, seed=seed)):
        poisoned = labels.copy()
        poisoned[fold.test] = 7
        again = draw_folds("loso", subjects, poisoned, seed=seed)[number]
        np.testing.assert_array_equal(again.train, fold.train)
        np.testing.assert_array_equal(again.validation, fold.validation)


def test_fold_data_has_no_test_label():
    labels = np.array([10, 11, 20, 21, 30, 31])
    for fold in draw_folds("loso", ["a", "a", "b", "b", "c", "c"], labels):
        data = FoldData.of(fold, labels, (0,))
        seen = {*data.train_labels, *data.validation_labels}
        assert not seen & set(labels[fold.test])
        assert seen | set(labels[fold.test]) == set(labels)


def test_seed_chooses_the_validation_subjects():
    subjects = [f"s{n}" for n in range(12) for _ in range(3)]
    labels = [0, 1, 2] * 12
    chosen = [tuple(draw_folds("loso", subjects, labels, seed=seed)[0].validation) for seed in range(5)]
    assert len(set(chosen)) > 1
    assert chosen[2] == tuple(draw_folds("loso", subjects, labels, seed=2)[0].validation)


def test_classes_are_covered_where_possible():
    # Class 1 is shown by two people only, class 2 by everybody: training must keep one who shows class 1.
    subjects = [name for name in "abcdefgh" for _ in range(2)]
    labels = [1 if name in "ab" and index % 2 else 2 for index, name in enumerate(subjects)]
    for seed in range(20):
        train, held_out = hold_out(subjects, labels, share=0.4, seed=seed)
        assert {labels[index] for index in train} == {1, 2}
        assert {labels[index] for index in held_out} == {1, 2}
    blind = [{labels[index] for index in hold_out(subjects, share=0.4, seed=seed)[1]} for seed in range(20)]
    assert {2} in blind


def test_loso_needs_two_subjects():
    with pytest.raises(InputError, match="at least 2 subjects"):
        draw_folds("loso", ["a", "a"], [0, 1])
    train, held_out = hold_out(["a", "a"])
    assert (list(train), list(held_out)) == ([0, 1], [])


def test_draw_folds_names_unknown_protocol():
    subjects, labels = ["a", "b", "c"], [0, 1, 0]
    assert [fold.name for fold in draw_folds("loso", subjects, labels)] == ["a", "b", "c"]
    with pytest.raises(ConfigError, match="hold-out"):
        draw_folds("hold-out", subjects, labels)


# --- Further protocols ------------------------------------------------------------------------------------------------

COMPOSITE = [f"{database}/{n:02d}" for database in ("casme2", "samm", "smic") for n in range(6) for _ in range(4)]
CLASSES_OF = [("negative", "positive", "negative", "surprise")[n % 4] for n in range(len(COMPOSITE))]


def sides(fold, subjects):
    subjects = np.array(subjects)
    return [set(subjects[part]) for part in (fold.train, fold.validation, fold.test)]


@pytest.mark.parametrize("protocol", ["loso", "composite-loso", "subject-kfold", "cross-dataset"])
def test_protocols_keep_subjects_apart(protocol):
    parts = draw_folds(protocol, COMPOSITE, CLASSES_OF, seed=3)
    assert sorted(np.concatenate([fold.test for fold in parts])) == list(range(len(COMPOSITE)))
    for fold in parts:
        train, validation, test = sides(fold, COMPOSITE)
        assert train and validation and test and not (train & validation or train & test or validation & test)
        assert sorted([*fold.train, *fold.validation, *fold.test]) == list(range(len(COMPOSITE)))
    assert [fold.name for fold in parts] == fold_names(protocol, COMPOSITE)


def test_subject_kfold_draws_groups_by_seed():
    three = draw_folds("subject-kfold", COMPOSITE, CLASSES_OF, folds=3)
    assert len(three) == 3 and [f.name for f in three] == fold_names("subject-kfold", COMPOSITE, 3)
    other = draw_folds("subject-kfold", COMPOSITE, CLASSES_OF, folds=3, seed=1)
    assert [f.test.tolist() for f in three] != [f.test.tolist() for f in other]
    with pytest.raises(InputError, match="19 subjects with labelled clips, found 18"):
        draw_folds("subject-kfold", COMPOSITE, CLASSES_OF, folds=19)
    with pytest.raises(InputError, match="3 clips of one class, found 2"):
        draw_folds("subject-kfold", ["a", "b", "c", "d"], [0, 0, 1, 1], folds=3)


def test_cross_dataset_tests_one_database():
    parts = {fold.name: fold for fold in draw_folds("cross-dataset", COMPOSITE, CLASSES_OF)}
    assert set(parts) == {"casme2", "samm", "smic"}
    assert {s.split("/")[0] for s in sides(parts["samm"], COMPOSITE)[2]} == {"samm"}
    assert {s.split("/")[0] for s in sides(parts["samm"], COMPOSITE)[0]} == {"casme2", "smic"}
    with pytest.raises(InputError, match="at least 2 databases, found samm"):
        draw_folds("cross-dataset", ["samm/1", "samm/2"], ["a", "b"])


@pytest.mark.parametrize(
    ("counts", "total", "seats"),
    [([36, 89, 72, 16, 13], 44, [7, 17, 14, 3, 3]), ([24, 13, 20, 8, 7], 16, [5, 3, 4, 2, 2])],
    ids=["MMEW", "SAMM"],
)
def test_paper_holdout_spreads_test_clips_over_classes(counts, total, seats):
    """44 = 7/17/14/3/3 and 16 = 5/3/4/2/2: three recognised classes of SAMM are then the paper's 75.0 %."""
    assert largest_remainder(counts, total) == seats
    labels = np.repeat([f"c{n}" for n in range(5)], counts)
    subjects = [f"d/{n % 20}" for n in range(len(labels))]
    draws = [draw_folds("paper-holdout", subjects, labels, seed=s, test_clips=total)[0] for s in range(10)]
    for fold in draws:
        assert [int((labels[fold.test] == f"c{n}").sum()) for n in range(5)] == seats
        assert not sides(fold, subjects)[0] & sides(fold, subjects)[1], "validation subjects train nothing"
        assert sorted([*fold.train, *fold.validation, *fold.test]) == list(range(len(labels)))
    assert len({tuple(fold.test) for fold in draws}) == 10, "one seed is one repeat"
    assert sides(draws[0], subjects)[0] & sides(draws[0], subjects)[2], "it does divide subjects: the report says so"


def test_paper_holdout_of_all_clips_is_refused():
    with pytest.raises(InputError, match="needs more clips than that, found 4"):
        draw_folds("paper-holdout", ["d/1", "d/2"] * 2, ["a", "b"] * 2, test_clips=4)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=8), st.integers(0, 60))
def test_largest_remainder_is_within_one_of_each_share(counts, total):
    seats = largest_remainder(counts, total)
    assert sum(seats) == total
    assert all(abs(seat - total * count / sum(counts)) < 1 for seat, count in zip(seats, counts, strict=True))


@pytest.mark.parametrize("protocol", ["loso", "subject-kfold"])
def test_units_are_spread_over_the_parts(protocol):
    """Of ten people two show the rare unit, and everybody the frequent one."""
    subjects = [f"demo/s{n:02d}" for n in range(10) for _ in range(4)]
    units = np.zeros((40, 2), np.int64)
    units[::2, 0] = 1
    units[[0, 1, 20, 21], 1] = 1
    parts = draw_folds(protocol, subjects, units, folds=2, seed=3)
    assert sorted(np.concatenate([part.test for part in parts])) == list(range(40))
    if protocol == "subject-kfold":
        assert [units[part.test, 1].sum() for part in parts] == [2, 2], "the rarest unit of a clip decides its group"
    for part in parts:
        assert units[part.train].any(axis=0).all(), "training lacks no unit"


def test_test_units_have_no_influence_on_the_other_parts():
    subjects, units = [f"demo/s{n:02d}" for n in range(8) for _ in range(3)], np.eye(3, dtype=np.int64)[[0, 1, 2] * 8]
    first, changed = (
        draw_folds("loso", subjects, labels) for labels in (units, np.where(np.arange(24)[:, None] < 3, 1, units))
    )
    np.testing.assert_array_equal(first[0].validation, changed[0].validation)
