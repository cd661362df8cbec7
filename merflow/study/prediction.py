"""What is to be looked at, and the files that come of it. Lists folders and tables; opens no frame."""

import difflib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from merflow.datasets.assemble import assemble
from merflow.datasets.folders import subfolders
from merflow.datasets.labels import ClassSet
from merflow.datasets.manifest import read_table_of_clips
from merflow.datasets.raw_clip import RawClip, escape_controls
from merflow.errors import ConfigError, InputError
from merflow.footage.clip import Clip
from merflow.footage.fingerprints import source_token
from merflow.footage.frames import FPS_OF_IMAGES, IMAGES, VIDEOS, image_paths, is_video
from merflow.storage.files import digest, safe_filename
from merflow.study.config import LEARNED
from merflow.study.study import Study
from merflow.systems.registry import NETWORKS

COLUMNS = ("clip", "subject", "label", "frames", "onset", "apex", "offset", "fps")
"""Of a table of clips; ``frames`` must be there."""
NAMED = "clips: nothing is named; type --config clips=/path/to/video.mp4, or a folder, or a table (docs/predict.md)"


class Prediction:
    """What ``clips`` names, seen as files to be made by a study."""

    def __init__(self, study: Study) -> None:
        """List the clips.

        Raises:
            InputError: there is nothing that can be looked at; the message says what was expected.
            ConfigError: ``predict`` names an experiment that leaves no trained network.
        """
        self.study, self.settings = study, study.config["predict"]
        self.sources = list_sources(study.config["clips"])
        self.given = Path(study.config["clips"]).expanduser()
        self.experiments = self._experiments()
        self.name = self._name()
        self.folder = f"{study.results}/{study.name}/predict/{self.name}"

    def _name(self) -> str:
        """Name of the folder: that of what was given; where another thing of this name was there before, with more."""
        name = safe_filename(self.given.resolve().name)
        told = Path(self.study.results, self.study.name, "predict", name, "answers.json")
        try:
            other = json.loads(told.read_text(encoding="utf-8"))["input"] != self.path
        except (OSError, ValueError, KeyError, TypeError):
            other = False
        return f"{name}-{digest(self.path)[:6]}" if other else name

    @property
    def path(self) -> str:
        """What was given, in full."""
        return str(self.given.resolve())

    def _experiments(self) -> list[str]:
        study, named = self.study, self.settings["experiments"]
        able = [
            name
            for name, experiment in study.config["experiments"].items()
            if experiment["system"] in LEARNED or experiment["system"] in NETWORKS
            if all(study.has_frames(dataset) for dataset in study.micro(name))
        ]
        if unknown := [name for name in named or () if name not in able]:
            there = ", ".join(able) or "none"
            raise ConfigError(
                f"predict.experiments: {unknown[0]} leaves no trained network that reads clips; there are: {there}"
            )
        if not able:
            raise ConfigError("clips: no experiment of the study trains a network that reads clips; add one, or floors")
        return list(named or able)

    @cached_property
    def preparations(self) -> list[str]:
        """Preparations of the experiments, each once."""
        return list(dict.fromkeys(self.study.experiments[name]["prep"] for name in self.experiments))

    def prep(self, experiment: str) -> str:
        """Preparation of an experiment."""
        return self.study.experiments[experiment]["prep"]

    def source(self, source: str) -> dict[str, Any]:
        """What the job that looks through a source is told."""
        return self.sources[source]

    def token(self, source: str) -> str:
        """Token of a source's footage (:mod:`merflow.footage.fingerprints`)."""
        record = Path(self.folder, "sources", source, "source.json")
        return source_token([{"frames": self.sources[source]["frames"]}], record)

    @property
    def looks_long(self) -> bool:
        """Whether something may be longer than what is taken whole, so that it is searched."""
        most = self.settings["spotting"]["whole"]
        return any(
            not one["problem"]
            and (one["onset"] is None or one["offset"] is None)
            and (
                is_video(one["frames"])
                or len(image_paths(one["frames"])) > most * (self.settings["fps"] or one["fps"] or FPS_OF_IMAGES)
            )
            for one in self.sources.values()
        )

    def training(self, experiment: str) -> dict[str, Any]:
        """Files and numbers that say what an experiment was trained on."""
        data, prep = f"{self.study.results}/data", self.prep(experiment)
        rates = [clip.fps for dataset in self.study.micro(experiment) for clip in self.study.index(dataset).clips]
        known = sorted(rate for rate in rates if rate)
        return {
            "caches": [f"{data}/{dataset}/{prep}/cache.h5" for dataset in self.study.micro(experiment)],
            "quality": [f"{data}/{dataset}/{prep}/quality.csv" for dataset in self.study.micro(experiment)],
            "fps": [known[0], known[-1]] if known else [],
        }

    def answer_settings(self, experiment: str) -> dict[str, Any]:
        """What the job that asks an experiment is told."""
        align = self.study.config["preparations"][self.prep(experiment)]["align"]
        own = {name: align[name] for name in ("crop", "eye_height")}
        return own | {"uncertain_below": self.settings["uncertain_below"]}

    def page_settings(self) -> dict[str, Any]:
        """What the page is told beside its tables."""
        study = self.study
        trained = [dataset for name in self.experiments for dataset in study.micro(name)]
        return {
            "name": self.name,
            "input": self.path,
            "study": study.name,
            "title": study.config["title"] or study.name,
            "settings": self.settings,
            "sources": self.sources,
            "folder": self.folder,
            "preparations": {name: study.config["preparations"][name] for name in self.preparations},
            "experiments": {
                name: {
                    "system": study.experiments[name]["system"],
                    "prep": self.prep(name),
                    "classes": study.classes(name),
                    "micro": study.micro(name),
                    "protocol": study.experiments[name]["protocol"],
                }
                for name in self.experiments
            },
            "synthetic": sorted({dataset for dataset in trained if study.is_demo(dataset)}),
            "coverage": f"{study.results}/{study.name}/coverage.csv",
        }


