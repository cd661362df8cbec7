"""What else moves in a clip of people who act as annotated people do: blinks, gaze, and turns of the head."""

import numpy as np

from merflow.datasets.settings import SyntheticSettings
from merflow.datasets.synthetic.expressions import Anchors, gaze_field, turn_field, unit_field
from merflow.datasets.synthetic.plan import Performance, envelope, random_walk

_BLINKS, _BLINK, _LIDS_CLOSED = 0.25, (0.12, 0.25), 0.08
"""Blinks per second, their length in seconds, displacement of the lids in inter-ocular distances."""
_GLANCES, _GLANCE, _GLANCE_SECONDS = 0.4, (0.02, 0.06), 0.04
"""Changes of gaze per second, their displacement in inter-ocular distances, their length in seconds."""
_TURN, _TURN_SECONDS = 0.005, 0.2
"""Standard deviation of a turn of the head, in inter-ocular distances, and its correlation length in seconds."""


def distractions(
    anchors: Anchors, performance: Performance, settings: SyntheticSettings
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the fields that move a face besides its expression and the drift of the head, with their courses.

    Returns:
        Displacement float32 [height, width, 2] in pixels, and its factor in each frame, float [frames].
    """
    rng = np.random.default_rng((*performance.seed, 2))
    frames, fps, unit = performance.frames, settings.fps, anchors.interocular
    seconds, shape = frames / fps, (settings.frame_size, settings.frame_size)
    walk = random_walk(rng, frames, _TURN_SECONDS * fps)
    moved = [(_TURN * unit * turn_field(anchors, rng.uniform(0, 360), shape), walk)]
    for _ in range(rng.poisson(_GLANCES * seconds)):
        start, length = rng.uniform(0, frames), _GLANCE_SECONDS * fps
        course = np.clip((np.arange(frames) - start) / length, 0, 1)
        moved.append((rng.uniform(*_GLANCE) * unit * gaze_field(anchors, rng.uniform(0, 360), shape), course))
    lids = unit_field(anchors, {45: 1.0}, (1.0, 1.0), shape)
    for _ in range(rng.poisson(_BLINKS * seconds)):
        length = max(4, round(fps * rng.uniform(*_BLINK)))
        start = int(rng.integers(-length // 2, frames))
        course = envelope(frames, start, start + round(0.4 * length), start + length)
        moved.append((_LIDS_CLOSED * unit * lids, course))
    return moved
