"""From what a layout found to the index: corrections, labels, frame numbers, and everything that is wrong, once.

A layout says where each clip stands and what its annotation reads (:class:`Entry`). What makes a clip usable is the
same for all of them, and is told here.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import category

from merflow.datasets.corrections import FIELDS, Correction
from merflow.datasets.folders import subject_number
from merflow.datasets.index import CORRECTED, LEFT_OUT, NOTED, RENUMBERED, SPOTTED, ClassCount, Index, Problem
from merflow.datasets.labels import LABEL, VOCABULARY, ClassSet, plain_name
from merflow.errors import ConfigError, InputError
from merflow.footage.clip import Clip
from merflow.footage.frames import FrameList, is_video

GAP = "missing between"
MOST_GAPS = 20
"""Clips with frames missing inside that are told one by one."""
NO_APEX = ("", "/", "-", "nan", "none", "n/a")
"""How tables say that a clip has no annotated apex."""
RATES = (0.001, 100_000.0)
"""Least and most frames per second that a table may give."""
NUMBER = re.compile(r"\d{1,9}(\.0*)?")


@dataclass
class Entry:
    """A clip as a layout found it; the annotation is still text.

    Attributes:
        clip: unique name.
        subject: subject as the index names it, without the dataset.
        name: what the dataset calls the clip, where ``clip`` holds more than that.
        frames: folder, glob, image or video; empty if there is none.
        kind: ``micro``, ``macro`` or ``still``.
        file: table that the clip stands in (or folder, where the tree is the index).
        row: its row, as a spreadsheet counts.
        numbers: ``onset, apex, offset`` as text; None where the layout has no such annotation.
        source: all that the dataset says of the clip, by column name (without ``source_``).
        align: see :class:`merflow.footage.clip.Clip`.
        fps: frames per second as text.
        found: problems that the layout itself saw, as (field, text); the clip is left out.
        notes: what it noticed besides, as (field, text).
        prefix: replaces the dataset's name before the subject.
    """

    clip: str
    subject: str
    frames: str
    kind: str
    file: str
    row: int | None = None
    name: str = ""
    numbers: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(("onset", "apex", "offset")))
    source: dict[str, str] = field(default_factory=dict)
    align: str = "detect"
    fps: str = ""
    found: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    prefix: str = ""
    label: str | None = None
    """Class given by a correction, in place of the class set's."""
    excluded: bool = False
    """Whether a correction leaves the clip out: the user's will, at which ``on_problem: stop`` does not stop."""


@dataclass(frozen=True)
class Rules:
    """What differs between layouts.

    Attributes:
        layout: name of the layout.
        whole: whether onset and offset may be missing: the first and last frame are taken.
        strict: whether an apex that contradicts onset and offset makes the clip unusable; else it is spotted.
        rebase: whether numbers may be absolute, and are then moved to those of the files.
        foreign: whether a label that the class set does not know is only noted.
        unlabelled: whether clips without a label are a matter of course.
    """

    layout: str
    whole: bool = False
    strict: bool = False
    rebase: bool = False
    foreign: bool = False
    unlabelled: bool = False


