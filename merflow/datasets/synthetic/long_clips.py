"""Long clips of drawn people: a few micro-expressions among rests, blinks, a drifting head and a change of posture.

What spotting is measured on (:mod:`merflow.inference.spotting`): when each expression begins, peaks and ends is known,
and so is that nothing else is one. The people are in no dataset of any study.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from merflow.datasets.synthetic.draw import draw_face
from merflow.datasets.synthetic.expressions import EMOTIONS, unit_field
from merflow.datasets.synthetic.plan import envelope
from merflow.datasets.synthetic.render import deformation, exposure, head_motion, wander

DEFAULTS: dict[str, Any] = {
    "fps": 100,
    "seconds": 12.0,
    "expressions": 4,
    "emotions": ["happiness", "surprise", "disgust", "fear", "sadness", "anger"],
    "duration": [0.17, 0.5],
    "amplitude": [0.9, 2.2],
    "blinks": 0.25,
    "postures": 1,
    "frame_size": 240,
    "interocular_px": 60,
    "noise": 2.0,
    "drift": 1.0,
    "seed": 0,
}
"""Settings: ``fps`` frames per second; ``seconds`` of the clip; ``expressions`` in it; ``duration``: their least and
most length in seconds; ``amplitude``: their longest displacement, per cent of the distance between the pupils (the
demo's micro clips have 0.8 to 2.2); ``blinks`` per second; ``postures``: how often the head takes another position;
``noise``, ``drift``, ``frame_size``, ``interocular_px`` and ``seed`` as in :mod:`merflow.datasets.synthetic.plan`."""

CHOOSING, MEASURING = 2_000_000, 3_000_000
"""First numbers of the people on whom the thresholds of spotting were chosen, and of those on whom it is measured."""

_STREAM = 211
_REST = 0.6  # Seconds without an expression before the first, between two, and after the last; the last third has none.
_BLINK = (0.12, 0.25)  # Seconds.
_LID = {45: 1.0}
_LIDS_CLOSED = 8.0  # How far the lids go, per cent of the distance between the pupils.
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
    """A long clip as it will be filmed."""

    person: int
    frames: int
    fps: float
    events: tuple[Event, ...]
    rigid: np.ndarray
    """float64 [frames, 4], pose of the head as in :mod:`merflow.datasets.synthetic.truth`."""
    settings: Mapping[str, Any]

    @property
    def expressions(self) -> list[Event]:
        """What is to be found."""
        return [event for event in self.events if event.emotion != "blink"]


def plan_long(person: int, settings: Mapping[str, Any] | None = None) -> LongClip:
    """What chance decides about the clip of one person; the same settings give the same clip.

    The expressions lie in the first two thirds, apart by 0.6 s or more; in the last third there is none. Blinks come
    at any time but within an expression.
    """
    full = DEFAULTS | dict(settings or {})
    chance = np.random.default_rng((full["seed"], _STREAM, person))
    fps, frames = float(full["fps"]), round(full["seconds"] * full["fps"])
    unit = full["interocular_px"] / 100
    events, count = [], int(full["expressions"])
    lengths = chance.uniform(*full["duration"], count)
    spare = 2 / 3 * full["seconds"] - lengths.sum() - _REST * (count + 1)
    if spare < 0:
        raise ValueError(f"{full['seconds']} s hold no {count} expressions")
    gaps = _REST + spare * chance.dirichlet(np.ones(count + 1))
    start = 0.0
    for number in range(count):
        start += gaps[number]
        onset, offset = round(start * fps), round((start + lengths[number]) * fps)
        apex = onset + max(1, round((offset - onset) * chance.uniform(0.4, 0.6)))
        emotion = str(chance.choice(full["emotions"]))
        strengths = {unit: float(usual * chance.uniform(0.8, 1.2)) for unit, usual in EMOTIONS[emotion].items()}
        gains = (float(chance.uniform(0.7, 1.0)), float(chance.uniform(0.7, 1.0)))
        amplitude = float(unit * chance.uniform(*full["amplitude"]))
        events.append(Event(emotion, onset, apex, max(offset, apex + 1), amplitude, gains, strengths))
        start += lengths[number]
    taken = [(event.onset - 0.1 * fps, event.offset + 0.1 * fps) for event in events]
    for _ in range(chance.poisson(full["blinks"] * full["seconds"])):
        length = max(4, round(fps * chance.uniform(*_BLINK)))
        onset = int(chance.integers(0, max(1, frames - length)))
        if all(onset + length < low or onset > high for low, high in taken):
            apex = onset + round(0.4 * length)
            events.append(Event("blink", onset, apex, onset + length, unit * _LIDS_CLOSED, (1.0, 1.0), _LID))
            taken.append((onset - 0.1 * fps, onset + length + 0.1 * fps))
    zoom = full["frame_size"] / 480
    rigid = head_motion(chance, frames, full["drift"], zoom)
    for _ in range(int(full["postures"])):
        rigid += _posture(chance, frames, fps, full["interocular_px"])
    return LongClip(person, frames, fps, tuple(sorted(events, key=lambda one: one.onset)), rigid, full)


def _posture(chance: np.random.Generator, frames: int, fps: float, interocular: float) -> np.ndarray:
    """A move of the head from one position to another, float64 [frames, 4], to be added to its pose."""
    length = fps * chance.uniform(*_POSTURE_SECONDS)
    start = chance.uniform(0, max(1.0, frames - length))
    course = 0.5 - 0.5 * np.cos(np.pi * np.clip((np.arange(frames) - start) / length, 0, 1))
    size = chance.uniform(-1, 1, 4) * _POSTURE
    return course[:, None] * size * (interocular, interocular, np.pi / 180, 1)


def film_long(clip: LongClip) -> Iterator[np.ndarray]:
    """The frames of a long clip one by one, uint8 BGR [frame_size, frame_size, 3]."""
    full = clip.settings
    size = full["frame_size"]
    base = draw_face(full["seed"], clip.person, size, full["interocular_px"])
    chance = np.random.default_rng((full["seed"], _STREAM, clip.person, 1))
    gain = 1 + 0.008 * wander(chance, clip.frames, 0.15 * clip.fps)
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
        yield exposure(base, layers, strength, clip.rigid[frame], float(gain[frame]), full["noise"], chance)


def grey_long(clip: LongClip) -> Iterator[tuple[int, np.ndarray]]:
    """The frames as :func:`merflow.footage.frames.grey_frames` gives them: number and uint8 [H, W]."""
    for number, frame in enumerate(film_long(clip)):
        yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
