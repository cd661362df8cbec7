"""Aligned faces: find the face of a clip once, at onset, and cut every frame with that one similarity transform.

Landmarks jitter from frame to frame by about as much as a micro-expression moves the skin. A clip therefore has one
transform, and what the head does after onset is measured and removed where it can be told from the face: in the flow
(:func:`merflow.preprocessing.flow.fit_similarity`).

Some datasets are distributed as face crops. There is nothing to align in them, and often nothing to find, so such
frames are taken whole (``align: none``, or ``auto`` where it finds that they are crops).
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
from merflow.storage.files import atomic_write, safe_filename

log = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {"landmarks": 5, "size": 128, "crop": 2.6, "eye_height": 0.36, "upsample": 1, "search": 5}
"""Settings of the stage.

``landmarks``: 5 or 68, which of dlib's models; ``size``: side of the crop in pixels; ``crop``: width of the crop in
inter-ocular distances (2.3 cuts the chin); ``eye_height``: height of the eyes in the crop, as a part of its side;
``upsample``: how often the picture is doubled if no face is found in it; ``search``: number of frames, from onset, in
which a face is looked for.
"""

ALIGN = ("detect", "none", "auto")
"""What :class:`merflow.footage.clip.Clip` may say in ``align``."""

FACE_CROP = (2.5, 0.30, 0.5)
"""Where the eyes are taken to be in a face crop in which no face was found: its longer side in inter-ocular distances,
and, as parts of that side, their height and the place of the point between them across.

Measured on 40 frontal photographs with marked points. From the middle of the forehead to the chin, the medians are 2.6
and 0.31 with the width of the face, 2.7 and 0.31 from ear to ear. Other ways to crop lie on either side: 3.0 and 0.40
from the hairline, 2.25 and 0.19 from the brows, 2.3 and 0.27 for the box of dlib's detector, 2.2 and 0.27 for 1.8 by
2.2 distances from 0.6 above the eyes. The regions of :mod:`merflow.preprocessing.keyframes` that this constant places
share 68 % of their area, in the mean of these six, with the right ones (55 % where an aligned square would have
them)."""

EYES = {5: ((2, 3), (0, 1)), 68: (tuple(range(36, 42)), tuple(range(42, 48)))}
"""Landmarks around the eye on the left and on the right of the image, for each of dlib's models."""
PUPIL_ABOVE = {5: 0.05, 68: 0.035}
"""How far a pupil lies above the mean of those landmarks, in inter-ocular distances: the corners of an eye lie lower.
Measured on 40 frontal photographs with marked pupils (0.047-0.057 and 0.031-0.039)."""

_DETECTION_SIDE = 640  # A face that fills an eighth of the picture is found at this size, in 17 ms.
_UPSAMPLING_SIDE = 1280  # Beyond it only faces of under 80 px in a large picture would be gained, at seconds a frame.
_BOX_SHIFT = 0.03  # Of the box's side.
_FEWEST_EYE_PIXELS = 8.0
_LEAST_SIDE = 16  # In less, eyes that far apart leave no room for a face.

_INSIDE = 0.9  # Part of the aligned square that must lie inside a picture, or it may be a face crop.
_FILLED = 1.25  # Where the picture is longer than this many sides of the square, the face merely stands at its edge.
_CROP_SIDE = 640  # No face crop is longer.
_CROP_ASPECT = (0.77, 1.2)
"""Least and largest width / height of a face crop. Faces of CASME are 150x190, of SMIC 190x230, of CASME II 280x340 and
of MMEW 231x231: 0.79 to 1. What cameras film, 16:9, 4:3, 5:4, 11:9 and 3:4, lies outside."""


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
class AlignedClip:
    """What alignment makes of one clip."""

    frames: np.ndarray
    """uint8 [T, S, S], onset to offset."""
    frame_numbers: np.ndarray
    """int64 [T], the dataset's own numbers."""
    transform: np.ndarray
    """float64 [2, 3], source pixels to crop pixels."""
    face: Face | None
    """The face that was found; the transform was estimated from it if ``alignment`` is ``detected``."""
    detected_frame: int | None
    alignment: str
    """``detected``, or ``crop`` where the frames were taken whole."""
    reason: str
    """Why it is that."""