def assemble(
    name: str,
    settings: Mapping[str, Any],
    rules: Rules,
    entries: Sequence[Entry],
    labels: ClassSet,
    corrections: Sequence[Correction] = (),
    notes: Sequence[Problem] = (),
) -> Index:
    """The index of a dataset.

    Args:
        name: the dataset.
        settings: of the dataset; only ``align`` is read.
        rules: what differs between layouts.
        entries: the clips, in the order of the dataset.
        labels: class set.
        corrections: rows of the user's corrections that are for this dataset.
        notes: what the layout noticed of the dataset as a whole.

    Raises:
        ConfigError: the class set reads a column that the dataset does not have.
    """
    column = labels.column(rules.layout)
    if entries and not any(column in entry.source for entry in entries):
        there = ", ".join(entries[0].source)
        raise ConfigError(f"datasets.{name}.classes: the dataset has no column {column!r}; its columns: {there}")
    problems = list(notes) + _apply(name, rules, entries, corrections, column)
    unapplied = sum(problem.effect == NOTED for problem in problems[len(notes) :])
    owners: dict[str, set[str]] = {}
    for entry in entries:
        _uncover(entry, column)
        if entry.subject:
            owners.setdefault(entry.frames, set()).add(
                f"{entry.prefix}/{entry.subject}" if entry.prefix else entry.subject
            )
    clips, left_out, contradicted, seen = [], 0, 0, {}
    for entry in entries:
        found = [(where, text, LEFT_OUT) for where, text in entry.found]
        found += [(where, text, NOTED) for where, text in entry.notes]
        if entry.clip in seen:
            first = f"row {seen[entry.clip]}" if entry.row else str(seen[entry.clip])
            found.append(("clip", f"the name {entry.clip!r} stands in {first} too; names must be unique", LEFT_OUT))
        # One video may show several people one after the other; the frames of a folder are one person's.
        if entry.frames and not is_video(entry.frames) and len(owners.get(entry.frames, ())) > 1:
            people = ", ".join(sorted(owners[entry.frames]))
            found.append(("frames", f"{entry.frames} is given for several subjects: {people}", LEFT_OUT))
        again = f"row {entry.row}" if entry.row else entry.frames
        numbers, kind, own, contradicts = _numbers(entry, rules)
        label, of_label = _label(entry, labels, column, rules)
        found += own + of_label
        clip = Clip(
            clip=entry.clip if entry.clip not in seen else f"{entry.clip} ({again})",
            subject=f"{entry.prefix or name}/{entry.subject or '(none)'}",
            label=label,
            kind=kind,
            frames=entry.frames,
            **numbers,
            fps=_rate(entry.fps),
            align=settings.get("align") or entry.align,
            problem="; ".join(text for _, text, effect in found if effect == LEFT_OUT),
        )
        seen.setdefault(entry.clip, entry.row or entry.frames)
        left_out += bool(clip.problem) and not entry.excluded
        contradicted += contradicts and not clip.problem
        problems += [
            Problem(name, entry.file, entry.row, clip.clip, where, text, effect) for where, text, effect in found
        ]
        clips.append(clip)
    classes, counts, of_counts = _classes(name, str(settings.get("root", "")), rules.layout, clips, labels, entries)
    source = [{f"source_{plain_name(key)}": value for key, value in entry.source.items()} for entry in entries]
    problems = _collapsed(name, str(settings.get("root", "")), problems, len(clips))
    return Index(clips, classes, problems + of_counts, source, labels.name, counts, left_out + contradicted + unapplied)


def _uncover(entry: Entry, column: str) -> None:
    """Leave out a clip whose names or label hold what terminals and tables take for something else; show it instead."""
    texts = {"clip": entry.clip, "subject": entry.prefix + entry.subject, "label": entry.source.get(column) or ""}
    for where, text in texts.items():
        if text != shown(text):
            told = f"{shown(text)} holds a control character; names and labels are plain text"
            entry.found.append((where, told))
    entry.clip, entry.subject, entry.prefix = map(shown, (entry.clip, entry.subject, entry.prefix))
    if texts["label"]:
        entry.source[column] = shown(texts["label"])


def shown(text: str) -> str:
    """``text`` with control characters, and bytes that are no UTF-8, as escapes (a line end is two letters)."""
    return "".join(repr(one)[1:-1] if category(one) in ("Cc", "Cs") else one for one in text)


def _collapsed(name: str, root: str, problems: list[Problem], clips: int) -> list[Problem]:
    """The problems, with one note in place of many clips that have frames missing inside: a thinned copy, as a rule."""
    gaps = [problem for problem in problems if problem.field == "frames" and GAP in problem.problem]
    if len(gaps) <= MOST_GAPS:
        return problems
    text = f"{len(gaps)} of {clips} clips have frames missing between onset and offset, such as {gaps[0].clip}: "
    note = Problem(name, root, None, "", "frames", text + gaps[0].problem, NOTED)
    return [problem for problem in problems if problem not in gaps] + [note]


def _apply(
    name: str, rules: Rules, entries: Sequence[Entry], corrections: Sequence[Correction], column: str
) -> list[Problem]:
    """Apply the corrections to the entries, and tell of each.

    Raises:
        InputError: a field that cannot be corrected; all of them are listed.
    """
    allowed = [*FIELDS, *sorted({column, *VOCABULARY.get(rules.layout, ())} - {LABEL})]
    if rules.layout == "casme2":  # There the subject is part of a clip's name and place.
        allowed.remove("subject")
    wrong = [f"row {c.row}: {c.field!r} cannot be corrected" for c in corrections if c.field not in allowed]
    if wrong:
        listed = "\n".join(f"  - {text}" for text in wrong)
        raise InputError(f"{corrections[0].file} (dataset {name}; allowed: {', '.join(allowed)}):\n{listed}")
    told = []
    for correction in corrections:
        hits = [entry for entry in entries if correction.fits(entry.clip, entry.name, entry.subject, entry.row)]
        if len(hits) == 1:
            text, effect = correct(hits[0], correction, column), CORRECTED
        elif hits:
            text, effect = f"fits {len(hits)} clips ({hits[0].clip}, {hits[1].clip}, ...); not applied", NOTED
        else:
            text, effect = f"dataset {name} has no such clip (subject {correction.subject!r}); not applied", NOTED
        told.append(Problem(name, correction.file, correction.row, correction.clip, correction.field, text, effect))
    return told


