"""Long clips of synthetic people: a few micro-expressions among rests, blinks, a drifting head and a change of posture.

Onset, apex and offset of each expression are known, and nothing else in them is an expression. The people are in no
dataset of any study.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from merflow.datasets.synthetic.draw import draw_face
from merflow.datasets.synthetic.expressions import EMOTIONS, unit_field
from merflow.datasets.synthetic.plan import envelope, random_walk
from merflow.datasets.synthetic.render import deformation, head_motion, render_frame


@dataclass(frozen=True)
class LongClipSettings:
    """Settings of long clips; see also :class:`merflow.datasets.settings.SyntheticSettings`."""

    fps: float
    seconds: float  # length of the clip
    expressions: int  # number of expressions
    duration: tuple[float, float]  # range of an expression's length in seconds
    blinks: float  # blinks per second
    frame_size: int
    interocular_px: int


STANDARD = LongClipSettings(
    fps=100,
    seconds=12.0,
    expressions=4,
    duration=(0.17, 0.5),
    blinks=0.25,
    frame_size=240,
    interocular_px=60,
)

CHOOSING = 2_000_000
"""Number of the first person; the defaults of the search were chosen on these."""

_SEED, _STREAM = 0, 211
_AMPLITUDE = (0.9, 2.2)  # Longest displacement in per cent of the pupils' distance (demo: 0.8 to 2.2).
_NOISE, _DRIFT = 2.0, 1.0  # As in :class:`merflow.datasets.settings.SyntheticSettings`.
_REST = 0.6  # Seconds without an expression before the first, between two, and after the last.
_BLINK = (0.12, 0.25)  # Seconds.
_LID = {45: 1.0}
_LIDS_CLOSED = 8.0  # Displacement of the lids, per cent of the distance between the pupils.
_POSTURE = (0.04, 0.03, 2.0, 0.01)  # Right and down in distances between the pupils, degrees, scale.
_POSTURE_SECONDS = (0.6, 1.2)


@dataclass(frozen=True)
class Event:
    """An expression, or a blink (``emotion`` is ``blink``), in frame numbers from 0."""

    emotion: str
    onset: int
    apex: int
    offset: int
    amplitude_px: float
    gains: tuple[float, float]
    strengths: Mapping[int, float]


@dataclass(frozen=True)
class LongClip:
    """A long clip as it will be rendered."""

    person: int
    frames: int
    fps: float
    events: tuple[Event, ...]
    rigid: np.ndarray  # float64 [frames, 4], pose of the head as in :mod:`merflow.datasets.synthetic.truth`
    settings: LongClipSettings

    @property
    def expressions(self) -> list[Event]:
        """The events that spotting should find."""
        return [event for event in self.events if event.emotion != "blink"]


def plan_long(person: int, settings: LongClipSettings = STANDARD) -> LongClip:
    """Draw everything that is random about the clip of one person; the same settings give the same clip.

    The expressions are in the first two thirds, at least 0.6 s apart; the last third has none. Blinks occur at any time
    outside expressions.
    """
    rng = np.random.default_rng((_SEED, _STREAM, person))
    fps, frames = float(settings.fps), round(settings.seconds * settings.fps)
    unit = settings.interocular_px / 100
    events: list[Event] = []
    count = settings.expressions
    lengths = rng.uniform(*settings.duration, count)
    spare = 2 / 3 * settings.seconds - lengths.sum() - _REST * (count + 1)
    if spare < 0:
        raise ValueError(f"{settings.seconds} s are too short for {count} expressions")
    gaps = _REST + spare * rng.dirichlet(np.ones(count + 1))
    start = 0.0
    for number in range(count):
        start += gaps[number]
        onset, offset = round(start * fps), round((start + lengths[number]) * fps)
        apex = onset + max(1, round((offset - onset) * rng.uniform(0.4, 0.6)))
        emotion = str(rng.choice(list(EMOTIONS)))
        strengths = {unit: float(usual * rng.uniform(0.8, 1.2)) for unit, usual in EMOTIONS[emotion].items()}
        gains = (float(rng.uniform(0.7, 1.0)), float(rng.uniform(0.7, 1.0)))
        amplitude = float(unit * rng.uniform(*_AMPLITUDE))
        events.append(Event(emotion, onset, apex, max(offset, apex + 1), amplitude, gains, strengths))
        start += lengths[number]
    occupied = [(event.onset - 0.1 * fps, event.offset + 0.1 * fps) for event in events]
    for _ in range(rng.poisson(settings.blinks * settings.seconds)):
        length = max(4, round(fps * rng.uniform(*_BLINK)))
        onset = int(rng.integers(0, max(1, frames - length)))
        if all(onset + length < low or onset > high for low, high in occupied):
            apex = onset + round(0.4 * length)
            events.append(Event("blink", onset, apex, onset + length, unit * _LIDS_CLOSED, (1.0, 1.0), _LID))
            occupied.append((onset - 0.1 * fps, onset + length + 0.1 * fps))
    zoom = settings.frame_size / 480
    rigid = head_motion(rng, frames, _DRIFT, zoom)
    rigid += _posture(rng, frames, fps, settings.interocular_px)
    return LongClip(person, frames, fps, tuple(sorted(events, key=lambda event: event.onset)), rigid, settings)


def _posture(rng: np.random.Generator, frames: int, fps: float, interocular: float) -> np.ndarray:
    """Return a move of the head to another position, float64 [frames, 4], to be added to its pose."""
    length = fps * rng.uniform(*_POSTURE_SECONDS)
    start = rng.uniform(0, max(1.0, frames - length))
    course = 0.5 - 0.5 * np.cos(np.pi * np.clip((np.arange(frames) - start) / length, 0, 1))
    size = rng.uniform(-1, 1, 4) * _POSTURE
    return np.asarray(course[:, None] * size * (interocular, interocular, np.pi / 180, 1))


def film_long(clip: LongClip) -> Iterator[np.ndarray]:
    """Yield the frames of a long clip, uint8 BGR [frame_size, frame_size, 3]."""
    settings, size = clip.settings, clip.settings.frame_size
    base = draw_face(_SEED, clip.person, size, settings.interocular_px)
    rng = np.random.default_rng((_SEED, _STREAM, clip.person, 1))
    gain = 1 + 0.008 * random_walk(rng, clip.frames, 0.15 * clip.fps)
    still = np.zeros((size, size, 3), np.float32)
    fields: dict[int, np.ndarray] = {}
    for frame in range(clip.frames):
        layers = still
        for number, event in enumerate(clip.events):
            if not event.onset < frame < event.offset:
                fields.pop(number, None)
                continue
            if number not in fields:
                unit = unit_field(base.anchors, event.strengths, event.gains, (size, size))
                fields[number] = event.amplitude_px * deformation(unit)
            course = envelope(event.offset - event.onset + 1, 0, event.apex - event.onset, event.offset - event.onset)
            layers = layers + fields[number] * course[frame - event.onset]
        strength = 0.0 if layers is still else 1.0
        yield render_frame(base, layers, strength, clip.rigid[frame], float(gain[frame]), _NOISE, rng)