def eye_centres(landmarks: np.ndarray) -> np.ndarray:
    """Where the pupils of an open eye that looks ahead are, float64 [2, 2], left of the image first.

    Args:
        landmarks: [5, 2] or [68, 2] in dlib's order, in any upright similarity of the picture.
    """
    count = len(landmarks)
    means = np.stack([landmarks[list(points)].mean(axis=0) for points in EYES[count]])
    across = means[1] - means[0]
    up = np.array([across[1], -across[0]])  # A quarter turn; as long as the eyes are apart.
    return means + PUPIL_ABOVE[count] * up


def crop_transform(eyes: np.ndarray, size: int, crop: float = 2.6, eye_height: float = 0.36) -> np.ndarray:
    """The similarity transform that levels the eyes and puts them at their place in the crop.

    Args:
        eyes: the pupils in source pixels, [2, 2], left of the image first.
        size: side of the crop in pixels.
        crop: width of the crop in inter-ocular distances.
        eye_height: distance of the eyes from the top, as a part of the side.

    Returns:
        float64 [2, 3], from source pixels to crop pixels. Pixel centres have whole coordinates.
    """
    across = eyes[1] - eyes[0]
    scale = size / crop / np.hypot(*across)
    angle = np.arctan2(across[1], across[0])
    linear = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    target = np.array([size / 2 - 0.5, eye_height * size - 0.5])
    return np.column_stack([linear, target - linear @ eyes.mean(axis=0)])


def whole_transform(width: int, height: int, size: int) -> np.ndarray:
    """The similarity transform that fits a whole picture into the middle of the square crop.

    The longer side fills the crop, and beside a picture that is not square its border is repeated. Face crops are tight
    and rather high than wide: to cut them square would take the brows or the mouth, which move. One scale for both
    sides keeps the face's proportions.

    Args:
        width: of the picture in pixels.
        height: of the picture in pixels.
        size: side of the crop in pixels.

    Returns:
        float64 [2, 3], from source pixels to crop pixels. Pixel centres have whole coordinates.
    """
    scale = size / max(width, height)
    shift = ((size - 1) - scale * (np.array([width, height]) - 1)) / 2
    return np.column_stack([scale * np.eye(2), shift])


def crop_geometry(eyes: np.ndarray, size: int) -> tuple[float, float, float]:
    """Where the eyes are in a square crop: its width in inter-ocular distances, their height and place across.

    Args:
        eyes: the pupils in crop pixels, [2, 2].
        size: side of the crop in pixels.

    Returns:
        As :data:`FACE_CROP`.
    """
    across, down = ((eyes.mean(axis=0) + 0.5) / size).tolist()
    return size / float(np.hypot(*(eyes[1] - eyes[0]))), down, across


