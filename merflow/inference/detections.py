"""What was spotted in long videos as clips, which are prepared like annotated ones: faces, key-frames, flow, cache."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from merflow.footage.clip import Clip
from merflow.footage.frames import FrameList, is_video
from merflow.inference.candidates import cache_or_empty, read_micro
from merflow.preprocessing.faces import align_subject
from merflow.preprocessing.settings import AlignSettings, PreparationSettings


def align_detections(
    detections: Path,
    videos: Mapping[str, Mapping[str, Any]],
    dataset: str,
    output: Path,
    settings: AlignSettings,
    bit_depth: int | None,
) -> None:
    """Write ``faces.h5`` of the detections in the videos of one person, as ``align_subject`` does.

    ``videos``: ``frames`` (folder or file), ``subject`` and ``align`` of each, by its name.
    """
    table = read_micro(detections)
    clips = []
    for name, video in videos.items():
        part = table[(table["dataset"] == dataset) & (table["video"] == name)]
        numbers = [] if is_video(video["frames"]) else sorted(FrameList(video["frames"]).files)
        for clip, onset, offset in part[["clip", "onset", "offset"]].to_numpy().tolist():
            if numbers:  # Frames may be missing; then the next one is used.
                onset, offset = (numbers[min(bisect_left(numbers, end), len(numbers) - 1)] for end in (onset, offset))
            frames, align = video["frames"], video["align"]
            clips.append(Clip(clip, video["subject"], "", "micro", frames, int(onset), None, int(offset), align=align))
    align_subject(clips, output, settings, bit_depth)


def gather_detections(
    detections: Path,
    faces: Sequence[str | Path],
    keyframes: Sequence[str | Path],
    flow: Sequence[str | Path],
    *,
    cache: Path,
    quality: Path,
    preparation: str,
    settings: PreparationSettings,
    code: str,
) -> None:
    """Write ``cache.h5`` and ``quality.csv`` of all detections; arguments as of ``build_cache``."""
    rows = [
        {"clip": row.clip, "subject": row.subject, "label": "", "kind": "micro"}
        for row in read_micro(detections).itertuples()
    ]
    cache_or_empty(
        rows, faces, keyframes, flow, cache=cache, quality=quality, dataset="detections", preparation=preparation,
        settings=settings, code=code,
    )  # fmt: skip
