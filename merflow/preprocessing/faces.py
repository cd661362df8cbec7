"""Face alignment: find the face of a clip once, at onset, and crop every frame with that similarity transform.

Landmarks jitter between frames by about as much as a micro-expression moves the skin. Each clip therefore has one
transform. The motion of the head after onset is estimated from the flow and subtracted there
(:func:`merflow.preprocessing.flow.fit_similarity`).

Some datasets are distributed as face crops. These need no alignment, and often no face is detected in them, so their
frames are taken whole (``align: none``, or ``auto`` if the frames turn out to be crops).
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path

import cv2
import h5py
import numpy as np

from merflow.errors import ClipError
from merflow.footage.bit_depth import bits_in_use, largest_values
from merflow.footage.clip import Clip
from merflow.footage.frames import grey_frames
from merflow.preprocessing.detection import Face, find_face, landmark_model
from merflow.preprocessing.geometry import (
    crop_geometry,
    crop_transform,
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

_MIN_EYE_DISTANCE_PX = 8.0
_MIN_SIDE_PX = 16  # A smaller image has no room for a face with such an eye distance.

_MIN_INSIDE = 0.9  # If less of the aligned square lies inside the image, the image may be a face crop.
_EDGE_FACE_SIDES = 1.25  # If the image is longer than this many squares, the face is only close to its edge.
_MAX_CROP_SIDE = 640  # Face crops are not longer.
_CROP_ASPECT = (0.77, 1.2)
"""Least and largest width / height of a face crop. Faces of CASME are 150x190, of SMIC 190x230, of CASME II 280x340 and
of MMEW 231x231: 0.79 to 1. Camera formats, 16:9, 4:3, 5:4, 11:9 and 3:4, lie outside."""


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
    notes: tuple[str, ...] = ()
    """What the user should know of the face, although it is used."""


@dataclass(frozen=True)
class AlignedClip:
    """The crops of one clip."""

    frames: np.ndarray
    """uint8 [T, S, S], onset to offset."""
    frame_numbers: np.ndarray
    """int64 [T], the dataset's own numbers."""
    apex: int | None
    """The annotated apex; None if there is none, or if it cannot be right."""
    placement: Placement


def align_clip(clip: Clip, settings: AlignSettings, bit_depth: int = 16) -> AlignedClip:
    """Crop the face from the frames of one clip, onset to offset, by one similarity transform.

    Source frames are read one by one; only the first ``search`` of them are kept, until the face is found.

    If ``clip.align`` is ``none``, no face is searched for and the frames are taken whole
    (:func:`merflow.preprocessing.geometry.whole_image_transform`). If it is ``auto``, the frames decide: a face is
    aligned, as with ``detect``, if its square lies inside the image by 90 % or more of its area, or if the image is
    longer than 1.25 squares. Otherwise the frames are taken whole; if no face was found, only if they have the format
    of face crops: up to 640 px long, 0.77 to 1.2 times as wide as high.

    A face that is aligned is noted if less than ``note_inside`` of its square lies inside the image.

    Without an onset (offset), the first (last) frame is used. An apex that is none of the frames, or the last frame of
    a micro clip, is noted and dropped. ``bit_depth`` is that of images of more than 8 bits.

    Raises:
        ClipError: the index found a problem, a frame is unreadable, onset and offset do not fit the frames,
            ``align`` is none of :data:`ALIGN`, no face is found where one is needed, or less than ``least_inside`` of
            an aligned square lies inside the image; the message names the file.
    """
    if clip.problem:
        raise ClipError(clip.problem)
    if clip.align not in ALIGN:
        raise ClipError(f"align: {clip.align} is not allowed; allowed: {', '.join(ALIGN)}")
    notes: list[str] = []
    stream = grey_frames(clip.frames, clip.onset, clip.offset, notes, bit_depth)
    head = list(islice(stream, settings.search))
    if clip.onset is not None and head[0][0] != clip.onset:
        raise ClipError(f"{clip.frames} has no frame {clip.onset}, the onset; the first after it is {head[0][0]}")
    placement = _place(clip, head, settings)
    numbers, crops = [], []
    for number, frame in chain(head, stream):
        numbers.append(number)
        crops.append(warp(frame, placement.transform, settings.size))
    _check_numbers(clip, numbers)
    apex = clip.apex
    if apex is not None and (apex not in numbers or (clip.kind == "micro" and apex == numbers[-1])):
        wrong = "the last frame, where the motion is over" if apex in numbers else f"no frame of {clip.frames}"
        notes.append(f"apex {apex} is {wrong}; it is spotted")
        apex = None
    placement = replace(placement, notes=(*placement.notes, *notes))
    return AlignedClip(np.stack(crops), np.array(numbers, np.int64), apex, placement)


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
    searched = f"frame {head[0][0]}" if len(head) == 1 else f"frames {head[0][0]}..{head[-1][0]}"
    detection = find_face([frame for _, frame in head], settings.landmarks, settings.upsample, settings.detector)
    if detection is None:
        reason = f"no face found in {searched} of {clip.frames}"
        if clip.align == "detect":
            raise ClipError(reason)
        image = f"an image of {width}x{height}"
        if max(shape) > _MAX_CROP_SIDE or not _CROP_ASPECT[0] <= width / height <= _CROP_ASPECT[1]:
            raise ClipError(f"{reason}, and {image} does not look like a face crop; set `align: none` to use it anyway")
        return Placement(whole_image, "crop", f"no face found; {image} can be a face crop")
    index, face = detection
    notes = [f"{face.faces} faces in {searched}; the largest and most central one is used"] if face.faces > 1 else []
    transform = crop_transform(face.eyes, size, settings.geometry)
    inside = _fraction_inside(transform, size, shape)
    share = f"{int(100 * inside)}% of the aligned square lies inside the image"
    square_side = size / np.hypot(*transform[:, 0])
    if clip.align == "auto" and inside < _MIN_INSIDE and max(shape) <= _EDGE_FACE_SIDES * square_side:
        return Placement(whole_image, "crop", f"only {share}", face, head[index][0], tuple(notes))
    if interocular_distance(face.eyes) < _MIN_EYE_DISTANCE_PX:
        raise ClipError(f"the face in {clip.frames} is too small: under {_MIN_EYE_DISTANCE_PX:g} px between the eyes")
    if inside < settings.least_inside:
        raise ClipError(
            f"the face in {clip.frames} is cut off: only {share} (`least_inside` is {settings.least_inside:.0%}); "
            "for face crops set `align: auto` or `none`"
        )
    if inside < settings.note_inside:
        notes.append(f"only {share}")
    reason = share if clip.align == "auto" else "align: detect"
    return Placement(transform, "detected", reason, face, head[index][0], tuple(notes))


