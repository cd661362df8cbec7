"""A drawn face without expression before a moving camera."""

import cv2
import numpy as np

from merflow.datasets.synthetic.draw import draw_face
from merflow.datasets.synthetic.plan import Performance
from merflow.datasets.synthetic.render import head_motion, render_frames
from merflow.datasets.synthetic.truth import Motion


def still_clip(person=0, frames=40, *, seed=0, noise=2.0, drift=2.0, light=True, frame_size=480, interocular_px=120):
    """Render the clip; returns grey frames, uint8 [frame_size, frame_size]."""
    base = draw_face(seed, person, frame_size, interocular_px)
    performance = Performance("still", "", frames, 0, frames // 2, frames - 1, 0.0, 0.0, (1.0, 1.0), {}, (seed, person))
    rigid = head_motion(np.random.default_rng((seed, person, 0)), frames, drift, frame_size / 480)
    motion = Motion(np.zeros((frame_size, frame_size, 2), np.float32), performance.envelope, rigid, 0.0)
    frames_in_colour = render_frames(base, motion, performance, noise=noise, light=light)
    return [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames_in_colour]
