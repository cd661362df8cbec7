"""Search of one source: face positions, motion, and the intervals that are candidates for a micro-expression."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from merflow.errors import ClipError, InputError
from merflow.footage.clip import Clip
from merflow.footage.fingerprints import check_unchanged
from merflow.footage.frames import frames_per_second, grey_frames, is_video
from merflow.inference.settings import GIVEN, SEARCHED, WHOLE, SpottingSettings
from merflow.inference.spotting import (
    LONGEST,
    Frame,
    SpottingResult,
    smooth,
    spot,
    threshold,
    track_motion,
    windows,
)
from merflow.preprocessing.faces import align_subject
from merflow.preprocessing.settings import AlignSettings
from merflow.storage.files import atomic_write, safe_filename
from merflow.storage.tables import INTERVALS, read_table, write_table

log = logging.getLogger(__name__)


def search_source(
    source: Clip, fps: float | None, settings: SpottingSettings, folder: Path, alone: bool = False
) -> None:
    """Write ``intervals.csv``, ``search.h5`` and ``_frames/`` of a source into a folder.

    A source is one candidate if its onset and offset are given, or if it is not longer than
    ``max_unsearched_seconds``. Other sources are searched; the frames of a video's candidates are stored as images, so
    that the video is not decoded again for each.

    ``intervals.csv`` has a row for each candidate; ``apex`` is empty unless it was given, because key-frame selection
    spots it; ``strength`` is the height of the peak. ``search.h5`` has attributes ``status`` (``ok`` or the reason of a
    failure), ``fps, fps_from, frames, first, last, width, height, threshold, seconds``, and what :func:`write_track`
    writes.

    Raises:
        InputError: the source failed, and it is the only one (``alone``).
    """
    frames_folder = folder / "_frames"
    shutil.rmtree(frames_folder, ignore_errors=True)
    frames_folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    result: SpottingResult | None = None
    rate, rate_reason, status = 0.0, "", "ok"
    try:
        if source.problem:
            raise ClipError(source.problem)
        rate, rate_reason = frames_per_second(source, fps)
        result, rows = _candidate_rows(source, rate, settings)
        if is_video(source.frames):
            _store_frames(source.frames, rows, frames_folder)
    except ClipError as error:
        status = str(error)
        log.warning("%s: %s", source.clip, status)
    if status != "ok" and alone:
        raise InputError(f"clips: {status}")
    write_table(rows, folder / "intervals.csv", INTERVALS)
    with atomic_write(folder / "search.h5") as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(clip=source.clip, status=status, fps=rate, fps_from=rate_reason)
        if result is not None:
            write_track(file, result, rate, settings)
    log.info("%s: %s, %d candidates", source.clip, status, len(rows))


def _candidate_rows(
    source: Clip, fps: float, settings: SpottingSettings
) -> tuple[SpottingResult, list[dict[str, Any]]]:
    """Return the search result of a source and the rows of its candidates."""

    def read() -> Iterator[Frame]:
        return grey_frames(source.frames, source.onset, source.offset)

    track = track_motion(read(), fps, settings)
    if not track.positions:
        raise ClipError(f"no face found in frames {track.first}..{track.last} of {source.frames}")
    if track.frames < 2:
        raise ClipError(f"{source.frames} has one frame; motion needs two")
    row = {"source": source.clip, "frames": source.frames, "fps": fps, "apex": source.apex, "strength": np.nan}
    if source.onset is not None and source.offset is not None:
        ends, origin = (source.onset, source.offset), GIVEN
    elif track.frames <= settings.max_unsearched_seconds * fps + 1:
        ends, origin = (track.first, track.last), WHOLE
    elif source.apex is not None:
        half = round(LONGEST / 2 * fps)
        ends, origin = (max(track.first, source.apex - half), min(track.last, source.apex + half)), GIVEN
    else:
        result = spot(read, fps, settings, track)
        return result, [
            row
            | {"clip": f"{source.clip}@{interval.onset}-{interval.offset}", "found": SEARCHED}
            | {"strength": interval.strength, "onset": interval.onset, "offset": interval.offset}
            for interval in result.intervals
        ]
    rows = [row | {"clip": source.clip, "found": origin, "onset": ends[0], "offset": ends[1]}]
    blinks = [window.peak for window in windows(track, fps, settings) if window.blink]
    return SpottingResult(track, [], blinks), rows


def _store_frames(video: str, rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write the frames of searched candidates as images, and set ``frames`` of their rows to the folders."""
    searched = [row for row in rows if row["found"] == SEARCHED]
    for row in searched:
        row["frames"] = (folder / safe_filename(row["clip"])).as_posix()
        Path(row["frames"]).mkdir()
    if not searched:
        return
    for number, frame in grey_frames(video, None, max(row["offset"] for row in searched)):
        for row in searched:
            if row["onset"] <= number <= row["offset"]:
                code = cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
                Path(row["frames"], f"{number}.png").write_bytes(code.tobytes())


def write_track(file: h5py.File, result: SpottingResult, fps: float, settings: SpottingSettings) -> None:
    """Write face positions, curves, blinks, stretches without a face and thumbnails into ``search.h5``."""
    track = result.track
    curve = smooth(track.motion, track.reach(fps, settings))
    file.attrs.update(
        frames=track.frames, first=track.first, last=track.last, width=track.width, height=track.height,
        seconds=track.frames / fps, threshold=threshold(curve, settings),
    )  # fmt: skip
    file["centres"], file["motion"] = np.array(track.centres, np.int64), curve
    file["lost"] = np.array(track.lost, np.int64).reshape(-1, 2)
    file["blinks"] = np.array(result.blinks, np.int64)
    for number, position in enumerate(track.positions):
        group, face = file.create_group(f"places/{number:05d}"), position.face
        group.attrs.update(frame=position.frame, box=face.box, eyes=face.eyes)
    group = file.create_group("thumbnails")
    for number, image in track.thumbnails:
        group.create_dataset(f"{number:09d}", data=image)


def candidate_clips(source: Clip, intervals: str | Path) -> list[Clip]:
    """Return the candidates of a source as clips.

    The location of their frames comes from the source, not from the table, which cannot hold names that are not UTF-8.
    """
    stored = Path(intervals).parent / "_frames"
    return [
        replace(
            source,
            clip=str(row["clip"]),
            subject=f"clips/{row['source']}",
            label="",
            frames=(stored / safe_filename(str(row["clip"]))).as_posix()
            if row["found"] == SEARCHED and is_video(source.frames)
            else source.frames,
            onset=_number(row["onset"]),
            apex=_number(row["apex"]),
            offset=_number(row["offset"]),
            fps=float(row["fps"]),
        )
        for row in read_table(intervals, INTERVALS).to_dict("records")
    ]


def _number(value: Any) -> int | None:
    return None if value == "" or value != value else int(value)


def align_candidates(source: Clip, intervals: str | Path, output: Path, settings: AlignSettings) -> None:
    """Write ``faces.h5`` of a source's candidates, as :func:`merflow.preprocessing.faces.align_subject` does.

    Raises:
        InputError: the source's files were removed or changed while they were read.
    """
    clips = candidate_clips(source, intervals)
    user_files = [clip.row() for clip in clips if clip.frames == source.frames]
    with check_unchanged(user_files, "clips"):
        align_subject(clips, output, settings)
