"""The experiments of a study in long videos. Opens no frame."""

import sys
from collections.abc import Collection
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from merflow.datasets.index import Problem, listing
from merflow.datasets.long_videos import KINDS, LongVideo, list_long_videos
from merflow.errors import ConfigError
from merflow.evaluation.settings import SpottedExperiment
from merflow.footage.fingerprints import source_token
from merflow.inference.settings import SpottingExperiment, SpottingPage
from merflow.storage.files import safe_filename
from merflow.study.prediction import spotting_settings
from merflow.study.training import Training


class Spotting:
    """Long videos, and the experiments that search them; empty if the study has none."""

    def __init__(self, training: Training) -> None:
        """Keep the planner of the experiments on clips; videos are listed at their first use."""
        self.experiments, self.paths = training.experiments, training.paths
        self.config = training.experiments.data.config
        self.blocks = self.config.spotting
        self.folder = f"{self.paths.study}/spotting"
        self.problems: list[Problem] = []

    @property
    def datasets(self) -> list[str]:
        """Datasets of long videos that are searched."""
        return list(dict.fromkeys(dataset for block in self.blocks.values() for dataset in block.datasets))

    @cached_property
    def videos(self) -> dict[str, dict[str, LongVideo]]:
        """The long videos of each dataset, by the name of their file.

        Raises:
            InputError: a dataset has no long videos, or cannot be read.
        """
        kinds = [kind for kind in KINDS if any(kind in block.kinds for block in self.blocks.values())]
        listed: dict[str, dict[str, LongVideo]] = {}
        for dataset in self.datasets:
            videos, problems = list_long_videos(dataset, self.experiments.data.settings(dataset), kinds)
            listed[dataset] = {safe_filename(video.video): video for video in videos}
            self.problems += problems
        return listed

    @property
    def listed(self) -> list[LongVideo]:
        """All long videos, in order."""
        return [video for videos in self.videos.values() for video in videos.values()]

    def check(self) -> None:
        """List the videos, and check that every experiment has people for its folds, each in one dataset.

        Raises:
            InputError: a dataset cannot be used.
            ConfigError: there are fewer people than folds, or two datasets show one person.
        """
        for name, block in self.blocks.items():
            people = {video.subject for video in self.listed if video.dataset in block.datasets}
            folds = 2 if block.protocol == "loso" else block.folds
            if len(people) < folds:
                raise ConfigError(
                    f"experiments.{name}.videos: {len(people)} people; {block.protocol} needs at least {folds}"
                )
            for pair in combinations(block.datasets, 2):
                first, second = ({video.subject.split("/", 1)[1] for video in self.videos[d].values()} for d in pair)
                if self.experiments.data.same_people(*pair) and (shared := first & second):
                    raise ConfigError(
                        f"experiments.{name}.videos: {' and '.join(pair)} both show {some_names(shared)}, who would be "
                        "trained on and tested; put all videos of a person into one dataset, or give different people "
                        "different names"
                    )

    def report_problems(self) -> None:
        """Print everything that is wrong with the long videos that were listed."""
        if self.problems:
            print(f"merflow: long videos:\n{listing(self.problems)}", file=sys.stderr)

    def track(self, video: LongVideo) -> str:
        """File with the motion of a video."""
        return f"{self.folder}/motion/{video.dataset}/{safe_filename(video.video)}.h5"

    def tracks(self, experiment: str | None = None) -> list[str]:
        """Motion of all videos, or of those that an experiment searches."""
        return [self.track(video) for video in self.videos_of(experiment)]

    def videos_of(self, experiment: str | None = None) -> list[LongVideo]:
        """All videos, or those that an experiment searches."""
        datasets = self.blocks[experiment].datasets if experiment else self.datasets
        return [video for video in self.listed if video.dataset in datasets]

    def footage(self, dataset: str, video: str) -> dict[str, Any]:
        """Folder or file of a video, its frames per second, and what error messages name."""
        long_video = self.videos[dataset][video]
        names = {"clip": long_video.video, "subject": long_video.subject, "problem": ""}
        return names | {"frames": long_video.frames, "fps": long_video.fps}

    def drawn(self, dataset: str, video: str) -> list[str]:
        """File of a video of a synthetic person, which a rule draws; other footage is tracked by its token."""
        return [self.videos[dataset][video].frames] if self.experiments.data.is_synthetic(dataset) else []

    def source_token(self, dataset: str, video: str) -> str:
        """Token of the footage of a video (:mod:`merflow.footage.fingerprints`)."""
        record = Path(self.folder, "motion", dataset, f"{video}.source.json")
        return source_token([self.footage(dataset, video)], record)

    def experiment_settings(self, name: str) -> SpottingExperiment:
        """Settings of the job that spots by one system."""
        block = self.blocks[name]
        return SpottingExperiment(
            name,
            block.system,
            block.datasets,
            block.kinds,
            block.protocol,
            block.folds,
            block.seed,
            spotting_settings(self.config),
        )

    def scored_experiments(self) -> dict[str, SpottedExperiment]:
        """What counts in each experiment: those that spot, then those that recognise micro-expressions too."""
        spotted = {name: SpottedExperiment(block.datasets, block.kinds, []) for name, block in self.blocks.items()}
        return spotted | {
            name: SpottedExperiment(
                self.blocks[block.spotter].datasets, ["micro"], self.experiments.classes(block.recogniser)
            )
            for name, block in self.config.recognition.items()
        }

    def page_settings(self) -> SpottingPage:
        """What the page shows beside its tables."""
        data = self.experiments.data
        footage: dict[str, dict[str, str]] = {}
        for video in self.listed:
            footage.setdefault(video.dataset, {})[video.video] = video.frames
        return SpottingPage(
            self.paths.name,
            any(map(data.is_synthetic, self.datasets)),
            {dataset: data.layout(dataset) for dataset in self.datasets},
            footage,
            self.scored_experiments(),
            list(self.blocks),
        )


def some_names(people: Collection[str]) -> str:
    """The first five names, and how many more there are."""
    names = sorted(people)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
