"""The clips that ``snakemake predict`` answers, and the files made of them. Opens no frame."""

import difflib
import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from merflow.datasets.assemble import assemble
from merflow.datasets.folders import subfolders
from merflow.datasets.labels import ClassSet
from merflow.datasets.manifest import read_table_of_clips
from merflow.datasets.raw_clip import RawClip, escape_controls
from merflow.errors import ConfigError, InputError
from merflow.footage.fingerprints import source_token
from merflow.footage.frames import FPS_OF_IMAGES, IMAGES, VIDEOS, image_paths, is_video
from merflow.inference.settings import AnsweringExperiment, AnswerSettings, PageSettings
from merflow.storage.files import digest, safe_filename
from merflow.study.training import Training

COLUMNS = ("clip", "subject", "label", "frames", "onset", "apex", "offset", "fps")
"""Columns of a table of clips; ``frames`` is required."""
NO_CLIPS = "clips: `clips` is not set; use --config clips=/path/to/video.mp4, or a folder, or a table (docs/predict.md)"


class Prediction:
    """What ``clips`` names, and the files that a study makes of it."""

    def __init__(self, training: Training) -> None:
        """List the clips, and the experiments that answer."""
        self.training, self.experiments, self.data = training, training.experiments, training.experiments.data
        self.config, self.paths = self.data.config, training.paths
        self.block = self.config.predict
        self.sources = list_sources(self.config.clips)
        self.path = str(Path(os.path.expanduser(self.config.clips or "")).resolve())
        self.answering = self._answering()
        self.name = self._name()
        self.folder = f"{self.paths.study}/predict/{self.name}"

    def _name(self) -> str:
        """Name of the folder: that of the input; with a digest if another input of this name was there before."""
        name = safe_filename(Path(self.path).name)
        answers = Path(self.paths.study, "predict", name, "answers.json")
        try:
            taken = json.loads(answers.read_text(encoding="utf-8"))["input"] != self.path
        except (OSError, ValueError, KeyError, TypeError):
            taken = False
        return f"{name}-{digest(self.path)[:6]}" if taken else name

    def _answering(self) -> list[str]:
        """Experiments that answer."""
        asked, blocks = self.block.experiments, self.config.experiments
        able = [n for n, e in blocks.items() if e.trains_network and all(map(self.data.has_frames, e.datasets))]
        if unknown := [name for name in asked or () if name not in able]:
            there = ", ".join(able) or "none"
            raise ConfigError(
                f"predict.experiments: {unknown[0]} does not train a network on clips; there are: {there}"
            )
        if not able:
            raise ConfigError("clips: no experiment of the study trains a network that reads clips; add one, or floors")
        return list(asked or able)

    @cached_property
    def preparations(self) -> list[str]:
        """Preparations of the experiments that answer, each once."""
        return list(dict.fromkeys(self.prep(name) for name in self.answering))

    def prep(self, experiment: str) -> str:
        """Preparation of an experiment."""
        return self.experiments[experiment].prep

    def source_token(self, source: str) -> str:
        """Token of the footage of a source (:mod:`merflow.footage.fingerprints`)."""
        record = Path(self.folder, "sources", source, "source.json")
        return source_token([{"frames": self.sources[source]["frames"]}], record)

    def search_settings(self) -> dict[str, Any]:
        """Frame rate and search settings of the job that looks for candidates in a source."""
        return {"fps": self.block.fps, "spotting": self.block.spotting.model_dump()}

    @property
    def searches(self) -> bool:
        """Whether a source may be longer than what is taken as one candidate, so that it is searched."""
        for row in self.sources.values():
            if not row["problem"] and (row["onset"] is None or row["offset"] is None):
                fps = self.block.fps or row["fps"] or FPS_OF_IMAGES
                most_frames = self.block.spotting.max_unsearched_seconds * fps
                if is_video(row["frames"]) or len(image_paths(row["frames"])) > most_frames:
                    return True
        return False

    def prepared(self, experiment: str, name: str) -> str:
        """A file of all candidates, in the preparation of an experiment."""
        return f"{self.folder}/prepared/{self.prep(experiment)}/{name}"

    def training_files(self, experiment: str, name: str) -> list[str]:
        """A file, such as ``cache.h5``, of each dataset that an experiment was trained on."""
        prep = self.prep(experiment)
        return [self.paths.prepared(dataset, prep, name) for dataset in self.experiments[experiment].datasets]

    def answer_settings(self, experiment: str) -> AnswerSettings:
        """Settings of the job in which an experiment answers."""
        datasets = self.experiments[experiment].datasets
        rates = sorted(clip.fps for dataset in datasets for clip in self.data.index(dataset).clips if clip.fps)
        align = self.config.preparations[self.prep(experiment)].align
        return AnswerSettings(
            align.crop,
            align.eye_height,
            self.block.uncertain_below,
            self.training_files(experiment, "cache.h5"),
            self.training_files(experiment, "quality.csv"),
            [rates[0], rates[-1]] if rates else [],
        )

    def page_settings(self) -> PageSettings:
        """What the page shows beside its tables."""
        experiments = {name: self.experiments[name] for name in self.answering}
        trained = {dataset for experiment in experiments.values() for dataset in experiment.datasets}
        return PageSettings(
            self.name,
            self.path,
            self.paths.name,
            self.block.uncertain_below,
            self.block.spotting.max_unsearched_seconds,
            self.sources,
            self.preparations,
            {
                name: AnsweringExperiment(e.system, e.prep, self.experiments.classes(name), e.datasets, e.protocol)
                for name, e in experiments.items()
            },
            sorted(dataset for dataset in trained if self.data.is_synthetic(dataset)),
        )


def list_sources(clips: str | None) -> dict[str, dict[str, Any]]:
    """Videos, folders of images, or rows of a table of clips, by a name that is safe for a file.

    Each is a row of :class:`merflow.footage.clip.Clip`.

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
    return {safe_filename(clip.clip): clip.row() for clip in index.clips}


def _entries(path: Path) -> list[RawClip]:
    if not path.exists():
        raise InputError(f"clips: {path} does not exist; give a video, a folder, or a table of clips (CSV)")
    if path.is_dir():
        return _of_folder(path)
    if path.suffix.lower() in (".csv", ".tsv", ".xlsx", ".xls", ".ods"):
        return _of_table(path)
    if is_video(path):
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
            entries += [_entry(inside.name, inside)] if image_paths(inside) else []
        except OSError as error:
            entries.append(_entry(inside.name, inside))
            entries[-1].problems.append(("frames", f"folder {inside} cannot be read: {error.strerror}"))
    if not entries:
        kinds = f"video ({', '.join(sorted(VIDEOS))})"
        raise InputError(f"clips: folder {folder} holds no {kinds}, no image and no folder of images")
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
        name, subject = row["clip"] or f"row-{number}", row["subject"] or "somebody"
        entry = RawClip(name, subject, frames, "micro", str(table), number)
        entry.numbers = {name: row[name] for name in ("onset", "apex", "offset")}
        entry.source, entry.fps = {"label": row["label"]}, row["fps"]
        entries.append(entry)
    return entries