def correct(entry: Entry, correction: Correction, column: str) -> str:
    """Write one correction into an entry; returns the sentence that tells it."""
    value, where = correction.value, correction.field
    if where == "exclude":
        entry.found.append((where, f"excluded by {Path(correction.file).name}: {correction.reason}"))
        entry.excluded = True
        return f"excluded: {correction.reason}"
    if where == "subject":
        old, number = entry.subject, subject_number(value)
        digits = re.search(r"\d+$", old)
        known = isinstance(number, int) and digits is not None
        entry.subject = f"{old[: digits.start()]}{number:0{len(digits[0])}d}" if known else value
        entry.found = [(field, text) for field, text in entry.found if field != "subject"]
    elif where in entry.numbers:
        old, entry.numbers[where] = entry.numbers[where], value
    elif where == "fps":
        old, entry.fps = entry.fps, value
    elif where == "label":
        old, entry.label = entry.source.get(column, ""), value
        entry.source["corrected_label"] = value
    else:
        old, entry.source[where] = entry.source.get(where), value
    return f"{old or '(empty)'} -> {value or '(empty)'}: {correction.reason}"


# --- Frames -----------------------------------------------------------------------------------------------------------


def _numbers(entry: Entry, rules: Rules) -> tuple[dict[str, int | None], str, list[tuple[str, str, str]], bool]:
    """Onset, apex and offset, the kind, all that is wrong with them, and whether an apex was contradicted."""
    texts = {name: (text or "").strip() for name, text in entry.numbers.items()}
    numbers = {name: frame_number(text) for name, text in texts.items()}
    found: list[tuple[str, str, str]] = []
    for name in ("onset", "offset"):
        if numbers[name] is None and (texts[name] or not rules.whole):
            found.append((name, f"{texts[name]!r} is not a frame number" if texts[name] else "empty", LEFT_OUT))
    contradicts = False
    if entry.numbers["apex"] is not None and numbers["apex"] is None and (texts["apex"] or not rules.whole):
        if rules.strict:
            found.append(("apex", f"{texts['apex']!r} is not a frame number", LEFT_OUT))
        elif texts["apex"].lower() in NO_APEX:
            found.append(("apex", f"none is annotated ({texts['apex'] or 'empty'}); it is spotted", SPOTTED))
        else:
            found.append(("apex", f"{texts['apex']!r} is not a frame number; the apex is spotted", SPOTTED))
            contradicts = True
    if entry.fps and _rate(entry.fps) is None:
        told = f"{entry.fps[:50]!r} is not a number above 0, from {RATES[0]:g} to {RATES[1]:g} per second"
        found.append(("fps", told, LEFT_OUT))
    ordered = ("onset", "apex", "offset") if rules.strict else ("onset", "offset")
    given = [(name, numbers[name]) for name in ordered if numbers[name] is not None]
    for (before, low), (after, high) in zip(given, given[1:], strict=False):
        if low > high:
            found.append((before, f"{before} {low} comes after {after} {high}", LEFT_OUT))
    kind = entry.kind
    frames = None
    try:
        if any(where in ("frames", "image") for where, _ in entry.found):
            pass
        elif not entry.frames:
            found.append(("frames", "empty; give a folder of images, a glob or a video file", LEFT_OUT))
        elif is_video(entry.frames):
            found += [("frames", text, LEFT_OUT) for text in _video_problems(Path(entry.frames))]
        else:
            frames = FrameList(entry.frames)
            if not len(frames):
                missing = "matches no image" if set(entry.frames) & set("*?[") else "does not exist"
                there = "holds no image" if Path(entry.frames).is_dir() else missing
                found.append(("frames", f"{entry.frames} {there}", LEFT_OUT))
    except OSError as error:
        found.append(("frames", f"{entry.frames[:200]} cannot be looked at: {error.strerror}", LEFT_OUT))
    if frames is not None and len(frames):
        if kind == "macro" and len(frames) == 1:
            kind = "still"
        sound = not any(effect == LEFT_OUT for *_, effect in found)
        moved = _rebased(numbers, frames) if rules.rebase and sound else None
        if moved:
            text = f"frame {numbers['onset']} is not there; numbers are taken as absolute and start at {frames.first}"
            found.append(("onset", text, RENUMBERED))
            numbers = moved
        found += _frame_problems(entry.frames, numbers, frames, rules, kind)
    onset, apex, offset = (numbers[name] for name in ("onset", "apex", "offset"))
    if apex is not None and not rules.strict and not any(effect == LEFT_OUT for *_, effect in found):
        outside = (onset is not None and apex < onset) or (offset is not None and apex > offset)
        gone = frames is not None and apex not in frames
        if outside or gone:
            why = f"outside onset {onset}..offset {offset}" if outside else f"not among the frames of {entry.frames}"
            found.append(("apex", f"apex {apex} is {why}; it is spotted", SPOTTED))
            numbers = numbers | {"apex": None}
            contradicts = True
    return numbers, kind, found, contradicts


