"""From the clips that a layout reads to the index: corrections, labels, and everything that is wrong, reported once."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from unicodedata import category, normalize

from merflow.datasets.action_units import unit_cells, unit_doubts
from merflow.datasets.checks import GAP, Finding, check_clip, parse_fps
from merflow.datasets.corrections import Correction, apply_corrections
from merflow.datasets.index import LEFT_OUT, NOTED, SPOTTED, ClassCount, Index, Problem
from merflow.datasets.known_errors import certain_errors, known_errors
from merflow.datasets.labels import ClassSet, plain_name, similar_word
from merflow.datasets.layout import ClassSetPart
from merflow.datasets.overlaps import shared_frames
from merflow.datasets.raw_clip import RawClip, escape_controls
from merflow.datasets.registry import LAYOUTS
from merflow.errors import ConfigError
from merflow.footage.clip import Clip
from merflow.footage.frames import FrameList, is_video

Interval = tuple[str | None, str | None]
"""Onset and offset, as the table has them."""
NO_VALUE = ("nan", "none", "null", "nil", "na", "n/a", "<na>")
"""Words that programs write for a missing value."""
MAX_GAP_ROWS = 20
"""Clips with missing frames inside that are reported one by one; more of them become one note."""
NOT_TRAINED = "not used in training or tests"


def assemble(
    name: str,
    layout_name: str,
    root: str,
    raw_clips: Sequence[RawClip],
    labels: ClassSet,
    corrections: Sequence[Correction] = (),
    notes: Sequence[Problem] = (),
    align: str | None = None,
) -> Index:
    """The index of dataset ``name``, with ``notes`` of the layout on the dataset as a whole.

    ``align`` is the user's choice for all clips; None: that of each clip.

    Raises:
        ConfigError: the class set reads a column that the dataset does not have.
        InputError: a correction of a field that cannot be corrected.
    """
    layout = LAYOUTS[layout_name]
    column = labels.column(layout_name)
    if raw_clips and not any(column in raw.source for raw in raw_clips):
        columns = ", ".join(raw_clips[0].source)
        raise ConfigError(f"datasets.{name}.classes: the dataset has no column {column!r}; its columns: {columns}")
    for raw in raw_clips:
        raw.fps = raw.fps or str(layout.fps or "")
    problems = apply_corrections(name, layout, raw_clips, corrections, column)
    grave = sum(problem.effect == NOTED for problem in problems)  # Corrections that fit no clip.
    problems = [*notes, *problems]
    for raw in raw_clips:
        _escape(raw, column)
    owners = _owners(raw_clips)
    list_frames = lru_cache(maxsize=1)(FrameList)  # The clips of a long video follow each other.
    clips: list[Clip] = []
    seen: dict[str, str] = {}
    faulty: set[int] = set()
    for raw in raw_clips:
        findings: list[Finding] = [(*problem, LEFT_OUT) for problem in raw.problems]
        findings += [(*note, NOTED) for note in raw.notes]
        place = f"row {raw.row}" if raw.row else raw.frames
        if raw.clip in seen:
            numbered = "" if layout.has_frames else ", unless a column `index` numbers the images of each clip"
            text = f"the name {raw.clip!r} is used in {seen[raw.clip]} too; names must be unique{numbered}"
            findings.append(("clip", text, LEFT_OUT))
        # One video may show several people one after the other; the frames of a folder show one person.
        for file in _files(raw):
            people = owners.get(file, {})
            if len(people) > 1 and is_video(file):
                people = {person: times for person, times in people.items() if _interval(raw) in times}
            if len(people) > 1:
                text = f"{file} is used for several subjects: {', '.join(sorted(people))}"
                findings.append(("frames", text, LEFT_OUT))
        numbers, kind, of_frames, bad_apex = check_clip(raw, layout, list_frames)
        label, of_label = _label(raw, labels, column, layout_name)
        findings += of_frames + of_label
        if doubts := unit_doubts(raw.source):
            findings.append(("action_units", doubts, NOTED))
        clip = Clip(
            clip=raw.clip if raw.clip not in seen else f"{raw.clip} ({place})",
            subject=f"{raw.prefix or name}/{raw.subject or '(none)'}",
            label=label,
            kind=kind,
            frames=raw.frames,
            **numbers,
            fps=parse_fps(raw.fps),
            align=align or raw.align,
            problem="; ".join(text for _, text, effect in findings if effect == LEFT_OUT),
        )
        seen.setdefault(raw.clip, place)
        grave += not raw.excluded if clip.problem else bad_apex
        if any(effect in (LEFT_OUT, SPOTTED) for *_, effect in findings):
            faulty.add(len(clips))
        problems += [Problem(name, raw.file, raw.row, clip.clip, *finding) for finding in findings]
        clips.append(clip)
    errors = list(known_errors(layout_name, raw_clips, faulty))
    certain = {(error.clip, error.field) for error in certain_errors(layout_name)}
    for number, error in errors:
        if (error.clip, error.field) in certain:
            text = f"known error: {error.old} should be {error.new} ({error.source}); not corrected, see"
            text += f" merflow corrections {layout_name}"
            problems.append(
                Problem(name, raw_clips[number].file, error.row, clips[number].clip, error.field, text, NOTED)
            )
    if not layout.next_frame:
        problems = _collapse_gaps(name, root, problems, len(clips))
    classes, counts = _count_classes(layout_name, clips, labels)
    if text := _count_note(layout_name, clips, labels, counts):
        table = raw_clips[0].file if raw_clips and raw_clips[0].row else root
        problems.append(Problem(name, table, None, "", "classes", text, NOTED))
    if layout.user_annotated and (unlabelled := [raw for raw in raw_clips if not _word(raw, column)]):
        names = ", ".join(raw.clip for raw in unlabelled[:3]) + (", ..." if len(unlabelled) > 3 else "")
        text = f"{len(unlabelled)} of {len(clips)} clips without a label: {names}; {NOT_TRAINED}"
        problems.append(Problem(name, raw_clips[0].file, None, "", column, text, NOTED))
    twice = list(_spelled_twice(clips, raw_clips))
    grave += len(twice)
    for number, field, text in [*twice, *_doubtful_classes(clips, own_words=not layout.labels)]:
        raw = raw_clips[number]
        problems.append(Problem(name, raw.file, raw.row, clips[number].clip, field, text, NOTED))
    source = [
        unit_cells(raw.source) | {f"source_{plain_name(key)}": value for key, value in raw.source.items()}
        for raw in raw_clips
    ]
    shared = shared_frames(clips, [raw.video or raw.frames for raw in raw_clips])
    for first, second, frames in shared:
        raw = raw_clips[second]
        shown = f"frames {frames[0]}..{frames[-1]} are" if len(frames) > 1 else f"frame {frames[0]} is"
        text = f"{shown} in {clips[first].clip} too; the audit takes both for one piece of footage"
        problems.append(Problem(name, raw.file, raw.row, clips[second].clip, "onset", text, NOTED))
    images = {clip.clip: raw.images for clip, raw in zip(clips, raw_clips, strict=True) if raw.images}
    overlaps = [(clips[first].clip, clips[second].clip) for first, second, _ in shared]
    proposed = [error for _, error in errors]
    return Index(clips, classes, problems, source, labels.name, counts, grave, images, overlaps, proposed)


def _escape(raw: RawClip, column: str) -> None:
    """Leave out a clip whose name, subject or label holds control characters, and escape them."""
    texts = {"clip": raw.clip, "subject": raw.prefix + raw.subject, "label": raw.source.get(column) or ""}
    for where, text in texts.items():
        if text != escape_controls(text):
            message = f"{escape_controls(text)} holds a control character; names and labels must be plain text"
            raw.problems.append((where, message))
    raw.clip, raw.subject, raw.prefix = map(escape_controls, (raw.clip, raw.subject, raw.prefix))
    if texts["label"]:
        raw.source[column] = escape_controls(texts["label"])


def _files(raw: RawClip) -> list[str]:
    """Folder of frames, video or images of a clip, each once."""
    images = [*raw.images.flows, *raw.images.faces] if raw.images else []
    return [file for file in dict.fromkeys([raw.frames, *images]) if file]


def _owners(raw_clips: Sequence[RawClip]) -> dict[str, dict[str, set[Interval]]]:
    """Subjects of each folder of frames, video or image, with the intervals of their clips."""
    owners: dict[str, dict[str, set[Interval]]] = {}
    for raw in raw_clips:
        person = f"{raw.prefix}/{raw.subject}".lstrip("/")
        for file in _files(raw) if raw.subject else ():
            owners.setdefault(file, {}).setdefault(person, set()).add(_interval(raw))
    return owners


def _interval(raw: RawClip) -> Interval:
    return raw.numbers["onset"], raw.numbers["offset"]


def _collapse_gaps(name: str, root: str, problems: list[Problem], clips: int) -> list[Problem]:
    """The problems, with one note if many clips miss frames inside: usually the copy was made with fewer frames."""
    gaps = [problem for problem in problems if problem.field == "frames" and GAP in problem.problem]
    if len(gaps) <= MAX_GAP_ROWS:
        return problems
    text = f"{len(gaps)} of {clips} clips have frames missing between onset and offset, such as {gaps[0].clip}: "
    note = Problem(name, root, None, "", "frames", text + gaps[0].problem, NOTED)
    return [problem for problem in problems if problem not in gaps] + [note]


# --- Labels -----------------------------------------------------------------------------------------------------------


def _word(raw: RawClip, column: str) -> str:
    """The label of a clip as the table or its correction has it."""
    return raw.source.get("corrected_label", raw.source.get(column, "")).strip()


def _label(raw: RawClip, labels: ClassSet, column: str, layout: str) -> tuple[str, list[Finding]]:
    """The class of a clip (empty: in no training and no test), and what is wrong with its label."""
    corrected, word = raw.source.get("corrected_label"), _word(raw, column)
    if not word:
        text = f"{column} is empty; {NOT_TRAINED}"
        return "", [] if LAYOUTS[layout].labels_optional else [("label", text, NOTED)]
    if labels.excludes(layout, raw.subject, raw.name or raw.clip):
        return "", [("label", f"left out by the definition of {labels.name}; {NOT_TRAINED}", NOTED)]
    label = labels.classify(layout, word)
    if not label and corrected in labels.classes:
        label = corrected
    if label is not None:
        return label, []
    words = ", ".join(labels.words(layout))
    unsure = LAYOUTS[layout].user_annotated or LAYOUTS[layout].unverified
    if unsure or not (labels.part(layout) or LAYOUTS[layout].labels):
        hint = f" (did you mean {meant!r}?)" if (meant := similar_word(word, labels.words(layout))) else ""
        text = f"{word!r} is not among the classes {words}{hint}; {NOT_TRAINED}"
        return "", [("label", text, NOTED)]
    return "", [("label", f"{column} {word!r} is unknown; known: {words}", LEFT_OUT)]


def _count_classes(layout: str, clips: Sequence[Clip], labels: ClassSet) -> tuple[list[str], list[ClassCount]]:
    """Class names in order, and how many clips of each were published, found and can be used."""
    listed = Counter(clip.label for clip in clips if clip.label)
    usable = Counter(clip.label for clip in clips if clip.label and not clip.problem)
    classes = list(labels.classes)
    if not classes:
        classes = [word for word in labels.words(layout) if word in listed]
        classes += sorted(set(listed) - set(classes))
    published = labels.published(layout)
    expected, source = (published.counts, published.source) if published else ({}, "")
    return classes, [ClassCount(c, expected.get(c), listed[c], usable[c], source) for c in classes]


def _count_note(layout: str, clips: Sequence[Clip], labels: ClassSet, counts: Sequence[ClassCount]) -> str:
    """A note if the classes are not as expected; else empty."""
    published = labels.published(layout)
    if published is None:
        empty = [] if labels.name not in ("", "own") else [count.label for count in counts if not count.found]
        return f"no clip is labelled {', '.join(empty)}" if empty else ""
    listed, usable = sum(count.found for count in counts), sum(count.usable for count in counts)
    if wrong := published_differences(published, clips):
        expected = f"{labels.name} has {sum(published.counts.values())} clips ({published.source})"
        return f"{expected}, here are {listed}, of which {usable} can be used: {', '.join(wrong)}"
    missing = [f"{c.label} {c.usable} of {c.found}" for c in counts if c.usable != c.found]
    if missing:
        return f"all {listed} clips of {labels.name} are listed, {usable} can be used: {', '.join(missing)}"
    return ""


def _spelled_twice(clips: Sequence[Clip], raw_clips: Sequence[RawClip]) -> Iterator[tuple[int, str, str]]:
    """Yield people and classes that differ in spelling only: a clip of the last spelling, the field, and the note."""
    for field, counted in (("subject", "people, also in the folds"), ("label", "classes")):
        spellings: dict[str, dict[str, int]] = {}
        for number, (clip, raw) in enumerate(zip(clips, raw_clips, strict=True)):
            name, cell = getattr(clip, field), raw.typed.get(field, "")
            typed = name.removesuffix(cell.strip()) + cell if name.endswith(cell.strip()) else name
            if name:
                spellings.setdefault(_unspelled(name), {}).setdefault(typed, number)
        for numbers in filter(lambda numbers: len(numbers) > 1, spellings.values()):
            text = f"{' and '.join(map(repr, numbers))} differ in case, zeros, blanks or invisible letters alone"
            count = len({getattr(clips[number], field) for number in numbers.values()})
            counts = (
                f"they count as {count} {counted}" if count > 1 else "blanks at the ends are dropped: they count as one"
            )
            yield max(numbers.values()), field, f"{text}: {counts}"


def _unspelled(name: str) -> str:
    """A name without case, leading zeros, decimals of whole numbers, blanks and invisible letters."""
    visible = "".join(letter for letter in normalize("NFKC", name) if category(letter) != "Cf" and not letter.isspace())
    whole = re.sub(r"(?<![\d.,])(\d+)\.0+(?![\d.,])", r"\1", visible)
    return re.sub(r"(?<!\d)(?<!\d[.,])0+(?=\d)", "", whole).casefold()


def _doubtful_classes(clips: Sequence[Clip], own_words: bool) -> Iterator[tuple[int, str, str]]:
    """Yield notes on classes of one person, and of own words those for no value and probable typing errors."""
    first: dict[str, int] = {}
    people: dict[str, dict[str, int]] = {}  # Those with usable clips.
    for number, clip in enumerate(clips):
        if clip.label:
            first.setdefault(clip.label, number)
        if clip.label and not clip.problem:
            people.setdefault(clip.label, {}).setdefault(clip.subject, number)
    for label, number in first.items():
        usable = people.get(label, {})
        texts, meant = [], similar_word(label, people)
        if own_words and label.casefold() in NO_VALUE:
            texts.append("read as a label like any other; leave the cell empty if the clip has none")
        if len(usable) == 1:
            untrained = ", so leave-one-subject-out cannot learn it" if clips[number].kind == "micro" else ""
            texts.append(f"only {next(iter(usable))} has usable clips of it{untrained}")
            if own_words and meant and _unspelled(meant) != _unspelled(label):
                texts.append(f"did you mean {meant!r}?")
        if texts:
            yield min(usable.values(), default=number), "label", f"class {label!r}: {'; '.join(texts)}"


def published_differences(published: ClassSetPart, clips: Sequence[Clip]) -> list[str]:
    """How labelled clips differ from the published numbers: ``happiness 30 instead of 36``."""
    labelled = [clip for clip in clips if clip.label]
    counts, people = Counter(clip.label for clip in labelled), len({clip.subject for clip in labelled})
    wrong = [f"{label} {counts[label]} instead of {n}" for label, n in published.counts.items() if counts[label] != n]
    if published.subjects not in (None, people):
        wrong.append(f"{people} subjects instead of {published.subjects}")
    return wrong
