"""Synthetic people that are in no study: a key-frame scorer learns from them if the configuration names no dataset."""

from dataclasses import replace

from merflow.datasets.settings import STANDARD_MICRO

NAME = "_drawn"
"""Name of their dataset. Names of a user's datasets begin with a letter or a digit, so none can be equal to it."""

FIRST = 1_000_000
"""Number of the first of them. Those of a demo begin at 0, and a person is defined by seed and number."""

SETTINGS = replace(
    STANDARD_MICRO,
    subjects=8,
    first_subject=FIRST,
    emotions=("happiness", "surprise", "disgust", "fear", "sadness", "anger"),
    clips_per_emotion=1,
    frames=24,
    frame_size=240,
    interocular_px=60,
    amplitude=(0.5, 3.0),
    drift=1.5,
)
"""Their settings: motion from that of a micro clip to more than twice that, more drift, and faces of half the size,
which render four times as fast (the scorer reads even smaller ones)."""
