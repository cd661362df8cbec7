"""Long videos of synthetic people who talk, chew, look around, turn, lean and blink, and who sometimes show something.

Micro- and macro-expressions are the annotated repertoire of :mod:`merflow.datasets.synthetic.annotated`: mostly one
action unit, often on one side. They come at rest and while the person talks; a quarter of the video has none at all. A
video is compressed (MPEG-4). Spotting systems learn from some of these people and are judged on others; nothing here
is a claim about people.
"""

import errno
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from merflow.datasets.settings import LongPeopleSettings
from merflow.datasets.synthetic.draw import draw_face
from merflow.datasets.synthetic.expressions import Anchors, gaze_field, turn_field, unit_field
from merflow.datasets.synthetic.long_plan import Shown, half_cosine, person_rng, plan_expressions
from merflow.datasets.synthetic.plan import random_walk
from merflow.datasets.synthetic.render import deformation, head_motion, render_frame
from merflow.storage.files import atomic_write

log = logging.getLogger(__name__)

_STREAM = 227
_NOISE, _DRIFT = 2.0, 1.0
_ACTIVITIES = {"rest": 0.3, "talk": 0.45, "chew": 0.1, "look": 0.15}
_ACTIVITY = (4.0, 12.0)  # Seconds.
_PHRASE, _PAUSE, _SYLLABLES = (0.8, 3.5), (0.15, 1.0), (4.0, 6.0)  # Seconds, seconds, per second.
_JAW, _LIPS = (0.02, 0.09), 0.03  # Displacement of the jaw in a syllable, of rounded and spread lips.
_CHEWS, _CHEW = (1.1, 1.6), (0.03, 0.07)  # Per second, displacement.
_BLINKS, _BLINK, _LIDS_CLOSED = 0.3, (0.12, 0.3), 0.08
_GLANCES, _GLANCE = {"look": 1.2}, 0.05  # Per second (0.3 in other activities), displacement.
_TURN, _LEAN = 0.05, (0.12, 0.08, 3.0, 0.03)  # Turn of the head; right, down, degrees and scale of its pose.
_NOD = 0.015  # In phrases.
"""Displacements are in distances between the pupils."""


@dataclass(frozen=True)
class LongPerson:
    """The video of a person as it will be rendered."""

    person: int
    settings: LongPeopleSettings
    expressions: list[Shown]
    courses: dict[str, np.ndarray]
    """By name of a field of :func:`_fields`: displacement in distances between the pupils, float64 [frames]."""
    rigid: np.ndarray
    talks: np.ndarray
    """Whether the person is in a phrase, bool [frames]."""

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.talks)


def plan_person(person: int, settings: LongPeopleSettings) -> LongPerson:
    """Draw everything that is random about the video of one person; the same settings give the same video."""
    rng = person_rng(person, settings)
    fps, frames = settings.fps, round(settings.seconds * settings.fps)
    expressions = plan_expressions(rng, person, settings)
    courses = {name: np.zeros(frames) for name in ("jaw", "round", "spread", "side", "lids", "gaze x", "gaze y")}
    talks = np.zeros(frames, bool)
    start = 0.0
    while start < settings.seconds:
        end = start + rng.uniform(*_ACTIVITY)
        activity = str(rng.choice(list(_ACTIVITIES), p=list(_ACTIVITIES.values())))
        if activity == "talk":
            _talk(rng, courses, talks, fps, start, end)
        elif activity == "chew":
            _chew(rng, courses, fps, start, end)
        _glance(rng, courses, fps, start, end, _GLANCES.get(activity, 0.3))
        start = end
    for _ in range(rng.poisson(_BLINKS * settings.seconds)):
        length = rng.uniform(*_BLINK)
        _add_bump(courses["lids"], fps, rng.uniform(0, settings.seconds), 0.4 * length, 0.6 * length, _LIDS_CLOSED)
    unit = settings.interocular_px
    rigid = head_motion(rng, frames, _DRIFT, settings.frame_size / 480)
    rigid += _wander(rng, frames, fps, 4) * _LEAN * np.array([unit, unit, np.pi / 180, 1])
    for axis in ("turn x", "turn y"):
        courses[axis] = _TURN * _wander(rng, frames, fps, 1)[:, 0]
    nods = gaussian_filter1d(rng.standard_normal(frames), 0.15 * fps)
    rigid[:, 1] += _NOD * unit * nods / max(nods.std(), 1e-9) * gaussian_filter1d(talks.astype(float), 0.2 * fps)
    return LongPerson(person, settings, expressions, courses, rigid, talks)


def _talk(
    rng: np.random.Generator, courses: dict[str, np.ndarray], talks: np.ndarray, fps: float, start: float, end: float
) -> None:
    """Add phrases: in each syllable the jaw opens and the lips are round or spread."""
    while start < end:
        stop = min(end, start + rng.uniform(*_PHRASE))
        talks[round(start * fps) : round(stop * fps)] = True
        while start < stop:
            length = 1 / rng.uniform(*_SYLLABLES)
            _add_bump(courses["jaw"], fps, start, length / 2, length / 2, rng.uniform(*_JAW))
            shape = courses["round" if rng.random() < 0.5 else "spread"]
            _add_bump(shape, fps, start - length / 4, 0.75 * length, 0.75 * length, _LIPS * rng.uniform())
            start += length
        start = stop + rng.uniform(*_PAUSE)


def _chew(rng: np.random.Generator, courses: dict[str, np.ndarray], fps: float, start: float, end: float) -> None:
    """Add chewing: the jaw opens and goes to one side."""
    side = rng.choice([-1, 1])
    while start < end:
        length, size = 1 / rng.uniform(*_CHEWS), rng.uniform(*_CHEW)
        _add_bump(courses["jaw"], fps, start, 0.4 * length, 0.5 * length, size)
        _add_bump(courses["side"], fps, start + 0.2 * length, 0.3 * length, 0.4 * length, 0.5 * side * size)
        start += length


