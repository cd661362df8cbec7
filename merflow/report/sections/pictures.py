"""Section "Faces and flow": a contact sheet of every subject, within a budget of bytes."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd

from merflow.preprocessing.flow import flow_image
from merflow.report.images import colour_wheel, picture
from merflow.report.report_data import DatasetFiles, ReportData
from merflow.report.section import Section, sheet_id
from merflow.storage.files import safe_filename
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import CLIPS, KEYFRAMES, read_table

BUDGET = 10_000_000
"""Bytes of all pictures of the contact sheets together, as the page holds them."""
SIDE, QUALITY = 112, 80
"""Longest side of a picture in pixels, and its JPEG quality."""


@dataclass(frozen=True)
class Picture:
    """A picture: title, text alternative, data URI; ``number`` of its frame if it shows one; whether it is the apex."""

    title: str
    alt: str
    source: str
    number: int | None = None
    apex: bool = False


@dataclass(frozen=True)
class ClipPictures:
    """Pictures of a clip.

    Attributes:
        clip: its name.
        label: its class.
        frames: aligned key-frames, or ready-made flow images.
        flows: flow fields in colours; empty for ready-made flow images.
        full: motion in pixels that is shown with full saturation.
        reference: ``onset`` or ``consecutive``: the frame at which each flow field starts.
        missed: frame and source of an apex that is not a key-frame, else empty.
    """

    clip: str
    label: str
    frames: Sequence[Picture]
    flows: Sequence[Picture] = ()
    full: float = 0.0
    reference: str = ""
    missed: str = ""

    @property
    def size(self) -> int:
        """Bytes of its pictures."""
        return sum(len(image.source) for image in [*self.frames, *self.flows])

    @property
    def columns(self) -> list[tuple[Picture, Picture | None]]:
        """Each frame with the flow field to it; None for the onset."""
        missing = len(self.frames) - len(self.flows)
        return list(zip(self.frames, [*[None] * missing, *self.flows], strict=True))


@dataclass
class ContactSheet:
    """The processed clips of a subject, and the pictures of those that are shown.

    Attributes:
        subject: the subject.
        anchor: id of the sheet in the page.
        names: (clip, label) of each processed clip, in order.
        order: indices of ``names`` in the order in which clips are chosen.
        draw: makes the pictures of a clip from its index.
        shown: pictures of the clips that are shown, by index.
    """

    subject: str
    anchor: str
    names: Sequence[tuple[str, str]]
    order: Sequence[int]
    draw: Callable[[int], ClipPictures]
    shown: dict[int, ClipPictures] = field(default_factory=dict)

    @property
    def clips(self) -> list[ClipPictures]:
        """The clips that are shown, in order."""
        return [self.shown[place] for place in sorted(self.shown)]


@dataclass(frozen=True)
class DatasetSheets:
    """Contact sheets of a dataset; ``unit`` is that of ready-made flow images, else empty."""

    title: str
    synthetic: bool
    unit: str
    subjects: Sequence[ContactSheet]

    @property
    def total(self) -> int:
        """Processed clips."""
        return sum(len(sheet.names) for sheet in self.subjects)

    @property
    def shown(self) -> int:
        """Clips in the page."""
        return sum(len(sheet.shown) for sheet in self.subjects)

    @property
    def with_clips(self) -> int:
        """Subjects with a processed clip."""
        return sum(bool(sheet.names) for sheet in self.subjects)

    @property
    def with_shown_clips(self) -> int:
        """Subjects with a clip in the page."""
        return sum(bool(sheet.shown) for sheet in self.subjects)


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``pictures.html.j2``."""
    return {"datasets": contact_sheets(report), "budget": BUDGET, "wheel": colour_wheel()}


def contact_sheets(report: ReportData, budget: int = BUDGET) -> list[DatasetSheets]:
    """A contact sheet of every subject of every dataset, with as many clips as the budget allows.

    Every subject gets its first clip before any gets a second, and so on. The clips of a subject are chosen in turn by
    class; the class that comes first differs between subjects. If the budget does not suffice for one clip of each
    subject, subjects at even steps through the list get one, and the sheets of the others are empty.

    Args:
        report: data of the report.
        budget: bytes of all pictures.
    """
    datasets = []
    for files in report.datasets:
        if files.flow_images:
            with open_h5(files.flow_images) as file:
                unit = str(file.attrs["flow_unit"])
            datasets.append(
                DatasetSheets(files.title, files.synthetic, unit, _sheets_of_images(files, files.flow_images))
            )
        else:
            datasets.append(DatasetSheets(files.title, files.synthetic, "", _sheets_of_frames(files)))
    _fill([sheet for dataset in datasets for sheet in dataset.subjects if sheet.names], budget)
    return datasets


