"""Long videos with all their annotated expressions, and those without any, in which every detection is a false alarm.

Expressions are those of the layout's index of each kind, with its checks and corrections: one that cannot be used is
left out of the truth and reported. Intervals are those of the annotation: offsets of CAS(ME)³, many of which are late,
are not shortened, and the macro-expressions of SAMM Long Videos from frame 0 are kept (they begin at the first frame).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from merflow.datasets import long_manifest
from merflow.datasets.checks import parse_fps
from merflow.datasets.folders import subfolders, subject_number
from merflow.datasets.index import NOTED, Problem, index_layout
from merflow.datasets.registry import LAYOUTS
from merflow.datasets.settings import AnyDatasetSettings, DatasetSettings, LongPeopleSettings
from merflow.errors import InputError
from merflow.footage.clip import Clip
from merflow.footage.frames import FPS_OF_IMAGES, FrameList, is_video, no_image

KINDS = ("micro", "macro")


@dataclass(frozen=True)
class TrueInterval:
    """An annotated expression, in frame numbers of its video, both ends included; apex None if it is not known."""

    onset: int
    apex: int | None
    offset: int
    label: str
    kind: str


@dataclass(frozen=True)
class LongVideo:
    """A long video; ``first`` and ``last`` are the numbers of its images, None for a video file."""

    dataset: str
    video: str  # unique in its dataset, as ``006_1``, ``s15/15_0401girlcrashing`` or ``spNO.1/a``
    subject: str  # with the dataset before it
    frames: str  # folder of images or video file
    fps: float | None  # None: as the video file says
    first: int | None
    last: int | None
    intervals: tuple[TrueInterval, ...]


class _Tree(NamedTuple):
    """Folders of the videos of a layout: how many levels below their root, and what their path looks like."""

    levels: int
    pattern: str  # groups: video, subject


TREES = {
    "samm-long": _Tree(1, r"(?P<video>(?P<subject>\d{3})_\d+)"),
    "casme-squared": _Tree(2, r"(?P<video>(?P<subject>s\d{1,2})/[^/]*_\d{4}[^/]*)"),
    "casme3-a": _Tree(3, r"(?P<video>(?P<subject>(spNO\.?|sub|s)?\d{1,3})/[a-z])/color"),
}
LONG_LAYOUTS = (*TREES, "long-manifest", LongPeopleSettings.layout)
"""Layouts of long videos."""


def list_long_videos(
    name: str, settings: AnyDatasetSettings, kinds: Sequence[str] = KINDS
) -> tuple[list[LongVideo], list[Problem]]:
    """List all long videos of a dataset with the expressions of some kinds, and everything that is wrong with them.

    Videos of synthetic people need not be drawn yet.

    Raises:
        InputError: the layout has no long videos, the dataset cannot be read, or no video is there.
    """
    if settings.layout not in LONG_LAYOUTS:
        raise InputError(
            f"datasets.{name}: layout {settings.layout} has no long videos; {', '.join(LONG_LAYOUTS)} have"
        )
    indexes = {kind: index_layout(name, replace(settings, kind=kind)) for kind in kinds}
    clips = [clip for index in indexes.values() for clip in index.clips]
    problems = [problem for index in indexes.values() for problem in index.problems if problem.field != "classes"]
    intervals: dict[str, list[TrueInterval]] = {}
    for clip in clips:
        if not clip.problem and clip.onset is not None and clip.offset is not None:
            kind = "micro" if clip.kind == "micro" else "macro"
            interval = TrueInterval(clip.onset, clip.apex, clip.offset, clip.label, kind)
            intervals.setdefault(clip.frames, []).append(interval)
    videos = []
    for video in _videos(name, settings, clips):
        first = last = None
        missing = ""
        if isinstance(settings, LongPeopleSettings):
            pass
        elif is_video(video.frames):
            missing = "" if Path(video.frames).is_file() else f"{video.frames} does not exist"
        else:
            files = FrameList(video.frames)
            first, last = files.first, files.last
            missing = "" if len(files) else files.problem or no_image(video.frames)
            if not missing and video.fps is None:
                text = f"unknown; {FPS_OF_IMAGES:g} per second are assumed"
                problems.append(Problem(name, video.frames, None, video.video, "fps", text, NOTED))
        if missing:
            text = f"{missing}; the video is left out"
            problems.append(Problem(name, video.frames, None, video.video, "video", text))
            continue
        expressions = sorted(intervals.get(video.frames, ()), key=lambda each: (each.onset, each.offset, each.kind))
        videos.append(replace(video, first=first, last=last, intervals=tuple(expressions)))
    if not videos:
        raise InputError(f"dataset {name} has no long video in {settings.root}")
    return videos, list(dict.fromkeys(problems))


def _videos(name: str, settings: AnyDatasetSettings, clips: Sequence[Clip]) -> Iterator[LongVideo]:
    """Yield the videos of a dataset, without frame numbers and intervals."""
    if isinstance(settings, LongPeopleSettings):
        for subject in settings.subject_names:
            video = settings.video(subject)
            yield LongVideo(name, subject, f"{name}/{subject}", video, settings.fps, None, None, ())
    elif isinstance(settings, DatasetSettings):
        yield from _on_disk(name, settings, clips) if settings.layout in TREES else _listed(name, settings)


def _on_disk(name: str, settings: DatasetSettings, clips: Sequence[Clip]) -> Iterator[LongVideo]:
    """Yield the folders that lie beside those of the annotated expressions."""
    tree, fps = TREES[settings.layout], LAYOUTS[settings.layout].fps
    roots = {Path(clip.frames).parents[tree.levels - 1] for clip in clips if Path(clip.frames).is_dir()}
    if len(roots) != 1:
        raise InputError(f"dataset {name}: no annotated video is in {settings.root}")
    root = roots.pop()
    folders = [root]
    for _ in range(tree.levels):
        folders = [inner for folder in folders for inner in subfolders(folder)]
    people = {subject_number(clip.subject): clip.subject for clip in clips}
    matches = [(folder, re.fullmatch(tree.pattern, folder.relative_to(root).as_posix(), re.I)) for folder in folders]
    videos = {folder for folder, match in matches if match}
    for clip in clips:
        if Path(clip.frames).is_dir() and Path(clip.frames) not in videos:
            raise InputError(
                f"dataset {name}: {clip.frames} is no long video but an extract; spotting needs whole videos"
            )
    for folder, match in matches:
        if match:
            subject = people.get(subject_number(match["subject"]), f"{name}/{match['subject']}")
            yield LongVideo(name, match["video"], subject, str(folder), fps, None, None, ())


def _listed(name: str, settings: DatasetSettings) -> Iterator[LongVideo]:
    """Yield the videos of a user's table, each once."""
    table = long_manifest.table_of(settings)
    lines = long_manifest.rows(settings)
    rates, seen = long_manifest.frame_rates(lines), dict[str, str]()
    for line in lines:
        where, video, subject = f"{table}, row {line.number}", line.cells["video"], line.cells["subject"]
        if not video or not subject:
            raise InputError(f"{where}: column {'subject' if video else 'video'} is empty")
        if seen.get(video, subject) != subject:
            raise InputError(f"{where}: {video} has subject {subject!r} here and {seen[video]!r} above")
        if video not in seen:
            seen[video] = subject
            frames, fps = long_manifest.video_path(table, video), parse_fps(rates.get(video, ""))
            yield LongVideo(name, video, f"{name}/{subject}", frames, fps, None, None, ())