def map_points(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [n, 2] through a 2x3 transform, float64 [n, 2]."""
    return np.asarray(points, np.float64) @ transform[:, :2].T + transform[:, 2]


def warp(frame: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """The square crop of a frame, uint8 [size, size], free of aliasing.

    Interpolation alone reads at most 4x4 pixels for each pixel of the crop. Where the crop is smaller than its source,
    the source is first blurred by the Gaussian that takes its own resolution (half a pixel) to that of the crop; only
    the part that the crop covers is touched. Beyond the picture its border is repeated.
    """
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    sigma = 0.5 * np.sqrt(max(scale**-2 - 1, 0.0))
    corners = np.array([[0, 0], [size - 1, 0], [0, size - 1], [size - 1, size - 1]])
    source = map_points(cv2.invertAffineTransform(transform), corners)
    margin = int(np.ceil(4 * sigma)) + 3
    height, width = frame.shape
    left, top = (np.clip(np.floor(source.min(axis=0)).astype(int) - margin, 0, [width - 1, height - 1])).tolist()
    right, bottom = (np.clip(np.ceil(source.max(axis=0)).astype(int) + margin, [left, top], [width, height])).tolist()
    part = frame[top : bottom + 1, left : right + 1]
    if sigma > 0.2:
        part = cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    shifted = transform.copy()
    shifted[:, 2] += transform[:, :2] @ [left, top]
    return cv2.warpAffine(part, shifted, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=1)
def _detector() -> Any:
    return dlib.get_frontal_face_detector()


@lru_cache(maxsize=2)
def _landmark_model(count: int) -> Any:
    # The package is found, not imported: its import drags pkg_resources in, which is slow and warns.
    if count not in EYES:
        raise ConfigError(f"landmarks: {count} is not allowed; 5 or 68 is")
    package = find_spec("face_recognition_models")
    name = f"shape_predictor_{count}_face_landmarks.dat"
    file = Path(package.origin).parent / "models" / name if package is not None and package.origin else None
    if file is None or not file.is_file():
        raise InputError(
            f"the landmark model {name} is not installed: pip install face-recognition-models "
            "(it holds dlib's models and is found in the Python that runs merflow)"
        )
    return dlib.shape_predictor(str(file))


def _best_box(frame: np.ndarray, upsample: int, longest: int | None) -> tuple[float, dlib.drectangle] | None:
    """Score and box, in pixels of ``frame``, of the best face; a copy no longer than ``longest`` is searched."""
    scale = 1.0 if longest is None else min(1.0, longest / max(frame.shape))
    if scale < 1:
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    boxes, scores, _ = _detector().run(np.ascontiguousarray(frame), upsample, 0.0)
    if not boxes:
        return None
    best = int(np.argmax(scores))
    sides = (boxes[best].left(), boxes[best].top(), boxes[best].right(), boxes[best].bottom())
    return float(scores[best]), dlib.drectangle(*(side / scale for side in sides))


def _fit_landmarks(model: Any, frame: np.ndarray, box: dlib.drectangle) -> np.ndarray:
    """Median of the landmarks that five boxes give, float64 [n, 2].

    A box that is shifted by one pixel can send a landmark off by a tenth of the face; the median does not follow.
    """
    fits = []
    for right, down in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)):
        x, y = _BOX_SHIFT * right * box.width(), _BOX_SHIFT * down * box.height()
        sides = (box.left() + x, box.top() + y, box.right() + x, box.bottom() + y)
        shape = model(frame, dlib.rectangle(*(round(side) for side in sides)))
        fits.append([(point.x, point.y) for point in shape.parts()])
    return np.median(np.array(fits, np.float64), axis=0)


def find_face(frames: list[np.ndarray], landmarks: int = 5, upsample: int = 1) -> tuple[int, Face] | None:
    """The face of the first frame in which there is one, and the index of that frame; None if there is none.

    dlib's HOG detector, the box of the highest score. All frames are searched with little effort before more is
    spent, since every doubling of the picture also finds more that is no face: first in copies whose longer side is
    640 px, then in full, then doubled up to ``upsample`` times (pictures of up to 1280 px). Landmarks are always those
    of the frame in full.

    Args:
        frames: uint8 [H, W] each.
        landmarks: 5 or 68.
        upsample: how often the picture may be doubled.
    """
    model = _landmark_model(landmarks)
    side = max(max(frame.shape) for frame in frames)
    efforts: list[tuple[int, int | None]] = [(0, _DETECTION_SIDE)]
    if side > _DETECTION_SIDE:
        efforts.append((0, None))
    if side <= _UPSAMPLING_SIDE:
        efforts += [(times, None) for times in range(1, upsample + 1)]
    for times, longest in efforts:
        for index, frame in enumerate(frames):
            found = _best_box(frame, times, longest)
            if found is None:
                continue
            score, box = found
            points = _fit_landmarks(model, frame, box)
            return index, Face((box.left(), box.top(), box.width(), box.height()), score, points)
    return None


def align_clip(clip: Clip, settings: Mapping[str, Any] | None = None) -> AlignedClip:
    """Cut the face out of the frames of one clip, onset to offset, by one similarity transform.

    Source frames are read one by one; only the first ``search`` of them are held, until the face is found.

    Where ``clip.align`` is ``none``, no face is looked for and the frames are taken whole (:func:`whole_transform`).
    Where it is ``auto``, the frames decide: a face whose square lies inside the picture by 90 % or more of its area is
    aligned, as with ``detect``; so is one at the edge of a picture that is longer than 1.25 squares. Otherwise the
    frames are taken whole, without a face only if they have the format of face crops: up to 640 px long, 0.77 to 1.2
    times as wide as high.

    Args:
        clip: the clip; where it has no onset (offset), its first (last) frame is taken.
        settings: see :data:`DEFAULTS`.

    Raises:
        ClipError: the index found a problem, a frame is unreadable, onset, apex and offset do not fit the frames,
            ``align`` is none of :data:`ALIGN`, or no face is found where one is needed; the message names the file.
    """
    options = DEFAULTS | dict(settings or {})
    size = int(options["size"])
    if clip.problem:
        raise ClipError(clip.problem)
    if clip.align not in ALIGN:
        raise ClipError(f"align: {clip.align} is not allowed; allowed: {', '.join(ALIGN)}")
    stream = grey_frames(clip.frames, clip.onset, clip.offset)
    head = list(islice(stream, max(1, int(options["search"]))))
    if clip.onset is not None and head[0][0] != clip.onset:
        raise ClipError(f"{clip.frames} has no frame {clip.onset}, the onset; the first after it is {head[0][0]}")
    face, detected, transform, alignment, reason = _place(clip, head, options)
    numbers, crops = [], []
    for number, frame in [*head, *stream]:
        numbers.append(number)
        crops.append(warp(frame, transform, size))
    _check_numbers(clip, numbers)
    return AlignedClip(np.stack(crops), np.array(numbers, np.int64), transform, face, detected, alignment, reason)


def _place(
    clip: Clip, head: list[tuple[int, np.ndarray]], options: Mapping[str, Any]
) -> tuple[Face | None, int | None, np.ndarray, str, str]:
    """The face, its frame, the transform, ``detected`` or ``crop``, and why; from the first frames of a clip."""
    size = int(options["size"])
    height, width = shape = head[0][1].shape
    if min(shape) < _LEAST_SIDE:
        raise ClipError(
            f"the frames of {clip.frames} are {width}x{height}; a face needs {_LEAST_SIDE} px or more a side"
        )
    if clip.align == "none":
        return None, None, whole_transform(width, height, size), "crop", "align: none"
    found = find_face([frame for _, frame in head], int(options["landmarks"]), int(options["upsample"]))
    if found is None:
        where = f"frame {head[0][0]}" if len(head) == 1 else f"frames {head[0][0]}..{head[-1][0]}"
        reason = f"no face found in {where} of {clip.frames}"
        if clip.align == "detect":
            raise ClipError(reason)
        picture = f"a picture of {width}x{height}"
        if max(shape) > _CROP_SIDE or not _CROP_ASPECT[0] <= width / height <= _CROP_ASPECT[1]:
            raise ClipError(f"{reason}, and {picture} is not taken for a face crop; `align: none` would take it")
        return None, None, whole_transform(width, height, size), "crop", f"no face found; {picture} can be a face crop"
    index, face = found
    transform = crop_transform(face.eyes, size, float(options["crop"]), float(options["eye_height"]))
    reason = "align: detect"
    if clip.align == "auto":
        inside = _part_inside(transform, size, shape)
        reason = f"{inside:.0%} of the aligned square is picture"
        side = size / np.hypot(*transform[:, 0])
        if inside < _INSIDE and max(shape) <= _FILLED * side:
            return face, head[index][0], whole_transform(width, height, size), "crop", f"only {reason}"
    if np.hypot(*(face.eyes[1] - face.eyes[0])) < _FEWEST_EYE_PIXELS:
        raise ClipError(f"the face in {clip.frames} is too small: under {_FEWEST_EYE_PIXELS:g} px between the eyes")
    return face, head[index][0], transform, "detected", reason


def _part_inside(transform: np.ndarray, size: int, shape: tuple[int, ...]) -> float:
    """Part of the crop's pixels that lie inside a picture of ``shape`` (height, width)."""
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).reshape(-1, 2)
    source = map_points(cv2.invertAffineTransform(transform), pixels)
    return float(((source >= -0.5) & (source <= np.array(shape[::-1]) - 0.5)).all(axis=1).mean())


