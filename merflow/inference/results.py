"""The results of a prediction as tables: ``answers.csv`` and ``answers.json``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from merflow.inference.settings import PageSettings
from merflow.storage.files import atomic_write, json_value
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import ANSWERS, INTERVALS, KEYFRAMES, PREDICTED, QUALITY, read_table, write_table

Row = dict[str, Any]
"""A row of ``answers.csv``."""


@dataclass(frozen=True)
class SourceResult:
    """A source, the attributes of its ``search.h5`` and the times of its frames (``track``), and its candidates."""

    number: int
    clip: str
    label: str
    search_results: str
    track: dict[str, Any]
    candidates: list[dict[str, Any]]

    @property
    def searchable(self) -> bool:
        """Whether the source could be read and shows a face."""
        return bool(self.track["status"] == "ok")

    def seconds(self, frame: int) -> float:
        """Return the time of a frame; images start at 0."""
        return float(np.interp(frame, self.track["frame_numbers"], self.track["frame_seconds"]))


@dataclass(frozen=True)
class PreparedClip:
    """The files of a prepared candidate, the rows of its key-frames, and its apex frame."""

    faces: str
    flow: str
    keyframes: pd.DataFrame
    apex: int


@dataclass(frozen=True)
class PredictionResults:
    """Everything that a prediction found."""

    sources: list[SourceResult]
    prepared: dict[tuple[str, str], PreparedClip]
    """By preparation and clip."""
    tables: dict[str, pd.DataFrame]
    """Answers of each experiment, indexed by clip."""
    quality: dict[str, dict[str, tuple[str, str]]]
    """Why a candidate failed (empty if it did not), and its notes, by preparation and clip."""

    @classmethod
    def read(cls, settings: PageSettings, files: Mapping[str, Sequence[str]]) -> "PredictionResults":
        """Read the files of a prediction, named as in :func:`merflow.inference.page.write_prediction`."""
        sources = []
        for number, source in enumerate(settings.sources.values()):
            search_results = files["search_results"][number]
            with open_h5(search_results) as file:
                track = json_value(dict(file.attrs))
                track |= {name: file[name][:] for name in ("frame_numbers", "frame_seconds") if name in file}
            track["notes"] = "; ".join(filter(None, [source.get("notes", ""), track["notes"]]))
            candidates = _rows(read_table(files["intervals"][number], INTERVALS))
            sources.append(SourceResult(number, source["clip"], source["label"], search_results, track, candidates))
        prepared = {}
        stages = zip(files["faces"], files["keyframes"], files["flow"], strict=True)
        for prep, (faces, keyframes, flow) in zip(cycle(settings.preparations), stages, strict=False):
            for clip, rows in read_table(keyframes, KEYFRAMES).groupby("clip", sort=False):
                apex = int(rows[f"apex_{rows['apex_source'].iloc[0]}"].iloc[0])
                prepared[prep, str(clip)] = PreparedClip(faces, flow, rows, apex)
        tables = {
            name: read_table(file, ANSWERS).set_index("clip")
            for name, file in zip(settings.experiments, files["tables"], strict=True)
        }
        measured = {}
        for prep, quality in zip(settings.preparations, files["quality"], strict=True):
            table = read_table(quality, QUALITY)
            measured[prep] = dict(zip(table["clip"], zip(table["reason"], table["notes"], strict=True), strict=True))
        return cls(sources, prepared, tables, measured)

    def rows(self, settings: PageSettings) -> Iterator[Row]:
        """Yield the rows of ``answers.csv``."""
        for source in self.sources:
            base = {"source": source.clip, "label": source.label, "fps": source.track["fps"], "clip": source.clip}
            base["notes"] = source.track["notes"]
            if not source.searchable:
                yield base | {"status": "failed", "reason": source.track["status"], "fps": ""}
            elif not source.candidates:
                yield base | {"status": "nothing found", "reason": "no motion resembles a micro-expression"}
            for candidate in source.candidates:
                for experiment in settings.experiments:
                    yield base | self._candidate_row(settings, source, candidate, experiment)

    def _candidate_row(
        self, settings: PageSettings, source: SourceResult, candidate: Mapping[str, Any], experiment: str
    ) -> Row:
        clip, prep = str(candidate["clip"]), settings.experiments[experiment].prep
        frames = {"onset": int(candidate["onset"]), "offset": int(candidate["offset"])}
        if (prep, clip) in self.prepared:
            frames["apex"] = self.prepared[prep, clip].apex
        seconds = {f"{name}_s": round(source.seconds(frame), 4) for name, frame in frames.items()}
        row = {name: candidate[name] for name in ("clip", "found", "fps")} | frames | seconds
        row["experiment"] = experiment
        reason, notes = self.quality[prep].get(clip, ("", ""))
        row["notes"] = "; ".join(dict.fromkeys(filter(None, f"{source.track['notes']}; {notes}".split("; "))))
        table = self.tables[experiment]
        if clip not in table.index:
            return row | {"status": "failed", "reason": reason}
        (answer,) = _rows(table.loc[[clip]].drop(columns="experiment"))
        return row | {"status": "ok", "reason": ""} | answer


def write_answers(rows: Sequence[Row], settings: PageSettings, folder: Path) -> None:
    """Write ``answers.csv`` and ``answers.json`` into a folder."""
    write_table(rows, folder / "answers.csv", PREDICTED)
    content = {
        "input": settings.input,
        "study": settings.study,
        "experiments": {name: asdict(experiment) for name, experiment in settings.experiments.items()},
        "settings": {
            "uncertain_below": settings.uncertain_below,
            "max_unsearched_seconds": settings.max_unsearched_seconds,
        },
        "answers": json_value(rows),
    }
    with atomic_write(folder / "answers.json") as temporary:
        # Bytes of a file name that are not UTF-8 become escapes of JSON.
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
