"""What the demo will show: who, which emotion, how strong, when. Decided from the settings alone, before any drawing.

Every clip has a random stream of its own, so that none depends on which others there are. This module is read each
time that the workflow plans its jobs: it imports nothing heavy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from merflow.datasets.synthetic.expressions import EMOTIONS
from merflow.errors import ConfigError
from merflow.footage.clip import Clip

DEFAULTS: dict[str, dict[str, Any]] = {
    "micro": {
        "first_subject": 0,
        "emotions": ["happiness", "surprise", "disgust", "fear", "sadness"],
        "clips_per_emotion": 2,
        "frames": 40,
        "fps": 200,
        "frame_size": 480,
        "interocular_px": 120,
        "amplitude": [1.0, 2.6],
        "side_gain": [0.7, 1.0],
        "rest": [0.0, 0.0],
        "seed": 0,
        "noise": 2.0,
        "drift": 1.0,
        "light": True,
        "portraits": None,
    },
}
"""Settings of each kind of clip; ``root`` (where the clips lie), ``kind`` and ``subjects`` have no default.

``first_subject``: how many people come before this dataset's first one, so that two datasets show different people;
``amplitude``: range of the longest displacement at the apex, px of the frame; ``side_gain``: range of the strength of
either half of the face; ``rest``: range of what is left of the expression at its offset; ``noise``: standard deviation
of the camera noise in grey levels; ``drift``: scale of the head's drift, 0 for none; ``light``: whether the
illumination wanders; ``portraits``: a folder of photographs to animate instead of drawn faces.
"""
DEFAULTS["macro"] = DEFAULTS["micro"] | {
    "clips_per_emotion": 1,
    "frames": 16,
    "fps": 25,
    "amplitude": [6.0, 11.0],
    "side_gain": [0.95, 1.0],
    "rest": [0.5, 0.8],
}

_FEWEST_FRAMES = 8
_KIND_CODES = {"micro": 0, "macro": 1}
_EMOTION_CODES = {emotion: code for code, emotion in enumerate(EMOTIONS)}
_CLIP_STREAM = 101
"""First number of the seed of everything that belongs to one clip; people have another one."""


@dataclass(frozen=True)
class Performance:
    """One clip as it will be filmed."""

    clip: str
    emotion: str
    frames: int
    onset: int
    apex: int
    offset: int
    rest: float
    """What is left of the expression from its offset on; 0: the face is neutral again."""
    amplitude_px: float
    """Longest displacement at the apex, in pixels of the frame."""
    gains: tuple[float, float]
    """Strength of the left and of the right side of the image."""
    strengths: Mapping[int, float]
    """Strength of each action unit."""
    seed: tuple[int, ...]
    """Of drift, light and noise."""

    @property
    def envelope(self) -> np.ndarray:
        """Share of the amplitude in each frame, float32 [frames]."""
        return envelope(self.frames, self.onset, self.apex, self.offset, self.rest)


def complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the defaults of their ``kind``; keys that are not the demo's own are kept and not used.

    Raises:
        ConfigError: a kind or an emotion is not known, or a value makes no clip possible.
    """
    kind = settings.get("kind")
    if kind not in DEFAULTS:
        raise ConfigError(f"demo: kind is {kind!r}; {' or '.join(DEFAULTS)} is allowed")
    full = DEFAULTS[kind] | dict(settings)
    unknown = [emotion for emotion in full["emotions"] if emotion not in EMOTIONS]
    if unknown or not full["emotions"]:
        raise ConfigError(f"demo: emotions {', '.join(unknown) or '(none)'}; allowed: {', '.join(EMOTIONS)}")
    if full["frames"] < _FEWEST_FRAMES:
        raise ConfigError(f"demo: frames is {full['frames']}; a clip needs at least {_FEWEST_FRAMES}")
    low, high = full["amplitude"]
    if not 0 <= low <= high:
        raise ConfigError(f"demo: amplitude is [{low}, {high}]; give [lowest, highest] in pixels, 0 or more")
    return full


