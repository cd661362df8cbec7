"""Search of one source: face positions, motion, and the intervals that are candidates for a micro-expression."""

import logging
import shutil
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from merflow.errors import ClipError, InputError
from merflow.footage.bit_depth import bits_in_use, largest_values
from merflow.footage.clip import Clip
from merflow.footage.fingerprints import check_unchanged
from merflow.footage.frames import FROM_VIDEO, frames_per_second, is_video, read_frames
from merflow.footage.video import FrameRate, TimedFrame
from merflow.inference.curves import smooth, threshold
from merflow.inference.motion import LEAST_PEAK, track_motion
from merflow.inference.motion_track import LONGEST, MICRO, Candidate, MotionTrack
from merflow.inference.settings import GIVEN, SEARCHED, WHOLE, SpottingSettings
from merflow.inference.spotting import SpottingResult, select_candidates
from merflow.preprocessing.faces import align_subject
from merflow.preprocessing.settings import AlignSettings
from merflow.storage.files import atomic_write, safe_filename
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import INTERVALS, read_table, write_table

log = logging.getLogger(__name__)

_LONGEST_GAP = 2.0  # Seconds without a frame that the search takes as they are; a longer gap is shortened to this.


@dataclass
class Timeline:
    """The frame that is shown at each tick of a constant rate, so that equal numbers of ticks are equal times.

    If the frame rate does not vary, each tick has a frame of its own.
    """

    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    seconds: "array[float]" = field(default_factory=lambda: array("d"))

    def ticks(self, frames: Iterable[TimedFrame], rate: float) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (tick, picture) and remember the number and the time of the frame; ``rate`` is in ticks per second."""
        start: float | None = None
        longest = round(_LONGEST_GAP * rate)
        before: list[TimedFrame] = []
        for frame in frames:
            start = frame.seconds if start is None else start
            gap = round((frame.seconds - start) * rate) - len(self.numbers)
            start += max(0, gap - longest) / rate
            for shown in before * min(gap, longest) + [frame] * (gap >= 0):
                self.numbers.append(shown.number)
                self.seconds.append(shown.seconds)
                assert shown.picture is not None
                yield len(self.numbers) - 1, shown.picture
            before = [frame]

    def tick(self, number: int) -> int:
        """Return the first tick at which a frame, or the next one that there is, is shown."""
        return min(bisect_left(self.numbers, number), len(self.numbers) - 1)


def search_source(
    source: Clip,
    fps: float | None,
    settings: SpottingSettings,
    folder: Path,
    alone: bool = False,
    spot: Callable[[MotionTrack], list[Any]] | None = None,
) -> None:
    """Write ``intervals.csv``, ``search.h5`` and ``_frames/`` of a source into a folder.

    A source is one candidate if its onset and offset are given, or if it is not longer than
    ``max_unsearched_seconds``. Other sources are searched: by ``spot``, the detections of a fitted spotting system
    (:meth:`merflow.inference.spotters.spotter.Spotter.detections`), or by ``settings`` alone. The frames of a video's
    candidates are stored as images, so that the video is not decoded again for each.

    ``intervals.csv`` has a row for each candidate; ``apex`` is empty unless it was given, because key-frame selection
    spots it; ``strength`` is the height of the peak, or the score of ``spot``. ``search.h5`` has attributes ``status``
    (``ok`` or the reason of a failure), ``fps, fps_from, bit_depth, frames, first, last, width, height, threshold,
    seconds``, and what :func:`write_track` writes.

    Raises:
        InputError: the source failed, and it is the only one (``alone``).
    """
    frames_folder = folder / "_frames"
    shutil.rmtree(frames_folder, ignore_errors=True)
    frames_folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    result: SpottingResult | None = None
    status = "ok"
    notes: list[str] = []
    attributes: dict[str, Any] = {"clip": source.clip, "fps": 0.0, "fps_from": "", "bit_depth": 16}
    try:
        if source.problem:
            raise ClipError(source.problem)
        rate, attributes["fps_from"] = frames_per_second(source, fps)
        attributes["fps"], attributes["bit_depth"] = rate.mean, bits_in_use(largest_values([source]))
        timeline = Timeline()
        options = {
            "fps": None if attributes["fps_from"] == FROM_VIDEO else rate.mean,
            "bit_depth": attributes["bit_depth"],
            "skip_damaged": True,
        }
        result, rows = _candidate_rows(source, rate, options, settings, spot, timeline, notes)
        if is_video(source.frames):
            _store_frames(source.frames, rows, frames_folder)
    except ClipError as error:
        status = str(error)
        log.warning("%s: %s", source.clip, status)
    if status != "ok" and alone:
        raise InputError(f"clips: {status}")
    write_table(rows, folder / "intervals.csv", INTERVALS)
    with atomic_write(folder / "search.h5") as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(**attributes, status=status, notes="; ".join(notes))
        if result is not None:
            write_track(file, result, rate, settings, timeline)
    log.info("%s: %s, %d candidates%s", source.clip, status, len(rows), "".join(f"; {note}" for note in notes))


def _candidate_rows(
    source: Clip,
    rate: FrameRate,
    options: Mapping[str, Any],
    settings: SpottingSettings,
    spot: Callable[[MotionTrack], list[Any]] | None,
    timeline: Timeline,
    notes: list[str],
) -> tuple[SpottingResult, list[dict[str, Any]]]:
    """Return the search result of a source, in ticks of ``timeline``, and the rows of its candidates, in frame numbers.

    ``options`` are of :func:`merflow.footage.frames.read_frames`; ``timeline`` and ``notes`` are filled.
    """
    frames = read_frames(source.frames, source.onset, source.offset, notes=notes, **options)
    kinds, floor = (list(LONGEST), LEAST_PEAK * settings.least_motion) if spot else ([MICRO], None)
    track = track_motion(timeline.ticks(frames, rate.fastest), rate.fastest, settings, kinds, floor)
    numbers, seconds = timeline.numbers, timeline.seconds
    if not track.positions:
        raise ClipError(f"no face found in frames {numbers[0]}..{numbers[-1]} of {source.frames}")
    if numbers[0] == numbers[-1]:
        raise ClipError(f"{source.frames} has one frame; motion needs two")
    if source.apex is not None and source.apex > numbers[-1]:
        notes.append(f"apex {source.apex} is no frame of {source.frames}; it is spotted")
        source = replace(source, apex=None)

    def row(origin: str, first: int, last: int, strength: float = np.nan) -> dict[str, Any]:
        """Return the row of a candidate from tick ``first`` to ``last``."""
        onset, offset = numbers[first], numbers[last]
        clip = f"{source.clip}@{onset}-{offset}" if origin == SEARCHED else source.clip
        frames, duration = len(set(numbers[first : last + 1])), seconds[last] - seconds[first]
        return {
            "clip": clip, "source": source.clip, "found": origin, "frames": source.frames, "onset": onset,
            "apex": source.apex, "offset": offset, "strength": strength,
            "fps": (frames - 1) / duration if rate.fastest != rate.mean and duration else rate.mean,
        }  # fmt: skip

    if source.onset is not None and source.offset is not None:
        rows = [row(GIVEN, 0, len(numbers) - 1) | {"onset": source.onset, "offset": source.offset}]
    elif seconds[-1] - seconds[0] <= settings.max_unsearched_seconds + 1e-6:
        rows = [row(WHOLE, 0, len(numbers) - 1)]
    elif source.apex is not None:
        apex, half = timeline.tick(source.apex), round(LONGEST[MICRO] / 2 * rate.fastest)
        rows = [row(GIVEN, max(0, apex - half), min(len(numbers) - 1, apex + half))]
    else:
        result = select_candidates(track, settings)
        if spot:
            accepted = [each for each in spot(track) if each.accepted and each.kind == MICRO]
            intervals = [Candidate(each.onset, each.apex, each.offset, each.score, blink=False) for each in accepted]
            result = replace(result, intervals=intervals)
        kept = [interval for interval in result.intervals if numbers[interval.offset] - numbers[interval.onset] > 1]
        return result, [row(SEARCHED, interval.onset, interval.offset, interval.strength) for interval in kept]
    return replace(select_candidates(track, settings), intervals=[]), rows


def _store_frames(video: str, rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write the frames of searched candidates as images, and set ``frames`` of their rows to the folders."""
    searched = [row for row in rows if row["found"] == SEARCHED]
    for row in searched:
        row["frames"] = (folder / safe_filename(row["clip"])).as_posix()
        Path(row["frames"]).mkdir()
    if not searched:
        return
    folders: dict[int, list[str]] = {}
    for row in searched:
        for number in range(row["onset"], row["offset"] + 1):
            folders.setdefault(number, []).append(row["frames"])
    for number, _, picture, _ in read_frames(video, min(folders), max(folders), skip_damaged=True):
        for place in folders.get(number, []):
            assert picture is not None
            code = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
            Path(place, f"{number}.png").write_bytes(code.tobytes())


