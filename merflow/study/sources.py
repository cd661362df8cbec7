"""The clips that ``clips`` of the configuration names: videos, folders of images, rows of a table. Opens no frame."""

import difflib
import glob as globbing
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from merflow.datasets.assemble import assemble
from merflow.datasets.checks import no_fps, parse_fps
from merflow.datasets.folders import subfolders
from merflow.datasets.index import LEFT_OUT
from merflow.datasets.labels import ClassSet
from merflow.datasets.manifest import read_table_of_clips
from merflow.datasets.raw_clip import RawClip, escape_controls
from merflow.errors import InputError
from merflow.footage.frames import IMAGES, VIDEOS, image_paths, is_video
from merflow.footage.tiff import page_count
from merflow.storage.files import safe_filename

COLUMNS = ("clip", "subject", "label", "frames", "onset", "apex", "offset", "fps")
"""Columns of a table of clips; ``frames`` is required."""
TABLES = (".csv", ".tsv", ".xlsx", ".xls", ".ods")
NO_CLIPS = "clips: `clips` is not set; use --config clips=/path/to/video.mp4, or a folder, or a table (docs/predict.md)"


def as_typed(clips: str | None, arguments: Sequence[str]) -> str | None:
    """Return ``clips`` as the command line gives it (``--config clips=...``), if it does; else the given value.

    Snakemake reads the value as a number if it can (``006_1_2``) and else as YAML, where `` #`` begins a comment.
    """
    quotes_or_not = r"""(?s)(?:--config=|-C)?clips=(['"]?)(.+)\1"""
    typed = [match[2] for text in arguments if (match := re.fullmatch(quotes_or_not, text))]
    return typed[-1] if typed else clips


def list_sources(clips: str | None) -> dict[str, dict[str, Any]]:
    """Videos, folders of images, or rows of a table of clips, by a name that is safe for a file.

    Each is a row of :class:`merflow.footage.clip.Clip`, and ``notes`` on its frames and its apex.

    Args:
        clips: a video, a folder of images, a folder of videos and such folders, or a table of clips.

    Raises:
        InputError: there is nothing of that kind.
    """
    if not clips:
        raise InputError(NO_CLIPS)
    path = Path(os.path.expanduser(clips))
    try:
        index = assemble("clips", "manifest", str(path), _entries(path), ClassSet("", ()))
    except OSError as error:
        raise InputError(
            f"clips: {str(error.filename or clips)[:200]} cannot be read ({error.strerror}); "
            "name another file, or fix its permissions and run again"
        ) from error
    if all(clip.problem for clip in index.clips):
        problems = "\n".join(f"  - {clip.clip}: {clip.problem}" for clip in index.clips)
        raise InputError(f"clips: nothing in {path} can be used:\n{problems}")
    notes = [
        problem for problem in index.problems if problem.effect != LEFT_OUT and problem.field in ("frames", "apex")
    ]
    return {
        safe_filename(clip.clip): clip.row() | {"notes": "; ".join(p.problem for p in notes if p.clip == clip.clip)}
        for clip in index.clips
    }


def _entries(path: Path) -> list[RawClip]:
    if not path.exists():
        if globbing.has_magic(str(path)):
            raise InputError(
                f"clips: {path} is a pattern, and patterns are not expanded; give the folder of the videos, or a table "
                f"(.csv) with a column frames, which may hold patterns of images such as {path.parent}/*.png"
            )
        if path.suffix.lower() in {"", *TABLES, *IMAGES, *VIDEOS}:
            raise InputError(f"clips: {path} does not exist; give a video, a folder, or a table of clips (CSV)")
    if path.is_dir():
        return _of_folder(path)
    if path.suffix.lower() in TABLES:
        return _of_table(path)
    if is_video(path):
        return [_entry(path.name, path)]
    if page_count(path) > 1:
        return [_entry(path.name, path)]
    if path.suffix.lower() in IMAGES:
        raise InputError(f"clips: {path} is one picture; an expression is a motion: give a video or a folder of images")
    raise InputError(
        f"clips: {path} is not a video by its name (known: {', '.join(sorted(VIDEOS))}), a folder or a table (.csv)"
    )