def _glance(
    rng: np.random.Generator, courses: dict[str, np.ndarray], fps: float, start: float, end: float, rate: float
) -> None:
    """Add changes of gaze, each within 40 ms, to a place that is kept until the next one."""
    for time in np.sort(rng.uniform(start, end, rng.poisson(rate * (end - start)))).tolist():
        first = min(round(time * fps), len(courses["gaze x"]) - 1)
        steps = np.clip(np.arange(len(courses["gaze x"]) - first) / max(1.0, 0.04 * fps), 0, 1)
        for axis in ("gaze x", "gaze y"):
            before, target = courses[axis][first], _GLANCE * rng.uniform(-1, 1)
            courses[axis][first:] = before + (target - before) * steps


def _add_bump(course: np.ndarray, fps: float, start: float, rise: float, fall: float, size: float) -> None:
    """Add a raised cosine up and down to a course; times in seconds."""
    rising, falling = max(1, round(rise * fps)), max(1, round(fall * fps))
    bump = size * np.concatenate([half_cosine(rising), [1.0], half_cosine(falling)[::-1]])
    first = round(start * fps)
    low, high = max(0, first), min(len(course), first + len(bump))
    if low < high:
        course[low:high] += bump[low - first : high - first]


def _wander(rng: np.random.Generator, frames: int, fps: float, count: int) -> np.ndarray:
    """Return changes of posture: now and then, a smooth move to another position within 1, float64 [frames, count]."""
    position = np.zeros((frames, count))
    for time in np.cumsum(rng.exponential(6.0, 1 + int(frames / fps))):
        if (first := round(time * fps)) >= frames:
            break
        length = round(fps * rng.uniform(0.5, 1.5))
        steps = np.append(half_cosine(length), 1.0)[np.minimum(np.arange(frames - first), length)]
        position[first:] += steps[:, None] * (rng.uniform(-1, 1, count) - position[first])
    return position


def _fields(anchors: Anchors, shape: tuple[int, int]) -> dict[str, Callable[[], np.ndarray]]:
    """Return functions that make the unit displacement of each course, float32 [height, width, 2]."""

    def units(strengths: dict[int, float]) -> np.ndarray:
        return unit_field(anchors, strengths, (1.0, 1.0), shape)

    def sideways() -> np.ndarray:
        down = units({26: 1.0})
        return np.stack([down[..., 1], np.zeros_like(down[..., 1])], axis=-1)

    return {
        "jaw": lambda: units({25: 0.3, 26: 1.0}),
        "round": lambda: units({18: 1.0}),
        "spread": lambda: units({20: 1.0}),
        "side": sideways,
        "lids": lambda: units({45: 1.0}),
        "gaze x": lambda: gaze_field(anchors, 0, shape),
        "gaze y": lambda: gaze_field(anchors, 90, shape),
        "turn x": lambda: turn_field(anchors, 0, shape),
        "turn y": lambda: turn_field(anchors, 90, shape),
    }


def film_person(plan: LongPerson) -> Iterator[np.ndarray]:
    """Yield the frames of a video, uint8 BGR [frame_size, frame_size, 3]."""
    settings = plan.settings
    size, unit = settings.frame_size, np.float32(settings.interocular_px)
    base = draw_face(settings.seed, plan.person, size, settings.interocular_px)
    rng = np.random.default_rng((settings.seed, _STREAM, plan.person))
    gain = 1 + 0.008 * random_walk(rng, plan.frames, 0.5 * settings.fps)
    makers = _fields(base.anchors, (size, size))
    layers = [(deformation(makers[name]()), unit * course.astype(np.float32)) for name, course in plan.courses.items()]
    waiting, active = list(plan.expressions), list[tuple[Shown, np.ndarray]]()
    for frame in range(plan.frames):
        active = [(shown, field) for shown, field in active if frame <= shown.offset]
        while waiting and waiting[0].onset <= frame:
            shown = waiting.pop(0)
            action = shown.action
            field = unit_field(base.anchors, action.strengths, action.gains, (size, size), action.pushes)
            active.append((shown, deformation(field)))
        moved = np.zeros((size, size, 3), np.float32)
        for field, course in layers:
            if abs(course[frame]) > 1e-4:
                cv2.scaleAdd(field, float(course[frame]), moved, moved)
        for shown, field in active:
            strength = float(unit * shown.amplitude * shown.course[frame - shown.onset])
            cv2.scaleAdd(field, strength, moved, moved)
        yield render_frame(base, moved, 1.0, plan.rigid[frame], float(gain[frame]), _NOISE, rng)


def compress(frames: Iterable[np.ndarray], count: int, fps: float, size: int, video: str | Path) -> None:
    """Write ``count`` square frames as MPEG-4, whose lossy compression hides small motions, as in most videos.

    Raises:
        OSError: the file is incomplete, because the disk is full.
    """
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), fps, (size, size))
    for frame in frames:
        writer.write(frame)
    writer.release()
    capture = cv2.VideoCapture(str(video))
    written = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if written != count:  # OpenCV reports no error when it writes.
        raise OSError(errno.ENOSPC, "a video could not be written completely", str(video))


def write_person(subject: str, settings: LongPeopleSettings, video: Path) -> None:
    """Draw the video of a subject, ``p01`` and on."""
    plan = plan_person(settings.person_number(subject), settings)
    with atomic_write(video) as temporary:
        compress(film_person(plan), plan.frames, settings.fps, settings.frame_size, temporary)
    log.info("%s: %d frames", video, plan.frames)