def _fill(sheets: Sequence[ContactSheet], budget: int) -> None:
    """Add clips in turns until the next one would exceed the budget."""
    spent, turn = 0, 0
    while waiting := [sheet for sheet in sheets if turn < len(sheet.order)]:
        if turn == 0:
            room = max(1, budget // waiting[0].draw(waiting[0].order[0]).size)
            if room < len(waiting):
                steps = np.linspace(0, len(waiting) - 1, room).round().astype(int)
                waiting = [waiting[step] for step in np.unique(steps)]
        for sheet in waiting:
            pictures = sheet.draw(sheet.order[turn])
            if spent and spent + pictures.size > budget:
                return
            spent += pictures.size
            sheet.shown[sheet.order[turn]] = pictures
        turn += 1


def _order_by_class(labels: Sequence[str], start: int) -> Iterator[int]:
    """Indices of ``labels`` in turns, one of each class, from class number ``start`` on."""
    classes: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        classes.setdefault(label, []).append(place)
    groups = list(classes.values())
    for turn in range(max(map(len, groups), default=0)):
        for step in range(len(groups)):
            group = groups[(start + step) % len(groups)]
            if turn < len(group):
                yield group[turn]


def _sheets_of_frames(files: DatasetFiles) -> list[ContactSheet]:
    """Contact sheets of a dataset with frames, one per subject."""
    clips = read_table(files.clips, CLIPS)
    labels = dict(zip(clips["clip"], clips["label"], strict=True))
    sheets = []
    for number, (faces, keyframes, flow) in enumerate(zip(files.faces, files.keyframes, files.flow, strict=True)):
        with open_h5(faces) as file:
            groups = [(str(g.attrs["clip"]), str(g.attrs["subject"]), g.attrs["status"]) for g in file.values()]
        names = [(clip, labels.get(clip, "")) for clip, _, status in groups if status == "ok"]
        subject = groups[0][1] if groups else unquote(Path(faces).stem)
        # Read once, and only if a clip is drawn: most subjects of a large study have none in the page.
        table = lru_cache(maxsize=1)(partial(read_table, keyframes, KEYFRAMES))

        def draw(
            place: int, faces: Path = faces, flow: Path = flow, table: Any = table, names: Any = names
        ) -> ClipPictures:
            clip, label = names[place]
            return _clip_pictures(faces, table(), flow, clip, label)

        order = list(_order_by_class([label for _, label in names], number))
        sheets.append(ContactSheet(subject, sheet_id(files.title, subject), names, order, draw))
    return sheets


def _sheets_of_images(files: DatasetFiles, cache: Path) -> list[ContactSheet]:
    """Contact sheets of a dataset of ready-made flow images, one per subject."""
    with open_h5(cache) as file:
        clips, subjects, labels = (file[column].asstr()[:] for column in ("clip", "subject", "label"))
    sheets = []
    for number, subject in enumerate(dict.fromkeys(subjects)):
        rows = np.flatnonzero(subjects == subject)

        def draw(place: int, rows: np.ndarray = rows) -> ClipPictures:
            row = int(rows[place])
            pictures = []
            with open_h5(cache) as file:
                for channel, image in zip(file.attrs["flow_channels"], file["flow"][row, 0], strict=True):
                    alt = f"Flow image of {subjects[row]}, {labels[row] or 'no label'}: {channel}"
                    grey = np.clip(image.astype(np.float32) * 255, 0, 255).astype(np.uint8)
                    pictures.append(Picture(str(channel), alt, picture(grey, SIDE, QUALITY)))
            return ClipPictures(clips[row], labels[row], pictures)

        names = [(clips[row], labels[row]) for row in rows]
        order = list(_order_by_class([label for _, label in names], number))
        sheets.append(ContactSheet(subject, sheet_id(files.title, subject), names, order, draw))
    return sheets


def _clip_pictures(faces: Path, keyframes: pd.DataFrame, flow: Path, clip: str, label: str) -> ClipPictures:
    """Pictures of the key-frames and flow fields of a clip."""
    table = keyframes[keyframes["clip"] == clip].sort_values("index")
    numbers = table["frame"].astype(int).tolist()
    source = str(table["apex_source"].iloc[0])
    apex_cell = "" if source == "still" else table[f"apex_{source}"].iloc[0]
    apex = None if apex_cell == "" else int(apex_cell)
    frames, flows = [], []
    with open_h5(faces) as file:
        group = file[safe_filename(clip)]
        subject = str(group.attrs["subject"])
        frame_numbers = group["frame_numbers"][()].tolist()
        for index, number in zip(table["index"].astype(int), numbers, strict=True):
            is_apex = number == apex and index > 0
            title = "still" if source == "still" else "onset" if index == 0 else f"key-frame {index}"
            title = f"apex ({source})" if is_apex else title
            alt = f"Aligned face of {subject}, {label or 'no label'}: {title}, frame {number}"
            image = picture(group["frames"][frame_numbers.index(number)], SIDE, QUALITY)
            frames.append(Picture(title, alt, image, number, is_apex))
    with open_h5(flow) as file:
        fields = file[safe_filename(clip)]["flow"][()].astype(np.float32)
        reference = json.loads(str(file.attrs.get("settings", "{}"))).get("reference", "onset")
    lengths = np.hypot(fields[:, 0], fields[:, 1]) if len(fields) else np.zeros((0, 1))
    full = max(0.05, float(np.percentile(lengths, 99.5))) if lengths.size else 0.0
    start = "onset" if reference == "onset" else "the key-frame before"
    for flow_field, length, number in zip(fields, lengths, numbers[1:], strict=False):
        mean = length.mean()
        alt = f"Flow of {subject}, {label or 'no label'}, from {start} to frame {number}: mean {mean:.2f} pixels"
        flows.append(Picture(f"mean {mean:.2f} px", alt, picture(flow_image(flow_field, full), SIDE, QUALITY)))
    missed = f"{apex} ({source})" if apex is not None and apex not in numbers else ""
    return ClipPictures(clip, label, frames, flows, full, reference, missed)


SECTION = Section("pictures", "Faces and flow", "pictures.html.j2", content)
