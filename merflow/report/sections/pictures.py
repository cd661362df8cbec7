"""Section "Faces and flow": a contact sheet of every subject, within a limit of clips."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd

from merflow.preprocessing.flow import flow_image
from merflow.preprocessing.interpolation import keyframe_images
from merflow.report.images import colour_wheel, picture
from merflow.report.report_data import DatasetFiles, ReportData
from merflow.report.section import Section, sheet_id
from merflow.storage.files import safe_filename
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import CLIPS, KEYFRAMES, read_table

CLIPS_SHOWN = 240
"""Largest number of clips in the page; their pictures take about 10 MB."""
SIDE, QUALITY = 112, 80
"""Longest side of a picture in pixels, and its JPEG quality."""
ClipRow = tuple[str, str, int]
"""Name and label of a clip, and its row in a cache of flow images."""


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
    """Pictures of a clip."""

    clip: str
    label: str
    frames: Sequence[Picture]  # aligned key-frames, or the ready-made face and flow image at the apex
    flows: Sequence[Picture] = ()  # flow fields in colours; empty for ready-made flow images
    full: float = 0.0  # motion in pixels that is shown with full saturation
    reference: str = ""  # onset or consecutive: the frame at which each flow field starts
    missed: str = ""  # frame and source of an apex that is not a key-frame

    @property
    def columns(self) -> list[tuple[Picture, Picture | None]]:
        """Each frame with the flow field to it; None for the onset."""
        missing = len(self.frames) - len(self.flows)
        return list(zip(self.frames, [*[None] * missing, *self.flows], strict=True))


@dataclass(frozen=True)
class ContactSheet:
    """The clips of a subject that are shown, and the number of all of its processed clips (``total``)."""

    subject: str
    anchor: str
    total: int
    clips: Sequence[ClipPictures]


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
        return sum(sheet.total for sheet in self.subjects)

    @property
    def shown(self) -> int:
        """Clips in the page."""
        return sum(len(sheet.clips) for sheet in self.subjects)


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``pictures.html.j2``."""
    return {"datasets": contact_sheets(report), "limit": CLIPS_SHOWN, "wheel": colour_wheel()}


def contact_sheets(report: ReportData, limit: int = CLIPS_SHOWN) -> list[DatasetSheets]:
    """A contact sheet of every subject of every dataset, with at most ``limit`` clips in all (:func:`choose_clips`)."""
    subjects_of = [
        _subjects_of_images(f.flow_images) if f.flow_images else _subjects_of_frames(f) for f in report.datasets
    ]
    chosen = iter(choose_clips([len(clips) for subjects in subjects_of for _, clips, _ in subjects], limit))
    datasets = []
    for files, subjects in zip(report.datasets, subjects_of, strict=True):
        sheets = []
        for (subject, clips, draw), indices in zip(subjects, chosen, strict=False):
            shown = draw([clips[index] for index in indices]) if indices else []
            sheets.append(ContactSheet(subject, sheet_id(files.title, subject), len(clips), shown))
        unit = ""
        if files.flow_images:
            with open_h5(files.flow_images) as file:
                unit = str(file.attrs["flow_unit"])
        datasets.append(DatasetSheets(files.title, files.synthetic, unit, sheets))
    return datasets


