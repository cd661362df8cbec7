"""Layout ``manifest``: a CSV of the user's own clips, each a folder of images, a glob or a video file."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from merflow.clips import Clip
from merflow.datasets import Index, Problem
from merflow.errors import InputError
from merflow.frames import image_files, is_video, numbered, own_numbers

REQUIRED = ["clip", "subject", "label", "frames"]
OPTIONAL = ["onset", "apex", "offset", "fps"]


def index(name: str, settings: Mapping[str, Any]) -> Index:
    """Index the clips of a manifest.

    Every row becomes a clip. A row that cannot be used keeps its place, with the reason in ``problem``, so that it is
    counted and reported and never lost. A label outside ``classes`` leaves the clip out of the scores; it is noted
    among the problems, since it may be a slip of the pen, and the clip is processed all the same.

    Args:
        name: the dataset, prefix of its subjects.
        settings: ``root``, ``table`` (relative to root), ``kind`` and, if the user gives them, ``classes``.

    Raises:
        InputError: the table is missing, is no CSV or lacks columns.
    """
    table = Path(settings["root"]) / settings["table"]
    rows = _read(table)
    classes = list(settings.get("classes") or sorted({row["label"] for row in rows.values() if row["label"]}))
    footage = {
        number: (table.parent / row["frames"]).as_posix() if row["frames"] else "" for number, row in rows.items()
    }
    owners: dict[str, set[str]] = {}
    for number, row in rows.items():
        owners.setdefault(footage[number], set()).add(row["subject"])
    clips: list[Clip] = []
    problems: list[Problem] = []
    source: list[dict[str, str]] = []
    seen: dict[str, int] = {}
    for number, row in rows.items():
        frames = footage[number]
        named = row["clip"] or f"row-{number}"
        found = list(_row_problems(row, frames))
        if named in seen:
            found.append(("clip", f"the name {named!r} stands in row {seen[named]} too; names must be unique"))
            named = f"{named} (row {number})"
        # One video may show several people one after the other; the frames of a folder are one person's.
        if frames and not is_video(frames) and len(owners[frames]) > 1:
            found.append(("frames", f"{frames} is given for several subjects: {', '.join(sorted(owners[frames]))}"))
        seen.setdefault(row["clip"], number)
        clip = Clip(
            clip=named,
            subject=f"{name}/{row['subject'] or '(none)'}",
            label=row["label"] if row["label"] in classes else "",
            kind=settings["kind"],
            frames=frames,
            **{key: _frame_number(row[key]) for key in ("onset", "apex", "offset")},
            fps=_number(row["fps"]),
            problem="; ".join(text for _, text in found),
        )
        if not found and clip.kind == "macro" and not is_video(frames) and len(image_files(frames)) == 1:
            clip = replace(clip, kind="still")
        if row["label"] and not clip.label:
            note = (
                f"{row['label']!r} is not among the classes {', '.join(classes)}; the clip is processed and not scored"
            )
            found.append(("label", note))
        problems += [Problem(name, str(table), number, named, where, text) for where, text in found]
        clips.append(clip)
        source.append({f"source_{key}": value for key, value in row.items() if key not in REQUIRED + OPTIONAL})
    return Index(clips, classes, problems, source)


def _read(table: Path) -> dict[int, dict[str, str]]:
    """Rows of the manifest by row number of the file, as text, blanks at the ends removed, empty rows left out.

    Commas, semicolons and tabs separate columns: spreadsheets write what their country is used to.
    """
    try:
        with table.open(encoding="utf-8-sig") as file:
            header = file.readline()
        frame = pd.read_csv(
            table,
            sep=max(",;\t", key=header.count),
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skipinitialspace=True,
            skip_blank_lines=False,
            index_col=False,
        )
    except FileNotFoundError as error:
        raise InputError(f"{table} does not exist") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is not UTF-8 ({error.reason}); save it as CSV UTF-8") from error
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{table} cannot be read as CSV: {error}") from error
    frame.columns = [str(column).strip().lower() for column in frame.columns]
    missing = [column for column in REQUIRED if column not in frame]
    if missing:
        raise InputError(
            f"{table}: column {', '.join(missing)} missing; found: {', '.join(frame.columns)}; "
            f"a manifest has {', '.join(REQUIRED)} and may have {', '.join(OPTIONAL)}"
        )
    for column in OPTIONAL:
        if column not in frame:
            frame[column] = ""
    frame = frame.fillna("").map(lambda value: str(value).strip())
    frame.index += 2  # row 1 of the file is its header
    frame = frame[(frame != "").any(axis=1)]
    if frame.empty:
        raise InputError(f"{table} has a header and no rows")
    return frame.to_dict("index")


def _frame_number(text: str) -> int | None:
    """``12`` and ``12.0`` (as spreadsheets write it) as 12; anything that is no frame number as None."""
    return int(float(text)) if re.fullmatch(r"\d{1,9}(\.0*)?", text) else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _row_problems(row: Mapping[str, str], frames: str) -> Iterator[tuple[str, str]]:
    """Why a row cannot be used, as (column, text); only lists folders, opens no frame."""
    if not row["clip"]:
        yield "clip", "empty; give every clip a name"
    if not row["subject"]:
        yield "subject", "empty; the subject decides what is left out together"
    given = {column: _frame_number(row[column]) for column in ("onset", "apex", "offset") if row[column]}
    for column, number in given.items():
        if number is None:
            yield column, f"{row[column]!r} is not a frame number"
    if row["fps"] and not (_number(row["fps"]) or 0) > 0:
        yield "fps", f"{row['fps']!r} is not a number above 0"
    order = [(column, number) for column, number in given.items() if number is not None]
    for (before, low), (after, high) in zip(order, order[1:], strict=False):
        if low > high:
            yield before, f"{before} {low} comes after {after} {high}"
    if not frames:
        yield "frames", "empty; give a folder of images, a glob or a video file"
        return
    try:
        yield from _footage_problems(frames, order)
    except OSError as error:
        yield "frames", f"{frames[:200]} cannot be looked at: {error.strerror}"


def _footage_problems(frames: str, order: list[tuple[str, int]]) -> Iterator[tuple[str, str]]:
    """What is wrong with the frames of a row whose onset, apex and offset (those that are given) are ``order``."""
    if is_video(frames):
        if not Path(frames).is_file():
            yield "frames", f"video {frames} does not exist"
        elif not Path(frames).stat().st_size:
            yield "frames", f"video {frames} is empty (0 bytes)"
        return
    images = image_files(frames)
    if not images:
        missing = "matches no image" if set(frames) & set("*?[") else "does not exist"
        yield "frames", f"{frames} {'holds no image' if Path(frames).is_dir() else missing}"
        return
    if order and own_numbers(images) is None:
        yield (
            "frames",
            f"{frames}: the names of the images do not give one number each, so {order[0][0]} has no meaning",
        )
        return
    files = numbered(images)
    for column, number in order:
        if number not in files:
            yield column, f"frame {number} is not there; frames of {frames} run from {min(files)} to {max(files)}"
    limits = dict(order)
    first, last = limits.get("onset", min(files)), limits.get("offset", max(files))
    empty = [file for number, file in files.items() if first <= number <= last and not file.stat().st_size]
    if empty:
        more = f", and {len(empty) - 1} more" if len(empty) > 1 else ""
        yield "frames", f"{empty[0]} is empty (0 bytes){more}"