def write_track(
    file: h5py.File, result: SpottingResult, rate: FrameRate, settings: SpottingSettings, timeline: Timeline
) -> None:
    """Write face positions, curves, blinks, stretches without a face and thumbnails into ``search.h5``.

    Times are in seconds: of the curves (``centres``), of ``blinks`` and of the stretches without a face (``lost``).
    ``frame_numbers`` and ``frame_seconds`` have the time of every frame.
    """
    track, seconds = result.track, np.array(timeline.seconds)
    numbers, indices = np.unique(np.array(timeline.numbers), return_index=True)
    curve = smooth(track.micro.motion, track.micro.reach(track.fps))
    file.attrs.update(
        frames=len(numbers), first=numbers[0], last=numbers[-1], width=track.width, height=track.height,
        begin=seconds[0], seconds=seconds[-1] - seconds[0] + 1 / rate.mean, threshold=threshold(curve, settings),
    )  # fmt: skip
    file.create_dataset("frame_numbers", data=numbers, compression="gzip")
    file.create_dataset("frame_seconds", data=seconds[indices], compression="gzip")
    file["centres"], file["motion"] = seconds[np.array(track.micro.centres, np.int64)], curve
    file["lost"] = seconds[np.array(track.lost, np.int64).reshape(-1, 2)]
    file["blinks"] = seconds[np.array(result.blinks, np.int64)]
    for number, position in enumerate(track.positions):
        group, face = file.create_group(f"places/{number:05d}"), position.face
        group.attrs.update(frame=timeline.numbers[position.frame], box=face.box, eyes=face.eyes)
    group = file.create_group("thumbnails")
    for tick, image in track.thumbnails:
        if (name := f"{timeline.numbers[tick]:09d}") not in group:
            group[name] = image


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

    The bits in use are those that the search found in the whole source (``search.h5``, beside ``intervals``).

    Raises:
        InputError: the source's files were removed or changed while they were read.
    """
    clips = candidate_clips(source, intervals)
    user_files = [clip.row() for clip in clips if clip.frames == source.frames]
    with open_h5(Path(intervals).with_name("search.h5")) as file:
        bit_depth = int(file.attrs["bit_depth"])
    with check_unchanged(user_files, "clips"):
        align_subject(clips, output, settings, bit_depth)
