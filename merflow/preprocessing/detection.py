"""Faces in frames: boxes of dlib's HOG or CNN detector, the choice between several faces, and landmarks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import dlib
import numpy as np

from merflow.errors import ConfigError
from merflow.preprocessing.geometry import EYES, eye_centres, interocular_distance
from merflow.runtime.dlib_models import dlib_model

_DETECTION_SIDE = 640  # A face that fills an eighth of the image is found at this size, by HOG in 17 ms.
_UPSAMPLING_SIDE = 1280  # In larger images, only faces of under 80 px would be gained, at seconds a frame.
_CNN_LEAST_SIDE = 80  # The CNN detector finds no smaller face.
_CNN_DOWN = 0.09  # Its boxes lie higher than those of HOG, which the landmark models expect; fraction of the side.
_BOX_SHIFT = 0.03  # Fraction of the box's side.
_EYES_APART = (0.2, 0.75)  # Inter-ocular distance as a fraction of the box's side; 0.33 to 0.55 in photographs.
_BELOW_EYES = {5: ((4,), 0.3, 1.4), 68: (tuple(range(48, 68)), 0.5, 2.2)}
"""Landmarks of the base of the nose (the 5-point model has no mouth) or of the mouth, and their least and largest
distance below the eyes, in inter-ocular distances; 0.57 to 0.93 and 0.8 to 1.3 in photographs."""

Boxes = list[tuple[float, Any]]
"""Scores and boxes (``dlib.drectangle``) in pixels of a frame."""


@dataclass(frozen=True)
class Face:
    """A face found in one frame; all coordinates in pixels of that frame."""

    box: tuple[float, float, float, float]
    """Left, top, width and height of the detector's box."""
    score: float
    landmarks: np.ndarray
    """float64 [5, 2] or [68, 2], (x, y)."""
    detector: str = "hog"
    """``hog`` or ``cnn``."""
    faces: int = 1
    """Number of faces in the frames that were searched, this one included."""

    @property
    def eyes(self) -> np.ndarray:
        """Pupils on the left and on the right of the image, float64 [2, 2]."""
        return eye_centres(self.landmarks)


@lru_cache(maxsize=2)
def _detector(name: str) -> Any:
    if name == "hog":
        return dlib.get_frontal_face_detector()
    return dlib.cnn_face_detection_model_v1(dlib_model("mmod_human_face_detector.dat"))


@lru_cache(maxsize=2)
def landmark_model(count: int) -> Any:
    """Return dlib's landmark model of 5 or 68 points.

    Raises:
        ConfigError: there is no model of this many points.
        InputError: the model is not installed.
    """
    if count not in EYES:
        raise ConfigError(f"landmarks: {count} is not allowed; allowed: 5, 68")
    return dlib.shape_predictor(dlib_model(f"shape_predictor_{count}_face_landmarks.dat"))


def _hog_boxes(frame: np.ndarray, upsample: int, max_side: int | None) -> Boxes:
    frame, scale = _shrunk(frame, max_side)
    boxes, scores, _ = _detector("hog").run(frame, upsample, 0.0)
    return [(score, _scaled(box, scale)) for score, box in zip(scores, boxes, strict=True)]


def _cnn_boxes(frame: np.ndarray) -> Boxes:
    frame, scale = _shrunk(frame, _DETECTION_SIDE)
    finds = _detector("cnn")(frame, 0) if min(frame.shape) >= _CNN_LEAST_SIDE else []
    return [(face.confidence, _scaled(face.rect, scale, _CNN_DOWN * face.rect.height())) for face in finds]


def _shrunk(frame: np.ndarray, max_side: int | None) -> tuple[np.ndarray, float]:
    """Return a copy whose longer side is at most ``max_side``, and its scale."""
    scale = 1.0 if max_side is None else min(1.0, max_side / max(frame.shape))
    if scale < 1:
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(frame), scale


def _scaled(box: Any, scale: float, down: float = 0.0) -> Any:
    sides = (box.left(), box.top() + down, box.right(), box.bottom() + down)
    return dlib.drectangle(*(side / scale for side in sides))


def _fit_landmarks(model: Any, frame: np.ndarray, box: Any) -> np.ndarray:
    """Return the median of the landmarks fitted to five shifted boxes, float64 [n, 2].

    Shifting a box by one pixel can move a landmark by a tenth of the face; the median is robust to it.
    """
    fits = []
    for right, down in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)):
        x, y = _BOX_SHIFT * right * box.width(), _BOX_SHIFT * down * box.height()
        sides = (box.left() + x, box.top() + y, box.right() + x, box.bottom() + y)
        shape = model(frame, dlib.rectangle(*(round(side) for side in sides)))
        fits.append([(point.x, point.y) for point in shape.parts()])
    return np.asarray(np.median(np.array(fits, np.float64), axis=0))


