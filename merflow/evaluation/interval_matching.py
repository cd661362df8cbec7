"""True and spotted intervals of frames, matched one to one as the challenges of MEGC match them.

Li, Yap, See, Hong, Wang: MEGC 2022, the third facial micro-expression grand challenge.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

LEAST_OVERLAP = 0.5
"""Least intersection over union of a hit."""


def overlap(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Return the intersection over union of two intervals of frames, ends included."""
    return float(overlaps([first], [second])[0, 0])


def overlaps(truth: Sequence[tuple[int, int]], spotted: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the :func:`overlap` of each true interval [n] with each spotted one [m], float64 [n, m]."""
    (onsets, offsets), (starts, ends) = (np.reshape(intervals, (-1, 2)).T for intervals in (truth, spotted))
    shared = np.minimum.outer(offsets, ends) - np.maximum.outer(onsets, starts) + 1
    lengths = np.add.outer(offsets - onsets + 1, ends - starts + 1)
    shared = np.maximum(shared, 0)
    return np.asarray(shared / (lengths - shared), np.float64)


def matches(truth: Sequence[tuple[int, int]], spotted: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Match true and spotted intervals that overlap by half, each at most once; return pairs of indices, in order.

    There are as many pairs as possible; of several such matchings, it is the one with the greatest sum of overlaps.
    """
    shared = overlaps(truth, spotted)
    hits = shared >= LEAST_OVERLAP
    # One more pair counts more than any sum of overlaps, which are at most 1 each.
    rows, columns = linear_sum_assignment(np.where(hits, shared + len(shared) + 1, 0.0), maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if hits[i, j]]


def adds_match(hits: np.ndarray) -> list[bool]:
    """Return whether each spotted interval, taken in order, adds a pair to the largest matching of those before it.

    The number of pairs of the first k intervals is then the sum of the first k values (Kuhn: The Hungarian method,
    1955). ``hits``: bool [n, m], whether a true and a spotted interval overlap by half.
    """
    partners: dict[int, int] = {}  # Spotted interval of each true one.

    def place(spotted: int, tried: set[int]) -> bool:
        for true in map(int, np.flatnonzero(hits[:, spotted])):
            if true not in tried:
                tried.add(true)
                if true not in partners or place(partners[true], tried):
                    partners[true] = spotted
                    return True
        return False

    return [place(spotted, set()) for spotted in range(hits.shape[1])]
