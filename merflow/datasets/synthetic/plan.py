"""What the synthetic clips show: which person and emotion, how strong and when, decided by the settings alone.

Every clip has its own random stream, so that none depends on the other clips. This module is read while the workflow is
planned, so it imports no library for images.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from merflow.datasets.settings import SyntheticSettings
from merflow.datasets.synthetic.annotated import MEMBERS, act, real_timing
from merflow.datasets.synthetic.expressions import ACTION_UNITS, EMOTIONS, Push
from merflow.footage.clip import Clip

_KIND_CODES = {"micro": 0, "macro": 1}
_EMOTION_CODES = {emotion: code for code, emotion in enumerate((*EMOTIONS, "others", *MEMBERS))}
_CLIP_STREAM = 101
"""Second number of the seed of everything that belongs to one clip; people have another one."""
_SHARES_STREAM = 109


@dataclass(frozen=True)
class Performance:
    """One clip as it will be rendered."""

    clip: str
    emotion: str
    frames: int
    onset: int
    apex: int
    offset: int
    rest: float  # fraction of the expression that is left from its offset on; 0: the face is neutral again
    amplitude_px: float  # longest displacement at the apex, in pixels of the frame
    gains: tuple[float, float]  # strength of the left and of the right side of the image
    strengths: Mapping[int, float]  # strength of each action unit
    seed: tuple[int, ...]  # seed of drift, light and noise
    pushes: Mapping[int, tuple[Push, ...]] = field(default_factory=lambda: ACTION_UNITS)  # each unit of this person

    @property
    def envelope(self) -> np.ndarray:
        """Fraction of the amplitude in each frame, float32 [frames]."""
        return envelope(self.frames, self.onset, self.apex, self.offset, self.rest)


def plan_clips(dataset: str, settings: SyntheticSettings) -> list[Clip]:
    """Plan every clip of dataset ``dataset``, subject by subject; the same settings give the same clips."""
    return [
        Clip(
            clip=performance.clip,
            subject=f"{dataset}/{subject}",
            label=performance.emotion,
            kind=settings.kind,
            frames=f"{settings.root}/{subject}/{performance.clip}",
            onset=performance.onset,
            apex=performance.apex,
            offset=performance.offset,
            fps=settings.fps,
        )
        for subject in settings.subject_names
        for performance in plan_subject(subject, settings)
    ]


def plan_subject(subject: str, settings: SyntheticSettings) -> list[Performance]:
    """Plan the clips of one subject, emotion by emotion."""
    clips = (
        _shares(settings)[subject] if settings.clips else dict.fromkeys(settings.emotions, settings.clips_per_emotion)
    )
    return [
        _performance(subject, emotion, repeat, settings)
        for emotion, number in clips.items()
        for repeat in range(1, number + 1)
    ]


def _shares(settings: SyntheticSettings) -> dict[str, Counter[str]]:
    """Draw how many clips of each emotion each person has: at least one clip, some people many more than others."""
    rng = np.random.default_rng((settings.seed, _SHARES_STREAM, settings.first_subject))
    emotions = rng.permutation([emotion for emotion, number in settings.clips.items() for _ in range(number)])
    people = settings.subject_names
    more = rng.choice(people, len(emotions) - len(people), p=rng.dirichlet(np.ones(len(people))))
    shares: dict[str, Counter[str]] = {subject: Counter() for subject in people}
    for subject, emotion in zip([*people, *more], emotions, strict=True):
        shares[str(subject)][str(emotion)] += 1
    return shares


def _performance(subject: str, emotion: str, repeat: int, settings: SyntheticSettings) -> Performance:
    """Draw everything that is random about one clip."""
    person, kind = settings.person_number(subject), settings.kind
    seed = (settings.seed, _CLIP_STREAM, _KIND_CODES[kind], person, _EMOTION_CODES[emotion], repeat)
    rng = np.random.default_rng(seed)
    onset, apex, offset = _timing(rng, settings.frames, kind)
    low, high = settings.side_gain
    members = MEMBERS.get(emotion, (emotion,))
    # People begin at different members of a label; "others", which only annotations have, has no prototype.
    usual = EMOTIONS.get(members[(person + repeat) % len(members)], {})
    performance = Performance(
        clip=f"{subject}_{emotion}_{repeat}",
        emotion=emotion,
        frames=settings.frames,
        onset=onset,
        apex=apex,
        offset=offset,
        rest=float(rng.uniform(*settings.rest)),
        amplitude_px=float(rng.uniform(*settings.amplitude)),
        gains=(float(rng.uniform(low, high)), float(rng.uniform(low, high))),
        strengths={unit: float(strength * rng.uniform(0.8, 1.2)) for unit, strength in usual.items()},
        seed=(*seed, 1),
    )
    return _as_annotated(performance, (settings.seed, person), rng, settings) if settings.annotated else performance


def _as_annotated(
    performance: Performance, person: tuple[int, int], rng: np.random.Generator, settings: SyntheticSettings
) -> Performance:
    """Return the clip with the action units, the strength and the timing of real annotations."""
    action = act(performance.emotion, person, rng)
    onset, apex, offset, frames = real_timing(rng, settings.fps)
    return replace(
        performance,
        frames=frames,
        onset=onset,
        apex=apex,
        offset=offset,
        amplitude_px=action.amplitude * settings.interocular_px,
        gains=action.gains,
        strengths=action.strengths,
        pushes=action.pushes,
    )


def _timing(rng: np.random.Generator, frames: int, kind: str) -> tuple[int, int, int]:
    """Draw onset, apex and offset, as frame numbers from 0."""
    onset = _between(rng, frames // 20, frames // 8)
    if kind == "macro":
        return onset, _between(rng, round(0.6 * frames), round(0.8 * frames) - 1), frames - 1
    apex = _between(rng, round(0.35 * frames), round(0.65 * frames) - 1)
    return onset, apex, _between(rng, round(0.82 * frames), frames - 2)


def _between(rng: np.random.Generator, low: int, high: int) -> int:
    """Draw an integer from ``low`` (at least 1) to ``high``, both included."""
    low = max(1, low)
    return int(rng.integers(low, max(low, high) + 1))


def envelope(frames: int, onset: int, apex: int, offset: int, rest: float = 0.0) -> np.ndarray:
    """Return the course of an expression: 0 until onset, 1 at the apex, ``rest`` after offset, raised cosines between.

    Returns:
        float32 [frames].
    """
    time = np.arange(frames)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip((time - onset) / (apex - onset), 0, 1))
    fall = 0.5 + 0.5 * np.cos(np.pi * np.clip((time - apex) / (offset - apex), 0, 1))
    return np.where(time <= apex, rise, rest + (1 - rest) * fall).astype(np.float32)


def random_walk(rng: np.random.Generator, frames: int, memory: float) -> np.ndarray:
    """Return a smooth random walk from 0, an Ornstein-Uhlenbeck process of standard deviation 1, float64 [frames]."""
    decay = np.exp(-1 / memory)
    walk = np.empty(frames)
    walk[0] = rng.standard_normal()
    for step in range(1, frames):
        walk[step] = decay * walk[step - 1] + np.sqrt(1 - decay**2) * rng.standard_normal()
    window = np.hanning(11)[1:-1]
    walk = np.convolve(np.pad(walk, 4, "edge"), window / window.sum(), "valid")
    return np.asarray(walk - walk[0])
