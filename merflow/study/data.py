"""The datasets of a study: their clips, subjects and settings. Folders are listed and no frame is opened."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from merflow.datasets.index import DatasetError, Index, index_dataset, report_problems, write_problems
from merflow.datasets.overlaps import shared_frames
from merflow.datasets.registry import LAYOUTS, layout_source
from merflow.datasets.settings import (
    STANDARD_MACRO,
    STANDARD_MICRO,
    AnyDatasetSettings,
    DatasetSettings,
    LongPeopleSettings,
    SyntheticSettings,
)
from merflow.datasets.synthetic import scorer_people
from merflow.errors import InputError
from merflow.footage.fingerprints import source_token
from merflow.preprocessing.settings import PreparationSettings
from merflow.storage.files import digest, safe_filename
from merflow.study.config import Config
from merflow.study.config_data import LongPeopleBlock, PeopleBlock
from merflow.study.paths import Paths
from merflow.study.weights import answering_weights, preparation_block

FOOTAGE = ("clip", "subject", "kind", "frames", "onset", "apex", "offset", "align", "problem")
"""What alignment reads of a clip. The label is not among it, so a corrected label reruns nothing before the cache."""


class Data:
    """The datasets of a configuration."""

    def __init__(self, config: Config, paths: Paths) -> None:
        """Keep the configuration; a dataset is indexed at its first use."""
        self.config, self.paths, self.weights = config, paths, answering_weights(config)
        self.indexes: dict[str, Index] = {}  # of the datasets that were used so far
        self._clips: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def bit_depth(self, name: str) -> int | None:
        """Bits in use of a dataset's images of more than 8 bits; None: decided by their largest value."""
        return self.config.datasets[name].bit_depth if name in self.config.datasets else None

    def settings(self, name: str) -> AnyDatasetSettings:
        """Settings of a dataset; those of synthetic people come from the block ``demo``."""
        root = f"{self.paths.dataset(name)}/source"
        if name == scorer_people.NAME:
            return replace(scorer_people.SETTINGS, root=root)
        block, demo = self.config.datasets[name], self.config.demo
        if not self.is_synthetic(name):
            values = block.model_dump(exclude={"channels", "scaling", "bit_depth", "people", "long_people"})
            values["corrections"] = block.corrections or self.config.corrections
            return DatasetSettings(**values, dataset_names=tuple(self.config.datasets))
        if block.layout == LongPeopleSettings.layout:
            return self._long_people_settings(name)
        macro_subjects = demo.subjects // 2
        shared = demo.model_dump(include={"repertoire", "noise", "drift", "portraits", "seed"})
        if block.people is not None:
            return self._people_settings(name, block.people, replace(STANDARD_MICRO, root=root, **shared))
        if block.kind == "macro":
            settings = replace(STANDARD_MACRO, subjects=macro_subjects, clips_per_emotion=demo.macro_clips_per_emotion)
        else:
            settings = replace(
                STANDARD_MICRO,
                subjects=demo.subjects - macro_subjects,
                first_subject=macro_subjects,
                clips_per_emotion=demo.clips_per_emotion,
                fps=demo.fps,
                frames=demo.frames,
            )
        return replace(settings, root=root, emotions=tuple(demo.emotions), **shared)

    def _people_settings(self, name: str, people: PeopleBlock, shared: SyntheticSettings) -> SyntheticSettings:
        """Settings of a dataset with people of its own; their numbers follow those of the datasets before it."""
        before = [self.config.datasets[other].people for other in takewhile(lambda n: n != name, self.config.datasets)]
        return replace(
            shared,
            first_subject=self.config.demo.subjects + sum(block.subjects for block in before if block),
            emotions=tuple(people.clips),
            frame_size=4 * people.interocular_px,
            **people.model_dump(),
        )

    def _long_people_settings(self, name: str) -> LongPeopleSettings:
        """Settings of long videos; the numbers of their people follow those of such datasets before it."""
        long = [other for other, block in self.config.datasets.items() if block.layout == LongPeopleSettings.layout]
        blocks = {other: self.config.datasets[other].long_people or LongPeopleBlock() for other in long}
        before = sum(blocks[other].people for other in takewhile(lambda n: n != name, long))
        kind, root = self.config.datasets[name].kind or "micro", f"{self.paths.dataset(name)}/videos"
        settings = LongPeopleSettings(root=root, kind=kind, **blocks[name].model_dump())
        return replace(settings, first_person=settings.first_person + before)

    def drawing_settings(self, name: str) -> LongPeopleSettings:
        """Settings of the jobs that draw long videos; keys that change no video have a fixed value."""
        return replace(self._long_people_settings(name), root="", kind="micro", people=1)

    def index_settings(self, name: str) -> dict[str, Any]:
        """Settings of the job that lists a dataset; keys that change no row of its tables have a fixed value."""
        settings = self.settings(name)
        if isinstance(settings, DatasetSettings):
            settings = replace(settings, dataset_names=(), on_problem="skip-clip")
        return asdict(settings)

    def index(self, name: str) -> Index:
        """The clips of a dataset, listed once per run.

        Raises:
            InputError: the dataset cannot be used; its problems are written to ``problems.csv``.
        """
        if name not in self.indexes:
            try:
                self.indexes[name] = index_dataset(name, self.settings(name))
            except DatasetError as error:
                table = Path(self.paths.dataset(name), "problems.csv")
                write_problems(error.index.problems, table)
                raise InputError(f"{error}\n(the same as a table: {table})") from error
        return self.indexes[name]

    def overlaps(self, names: Sequence[str]) -> list[list[str]]:
        """Pairs of clips of these datasets that share frames of a video: dataset, clip, dataset, clip.

        The clips may be of two datasets that list expressions of one video, such as micro- and macro-expressions.
        """
        clips = [(name, clip) for name in dict.fromkeys(names) for clip in self.index(name).clips]
        pairs = [
            [name, first, name, second] for name in dict.fromkeys(names) for first, second in self.index(name).overlaps
        ]
        for first, second, _ in shared_frames([clip for _, clip in clips], [clip.frames for _, clip in clips]):
            if clips[first][0] != clips[second][0]:
                pairs.append([clips[first][0], clips[first][1].clip, clips[second][0], clips[second][1].clip])
        return pairs

    def report_problems(self) -> None:
        """Print the problems of every dataset that the study has listed, unless a run has written them already."""
        for name, index in self.indexes.items():
            report_problems(name, index, Path(self.paths.dataset(name), "problems.csv"))

    def index_digest(self, name: str) -> str:
        """A digest that changes if a row of ``clips.csv`` or ``problems.csv`` changes."""
        index = self.index(name)
        return digest(index.clips, index.classes, index.problems, index.source, index.counts)

    def layout(self, name: str) -> str:
        """Layout of a dataset."""
        return "demo" if name == scorer_people.NAME else self.config.datasets[name].layout

    def layout_source(self, name: str) -> Path:
        """File that reads datasets of this layout."""
        return layout_source(self.layout(name))

    def cache_rows(self, name: str) -> list[dict[str, Any]]:
        """What a cache takes from the index, clip by clip, so that other changes of the index do not remake it."""
        names = ["clip", "subject", "label", "kind", "problem"]
        rows = [{key: getattr(clip, key) for key in names} for clip in self.index(name).clips]
        images = self.index(name).images
        return [row | asdict(images[row["clip"]]) for row in rows] if images else rows

    def stops_on_problem(self, name: str) -> bool:
        """Whether a clip of this dataset that cannot be used stops the run."""
        return name in self.config.datasets and self.config.datasets[name].on_problem == "stop"

    def subjects(self, name: str) -> list[str]:
        """File names of the subjects of a dataset, without suffix."""
        return sorted({subject_filename(clip.subject) for clip in self.index(name).clips})

    def clips(self, name: str, subject: str) -> list[dict[str, Any]]:
        """What alignment reads of the clips of one subject."""
        if name not in self._clips:
            grouped = self._clips[name] = {}
            for clip in self.index(name).clips:
                row = {key: getattr(clip, key) for key in FOOTAGE}
                grouped.setdefault(subject_filename(clip.subject), []).append(row)
        if subject not in self._clips[name]:
            subjects = ", ".join(self._clips[name])
            raise InputError(f"dataset {name} has no clips of subject {subject!r}; its subjects are: {subjects}")
        return self._clips[name][subject]

    def source_token(self, name: str, prep: str, subject: str) -> str:
        """Token of the footage of one subject (:mod:`merflow.footage.fingerprints`)."""
        return source_token(
            self.clips(name, subject), Path(self.paths.prepared(name, prep, f"faces/{subject}.source.json"))
        )

    def image_rows(self, name: str) -> list[dict[str, str]]:
        """The files of a dataset of flow images and their faces."""
        return [{"frames": file} for clip in self.index(name).images.values() for file in (*clip.flows, *clip.faces)]

    def image_token(self, name: str, prep: str) -> str:
        """Token of the files of a dataset of flow images."""
        return source_token(self.image_rows(name), Path(self.paths.prepared(name, prep, "images.source.json")))

    def has_frames(self, name: str) -> bool:
        """Whether a dataset goes through alignment, key-frames and flow; flow images enter at the cache."""
        return LAYOUTS[self.layout(name)].has_frames

    def has_faces(self, name: str) -> bool:
        """Whether a dataset has images of faces: frames, or ready-made faces beside its flow images."""
        return self.has_frames(name) or any(images.faces for images in self.index(name).images.values())

    def images_per_clip(self, name: str) -> int:
        """Flow images of each clip in the cache of a dataset of flow images; 0 if it has frames."""
        index = self.index(name)
        usable = [index.images[clip.clip] for clip in index.clips if clip.clip in index.images and not clip.problem]
        return max((len(images.flows) for images in usable), default=0)

    def is_synthetic(self, name: str) -> bool:
        """Whether the workflow makes the clips of a dataset."""
        return LAYOUTS[self.layout(name)].synthetic

    def same_people(self, first: str, second: str) -> bool:
        """Whether one subject name means one person in both datasets.

        It does in MMEW's macro and micro clips and in manifests, which one user writes. Each demo dataset counts its
        subjects from one, and they have different faces.
        """
        return self._people(first) == self._people(second)

    def _people(self, name: str) -> str:
        layout = self.layout(name)
        return name if self.is_synthetic(name) else LAYOUTS[layout].people or layout

    def fps_range(self, names: Iterable[str]) -> list[float]:
        """Lowest and highest frame rate of the clips of some datasets; empty if unknown."""
        rates = sorted(clip.fps for name in names for clip in self.index(name).clips if clip.fps)
        return [rates[0], rates[-1]] if rates else []

    def preparation(self, prep: str) -> PreparationSettings:
        """Settings of all stages of a preparation; weights of other studies have one under their name."""
        weights = self.weights.get(prep)
        block = preparation_block(weights) if weights else self.config.preparations[prep]
        return PreparationSettings.from_block(block.model_dump(by_alias=True))

    def scorer_dataset(self, prep: str) -> str:
        """Dataset that trains the frame scorer of a preparation; empty if its key-frames need no scorer."""
        keyframes = self.config.preparations[prep].keyframes
        return (keyframes.learn_from or scorer_people.NAME) if keyframes.method == "adaptive" else ""

    def scorer_file(self, prep: str) -> str:
        """Weights of the frame scorer of a preparation; empty if there is none."""
        if prep in self.weights:
            return self.weights[prep].scorer
        dataset = self.scorer_dataset(prep)
        return self.paths.scorer(dataset, prep) if dataset else ""


def subject_filename(subject: str) -> str:
    """File name of a subject id, without suffix: ``samm/006`` gives ``006``."""
    return safe_filename(subject.split("/", 1)[1])
