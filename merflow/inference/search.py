"""Look through one source: where the face is, how it moves, and which of its intervals are candidates."""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from merflow.errors import ClipError, InputError
from merflow.footage.clip import Clip
from merflow.footage.fingerprints import steady
from merflow.footage.frames import FPS_OF_IMAGES, grey_frames, is_video, open_video
from merflow.inference.outcomes import GIVEN, SEARCHED, WHOLE
from merflow.inference.spotting import LONGEST, Spotted, smooth, spot, threshold, watch, windows
from merflow.preprocessing.faces import align_subject
from merflow.preprocessing.geometry import map_points
from merflow.preprocessing.settings import AlignSettings
from merflow.storage.files import atomic_write, safe_filename
from merflow.storage.tables import INTERVALS, read_table, write_table

log = logging.getLogger(__name__)


def look_through(source: Mapping[str, Any], settings: Mapping[str, Any], folder: Path, alone: bool = False) -> None:
    """Write ``intervals.csv``, ``looked.h5`` and ``_frames/`` of a source into a folder.

    A source whose onset and offset are given, or that lasts no longer than ``spotting.whole``, is one candidate.
    Another one is searched, and if it is a video the frames of its candidates are kept as images, so that it is not
    decoded anew for each.

    ``intervals.csv`` has a row for each candidate: ``found`` is ``whole``, ``given`` or ``searched``; ``apex`` only
    where it was given, as the key-frames spot it; ``strength`` is the height of the peak.

    ``looked.h5`` has attributes ``status`` (``ok`` or the reason why nothing can be done), ``fps, fps_from, frames,
    first, last, width, height, threshold, seconds`` and datasets ``centres, motion, lids`` (the curve), ``places`` (a
    group for each place of the face: ``frame, box, eyes, transform``), ``lost`` [n, 2], ``blinks`` and ``thumbnails``.

    Args:
        source: a row of :func:`merflow.study.prediction.list_sources`.
        settings: ``fps`` (or None) and ``spotting``.
        folder: where to write.
        alone: whether there is no other source: what makes it useless is then an error.

    Raises:
        InputError: the source is useless, and alone.
    """
    frames_folder = folder / "_frames"
    shutil.rmtree(frames_folder, ignore_errors=True)
    frames_folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    found: Spotted | None = None
    fps, told = 0.0, ""
    try:
        if source["problem"]:
            raise ClipError(source["problem"])
        fps, told = frames_per_second(source, settings["fps"])
        found, rows = _candidates(source, fps, settings["spotting"])
        status = "ok"
        if is_video(source["frames"]):
            _keep_frames(source["frames"], rows, frames_folder)
    except ClipError as error:
        status = str(error)
        log.warning("%s: %s", source["clip"], status)
    if status != "ok" and alone:
        raise InputError(f"clips: {status}")
    write_table(rows, folder / "intervals.csv", INTERVALS)
    with atomic_write(folder / "looked.h5") as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(clip=source["clip"], status=status, fps=fps, fps_from=told)
        if found is not None:
            _write_looked(file, found, fps, settings["spotting"])
    log.info("%s: %s, %d candidates", source["clip"], status, len(rows))


def frames_per_second(source: Mapping[str, Any], given: float | None) -> tuple[float, str]:
    """Frames per second of a source, and why."""
    if given:
        return float(given), "as predict.fps says"
    if source["fps"]:
        return float(source["fps"]), "as the table says"
    if is_video(source["frames"]):
        with open_video(source["frames"]) as capture:
            told = float(capture.get(cv2.CAP_PROP_FPS)) if capture.isOpened() else 0.0
        if 1 <= told <= 10_000:
            return told, "as the video says"
        return 25.0, "assumed, since the video does not say"
    return FPS_OF_IMAGES, "assumed, since images do not say"


