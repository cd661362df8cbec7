"""Drawn people who are nobody in any study: what a key-frame scorer learns from where no dataset is named."""

from typing import Any

NAME = "_drawn"
"""Their dataset. Names of a user's datasets begin with a letter or a digit, so none can be this one."""

FIRST = 1_000_000
"""Their numbers begin here. Those of a study's demo begin at 0, and a person is drawn by seed and number."""

SETTINGS: dict[str, Any] = {
    "layout": "demo",
    "kind": "micro",
    "subjects": 8,
    "first_subject": FIRST,
    "emotions": ["happiness", "surprise", "disgust", "fear", "sadness", "anger"],
    "clips_per_emotion": 1,
    "frames": 24,
    "frame_size": 240,
    "interocular_px": 60,
    "amplitude": [0.5, 3.0],
    "drift": 1.5,
    "seed": 0,
}
"""As :data:`merflow.datasets.synthetic.plan.DEFAULTS`: motion from that of a micro clip to more than twice that, faces
of half the size (it is four times as quick, and the scorer looks at smaller ones yet), heads that drift more."""