def _video_problems(video: Path) -> Iterator[str]:
    if not video.is_file():
        yield f"video {video} does not exist"
    elif not video.stat().st_size:
        yield f"video {video} is empty (0 bytes)"


def _rebased(numbers: Mapping[str, int | None], frames: FrameList) -> dict[str, int | None] | None:
    """The numbers moved so that onset is the first file, if onset lies outside the files and offset then fits."""
    onset, offset = numbers["onset"], numbers["offset"]
    if onset is None or offset is None or frames.first <= onset <= frames.last:
        return None
    if frames.first + offset - onset not in frames:
        return None
    return {name: None if n is None else n - onset + frames.first for name, n in numbers.items()}


def _frame_problems(
    folder: str, numbers: Mapping[str, int | None], frames: FrameList, rules: Rules, kind: str
) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the images of a clip; only lists and measures files, opens none."""
    given = {name: n for name, n in numbers.items() if n is not None and (name != "apex" or rules.strict)}
    if given and not frames.numbered:
        text = f"{folder}: the names of the images do not give one number each, so {next(iter(given))} has no meaning"
        yield "frames", text, LEFT_OUT
        return
    for name, number in given.items():
        if number not in frames:
            span = f"frames of {folder} run from {frames.first} to {frames.last}"
            yield name, f"frame {number} is not there; {span}", LEFT_OUT
    first = numbers["onset"] if numbers["onset"] is not None else frames.first
    last = numbers["offset"] if numbers["offset"] is not None else frames.last
    if empty := frames.empty(first, last):
        more = f", and {len(empty) - 1} more" if len(empty) > 1 else ""
        yield "frames", f"{empty[0]} is empty (0 bytes){more}", LEFT_OUT
    if kind == "micro" and rules.layout != "flow-images" and frames.numbered and frames.count(first, last) == 1:
        yield "offset", f"one frame between onset {first} and offset {last}; motion needs two", LEFT_OUT
    if rules.strict or not frames.numbered or first not in frames or last not in frames:
        return
    if gaps := [number for number in frames.gaps(first, last) if number != numbers["apex"]]:
        listed = ", ".join(map(str, gaps[:5])) + (f" and {len(gaps) - 5} more" if len(gaps) > 5 else "")
        yield "frames", f"frame {listed} {GAP} {first} and {last} of {folder}; the others are used", NOTED


def frame_number(text: str) -> int | None:
    """``12`` and ``12.0`` (as spreadsheets write it) as 12; anything that is no frame number as None."""
    return int(float(text)) if NUMBER.fullmatch(text) else None


def _rate(text: str) -> float | None:
    """Frames per second; anything else, and what no camera does, as None."""
    try:
        rate = float(text)
    except ValueError:
        return None
    return rate if RATES[0] <= rate <= RATES[1] else None


# --- Labels -----------------------------------------------------------------------------------------------------------


def relabel(index: Index, layout: str, labels: ClassSet, where: str) -> dict[str, str]:
    """The class of every clip of an index under another class set; clips that are left out have an empty one.

    Args:
        index: of the dataset.
        layout: its layout.
        labels: the class set.
        where: key of the configuration, for the message.

    Raises:
        ConfigError: the class set reads a column that the dataset does not have.
    """
    column, found = labels.column(layout), {}
    if not any(f"source_{column}" in row for row in index.source):
        there = ", ".join(name.removeprefix("source_") for name in index.source[0]) if index.source else "none"
        raise ConfigError(f"{where}: the dataset has no column {column!r}; its columns: {there}")
    for clip, row in zip(index.clips, index.source, strict=True):
        words = [row.get("source_corrected_label", ""), row.get(f"source_{column}", "")]
        word = next((word for word in words if word), "")
        out = _excluded(clip.subject, clip.clip.rpartition("/")[2], labels, layout)
        name = labels.classify(layout, word) if word and not out else ""
        corrected = words[0] if words[0] in labels.classes and not out else ""
        found[clip.clip] = name or corrected
    return found


def unknown_words(index: Index, layout: str, labels: ClassSet) -> Counter:
    """Label words of an index that a class set neither takes nor leaves out, and how many clips have them."""
    column = f"source_{labels.column(layout)}"
    words = Counter(row.get(column, "").strip() for row in index.source)
    return Counter({word: n for word, n in words.items() if word and labels.classify(layout, word) is None})


def _excluded(subject: str, name: str, labels: ClassSet, layout: str) -> bool:
    """Whether the rule of a class set leaves a clip out by name."""
    return (subject_number(subject), name) in labels.excluded.get(layout, ())


def _label(entry: Entry, labels: ClassSet, column: str, rules: Rules) -> tuple[str, list[tuple[str, str, str]]]:
    """The class of a clip (empty: not scored), and what is wrong with its label."""
    word = entry.label if entry.label is not None else entry.source.get(column, "")
    if not word.strip():
        return "", [] if rules.unlabelled else [("label", f"{column} is empty; the clip is not scored", NOTED)]
    if _excluded(entry.subject, entry.name or entry.clip, labels, rules.layout):
        return "", [("label", f"left out by the rule of {labels.name}; the clip is not scored", NOTED)]
    found = labels.classify(rules.layout, word)
    if not found and entry.label in labels.classes:
        found = entry.label
    if found is not None:
        return found, []
    known = ", ".join(labels.words(rules.layout))
    if rules.foreign or not (labels.maps or rules.layout in VOCABULARY):
        return "", [
            ("label", f"{word!r} is not among the classes {known}; the clip is processed and not scored", NOTED)
        ]
    return "", [("label", f"{column} {word!r} is not known; known: {known}", LEFT_OUT)]


def _classes(
    name: str, root: str, layout: str, clips: Sequence[Clip], labels: ClassSet, entries: Sequence[Entry]
) -> tuple[list[str], list[ClassCount], list[Problem]]:
    """Class names in order, how many clips of each were expected and found, and a note where the two differ."""
    found = Counter(clip.label for clip in clips if clip.label)
    usable = Counter(clip.label for clip in clips if clip.label and not clip.problem)
    if labels.classes:
        classes = list(labels.classes)
    else:
        known = [word for word in labels.words(layout) if word in found]
        classes = known + sorted(set(found) - set(known))
    table = entries[0].file if entries and entries[0].row else root
    published = labels.counts.get(layout)
    expected = dict(published.clips) if published else {}
    counts = [
        ClassCount(c, expected.get(c), found[c], usable[c], published.source if published else "") for c in classes
    ]
    if not published:
        empty = [] if labels.name not in ("", "own") else [c for c in classes if not found[c]]
        text = f"no clip is labelled {', '.join(empty)}"
        return classes, counts, [Problem(name, table, None, "", "classes", text, NOTED)] if empty else []
    people = len({clip.subject for clip in clips if clip.label})
    wrong = [f"{c} {found[c]} instead of {expected[c]}" for c in classes if found[c] != expected[c]]
    if published.subjects not in (None, people):
        wrong.append(f"{people} subjects instead of {published.subjects}")
    missing = [f"{c} {usable[c]} of {found[c]}" for c in classes if usable[c] != found[c]]
    if missing and not wrong:
        text = (
            f"all {found.total()} clips of {labels.name} are listed, {usable.total()} can be used: {', '.join(missing)}"
        )
        return classes, counts, [Problem(name, table, None, "", "classes", text, NOTED)]
    if not wrong:
        return classes, counts, []
    text = f"{labels.name} has {sum(expected.values())} clips ({published.source}), here are {found.total()}, "
    text += f"of which {usable.total()} can be used: "
    return classes, counts, [Problem(name, table, None, "", "classes", text + ", ".join(wrong), NOTED)]