def subject_names(settings: Mapping[str, Any]) -> list[str]:
    """Names of the dataset's people, ``s01`` and on."""
    return [f"s{number:02d}" for number in range(1, settings["subjects"] + 1)]


def person_number(subject: str, settings: Mapping[str, Any]) -> int:
    """Which person a dataset's subject (``s01`` or ``demo/s01``) is, counted from 0 over all datasets."""
    return int(subject.rsplit("/", 1)[-1].removeprefix("s")) - 1 + complete(settings)["first_subject"]


def plan_clips(dataset: str, settings: Mapping[str, Any]) -> list[Clip]:
    """Every clip of a demo dataset, subject by subject; the same settings give the same clips.

    Args:
        dataset: its name, which subject ids start with.
        settings: ``root``, ``kind``, ``subjects`` and what differs from :data:`DEFAULTS`.
    """
    full = complete(settings)
    return [
        Clip(
            clip=performance.clip,
            subject=f"{dataset}/{subject}",
            label=performance.emotion,
            kind=full["kind"],
            frames=f"{full['root']}/{subject}/{performance.clip}",
            onset=performance.onset,
            apex=performance.apex,
            offset=performance.offset,
            fps=full["fps"],
        )
        for subject in subject_names(full)
        for performance in plan_subject(subject, full)
    ]


def plan_subject(subject: str, settings: Mapping[str, Any]) -> list[Performance]:
    """The clips of one subject, emotion by emotion."""
    full = complete(settings)
    return [
        _performance(subject, emotion, repeat, full)
        for emotion in full["emotions"]
        for repeat in range(1, full["clips_per_emotion"] + 1)
    ]


def _performance(subject: str, emotion: str, repeat: int, settings: Mapping[str, Any]) -> Performance:
    """All that chance decides about one clip."""
    person = person_number(subject, settings)
    kind = settings["kind"]
    seed = (settings["seed"], _CLIP_STREAM, _KIND_CODES[kind], person, _EMOTION_CODES[emotion], repeat)
    chance = np.random.default_rng(seed)
    frames = int(settings["frames"])
    onset, apex, offset = _timing(chance, frames, kind)
    low, high = settings["side_gain"]
    return Performance(
        clip=f"{subject}_{emotion}_{repeat}",
        emotion=emotion,
        frames=frames,
        onset=onset,
        apex=apex,
        offset=offset,
        rest=float(chance.uniform(*settings["rest"])),
        amplitude_px=float(chance.uniform(*settings["amplitude"])),
        gains=(float(chance.uniform(low, high)), float(chance.uniform(low, high))),
        strengths={unit: float(usual * chance.uniform(0.8, 1.2)) for unit, usual in EMOTIONS[emotion].items()},
        seed=(*seed, 1),
    )


def _timing(chance: np.random.Generator, frames: int, kind: str) -> tuple[int, int, int]:
    """Onset, apex and offset, as frame numbers that start at 0."""
    onset = _between(chance, frames // 20, frames // 8)
    if kind == "macro":
        return onset, _between(chance, round(0.6 * frames), round(0.8 * frames) - 1), frames - 1
    apex = _between(chance, round(0.35 * frames), round(0.65 * frames) - 1)
    return onset, apex, _between(chance, round(0.82 * frames), frames - 2)


def _between(chance: np.random.Generator, low: int, high: int) -> int:
    """A whole number from ``low`` (1 at least) to ``high``, both possible."""
    low = max(1, low)
    return int(chance.integers(low, max(low, high) + 1))


def envelope(frames: int, onset: int, apex: int, offset: int, rest: float = 0.0) -> np.ndarray:
    """Course of an expression: 0 up to onset, 1 at the apex, ``rest`` from offset on, raised cosines between.

    Returns:
        float32 [frames].
    """
    time = np.arange(frames)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip((time - onset) / (apex - onset), 0, 1))
    fall = 0.5 + 0.5 * np.cos(np.pi * np.clip((time - apex) / (offset - apex), 0, 1))
    return np.where(time <= apex, rise, rest + (1 - rest) * fall).astype(np.float32)
