"""Contact sheets: of every subject, onset, key-frames, apex and the flow to each, within a budget of bytes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd

from merflow.preprocessing.flow import flow_image
from merflow.report import figures
from merflow.report.contents import is_synthetic, sheet_id
from merflow.storage.files import safe_filename
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import CLIPS, KEYFRAMES, read_table

BUDGET = 10_000_000
"""Bytes of all pictures of the contact sheets together, as the page holds them."""
SIDE, QUALITY = 112, 80
"""Longest side in pixels of a picture, and its quality as a JPEG."""


def contact_sheets(study: Mapping[str, Any], budget: int = BUDGET) -> list[dict[str, Any]]:
    """A contact sheet of every subject of every dataset, with as many clips as the budget has room for.

    Every subject gets a clip before one gets a second, and so on; a subject's clips come class by class, and the class
    that begins differs from subject to subject. Where even one clip of each subject is too much, subjects at even steps
    through the list have one, and the others a sheet without.

    Args:
        study: ``clips, faces, keyframes, flows, flow_images`` as in :func:`merflow.report.page.write_report`.
        budget: bytes of all pictures.

    Returns:
        For each dataset ``name, synthetic, unit`` (of flow images, else empty), ``people, empty`` (subjects, and those
        of them without a clip that was processed), ``with_clips`` (subjects of whom a clip is shown), ``total, shown``
        (clips that were processed, and those in the page) and ``subjects``: rows ``subject, anchor, total, clips``
        (the shown ones, in their order).
    """
    sheets = []
    for name in study["clips"]:
        cache = study.get("flow_images", {}).get(name)
        people = _of_images(name, cache) if cache else _of_frames(study, name)
        unit = ""
        if cache:
            with open_h5(cache) as file:
                unit = str(file.attrs["flow_unit"])
        sheets.append({"name": name, "synthetic": is_synthetic(name, study), "unit": unit, "subjects": people})
    everyone = [person for sheet in sheets for person in sheet["subjects"]]
    _fill([person for person in everyone if person["waiting"]], budget)
    for sheet in sheets:
        people = sheet["subjects"]
        for person in people:
            person["clips"] = [person["clips"][place] for place in sorted(person["clips"])]
            del person["waiting"], person["draw"]
        sheet["people"], sheet["empty"] = len(people), sum(not person["total"] for person in people)
        sheet["with_clips"] = sum(bool(person["clips"]) for person in people)
        sheet["total"] = sum(person["total"] for person in people)
        sheet["shown"] = sum(len(person["clips"]) for person in people)
    return sheets


def _fill(people: Sequence[dict[str, Any]], budget: int) -> None:
    """Draw clips in turns until the budget is spent; a clip that would pass it is not shown, and none after it."""
    spent, turn = 0, 0
    while True:
        waiting = [person for person in people if turn < len(person["waiting"])]
        if not waiting:
            return
        if turn == 0:
            first = _size(_drawn(waiting[0], 0))
            room = max(1, budget // first)
            if room < len(waiting):
                steps = np.linspace(0, len(waiting) - 1, room).round().astype(int)
                waiting = [waiting[step] for step in np.unique(steps)]
        for person in waiting:
            clip = _drawn(person, turn)
            size = _size(clip)
            if spent + size > budget and spent:
                return
            spent += size
            person["clips"][person["waiting"][turn]["place"]] = clip
        turn += 1


def _drawn(person: Mapping[str, Any], turn: int) -> dict[str, Any]:
    return person["draw"](person["waiting"][turn])


def _size(clip: Mapping[str, Any]) -> int:
    return sum(len(one["source"]) for one in [*clip["frames"], *clip["flows"]])


def _person(name: str, subject: str, rows: Sequence[Mapping[str, Any]], draw: Any, place: int) -> dict[str, Any]:
    """A sheet to be filled; ``rows``: ``clip, label, place`` of each clip that was processed."""
    waiting = list(_class_by_class(rows, place))
    anchor = sheet_id(name, subject)
    return {"subject": subject, "anchor": anchor, "total": len(rows), "clips": {}, "waiting": waiting, "draw": draw}


def _class_by_class(rows: Sequence[Mapping[str, Any]], start: int) -> Iterator[Mapping[str, Any]]:
    """The rows in turns, one of each class, from class number ``start`` on."""
    classes: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        classes.setdefault(row["label"], []).append(row)
    order = list(classes.values())
    for turn in range(max(map(len, order), default=0)):
        for step in range(len(order)):
            own = order[(start + step) % len(order)]
            if turn < len(own):
                yield own[turn]


def _of_frames(study: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    clips = read_table(study["clips"][name], CLIPS)
    labels = dict(zip(clips["clip"], clips["label"], strict=True))
    people = []
    files = zip(study["faces"][name], study["keyframes"][name], study["flows"][name], strict=True)
    for place, (faces, keyframes, flow) in enumerate(files):
        with open_h5(faces) as file:
            groups = [(str(g.attrs["clip"]), str(g.attrs["subject"]), g.attrs["status"]) for g in file.values()]
        good = [clip for clip, _, status in groups if status == "ok"]
        subject = groups[0][1] if groups else unquote(Path(faces).stem)
        rows = [{"clip": clip, "label": labels.get(clip, ""), "place": at} for at, clip in enumerate(good)]

        # Read when the first clip is drawn, once: of most subjects of a large study there is none.
        table = lru_cache(maxsize=1)(partial(read_table, keyframes, KEYFRAMES))

        def draw(row: Mapping[str, Any], faces: Path = faces, flow: Path = flow, table: Any = table) -> dict[str, Any]:
            return _clip(faces, table(), flow, row["clip"], row["label"])

        people.append(_person(name, subject, rows, draw, place))
    return people


def _of_images(name: str, cache: Path) -> list[dict[str, Any]]:
    """Subjects of a dataset that has flow images and nothing else."""
    with open_h5(cache) as file:
        clips, subjects, labels = (file[column].asstr()[:] for column in ("clip", "subject", "label"))

    def draw(row: Mapping[str, Any]) -> dict[str, Any]:
        pictures = []
        with open_h5(cache) as file:
            for channel, image in zip(file.attrs["flow_channels"], file["flow"][row["place"], 0], strict=True):
                alt = f"Flow image of {row['subject']}, {row['label'] or 'no label'}: {channel}"
                grey = np.clip(image.astype(np.float32) * 255, 0, 255).astype(np.uint8)
                source = figures.picture(grey, SIDE, QUALITY)
                pictures.append({"title": str(channel), "alt": alt, "source": source})
        about = {"clip": row["clip"], "label": row["label"]}
        return about | {"frames": pictures, "flows": [], "reference": "", "full": 0.0, "missed": ""}

    people = []
    for place, subject in enumerate(dict.fromkeys(subjects)):
        rows = [
            {"clip": clips[at], "label": labels[at], "subject": subject, "place": int(at)}
            for at in np.flatnonzero(subjects == subject)
        ]
        people.append(_person(name, subject, rows, draw, place))
    return people


def _clip(faces: Path, keyframes: pd.DataFrame, flow: Path, clip: str, label: str) -> dict[str, Any]:
    """One clip: ``frames`` and ``flows`` are dictionaries ``title, number, alt, source``; ``missed``: number and source
    of an apex that is no key-frame, else empty.
    """
    table = keyframes[keyframes["clip"] == clip].sort_values("index")
    numbers = table["frame"].astype(int).tolist()
    source = str(table["apex_source"].iloc[0])
    apex = "" if source == "still" else table[f"apex_{source}"].iloc[0]
    apex_place = numbers.index(int(apex)) if apex != "" and int(apex) in numbers else None
    frames, flows = [], []
    with open_h5(faces) as file:
        group = file[safe_filename(clip)]
        subject = str(group.attrs["subject"])
        there = group["frame_numbers"][()].tolist()
        for place, (index, number) in enumerate(zip(table["index"].astype(int), numbers, strict=True)):
            title = "still" if source == "still" else "onset" if index == 0 else f"key-frame {index}"
            marked = place == apex_place and index > 0 and source != "still"
            title = f"apex ({source})" if marked else title
            alt = f"Aligned face of {subject}, {label or 'no label'}: {title}, frame {number}"
            picture = figures.picture(group["frames"][there.index(number)], SIDE, QUALITY)
            frames.append({"title": title, "apex": marked, "number": number, "alt": alt, "source": picture})
    with open_h5(flow) as file:
        group = file[safe_filename(clip)]
        fields = group["flow"][()].astype(np.float32)
        reference = json.loads(str(file.attrs.get("settings", "{}"))).get("reference", "onset")
    length = np.hypot(fields[:, 0], fields[:, 1]) if len(fields) else np.zeros((0, 1))
    full = max(0.05, float(np.percentile(length, 99.5))) if length.size else 0.0
    for field, own, number in zip(fields, length, numbers[1:], strict=False):
        start = "onset" if reference == "onset" else "the key-frame before"
        alt = f"Flow of {subject}, {label or 'no label'}, from {start} to frame {number}: mean {own.mean():.2f} pixels"
        title = f"mean {own.mean():.2f} px"
        colours = figures.picture(flow_image(field, full), SIDE, QUALITY)
        flows.append({"title": title, "number": number, "alt": alt, "source": colours})
    return {
        "clip": clip,
        "subject": subject,
        "label": label,
        "frames": frames,
        "flows": flows,
        "full": full,
        "reference": reference,
        "missed": f"{int(apex)} ({source})" if apex != "" and apex_place is None else "",
    }
