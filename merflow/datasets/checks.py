"""Frame numbers of a clip against its files: what is missing, contradictory or empty. No frame is opened."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

from merflow.datasets.index import LEFT_OUT, NOTED, RENUMBERED, SPOTTED
from merflow.datasets.layout import Layout
from merflow.datasets.raw_clip import RawClip
from merflow.footage.frames import FrameList, is_video, no_image

Finding = tuple[str, str, str]
"""Field of the annotation, text and effect."""
Numbers = dict[str, int | None]
"""``onset, apex, offset``."""

GAP = "missing between"
NO_APEX = ("", "/", "-", "nan", "none", "n/a")
"""How tables say that a clip has no annotated apex."""
FPS_RANGE = (0.001, 100_000.0)
"""Least and most frames per second that a table may give."""
FRAME_NUMBER = re.compile(r"(\d+)(\.0{1,2})?")
"""``1.000`` is not one: in some languages it means 1000."""


def check_clip(
    clip: RawClip, layout: Layout, list_frames: Callable[[str], FrameList] = FrameList
) -> tuple[Numbers, str, list[Finding], bool]:
    """Check the frame numbers of a clip against its files, which ``list_frames`` lists.

    Returns:
        Onset, apex and offset; the kind (a macro clip of one image is a ``still``); the findings; and whether the
        annotated apex cannot be right.
    """
    numbers, findings, bad_apex = _parse_numbers(clip, layout)
    findings += _order_problems(numbers, layout)
    frames, problem = _list_frames(clip, list_frames)
    findings += [("frames", problem, LEFT_OUT)] if problem else []
    kind = clip.kind
    if frames is not None:
        if kind == "macro" and len(frames) == 1:
            kind = "still"
        if layout.absolute_numbers and not _left_out(findings) and (rebased := _rebase(numbers, frames)):
            text = f"frame {numbers['onset']} does not exist; numbers are read as absolute and start at {frames.first}"
            findings.append(("onset", text, RENUMBERED))
            numbers = rebased
        if layout.next_frame and not _left_out(findings):
            numbers, moved = _next_frames(numbers, frames)
            findings += moved
        findings += _frame_problems(clip.frames, numbers, frames, layout, kind)
    if not _left_out(findings) and (reason := _apex_problem(clip, numbers, frames, kind)):
        findings.append(("apex", f"apex {numbers['apex']} is {reason}; it is spotted", SPOTTED))
        numbers["apex"] = None
        bad_apex = True
    return numbers, kind, findings, bad_apex


def _left_out(findings: list[Finding]) -> bool:
    return any(effect == LEFT_OUT for *_, effect in findings)


def _parse_numbers(clip: RawClip, layout: Layout) -> tuple[Numbers, list[Finding], bool]:
    """Onset, apex and offset as integers, what is wrong with their texts, and whether the apex is not a number."""
    texts = {name: (text or "").strip() for name, text in clip.numbers.items()}
    numbers = {name: parse_frame_number(text) for name, text in texts.items()}
    findings: list[Finding] = []
    for name in ("onset", "offset"):
        if numbers[name] is None and (texts[name] or not layout.bounds_optional):
            findings.append((name, no_frame_number(texts[name]) if texts[name] else "empty", LEFT_OUT))
    bad_apex = False
    if clip.numbers["apex"] is not None and numbers["apex"] is None and (texts["apex"] or not layout.bounds_optional):
        if layout.user_annotated:
            findings.append(("apex", no_frame_number(texts["apex"]), LEFT_OUT))
        elif texts["apex"].lower() in NO_APEX:
            findings.append(("apex", f"not annotated ({texts['apex'] or 'empty'}); it is spotted", SPOTTED))
        else:
            findings.append(("apex", f"{no_frame_number(texts['apex'])}; the apex is spotted", SPOTTED))
            bad_apex = True
    if clip.fps and parse_fps(clip.fps) is None:
        findings.append(("fps", f"{no_fps(clip.fps)}; the clip is used without it", NOTED))
    return numbers, findings, bad_apex


def _order_problems(numbers: Numbers, layout: Layout) -> Iterator[Finding]:
    ordered = ("onset", "apex", "offset") if layout.user_annotated else ("onset", "offset")
    present = [(name, number) for name in ordered if (number := numbers[name]) is not None]
    for (before, low), (after, high) in zip(present, present[1:], strict=False):
        if low > high:
            yield before, f"{before} {low} comes after {after} {high}", LEFT_OUT


def _list_frames(clip: RawClip, list_frames: Callable[[str], FrameList]) -> tuple[FrameList | None, str]:
    """The images of a clip (None: a video, or no image), and what is wrong with its place (empty: nothing)."""
    if any(field in ("frames", "image") for field, _ in clip.problems):
        return None, ""
    if not clip.frames:
        return None, "empty; give a folder of images, a glob or a video file"
    path = Path(clip.frames)
    try:
        if is_video(path):
            empty = f"video {path} is empty (0 bytes)"
            return None, f"video {path} does not exist" if not path.is_file() else "" if path.stat().st_size else empty
        if len(frames := list_frames(clip.frames)):
            return frames, ""
        return None, f"{clip.frames}: {frames.problem}" if frames.problem else no_image(clip.frames)
    except OSError as error:
        return None, f"{clip.frames[:200]} cannot be listed: {error.strerror}"


def _rebase(numbers: Numbers, frames: FrameList) -> Numbers | None:
    """The numbers moved so that onset is the first file, if onset lies outside the files and offset then fits."""
    onset, offset = numbers["onset"], numbers["offset"]
    if onset is None or offset is None or frames.first <= onset <= frames.last:
        return None
    if frames.first + offset - onset not in frames:
        return None
    return {name: None if n is None else n - onset + frames.first for name, n in numbers.items()}


def _next_frames(numbers: Numbers, frames: FrameList) -> tuple[Numbers, list[Finding]]:
    """The numbers, each without a file replaced by the next that has one, and a note for each; not after the last."""
    files = list(frames.files)
    following = {
        name: files[bisect_left(files, number)]
        for name, number in numbers.items()
        if number is not None and number not in frames and number < frames.last
    }
    notes = [
        (name, f"frame {numbers[name]} does not exist; the next one, {number}, is used", NOTED)
        for name, number in following.items()
    ]
    return numbers | following, notes


def _frame_problems(folder: str, numbers: Numbers, frames: FrameList, layout: Layout, kind: str) -> Iterator[Finding]:
    """What is wrong with the images of a clip, from their names and sizes."""
    annotated = {name: n for name, n in numbers.items() if n is not None and name != "apex"}
    for name, number in annotated.items():
        if number not in frames:
            text = f"frame {number} does not exist; frames of {folder} run from {frames.first} to {frames.last}"
            yield name, text, LEFT_OUT
    first = annotated.get("onset", frames.first)
    last = annotated.get("offset", frames.last)
    if empty := frames.empty(first, last):
        more = f", and {len(empty) - 1} more" if len(empty) > 1 else ""
        yield "frames", f"{empty[0]} is empty (0 bytes){more}; the clip fails when it is read", NOTED
    if kind == "micro" and layout.has_frames and frames.count(first, last) == 1:
        yield "offset", f"one frame between onset {first} and offset {last}; motion needs two", LEFT_OUT
    if first not in frames or last not in frames:
        return
    apex = numbers["apex"] or 0
    if gaps := [gap for gap in frames.gaps(first, last) if gap != range(apex, apex + 1)]:
        rest = sum(map(len, gaps)) - 5
        listed = ", ".join(map(str, islice(chain(*gaps), 5))) + (f" and {rest} more" if rest > 0 else "")
        yield "frames", f"frame {listed} {GAP} {first} and {last} of {folder}; the others are used", NOTED


def _apex_problem(clip: RawClip, numbers: Numbers, frames: FrameList | None, kind: str) -> str:
    """Why the annotated apex cannot be right; empty if it can."""
    onset, apex, offset = (numbers[name] for name in ("onset", "apex", "offset"))
    if apex is None:
        return ""
    if (onset is not None and apex < onset) or (offset is not None and apex > offset):
        return f"outside onset {onset}..offset {offset}"
    if frames is not None and apex not in frames:
        return f"not among the frames of {clip.frames}"
    first, last = (0, None) if frames is None else (frames.first, frames.last)
    if kind != "still" and apex == (first if onset is None else onset):
        return "the onset, where no motion has begun"
    # Clips of macro-expressions may end at the apex, as those of CK+.
    at_end = kind == "micro" and apex == (last if offset is None else offset)
    return "the offset, where the motion is over" if at_end else ""


def parse_frame_number(text: str) -> int | None:
    """``12`` and ``12.0`` (as spreadsheets write it) as 12, None for anything else; the last 15 digits, as of names."""
    match = FRAME_NUMBER.fullmatch(text)
    return int(match[1][-15:]) if match else None


def no_frame_number(text: str) -> str:
    """Why a text is not read as a frame number."""
    whole = "" if _readings(text) or not re.search(r"\d[.,]\d", text) else "; write a whole number"
    return f"{text[:50]!r} is not a frame number{_readings(text)}{whole}"


def no_fps(text: str) -> str:
    """Why a text is not read as frames per second."""
    if readings := _readings(text):
        return f"{text!r} has a separator{readings}"
    low, high = FPS_RANGE
    comma = "; write a decimal point, no comma" if "," in text else ""
    return f"{text[:50]!r} is not a number from {low:g} to {high:g} per second{comma}"


def _readings(text: str) -> str:
    """What a number with a separator of thousands may mean; empty if there is no such separator."""
    if not re.fullmatch(r"\d{1,3}([.,'\u2019_\s]\d{3})+", text):
        return ""
    whole, decimal = int(re.sub(r"\D", "", text)), re.fullmatch(r"(\d+)[.,](\d+)", text)
    if not decimal:
        return f": write {whole}"
    number = f"{float('.'.join(decimal.groups())):g}"
    return f": is it {whole} or {number}? write {whole} or {number}"


def parse_fps(text: str) -> float | None:
    """Frames per second; None for all but numbers within :data:`FPS_RANGE`, and for ``25.000``, which may be 25000."""
    try:
        fps = float("" if re.fullmatch(r"\d{1,3}\.000", text) else text)
    except ValueError:
        return None
    return fps if FPS_RANGE[0] <= fps <= FPS_RANGE[1] else None
