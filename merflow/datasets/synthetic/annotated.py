"""Synthetic people who act as annotated people do: mostly one action unit, often on one side, shared by several labels.

``au_frequencies.csv`` counts 790 clips of public annotations of spontaneous micro-expressions: how many clips of an
emotion show a set of action units, and in how many of them it is on one side of the face. A row counts at least two
clips; no annotation of a single clip is in the file. This module is read while the workflow is planned.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from merflow.datasets.synthetic.expressions import ACTION_UNITS, Push

MEMBERS = {"negative": ("anger", "disgust", "fear", "sadness"), "positive": ("happiness",)}
"""Emotions of the labels that join several; any other label is an emotion."""

_STYLE_STREAM, _CLIP_STREAM = 103, 107
_PLACE = 0.03  # Standard deviation of a person's place of a unit, in inter-ocular distances.
_TURN = 15.0  # Standard deviation of its direction, degrees.
_WIDTH, _STRENGTH = 0.15, 0.3  # Standard deviations of the logarithms of its width and strength.
_USUAL_SIDE = 0.75  # Share of a person's one-sided clips that are on the side this person prefers for the unit.
_WEAK_SIDE = (0.0, 0.15)  # Strength of the weaker side of a one-sided clip.
_SIDES = (0.6, 1.0)  # Strength of each side of any other clip.
_AMPLITUDE = (0.018, 0.045)  # Limits of the longest displacement of a person of usual strength, inter-ocular distances.
_RISE, _FALL = (0.17, 0.35, 0.06, 0.25), (0.16, 0.40, 0.06, 0.25)
"""Onset to apex and apex to offset: median in seconds, standard deviation of the logarithm, limits in seconds."""
_MARGIN = (0.02, 0.06)  # Seconds before the onset and after the offset.


@dataclass(frozen=True)
class Row:
    """One row of the table: how often an emotion was annotated with these action units."""

    emotion: str
    units: tuple[int, ...]
    clips: int
    one_sided: int


@cache
def frequencies() -> tuple[Row, ...]:
    """Return the counts of ``au_frequencies.csv``."""
    with Path(__file__).with_name("au_frequencies.csv").open(newline="") as file:
        return tuple(
            Row(row["emotion"], tuple(map(int, row["units"].split("+"))), int(row["n"]), int(row["one_sided"]))
            for row in csv.DictReader(file)
        )


def rows_of(label: str) -> list[Row]:
    """Return the rows of a label, which may join several emotions."""
    return [row for row in frequencies() if row.emotion in MEMBERS.get(label, (label,))]


def ceilings(clips: Mapping[str, int]) -> tuple[float, float]:
    """Return the UF1 that the true action units alone would give.

    The first value is for the most frequent label of each set of units; the second for the labels of the sets that
    give the highest UF1, found by changing one label at a time.

    ``clips``: number of clips of each label, over which the frequencies of the label's rows are spread.
    """
    units = sorted({row.units for label in clips for row in rows_of(label)})
    counts = np.zeros((len(units), len(clips)))
    for column, label in enumerate(clips):
        for row in rows_of(label):
            counts[units.index(row.units), column] += row.clips
    counts *= np.array(list(clips.values())) / counts.sum(axis=0)

    def uf1(labels: np.ndarray) -> float:
        answers = np.eye(len(clips))[labels]
        hits, answered = (answers * counts).sum(axis=0), (answers * counts.sum(axis=1, keepdims=True)).sum(axis=0)
        return float(np.mean(2 * hits / (answered + counts.sum(axis=0))))

    frequent = best = counts.argmax(axis=1)
    improved = True
    while improved:
        improved = False
        for cell in np.ndindex(counts.shape):
            other = best.copy()
            other[cell[0]] = cell[1]
            if uf1(other) > uf1(best):
                best, improved = other, True
    return uf1(frequent), uf1(best)


@dataclass(frozen=True)
class Action:
    """What a clip shows: action units as this person makes them."""

    amplitude: float  # Longest displacement at the apex, in inter-ocular distances.
    strengths: Mapping[int, float]  # Strength of each action unit.
    gains: tuple[float, float]  # Strength of the left and of the right side of the image.
    pushes: Mapping[int, tuple[Push, ...]]


def act(label: str, person: tuple[int, int], rng: np.random.Generator) -> Action:
    """Draw the units of a clip by the frequencies of its label, as a person makes them.

    ``person``: seed of the dataset and number of the person; ``rng``: random numbers of the clip.
    """
    rows = rows_of(label)
    weights = np.array([row.clips for row in rows], float)
    row = rows[rng.choice(len(rows), p=weights / weights.sum())]
    pushes, strengths, sides = {}, {}, {}
    for unit in row.units:
        style = np.random.default_rng((person[0], _STYLE_STREAM, person[1], unit))
        strengths[unit] = float(np.exp(_STRENGTH * style.standard_normal()) * rng.uniform(0.8, 1.2))
        sides[unit] = int(style.integers(2))
        pushes[unit] = tuple(_personal(push, style) for push in ACTION_UNITS[unit])
    gains = rng.uniform(*_SIDES, 2)
    if rng.random() < row.one_sided / row.clips:
        usual = sides[row.units[0]]
        strong = usual if rng.random() < _USUAL_SIDE else 1 - usual
        gains[strong], gains[1 - strong] = 1.0, rng.uniform(*_WEAK_SIDE)
    amplitude = float(np.exp(rng.uniform(*np.log(_AMPLITUDE))) * max(strengths.values()))
    return Action(amplitude, strengths, (float(gains[0]), float(gains[1])), pushes)


def _personal(push: Push, style: np.random.Generator) -> Push:
    """Return a push with the place, width and direction of a person."""
    angle = np.deg2rad(_TURN) * style.standard_normal()
    outward = float(np.cos(angle) * push.outward - np.sin(angle) * push.down)
    down = float(np.sin(angle) * push.outward + np.cos(angle) * push.down)
    width = float(push.width * np.exp(_WIDTH * style.standard_normal()))
    right, below = (float(_PLACE * value) for value in style.standard_normal(2))
    return replace(push, outward=outward, down=down, width=width, beside=push.beside + right, below=push.below + below)


def real_timing(rng: np.random.Generator, fps: float) -> tuple[int, int, int, int]:
    """Draw onset, apex and offset, as frame numbers from 0, and the number of frames, as long as real clips are."""
    rise, fall = (
        float(np.clip(median * np.exp(spread * rng.standard_normal()), low, high))
        for median, spread, low, high in (_RISE, _FALL)
    )
    before, after = rng.uniform(*_MARGIN, 2)
    onset = max(1, round(before * fps))
    apex = onset + max(1, round(rise * fps))
    offset = apex + max(1, round(fall * fps))
    return onset, apex, offset, offset + max(1, round(after * fps)) + 1