def _entry(name: str, frames: Path) -> RawClip:
    entry = RawClip(escape_controls(name), "somebody", frames.as_posix(), "micro", str(frames))
    entry.source = {"label": ""}
    entry.numbers = dict.fromkeys(("onset", "apex", "offset"), "")
    return entry


def _of_folder(folder: Path) -> list[RawClip]:
    videos = sorted(file for file in folder.iterdir() if is_video(file) and file.name[0] != "." and file.is_file())
    images = image_paths(folder)
    if stacks := _stacks(folder, images):
        videos, images = sorted([*videos, *stacks]), []
    if images and videos:
        video, image = escape_controls(videos[0].name), escape_controls(Path(min(images)).name)
        raise InputError(
            f"clips: folder {folder} holds videos (such as {video}) and images (such as {image}): remove the images to "
            "have every video searched, or the videos if the images are the frames of a clip"
        )
    if images:
        return [_entry(folder.resolve().name, folder)]
    entries = [_entry(file.name, file) for file in videos]
    for inside in subfolders(folder):
        try:
            images = image_paths(inside)
            stacks = _stacks(inside, images)
            entries += [_entry(f"{inside.name}/{stack.name}", stack) for stack in stacks]
            entries += [_entry(inside.name, inside)] if images and not stacks else []
        except OSError as error:
            entries.append(_entry(inside.name, inside))
            entries[-1].problems.append(("frames", f"folder {inside} cannot be read: {error.strerror}"))
    if not entries:
        videos_read, images_read = (", ".join(sorted(suffixes)) for suffixes in (VIDEOS, IMAGES))
        kinds = f"no video ({videos_read}), no image ({images_read}) and no folder of images"
        raise InputError(f"clips: folder {folder} holds {kinds}")
    return entries


def _stacks(folder: Path, images: Sequence[str]) -> list[Path]:
    """TIFF files of several pages, if a folder holds more than one and no other image; each is a clip.

    Raises:
        InputError: it holds such files and other images.
    """
    stacks = sorted(Path(image) for image in images if page_count(image) > 1)
    if len(images) < 2 or not stacks:
        return []
    if others := sorted({Path(image) for image in images} - set(stacks)):
        stack, image = (escape_controls(file.name) for file in (stacks[0], others[0]))
        raise InputError(
            f"clips: folder {folder} holds TIFF files of several pages (such as {stack}), which are clips, and single "
            f"images (such as {image}): put them into folders of their own"
        )
    return stacks


def _of_table(table: Path) -> list[RawClip]:
    rows = read_table_of_clips(table, ["frames"], [name for name in COLUMNS if name != "frames"])
    for column in rows[0].cells:
        near = difflib.get_close_matches(column, COLUMNS, 1, 0.8)
        if column not in COLUMNS and near:
            raise InputError(
                f"{table}: unknown column {column!r} (did you mean {near[0]!r}?); known: {', '.join(COLUMNS)}"
            )
    entries = []
    for number, row in ((row.number, row.cells) for row in rows):
        frames = (table.parent / row["frames"]).as_posix() if row["frames"] else ""
        name, subject = row["clip"] or f"row-{number}", row["subject"] or "somebody"
        entry = RawClip(name, subject, frames, "micro", str(table), number)
        entry.numbers = {name: row[name] for name in ("onset", "apex", "offset")}
        entry.source, entry.fps = {"label": row["label"]}, row["fps"]
        if entry.fps and parse_fps(entry.fps) is None:  # Seconds and the search of long clips need it.
            entry.problems.append(("fps", no_fps(entry.fps)))
            entry.fps = ""
        entries.append(entry)
    return entries
