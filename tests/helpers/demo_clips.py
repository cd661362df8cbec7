"""Demo clips with their ground truth, filmed and aligned in memory, for the tests of key-frames and flow."""

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import cv2
import h5py
import numpy as np
from expression_motion import expression_flow
from still_clip import still_clip

from merflow.datasets.settings import STANDARD_MICRO
from merflow.datasets.synthetic.plan import Performance, plan_subject
from merflow.datasets.synthetic.render import base_picture, clip_motion, render_frames
from merflow.datasets.synthetic.truth import crop_flow
from merflow.preprocessing.detection import find_face
from merflow.preprocessing.geometry import crop_transform, warp
from merflow.preprocessing.settings import STANDARD_GEOMETRY
from merflow.storage.files import safe_filename


@dataclass(frozen=True)
class Filmed:
    """Grey source frames from onset on; index 0 is the onset."""

    frames: list[np.ndarray]
    apex: int
    eyes: np.ndarray
    performance: Performance
    truth: np.ndarray
    """float32 [480, 480, 2], the expression from onset to apex, in pixels of the source."""

    def aligned(self, size: int) -> np.ndarray:
        """The crops, uint8 [T, size, size]."""
        transform = crop_transform(self.eyes, size)
        return np.stack([warp(frame, transform, size) for frame in self.frames])

    def true_flow(self, size: int) -> np.ndarray:
        """float32 [2, size, size], what the flow from onset to apex should be."""
        return crop_flow(self.truth, crop_transform(self.eyes, size), size)


@lru_cache(maxsize=2)
def film_micro_clips(subjects: int, whole: bool) -> tuple[Filmed, ...]:
    """One noisy micro clip per subject and emotion: onset to offset, or (quicker) onset and apex only."""
    settings = replace(STANDARD_MICRO, subjects=subjects, clips_per_emotion=1)
    clips = []
    for subject in settings.subject_names:
        base = base_picture(subject, settings)
        for performance in plan_subject(subject, settings):
            motion = clip_motion(base, performance, settings)
            last = performance.offset if whole else performance.apex
            stream = islice(render_frames(base, motion, performance, noise=settings.noise), performance.onset, last + 1)
            frames = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in stream]
            apex = performance.apex - performance.onset
            truth = expression_flow(motion, performance.apex, performance.onset)
            _, face = find_face(frames[:1])
            kept = frames if whole else [frames[0], frames[apex]]
            clips.append(Filmed(kept, apex if whole else 1, face.eyes, performance, truth))
    return tuple(clips)


@lru_cache(maxsize=4)
def film_still_face(person: int, frames: int = 20, **settings) -> np.ndarray:
    """Crops uint8 [T, 128, 128] of a face that holds still before a shaking camera."""
    pictures = still_clip(person, frames, **settings)
    _, face = find_face(pictures[:1])
    transform = crop_transform(face.eyes, 128)
    return np.stack([warp(picture, transform, 128) for picture in pictures])


def subject_file(path, clips: dict, size: int = 128) -> None:
    """A ``faces`` file by its contract: ``clips`` maps names to (frames, first number, attributes) or to a reason."""
    landmarks = np.array([[95, 48], [82, 48], [33, 48], [46, 48], [64, 80]], float) * size / 128
    with h5py.File(path, "w") as file:
        file.attrs["size"] = size
        file.attrs["settings"] = json.dumps(STANDARD_GEOMETRY._asdict())
        for name, content in clips.items():
            group = file.create_group(safe_filename(name))
            group.attrs.update({"clip": name, "subject": "demo/s01", "kind": "micro", "status": "ok"})
            if isinstance(content, str):
                group.attrs["status"] = content
                continue
            frames, first, attributes = content
            numbers = np.arange(first, first + len(frames))
            group["frames"], group["frame_numbers"] = frames, numbers
            group.attrs.update({"onset": numbers[0], "apex": -1, "offset": numbers[-1], "landmarks": landmarks})
            group.attrs.update(attributes)


def pushed(face, centre, pixels, width=8.0):
    """The face with the skin around ``centre`` (x, y) moved down by ``pixels`` at most."""
    import cv2

    y, x = np.mgrid[: face.shape[0], : face.shape[1]].astype(np.float32)
    bump = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * width**2)).astype(np.float32)
    return cv2.remap(face, x, y - np.float32(pixels) * bump, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


MOUTH, EYE = (64, 108), (40, 46)