def _check_numbers(clip: Clip, numbers: list[int]) -> None:
    """Raise unless onset <= apex <= offset, all of them among the frames; a video tells its length only when read."""
    if len(numbers) < 2 and clip.kind != "still":
        raise ClipError(f"{clip.frames} has one frame between onset and offset ({numbers[0]}); motion needs two")
    if clip.offset is not None and numbers[-1] != clip.offset:
        raise ClipError(f"{clip.frames} has no frame {clip.offset}, the offset; the last before it is {numbers[-1]}")
    if clip.apex is not None and not numbers[0] <= clip.apex <= numbers[-1]:
        raise ClipError(f"apex {clip.apex} is outside {numbers[0]}..{numbers[-1]}, the frames of {clip.frames}")
    if clip.apex is not None and clip.apex not in numbers:
        raise ClipError(f"{clip.frames} has no frame {clip.apex}, the apex")


def align_subject(clips: Iterable[Clip], output: str | Path, settings: Mapping[str, Any] | None = None) -> None:
    """Align all clips of a subject and write ``faces/{subject}.h5``; one clip is in memory at a time.

    Every clip has a group named ``files.safe_filename(clip)`` with attributes ``clip``, ``subject``, ``kind`` and
    ``status``: ``ok``, or the reason why there are no frames. If ok, it holds ``frames`` uint8 [T, S, S] and
    ``frame_numbers`` int64 [T], and the attributes ``transform`` (float64 [2, 3], source to crop), ``alignment``
    (``detected``, or ``crop`` where the frames were taken whole), ``alignment_reason``, ``detector`` (``none`` where no
    face was found), ``onset``, ``apex`` and ``offset`` (apex -1 where the dataset has none). If a face was found:
    ``landmarks`` (float64 [n, 2], crop pixels), ``detected_frame``, ``interocular_px`` and ``face_width_px`` (source
    pixels). If the frames were taken whole: ``geometry`` (float64 [3], as :data:`FACE_CROP`), from the face, or assumed
    where none was found.

    Args:
        clips: the subject's clips.
        output: HDF5 file, written whole or not at all.
        settings: see :data:`DEFAULTS`.

    Raises:
        InputError: the landmark model is not installed.
        ConfigError: a setting is not known.
    """
    options = DEFAULTS | dict(settings or {})
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise ConfigError(f"unknown alignment setting {', '.join(unknown)}; known: {', '.join(DEFAULTS)}")
    cv2.setNumThreads(1)
    clips = list(clips)
    if any(clip.align != "none" for clip in clips):
        _landmark_model(int(options["landmarks"]))
    with atomic_write(output) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["size"] = int(options["size"])
        file.attrs["settings"] = json.dumps(options, sort_keys=True)
        for clip in clips:
            group = file.create_group(safe_filename(clip.clip))
            group.attrs["clip"], group.attrs["subject"], group.attrs["kind"] = clip.clip, clip.subject, clip.kind
            try:
                aligned = align_clip(clip, options)
            except ClipError as error:
                group.attrs["status"] = str(error)
                log.warning("%s: %s", clip.clip, error)
                continue
            _write(group, clip, aligned)
            face = "no face" if aligned.face is None else f"face of {aligned.face.box[2]:.0f} px"
            how = "taken whole" if aligned.alignment == "crop" else "aligned"
            log.info("%s: %d frames, %s, %s (%s)", clip.clip, len(aligned.frames), face, how, aligned.reason)


