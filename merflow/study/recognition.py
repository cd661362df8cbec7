"""The experiments of a study that recognise what was spotted in long videos. Opens no frame."""

from collections.abc import Iterator
from typing import Any

from merflow.datasets.settings import DatasetSettings
from merflow.errors import ConfigError
from merflow.inference.settings import RecognitionSettings
from merflow.study.config_spotting import RecognitionBlock
from merflow.study.data import subject_filename
from merflow.study.spotting import Spotting, some_names
from merflow.study.training import Training


class Recognition:
    """Experiments of the task ``spot-then-recognise``; empty if the study has none."""

    def __init__(self, training: Training, spotting: Spotting) -> None:
        """Keep the planners of the experiments on clips and of those that spot."""
        self.training, self.spotting = training, spotting
        self.experiments, self.data = training.experiments, training.experiments.data
        self.blocks: dict[str, RecognitionBlock] = self.data.config.recognition

    def check(self) -> None:
        """Check that every person of the videos has networks without that person, and that labels are classes.

        Raises:
            ConfigError: an experiment cannot run; the message names the key.
        """
        for name, block in self.blocks.items():
            here, classes = f"experiments.{name}", self.experiments.classes(block.recogniser)
            videos = self.spotting.videos_of(block.spotter)
            labels = {i.label for video in videos for i in video.intervals if i.kind == "micro" and i.label}
            if labels and not labels & set(classes):
                raise ConfigError(
                    f"{here}: no micro-expression of {', '.join(self.spotting.blocks[block.spotter].datasets)} has a "
                    f"label among the classes of {block.recogniser} ({', '.join(classes)}); the labels are "
                    f"{', '.join(sorted(labels))}: give the datasets the same `classes`"
                )
            for member in self.members(block.recogniser):
                if not all(map(self.data.has_frames, self.experiments[member].datasets)):
                    raise ConfigError(f"{here}.recogniser: {member} learned from flow images; detections are frames")
                for problem in self._seen_in_every_fold(member, block.spotter):
                    raise ConfigError(f"{here}.recogniser: {problem}")

    def _seen_in_every_fold(self, recogniser: str, spotter: str) -> Iterator[str]:
        """Yield why all networks of a recogniser, or what they stand on, have seen a person of the videos."""
        e, data = self.experiments[recogniser], self.data
        for dataset in self.spotting.blocks[spotter].datasets:
            people = {video.subject.split("/", 1)[1] for video in self.spotting.videos[dataset].values()}
            tested_clips = [clip.subject.split("/", 1) for clip in self.experiments.usable_clips(recogniser)]
            tested = {person for other, person in tested_clips if data.same_people(other, dataset)}
            for other in e.train_also:
                if shared := self._people(other, dataset) & people:
                    yield f"{other}, which trains in every fold of {recogniser}, shows {some_names(shared)}"
            if e.pretrains and (shared := self._people(e.macro, dataset) & people):
                left_out = tested if e.pretrain.exclude_test_subjects else set()
                if shared := shared - left_out:
                    yield (
                        f"the pre-training of {recogniser} on {e.macro} has seen {some_names(shared)}; give it "
                        "pretrain.exclude_test_subjects and clips of these people, or other macro clips"
                    )
            scorer = data.config.preparations[e.prep].keyframes.learn_from
            if scorer and (shared := self._people(scorer, dataset) & people):
                yield f"the key-frame scorer of preparation {e.prep} learned from {some_names(shared)}"

    def _people(self, dataset: str, videos: str) -> set[str]:
        """The names of the people of a dataset; none if they mean others than those of the dataset of videos."""
        clips = self.data.index(dataset).clips if self.data.same_people(dataset, videos) else []
        return {clip.subject.split("/", 1)[1] for clip in clips}

    def members(self, recogniser: str) -> list[str]:
        """The experiments whose networks answer: those of an ensemble, or the recogniser itself."""
        return self.experiments[recogniser].of or [recogniser]

    def prep(self, name: str) -> str:
        """Preparation in which the detections are answered."""
        return self.experiments[self.members(self.blocks[name].recogniser)[0]].prep

    def people(self, spotter: str) -> list[tuple[str, str]]:
        """Dataset and file name of each person whose videos are searched."""
        videos = self.spotting.videos_of(spotter)
        return list(dict.fromkeys((video.dataset, subject_filename(video.subject)) for video in videos))

    def videos(self, dataset: str, subject: str) -> dict[str, dict[str, Any]]:
        """The videos of a person, as alignment reads them, by name."""
        settings = self.data.settings(dataset)
        align = settings.align if isinstance(settings, DatasetSettings) else None
        return {
            video.video: {"frames": video.frames, "subject": video.subject, "align": align or "detect", "problem": ""}
            for video in self.spotting.videos[dataset].values()
            if subject_filename(video.subject) == subject
        }

    def spotted(self, name: str, file: str) -> str:
        """A file of the spotter of an experiment."""
        return f"{self.spotting.folder}/{self.blocks[name].spotter}/{file}"

    def prepared(self, spotter: str, prep: str, file: str) -> list[str]:
        """A file of each person, such as ``faces/{subject}.h5``, in one preparation."""
        folder = f"{self.spotting.folder}/{spotter}/{prep}"
        return [f"{folder}/{dataset}/{file.format(subject=subject)}" for dataset, subject in self.people(spotter)]

    def split_files(self, name: str) -> list[str]:
        """The tables of splits with which the networks were trained."""
        return [file for splits in self.settings(name).splits for file in splits.values()]

    def settings(self, name: str) -> RecognitionSettings:
        """Settings of the job that recognises."""
        block = self.blocks[name]
        datasets = {
            dataset for member in self.members(block.recogniser) for dataset in self.experiments[member].datasets
        }
        same_people = {
            videos: sorted(dataset for dataset in datasets if self.data.same_people(dataset, videos))
            for videos in self.spotting.blocks[block.spotter].datasets
        }
        splits = [self.training.splits(member) for member in self.members(block.recogniser)]
        return RecognitionSettings(name, block.recogniser, splits, same_people)