def _candidates(
    source: Mapping[str, Any], fps: float, settings: Mapping[str, Any]
) -> tuple[Spotted, list[dict[str, Any]]]:
    """What was found in a source, and the rows of its candidates."""

    def read() -> Iterator[tuple[int, np.ndarray]]:
        return grey_frames(source["frames"], source["onset"], source["offset"])

    seen = watch(read(), fps, settings)
    if not seen.places:
        raise ClipError(f"no face found in frames {seen.first}..{seen.last} of {source['frames']}")
    if seen.frames < 2:
        raise ClipError(f"{source['frames']} has one frame; motion needs two")
    name = source["clip"]
    row = {"source": name, "frames": source["frames"], "fps": fps, "apex": source["apex"], "strength": np.nan}
    blinks = [window.peak for window in windows(seen, fps, settings) if window.blink]
    if source["onset"] is not None and source["offset"] is not None:
        ends, found = (source["onset"], source["offset"]), GIVEN
    elif seen.frames <= settings["whole"] * fps + 1:
        ends, found = (seen.first, seen.last), WHOLE
    elif source["apex"] is not None:
        half = round(LONGEST / 2 * fps)
        ends, found = (max(seen.first, source["apex"] - half), min(seen.last, source["apex"] + half)), GIVEN
    else:
        spotted = spot(read, fps, settings, seen)
        return spotted, [
            row
            | {"clip": f"{name}@{one.onset}-{one.offset}", "found": SEARCHED, "strength": one.strength}
            | {"onset": one.onset, "offset": one.offset}
            for one in spotted.intervals
        ]
    rows = [row | {"clip": name, "found": found, "onset": ends[0], "offset": ends[1]}]
    return Spotted(seen, [], blinks), rows


def _keep_frames(video: str, rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write the frames of searched candidates as images, and name these in their rows."""
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
                Path(row["frames"], f"{number}.png").write_bytes(code)


def _write_looked(file: h5py.File, found: Spotted, fps: float, settings: Mapping[str, Any]) -> None:
    seen = found.seen
    spacing = seen.centres[1] - seen.centres[0] if len(seen.centres) > 1 else 1
    curve = smooth(seen.motion, max(1, round(settings["reference"] * fps / spacing)))
    file.attrs.update(
        frames=seen.frames, first=seen.first, last=seen.last, width=seen.width, height=seen.height,
        seconds=seen.frames / fps, threshold=threshold(curve, settings),
    )  # fmt: skip
    file["centres"], file["motion"] = np.array(seen.centres, np.int64), curve
    file["lids"] = np.array(seen.lids, np.float64)
    file["lost"] = np.array(seen.lost, np.int64).reshape(-1, 2)
    file["blinks"] = np.array(found.blinks, np.int64)
    for number, place in enumerate(seen.places):
        group = file.create_group(f"places/{number:05d}")
        group.attrs.update(frame=place.frame, box=place.face.box, eyes=place.face.eyes, transform=place.transform)
        group.attrs["landmarks"] = map_points(np.eye(2, 3), place.face.landmarks)
    group = file.create_group("thumbnails")
    for number, picture in seen.thumbnails:
        group.create_dataset(f"{number:09d}", data=picture)


def candidates(source: Mapping[str, Any], intervals: str | Path) -> list[Clip]:
    """The candidates of a source as clips for the stages of the library.

    Where their frames lie is told by the source, and not by the table, which has only the names that are UTF-8.
    """
    rows = read_table(intervals, INTERVALS).to_dict("records")
    kept = Path(intervals).parent / "_frames"
    for row in rows:
        own = row["found"] == SEARCHED and is_video(source["frames"])
        row["frames"] = (kept / safe_filename(str(row["clip"]))).as_posix() if own else source["frames"]
    return [
        Clip(
            clip=str(row["clip"]),
            subject=f"clips/{row['source']}",
            label="",
            kind="micro",
            frames=row["frames"],
            **{name: _number(row[name]) for name in ("onset", "apex", "offset")},
            fps=float(row["fps"]),
        )
        for row in rows
    ]


def _number(value: Any) -> int | None:
    return None if value == "" or value != value else int(value)


def align_candidates(source: Mapping[str, Any], intervals: str | Path, output: Path, settings: AlignSettings) -> None:
    """``faces.h5`` of a source's candidates: what :func:`merflow.preprocessing.faces.align_subject` makes of clips of
    a study.

    Raises:
        InputError: the source is read again, and went away or was changed.
    """
    clips = candidates(source, intervals)
    again = [clip.row() for clip in clips if clip.frames == source["frames"]]
    with steady(again, "clips"):
        align_subject(clips, output, settings)