def list_sources(given: str | None) -> dict[str, dict[str, Any]]:
    """The videos, folders of images or rows of a table that are to be looked at, by a name that is safe for a file.

    Each has ``clip, frames, onset, apex, offset, fps, label, problem`` as in :class:`merflow.footage.clip.Clip`.

    Args:
        given: a video, a folder of images, a folder of videos and such folders, or a table of clips.

    Raises:
        InputError: there is nothing of that kind.
    """
    if not given:
        raise InputError(NAMED)
    try:
        return _listed(Path(given).expanduser())
    except OSError as error:
        raise InputError(
            f"clips: {str(error.filename or given)[:200]} cannot be looked at ({error.strerror}); "
            "name another place, or mend its rights"
        ) from error
    except RuntimeError as error:
        raise InputError(f"clips: {given}: {error}; give the path in full") from error


def _listed(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        raise InputError(f"clips: {path} does not exist; give a video, a folder, or a table of clips (CSV)")
    if path.is_dir():
        entries = _of_folder(path)
    elif path.suffix.lower() in (".csv", ".tsv", ".xlsx", ".xls", ".ods"):
        entries = _of_table(path)
    elif is_video(path):
        entries = [_entry(path.name, path)]
    elif path.suffix.lower() in IMAGES:
        raise InputError(f"clips: {path} is one picture; an expression is a motion: give a video or a folder of images")
    else:
        raise InputError(
            f"clips: {path} is no video by its name (known: {', '.join(sorted(VIDEOS))}), no folder and no table (.csv)"
        )
    index = assemble("clips", {"layout": "manifest", "root": str(path)}, entries, ClassSet("", ()))
    sources = {safe_filename(clip.clip): _row(clip) for clip in index.clips}
    if all(row["problem"] for row in sources.values()):
        told = "\n".join(f"  - {row['clip']}: {row['problem']}" for row in sources.values())
        raise InputError(f"clips: nothing of {path} can be looked at:\n{told}")
    return sources


def _row(clip: Clip) -> dict[str, Any]:
    names = ("clip", "label", "frames", "onset", "apex", "offset", "fps", "problem")
    return {name: getattr(clip, name) for name in names}


def _entry(name: str, frames: Path) -> RawClip:
    entry = RawClip(escape_controls(name), "somebody", frames.as_posix(), "micro", str(frames))
    entry.source = {"label": ""}
    entry.numbers = dict.fromkeys(("onset", "apex", "offset"), "")
    return entry


def _of_folder(folder: Path) -> list[RawClip]:
    videos = sorted(file for file in folder.iterdir() if is_video(file) and file.name[0] != "." and file.is_file())
    if images := image_paths(folder):
        if videos:
            video, image = escape_controls(videos[0].name), escape_controls(Path(min(images)).name)
            raise InputError(
                f"clips: folder {folder} holds videos (such as {video}) and images (such as {image}): take the images "
                "away to have every video looked at, or the videos if the images are the frames of a clip"
            )
        return [_entry(folder.resolve().name, folder)]
    entries = [_entry(file.name, file) for file in videos]
    for inside in subfolders(folder):
        try:
            entries += [_entry(inside.name, inside)] if image_paths(inside) else []
        except OSError as error:
            entries.append(_entry(inside.name, inside))
            entries[-1].problems.append(("frames", f"folder {inside} cannot be looked at: {error.strerror}"))
    if not entries:
        kinds = f"video ({', '.join(sorted(VIDEOS))})"
        raise InputError(f"clips: folder {folder} holds no {kinds}, no image, and no folder of images")
    return entries


def _of_table(table: Path) -> list[RawClip]:
    rows = read_table_of_clips(table, ["frames"], [name for name in COLUMNS if name != "frames"])
    for column in next(iter(rows.values())):
        near = difflib.get_close_matches(column, COLUMNS, 1, 0.8)
        if column not in COLUMNS and near:
            raise InputError(
                f"{table}: unknown column {column!r} (did you mean {near[0]!r}?); known: {', '.join(COLUMNS)}"
            )
    entries = []
    for number, row in rows.items():
        frames = (table.parent / row["frames"]).as_posix() if row["frames"] else ""
        entry = RawClip(
            row["clip"] or f"row-{number}", row["subject"] or "somebody", frames, "micro", str(table), number
        )
        entry.numbers = {name: row[name] for name in ("onset", "apex", "offset")}
        entry.source, entry.fps = {"label": row["label"]}, row["fps"]
        entries.append(entry)
    return entries