def _fraction_inside(transform: np.ndarray, size: int, shape: tuple[int, ...]) -> float:
    """Return the fraction of the crop's pixels that lie inside an image of ``shape`` (height, width)."""
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).reshape(-1, 2)
    source = map_points(cv2.invertAffineTransform(transform), pixels)
    return float(((source >= -0.5) & (source <= np.array(shape[::-1]) - 0.5)).all(axis=1).mean())


def _check_numbers(clip: Clip, numbers: list[int]) -> None:
    """Raise unless there is motion up to the offset; a video's length is known only once it is read."""
    if len(numbers) < 2 and clip.kind != "still":
        raise ClipError(f"{clip.frames} has one frame between onset and offset ({numbers[0]}); motion needs two")
    if clip.offset is not None and numbers[-1] != clip.offset:
        raise ClipError(f"{clip.frames} has no frame {clip.offset}, the offset; the last before it is {numbers[-1]}")


def align_subject(
    clips: Iterable[Clip], output: str | Path, settings: AlignSettings, bit_depth: int | None = None
) -> None:
    """Align all clips of a subject and write ``faces/{subject}.h5``; one clip is in memory at a time.

    Every clip has a group with attributes ``clip``, ``subject``, ``kind`` and ``status``: ``ok``, or the reason why
    there are no frames. If ok, it holds ``frames`` uint8 [T, S, S] and ``frame_numbers`` int64 [T], and the attributes
    ``transform`` (float64 [2, 3], source to crop), ``alignment`` (``detected``, or ``crop`` if the frames were taken
    whole), ``alignment_reason``, ``detector`` (``hog``, ``cnn``, or ``none`` if no face was found), ``notes``,
    ``onset``, ``apex`` and ``offset`` (apex -1 if the dataset has none). If a face was found: ``landmarks`` (float64
    [n, 2], crop pixels), ``detected_frame``, ``interocular_px`` and ``face_width_px`` (source pixels). If the frames
    were taken whole: ``geometry`` (float64 [3], :class:`merflow.preprocessing.settings.Geometry`), from the face, or
    assumed if none was found. Clips of images of more than 8 bits have ``bit_depth``, the bits in use: the argument, or
    one value for all clips, from their largest value.

    Raises:
        InputError: the landmark model is not installed.
    """
    cv2.setNumThreads(1)
    clips = sorted(clips, key=lambda clip: (clip.frames, clip.onset or 0))  # So each video is decoded once.
    if any(clip.align != "none" for clip in clips):
        landmark_model(settings.landmarks)
    largest = largest_values(clips)
    bit_depth = bit_depth or bits_in_use(largest)
    with atomic_write(output) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["size"] = settings.size
        file.attrs["settings"] = json.dumps(asdict(settings), sort_keys=True)
        for clip in clips:
            group = file.create_group(safe_filename(clip.clip))
            group.attrs["clip"], group.attrs["subject"], group.attrs["kind"] = clip.clip, clip.subject, clip.kind
            try:
                aligned = align_clip(clip, settings, bit_depth)
            except ClipError as error:
                group.attrs["status"] = str(error)
                log.warning("%s: %s", clip.clip, error)
                continue
            _write(group, clip, aligned)
            placement = aligned.placement
            if clip.clip in largest:
                group.attrs["bit_depth"] = bit_depth
                note = f"images of 16 bits, of which {bit_depth} are used; largest value {largest[clip.clip]}"
                group.attrs["notes"] = "; ".join([note, *placement.notes])
            face = "no face" if placement.face is None else f"face of {placement.face.box[2]:.0f} px"
            action = "taken whole" if placement.alignment == "crop" else "aligned"
            reason = "; ".join([placement.reason, *placement.notes])
            log.info("%s: %d frames, %s, %s (%s)", clip.clip, len(aligned.frames), face, action, reason)


def _write(group: h5py.Group, clip: Clip, aligned: AlignedClip) -> None:
    placement, size = aligned.placement, aligned.frames.shape[-1]
    face = placement.face
    group["frames"], group["frame_numbers"] = aligned.frames, aligned.frame_numbers
    group.attrs["status"], group.attrs["notes"] = "ok", "; ".join(placement.notes)
    group.attrs["transform"] = placement.transform
    group.attrs["alignment"], group.attrs["alignment_reason"] = placement.alignment, placement.reason
    group.attrs["detector"] = "none" if face is None else face.detector
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
    group.attrs["apex"] = np.int64(-1 if aligned.apex is None else aligned.apex)
    group.attrs["offset"] = aligned.frame_numbers[-1]
