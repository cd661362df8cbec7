"""Intervals matched one to one, against sets of frames and against every possible matching."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merflow.evaluation.interval_matching import matches, overlap

spans = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda ends: tuple(sorted(ends)))
few = st.lists(spans, max_size=5)


@settings(deadline=None)
@given(spans, spans)
def test_overlap_is_symmetric_intersection_over_union(first, second):
    assert 0 <= overlap(first, second) <= 1
    assert overlap(first, second) == overlap(second, first)
    assert overlap(first, first) == 1
    shared = set(range(first[0], first[1] + 1)) & set(range(second[0], second[1] + 1))
    union = set(range(first[0], first[1] + 1)) | set(range(second[0], second[1] + 1))
    assert overlap(first, second) == pytest.approx(len(shared) / len(union))


def every_matching(truth, spotted):
    """All ways to pair intervals that overlap by half, each at most once."""
    if not truth:
        yield []
        return
    yield from every_matching(truth[:-1], spotted)
    for j, interval in enumerate(spotted):
        if interval is not None and overlap(truth[-1], interval) >= 0.5:
            rest = [*spotted[:j], None, *spotted[j + 1 :]]
            yield from ([*pairs, (len(truth) - 1, j)] for pairs in every_matching(truth[:-1], rest))


@settings(deadline=None, max_examples=60)
@given(few, few)
def test_matching_is_the_largest_one_and_of_these_overlaps_most(truth, spotted):
    def worth(pairs):
        return len(pairs), pytest.approx(sum(overlap(truth[i], spotted[j]) for i, j in pairs))

    hits = matches(truth, spotted)
    assert hits in every_matching(truth, spotted)
    best = max(every_matching(truth, spotted), key=lambda p: (len(p), sum(overlap(truth[i], spotted[j]) for i, j in p)))
    assert worth(hits) == worth(best)


def test_more_pairs_come_before_better_overlaps():
    truth, spotted = [(0, 8), (3, 11), (6, 14)], [(3, 11), (6, 14), (9, 17)]
    assert [overlap(truth[1], spotted[0]), overlap(truth[2], spotted[1])] == [1, 1], "two pairs overlap wholly"
    assert matches(truth, spotted) == [(0, 0), (1, 1), (2, 2)]


def test_overlap_of_exactly_one_half_is_a_hit():
    assert matches([(1, 4)], [(1, 2)]) == [(0, 0)]
    assert matches([(1, 5)], [(1, 2)]) == []
