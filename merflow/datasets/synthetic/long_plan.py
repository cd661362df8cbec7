"""Which expressions the synthetic people of long videos show, and when. Read while the workflow is planned."""

from dataclasses import dataclass

import numpy as np

from merflow.datasets.settings import LongPeopleSettings
from merflow.datasets.synthetic.annotated import Action, act, real_timing
from merflow.errors import ConfigError

LABELS = ("negative", "positive", "surprise")

_STREAM = 223
_REST = 0.5  # Seconds between two expressions.
_CALM = (0.25, 0.4)  # Where the stretch without expressions begins, as a fraction of the video, and its length.
_MACRO_GAIN = (2.5, 5.0)  # Times that a macro-expression moves further than a micro-expression.
_MACRO = ((0.25, 0.6), (0.0, 1.4), (0.3, 0.9))  # Seconds of rise, hold and fall.


@dataclass(frozen=True)
class Shown:
    """An expression, in frame numbers from 0."""

    onset: int
    apex: int
    offset: int
    label: str
    kind: str
    action: Action
    course: np.ndarray
    """Fraction of the amplitude from onset to offset, float32."""
    amplitude: float
    """Longest displacement in distances between the pupils."""


def person_rng(person: int, settings: LongPeopleSettings) -> np.random.Generator:
    """Return the random numbers of a person's video; the expressions are drawn first."""
    return np.random.default_rng((settings.seed, _STREAM, person))


def plan_expressions(rng: np.random.Generator, person: int, settings: LongPeopleSettings) -> list[Shown]:
    """Draw the expressions of a person and their places, none in the calm stretch.

    Raises:
        ConfigError: the video is too short for them.
    """
    fps, minutes = settings.fps, settings.seconds / 60
    # Long ones first, which are harder to place.
    kinds = ["macro"] * round(settings.macro * minutes) + ["micro"] * round(settings.micro * minutes)
    calm = settings.seconds * _CALM[0], settings.seconds * (_CALM[0] + _CALM[1] * rng.uniform(0.6, 1.0))
    taken = [calm]
    shown = []
    for kind in kinds:
        label = str(rng.choice(LABELS))
        action = act(label, (settings.seed, person), rng)
        if kind == "micro":
            before, apex, offset, _ = real_timing(rng, fps)
            rise, hold, fall, gain = apex - before, 0, offset - apex, 1.0
        else:
            rise, hold, fall = (max(1, round(fps * rng.uniform(*limits))) for limits in _MACRO)
            gain = float(rng.uniform(*_MACRO_GAIN))
        seconds = (rise + hold + fall) / fps
        for _ in range(200):
            begin = float(rng.uniform(_REST, settings.seconds - seconds - _REST))
            if all(begin + seconds + _REST < low or begin - _REST > high for low, high in taken):
                break
        else:
            raise ConfigError(f"{settings.seconds:g} s are too short for {len(kinds)} expressions; give more seconds")
        taken.append((begin, begin + seconds))
        onset = round(begin * fps)
        course = np.concatenate([half_cosine(rise), np.ones(hold + 1), half_cosine(fall)[::-1]])
        apex = onset + rise + hold // 2
        amplitude = gain * action.amplitude
        shown.append(Shown(onset, apex, onset + rise + hold + fall, label, kind, action, course, amplitude))
    return sorted(shown, key=lambda each: each.onset)


def half_cosine(frames: int) -> np.ndarray:
    """Return a raised cosine from 0 towards 1, float64 [frames]; 1 would come next."""
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(frames) / frames)
