"""What ``snakemake predict`` makes of the clips that it answers. Opens no frame."""

import json
import os
from functools import cached_property
from pathlib import Path

from merflow.datasets.registry import LAYOUTS
from merflow.errors import ConfigError
from merflow.footage.fingerprints import source_token
from merflow.footage.frames import FPS_OF_IMAGES, FrameList, is_video
from merflow.inference.settings import AnsweringExperiment, AnswerSettings, PageSettings, SpottingSettings
from merflow.storage.files import digest, safe_filename
from merflow.study.config import NO_SPOTTER, Config
from merflow.study.publishing import Publishing
from merflow.study.sources import list_sources
from merflow.study.training import Training
from merflow.study.weights import preparation_block


def spotting_settings(config: Config) -> SpottingSettings:
    """Settings of the search of long videos; its detector is that of all preparations, ``auto`` if they differ."""
    detectors = {preparation.align.detector for preparation in config.preparations.values()}
    detector = detectors.pop() if len(detectors) == 1 else "auto"
    return SpottingSettings(**config.predict.spotting.model_dump(), detector=detector)


class Prediction:
    """What ``clips`` names, and the files that a study makes of it."""

    def __init__(self, training: Training) -> None:
        """List the clips, and the experiments and the weights of other studies that answer."""
        self.training, self.experiments, self.data = training, training.experiments, training.experiments.data
        self.config, self.paths = self.data.config, training.paths
        self.block = self.config.predict
        self.weights = self.data.weights
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
        requested, experiments = self.block.experiments, self.experiments
        trainable = [
            name
            for name in self.config.experiments
            if name not in experiments.linear_experiments
            and len(experiments.preparations(name)) == 1
            and all(map(self.data.has_frames, experiments[name].datasets))
        ]
        able = [*trainable, *self.weights]
        if unknown := [name for name in requested or () if name not in able]:
            names = ", ".join(able) or "none"
            if unknown[0] in experiments.ensembles and len(preparations := experiments.preparations(unknown[0])) > 1:
                raise ConfigError(
                    f"predict.experiments: the members of {unknown[0]} have the preparations "
                    f"{', '.join(preparations)}; an ensemble answers new clips if they have one; there are: {names}"
                )
            raise ConfigError(f"predict.experiments: {unknown[0]} trains no network on clips; there are: {names}")
        if not able:
            raise ConfigError("clips: no experiment of the study trains a network that reads clips; add one, or floors")
        return list(requested or able)

    @cached_property
    def preparations(self) -> list[str]:
        """Preparations of the experiments that answer, each once."""
        return list(dict.fromkeys(self.prep(name) for name in self.answering))

    def prep(self, experiment: str) -> str:
        """Preparation of an experiment; that of weights is one of the study if it is the same, else has their name."""
        if experiment not in self.weights:
            return self.experiments[experiment].prep
        weights = self.weights[experiment]
        same = (name for name, block in self.config.preparations.items() if block == preparation_block(weights))
        return experiment if weights.scorer else next(same, experiment)

    def ensemble_files(self, publishing: Publishing, experiment: str) -> list[str]:
        """The file that describes the networks of an experiment or of weights, and every file that it points to."""
        if experiment in self.weights:
            return self.weights[experiment].files
        return publishing.ensemble_files(experiment)

    @property
    def coverage(self) -> list[str]:
        """Tables of the accuracy on clips that reach a threshold: that of the study, if it answers, and of weights."""
        tables = [] if set(self.answering) <= set(self.weights) else [self.paths.table("coverage")]
        return tables + [self._coverage(name) for name in self.answering if name in self.weights]

    def _coverage(self, weights: str) -> str:
        return str(self.weights[weights].folder / "coverage.csv")

    def source_token(self, source: str) -> str:
        """Token of the footage of a source (:mod:`merflow.footage.fingerprints`)."""
        record = Path(self.folder, "sources", source, "source.json")
        return source_token([{"frames": self.sources[source]["frames"]}], record)

    @property
    def searches(self) -> bool:
        """Whether a source may be longer than what is taken as one candidate, so that it is searched."""
        for row in self.sources.values():
            if not row["problem"] and (row["onset"] is None or row["offset"] is None):
                fps = self.block.fps or row["fps"] or FPS_OF_IMAGES
                most_frames = self.block.spotting.max_unsearched_seconds * fps
                if is_video(row["frames"]) or len(FrameList(row["frames"])) > most_frames:
                    return True
        return False

    @property
    def spotter(self) -> str:
        """The experiment whose fitted system searches; empty: the search with the settings of `predict.spotting`."""
        if not self.searches or self.block.spotter == NO_SPOTTER:
            return ""
        spotting = self.config.spotting
        learned = [name for name, block in spotting.items() if block.system == "learned" and "micro" in block.kinds]
        return self.block.spotter or next(iter(learned), "")

    @property
    def spotter_file(self) -> list[str]:
        """What was fitted on all people of the long videos; none if no fitted system searches."""
        return [f"{self.paths.study}/spotting/{self.spotter}/spotter.safetensors"] if self.spotter else []

    def prepared(self, experiment: str, name: str) -> str:
        """A file of all candidates, in the preparation of an experiment."""
        return f"{self.folder}/prepared/{self.prep(experiment)}/{name}"

    def training_files(self, experiment: str, name: str) -> list[str]:
        """A file, such as ``cache.h5``, of each dataset that an experiment was trained on; none of weights."""
        if experiment in self.weights:
            return []
        prep = self.prep(experiment)
        return [self.paths.prepared(dataset, prep, name) for dataset in self.experiments[experiment].training_datasets]

    def answer_settings(self, experiment: str) -> AnswerSettings:
        """Settings of the job in which an experiment answers."""
        align = self.data.preparation(self.prep(experiment)).align
        about = self.weights[experiment].about if experiment in self.weights else {}
        return AnswerSettings(
            align.crop,
            align.eye_height,
            self.block.uncertain_below,
            self.training_files(experiment, "cache.h5"),
            self.training_files(experiment, "quality.csv"),
            about["fps"] if about else self.data.fps_range(self.experiments[experiment].training_datasets),
            self.block.region_networks,
            about.get("ranges", {}),
        )

    def page_settings(self) -> PageSettings:
        """What the page shows beside its tables."""
        studied = [name for name in self.answering if name not in self.weights]
        trained = {dataset for name in studied for dataset in self.experiments[name].training_datasets}
        synthetic = {dataset for dataset in trained if self.data.is_synthetic(dataset)}
        for name in set(self.answering) & set(self.weights):
            datasets = self.weights[name].about["datasets"]
            synthetic |= {entry["name"] for entry in datasets if LAYOUTS[entry["layout"]].synthetic}
        return PageSettings(
            self.name,
            self.path,
            self.paths.name,
            self.block.uncertain_below,
            self.block.spotting.max_unsearched_seconds,
            self.spotter,
            self.block.region_networks,
            self.sources,
            self.preparations,
            {name: self._answering_experiment(name) for name in self.answering},
            sorted(synthetic),
        )

    def _answering_experiment(self, name: str) -> AnsweringExperiment:
        if name not in self.weights:
            e, classes = self.experiments[name], self.experiments.classes(name)
            return AnsweringExperiment(e.system, e.prep, classes, e.datasets, e.protocol, e.recognises_units)
        weights, prep = self.weights[name], self.prep(name)
        about = weights.about
        facts = (about["system"], prep, about["classes"], about["micro"], about["protocol"], bool(about.get("units")))
        return AnsweringExperiment(*facts, weights.origin, self._coverage(name))
