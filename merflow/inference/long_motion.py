"""The motion of every long video of a study, in the video's own frame numbers."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from merflow.datasets.long_videos import LongVideo
from merflow.footage.bit_depth import bits_in_use, largest_values
from merflow.footage.clip import Clip
from merflow.footage.frames import FROM_VIDEO, frames_per_second, is_video, read_frames
from merflow.inference.motion import LEAST_PEAK, track_motion
from merflow.inference.motion_track import LONGEST, MotionTrack, load_track, save_track
from merflow.inference.search import Timeline
from merflow.inference.settings import SpottingSettings
from merflow.storage.tables import LONG_VIDEOS, TRUE_INTERVALS, write_table

log = logging.getLogger(__name__)


def measure_motion(frames: str, fps: float | None, settings: SpottingSettings, output: Path) -> None:
    """Measure the motion of one long video for both kinds of expressions, and write it as ``save_track`` does.

    It is in the video's own frame numbers; a video without a face has no motion.

    Raises:
        ClipError: the video cannot be read.
    """
    source = Clip(frames, "", "", "micro", frames, fps=fps)
    rate, origin = frames_per_second(source, None)
    timeline, notes = Timeline(), list[str]()
    pictures = read_frames(
        frames,
        fps=None if origin == FROM_VIDEO else rate.mean,
        bit_depth=bits_in_use(largest_values([source])),
        skip_damaged=True,
        notes=notes,
    )
    ticks, floor = timeline.ticks(pictures, rate.fastest), LEAST_PEAK * settings.least_motion
    track = track_motion(ticks, rate.fastest, settings, kinds=list(LONGEST), floor=floor)
    if not track.positions:
        log.warning("%s: no face found, so nothing is spotted in it", frames)
    save_track(in_frame_numbers(track, timeline.numbers), output)
    log.info("%s: %d frames%s", frames, track.frames, "".join(f"; {note}" for note in notes))


def in_frame_numbers(track: MotionTrack, numbers: Sequence[int]) -> MotionTrack:
    """Return a track with frame numbers in place of ticks; ``numbers`` has that of each tick."""
    curves = {
        kind: replace(
            curve,
            centres=[numbers[tick] for tick in curve.centres],
            candidates=[
                replace(peak, onset=numbers[peak.onset], apex=numbers[peak.apex], offset=numbers[peak.offset])
                for peak in curve.candidates
            ],
        )
        for kind, curve in track.curves.items()
    }
    lost = [(numbers[first], numbers[last]) for first, last in track.lost]
    return replace(track, first=numbers[0], last=numbers[-1], curves=curves, lost=lost)


def write_long_videos(videos: Sequence[LongVideo], tracks: Sequence[Path], output: Path, truth: Path) -> None:
    """Write ``videos.csv`` and ``truth.csv`` of a study; first and last frame are those that were read.

    If the frame rate of a video file varies, ``fps`` is the mean, by which frame numbers give the length of the video.
    """
    rows, expressions = [], []
    for video, file in zip(videos, tracks, strict=True):
        track = load_track(file)
        where = {"dataset": video.dataset, "video": video.video, "subject": video.subject}
        count = track.last - track.first + 1
        fps = count * track.fps / track.frames if is_video(video.frames) else track.fps
        rows.append(where | {"first": track.first, "last": track.last, "fps": fps})
        expressions += [where | asdict(interval) for interval in video.intervals]
    table = pd.DataFrame(expressions, columns=TRUE_INTERVALS).astype({"apex": "Int64"})
    write_table(rows, output, LONG_VIDEOS)
    write_table(table, truth, TRUE_INTERVALS)