def _write(group: h5py.Group, clip: Clip, aligned: AlignedClip) -> None:
    face, size = aligned.face, aligned.frames.shape[-1]
    group["frames"], group["frame_numbers"] = aligned.frames, aligned.frame_numbers
    group.attrs["status"] = "ok"
    group.attrs["transform"] = aligned.transform
    group.attrs["alignment"], group.attrs["alignment_reason"] = aligned.alignment, aligned.reason
    group.attrs["detector"] = "none" if face is None else f"dlib-hog/{len(face.landmarks)}"
    if face is not None:
        group.attrs["landmarks"] = map_points(aligned.transform, face.landmarks)
        group.attrs["detected_frame"] = np.int64(aligned.detected_frame)
        group.attrs["interocular_px"] = float(np.hypot(*(face.eyes[1] - face.eyes[0])))
        group.attrs["face_width_px"] = float(face.box[2])
    if aligned.alignment == "crop":
        eyes = np.empty((0, 2)) if face is None else map_points(aligned.transform, face.eyes)
        seen = len(eyes) and ((eyes >= 0) & (eyes < size)).all()  # Eyes beyond the picture would place nothing in it.
        group.attrs["geometry"] = crop_geometry(eyes, size) if seen else FACE_CROP
    group.attrs["onset"] = aligned.frame_numbers[0]
    group.attrs["apex"] = np.int64(-1 if clip.apex is None else clip.apex)
    group.attrs["offset"] = aligned.frame_numbers[-1]
