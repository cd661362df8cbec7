"""Splits: no subject on two sides, no test label in training hands."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merflow.errors import ConfigError, InputError
from merflow.protocols import Fold, folds, hold_out, loso

PEOPLE = st.lists(st.sampled_from([f"demo/s{n:02d}" for n in range(9)]), min_size=2, max_size=60).filter(
    lambda subjects: len(set(subjects)) > 1
)


def is_sound(parts: list[Fold], subjects: list[str]) -> bool:
    """Every clip is tested once, and no subject stands on two sides of a fold."""
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
@given(subjects=PEOPLE, share=st.floats(0.05, 0.5), seed=st.integers(0, 1000), labelled=st.booleans())
def test_subjects_stay_apart(subjects, share, seed, labelled):
    labels = [len(subject) + place % 4 for place, subject in enumerate(subjects)] if labelled else None
    parts = loso(subjects, labels, validation=share, seed=seed)
    assert is_sound(parts, subjects)
    assert [fold.name for fold in parts] == sorted(set(subjects))
    people = len(set(subjects)) - 1
    for fold in parts:
        held = len({subjects[place] for place in fold.validation})
        assert held == (min(max(1, round(share * people)), people - 1) if people > 1 else 0)


def test_the_gate_sees_a_leak():
    subjects = ["a", "a", "b", "b", "c", "c"]
    leaky = [
        Fold(name, np.flatnonzero(np.arange(6) % 2 == 0), np.array([1]), np.flatnonzero(np.array(subjects) == name))
        for name in "abc"
    ]
    assert not is_sound(leaky, subjects)


@settings(max_examples=30, deadline=None)
@given(subjects=PEOPLE, seed=st.integers(0, 100))
def test_test_labels_do_not_shape_the_split(subjects, seed):
    labels = np.arange(len(subjects)) % 3
    for number, fold in enumerate(loso(subjects, labels, seed=seed)):
        poisoned = labels.copy()
        poisoned[fold.test] = 7
        again = loso(subjects, poisoned, seed=seed)[number]
        np.testing.assert_array_equal(again.train, fold.train)
        np.testing.assert_array_equal(again.validation, fold.validation)


def test_training_hands_get_no_test_label():
    labels = np.array([10, 11, 20, 21, 30, 31])
    for fold in loso(["a", "a", "b", "b", "c", "c"], labels):
        train, validation = fold.training_labels(labels)
        assert not {*train, *validation} & set(labels[fold.test])
        assert {*train, *validation} | set(labels[fold.test]) == set(labels)


def test_seed_chooses_the_validation_subjects():
    subjects = [f"s{n}" for n in range(12) for _ in range(3)]
    for labels in (None, [0, 1, 2] * 12):
        chosen = [tuple(loso(subjects, labels, seed=seed)[0].validation) for seed in range(5)]
        assert len(set(chosen)) > 1
        assert chosen[2] == tuple(loso(subjects, labels, seed=2)[0].validation)


def test_classes_are_covered_where_possible():
    # Class 1 is shown by two people only, class 2 by everybody: training must keep one who shows class 1.
    subjects = [name for name in "abcdefgh" for _ in range(2)]
    labels = [1 if name in "ab" and place % 2 else 2 for place, name in enumerate(subjects)]
    for seed in range(20):
        train, held = hold_out(subjects, labels, share=0.4, seed=seed)
        assert {labels[place] for place in train} == {1, 2}
        assert {labels[place] for place in held} == {1, 2}
    blind = [{labels[place] for place in hold_out(subjects, share=0.4, seed=seed)[1]} for seed in range(20)]
    assert {2} in blind


def test_too_few_people():
    with pytest.raises(InputError, match="at least 2 subjects"):
        loso(["a", "a"])
    train, held = hold_out(["a", "a"])
    assert (list(train), list(held)) == ([0, 1], [])


def test_protocol_by_name():
    subjects, labels = ["a", "b", "c"], [0, 1, 0]
    assert [fold.name for fold in folds("loso", subjects, labels)] == ["a", "b", "c"]
    with pytest.raises(ConfigError, match="hold-out"):
        folds("hold-out", subjects, labels)