def choose_clips(counts: Sequence[int], limit: int) -> list[list[int]]:
    """Indices of the clips of each subject that are shown, at most ``limit`` in all.

    The limit is divided equally among the subjects that have so many clips. The clips of a subject are at even steps
    through the list; the first one differs between subjects, and so does its class. ``counts``: numbers of clips.
    """
    cap = max(cap for cap in range(limit + 1) if np.minimum(counts, cap).sum() <= limit)
    shares = np.minimum(counts, cap)
    larger = np.flatnonzero(np.greater(counts, cap))
    rest = min(len(larger), limit - int(shares.sum()))
    shares[larger[np.arange(rest) * len(larger) // max(1, rest)]] += 1
    chosen = []
    for subject, (count, share) in enumerate(zip(counts, shares.tolist(), strict=True)):
        steps = np.arange(share) * count // max(1, share)
        chosen.append(sorted(((steps + subject) % max(1, count)).tolist()))
    return chosen


Subject = tuple[str, list[ClipRow], Callable[[Sequence[ClipRow]], list[ClipPictures]]]
"""Name and processed clips of a subject, and a function that draws some of them."""


def _subjects_of_frames(files: DatasetFiles) -> list[Subject]:
    clips = read_table(files.clips, CLIPS)
    labels = dict(zip(clips["clip"], clips["label"], strict=True))
    subjects: list[Subject] = []
    for faces, keyframes, flow in zip(files.faces, files.keyframes, files.flow, strict=True):
        with open_h5(faces) as file:
            groups = [(str(g.attrs["clip"]), str(g.attrs["subject"]), g.attrs["status"]) for g in file.values()]
        processed = [
            (clip, labels.get(clip, ""), row) for row, (clip, _, status) in enumerate(groups) if status == "ok"
        ]
        subject = groups[0][1] if groups else unquote(faces.stem)
        subjects.append((subject, processed, partial(_draw_frames, faces, keyframes, flow)))
    return subjects


def _subjects_of_images(cache: Path) -> list[Subject]:
    with open_h5(cache) as file:
        table = pd.DataFrame({column: file[column].asstr()[:] for column in ("clip", "label", "subject")})
    table["row"] = range(len(table))
    draw = partial(_draw_images, cache)
    return [
        (str(subject), list(clips[["clip", "label", "row"]].itertuples(index=False, name=None)), draw)
        for subject, clips in table.groupby("subject", sort=False)
    ]


def _draw_images(cache: Path, clips: Sequence[ClipRow]) -> list[ClipPictures]:
    drawn = []
    with open_h5(cache) as file:
        for clip, label, row in clips:
            apex = file["apex_index"][row]
            flow = np.clip(file["flow"][row, apex].astype(np.float32) * 255, 0, 255).astype(np.uint8)
            images = {"face": file["spatial"][row, apex]} if file["spatial"].shape[1] else {}
            images |= dict(zip(file.attrs["flow_channels"], flow, strict=True))
            alt = f"Ready-made image of clip {clip}, {label or 'no label'}"
            shown = [
                Picture(str(name), f"{alt}: {name}", picture(image, SIDE, QUALITY)) for name, image in images.items()
            ]
            drawn.append(ClipPictures(clip, label, shown))
    return drawn


def _draw_frames(faces: Path, keyframes: Path, flow: Path, clips: Sequence[ClipRow]) -> list[ClipPictures]:
    table = read_table(keyframes, KEYFRAMES)
    return [_clip_pictures(faces, table, flow, clip, label) for clip, label, _ in clips]


def _clip_pictures(faces: Path, keyframes: pd.DataFrame, flow: Path, clip: str, label: str) -> ClipPictures:
    """Pictures of the key-frames and flow fields of a clip."""
    table = keyframes[keyframes["clip"] == clip]
    numbers = [None if np.isnan(number) else int(number) for number in table["frame"]]
    places = ["interpolated" if number is None else f"frame {number}" for number in numbers]
    source = str(table["apex_source"].iloc[0])
    apex_cell = "" if source == "still" else table[f"apex_{source}"].iloc[0]
    apex = None if apex_cell == "" else int(apex_cell)
    frames, flows = [], []
    with open_h5(faces) as file, open_h5(flow) as flow_file:
        group = file[safe_filename(clip)]
        subject = str(group.attrs["subject"])
        images = keyframe_images(group, flow_file[safe_filename(clip)], table)
        for index, number, place, face in zip(table["index"], numbers, places, images, strict=True):
            is_apex = number == apex and index >= 0  # The onset has no index.
            title = "still" if source == "still" else f"key-frame {index:g}" if index >= 0 else "onset"
            title = f"apex ({source})" if is_apex else title
            alt = f"Aligned face of {subject}, {label or 'no label'}: {title}, {place}"
            frames.append(Picture(title, alt, picture(face, SIDE, QUALITY), number, is_apex))
    with open_h5(flow) as file:
        fields = file[safe_filename(clip)]["flow"][()].astype(np.float32)
        reference = json.loads(str(file.attrs.get("settings", "{}"))).get("reference", "onset")
    lengths = np.hypot(fields[:, 0], fields[:, 1]) if len(fields) else np.zeros((0, 1))
    full = max(0.05, float(np.percentile(lengths, 99.5))) if lengths.size else 0.0
    start = "onset" if reference == "onset" else "the key-frame before"
    for flow_field, length, place in zip(fields, lengths, places[1:], strict=False):
        mean = length.mean()
        alt = f"Flow of {subject}, {label or 'no label'}, from {start} to {place}: mean {mean:.2f} pixels"
        flows.append(Picture(f"mean {mean:.2f} px", alt, picture(flow_image(flow_field, full), SIDE, QUALITY)))
    missed = f"{apex} ({source})" if apex is not None and apex not in numbers else ""
    return ClipPictures(clip, label, frames, flows, full, reference, missed)


SECTION = Section("pictures", "Faces and flow", content)