def is_face(landmarks: np.ndarray, box_side: float) -> bool:
    """Return whether landmarks, [5, 2] or [68, 2], can be those of an upright face in a box of this side.

    The eyes must be above the mouth (or the base of the nose), and the distances between them within wide limits.
    """
    eyes = eye_centres(landmarks)
    apart = max(interocular_distance(eyes), 1e-9)
    points, least, most = _BELOW_EYES[len(landmarks)]
    across, down = eyes[1] - eyes[0], landmarks[list(points)].mean(axis=0) - eyes.mean(axis=0)
    below = (across[0] * down[1] - across[1] * down[0]) / apart**2  # Along the normal of the eyes' line.
    return bool(_EYES_APART[0] <= apart / box_side <= _EYES_APART[1] and least <= below <= most and down[1] > 0)


def prominence(box: Any, shape: tuple[int, ...]) -> float:
    """Return the area of a box times its closeness to the centre of an image of ``shape`` (height, width).

    The closeness falls from 1 at the centre to 0 in the corners.
    """
    x, y = (box.left() + box.right()) / shape[1] - 1, (box.top() + box.bottom()) / shape[0] - 1
    return float(box.area() * max(0.0, 1 - np.hypot(x, y) / np.sqrt(2)))


def find_face(
    frames: Sequence[np.ndarray], landmarks: int = 5, upsample: int = 1, detector: str = "auto"
) -> tuple[int, Face] | None:
    """Return the index of the first frame that shows the most prominent face well, and the face; None if there is none.

    HOG searches all frames at a low resolution before a higher one is tried, because every doubling of the image also
    adds false detections: first in copies whose longer side is 640 px, then at full size, then doubled up to
    ``upsample`` times (images of up to 1280 px). With ``detector`` ``auto``, the CNN detector searches the first frame,
    in a copy of at most 640 px, if HOG finds nothing; ``hog`` and ``cnn`` use one of them alone. Landmarks, 5 or 68,
    are always fitted at full size; a find whose landmarks are not those of a face is dropped (:func:`is_face`).

    Of several faces, the one with the largest sum of :func:`prominence` over the frames is taken.
    """
    model = landmark_model(landmarks)
    side = max(max(frame.shape) for frame in frames)
    attempts: list[tuple[int, int | None]] = [(0, _DETECTION_SIDE)]
    if side > _DETECTION_SIDE:
        attempts.append((0, None))
    if side <= _UPSAMPLING_SIDE:
        attempts += [(times, None) for times in range(1, upsample + 1)]
    for attempt in attempts if detector != "cnn" else []:
        if face := _most_prominent(model, frames, [_hog_boxes(frame, *attempt) for frame in frames], "hog"):
            return face
    if detector == "hog":
        return None
    # Unlike HOG, the network and the landmark models depend on brightness and contrast.
    first = cv2.equalizeHist(np.ascontiguousarray(frames[0]))
    return _most_prominent(model, [first], [_cnn_boxes(first)], "cnn")


def _most_prominent(
    model: Any, frames: Sequence[np.ndarray], boxes_of_frames: Sequence[Boxes], detector: str
) -> tuple[int, Face] | None:
    """Return the result of :func:`find_face` for the boxes that a detector found."""
    people: list[list[tuple[int, float, Any]]] = []
    for index, boxes in enumerate(boxes_of_frames):
        for score, box in boxes:  # A person's next box has its centre in the one before.
            person = next((p for p in people if p[-1][0] < index and p[-1][2].contains(box.dcenter())), None)
            if person is None:
                people.append(person := [])
            person.append((index, score, box))
    candidates = []
    for person in people:
        total = sum(prominence(box, frames[index].shape) for index, _, box in person)
        for index, score, box in person:  # A blink or a blur may spoil the landmarks of one frame.
            points = _fit_landmarks(model, frames[index], box)
            if is_face(points, box.width()):
                face = Face((box.left(), box.top(), box.width(), box.height()), score, points, detector)
                candidates.append((total, index, face))
                break
    if not candidates:
        return None
    _, index, face = max(candidates, key=lambda candidate: candidate[0])
    return index, replace(face, faces=len(candidates))
