"""The experiments of a study and the floors beside them: classes, labels, folds, splits and groups."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from merflow.datasets.action_units import unit_labels, unit_name
from merflow.datasets.labels import ClassSet, class_set
from merflow.datasets.relabel import relabel
from merflow.errors import ConfigError
from merflow.evaluation.settings import AveragingSettings, EvaluationSettings
from merflow.footage.clip import Clip
from merflow.protocols.folds import fold_names
from merflow.protocols.settings import ClipSettings, SplitSettings
from merflow.storage.files import digest, safe_filename
from merflow.study.config import Config, ExperimentBlock
from merflow.study.config_data import ClassMap
from merflow.study.data import Data
from merflow.systems.registry import NETWORKS, SYSTEMS, complete_block

SPLIT_KEYS = {"subject-kfold": ("folds", "seeds"), "paper-holdout": ("test_clips", "seeds")}
"""Keys of an experiment that decide the split of a protocol; each seed draws another split."""
CLIPS_AND_SPLIT = {"micro", "train_also", "prep", "protocol", "folds", "test_clips", "classes", "task", "units"}
"""Keys that a floor has in common with its experiments."""
Comparison = tuple[tuple[str, ...], str, str, str, str]
"""What two experiments must share to be comparable: datasets, alignment, protocol, classes, and `train_also`."""


class Experiments:
    """Experiments by name, as read from a configuration or as cells of a table of variants."""

    def __init__(self, blocks: Mapping[str, ExperimentBlock], data: Data) -> None:
        """Keep the experiments; their datasets are indexed at their first use."""
        self.blocks, self.data = dict(blocks), data
        self._labels: dict[str, dict[str, dict[str, str]]] = {}
        self._folds: dict[str, dict[str, str]] = {}
        self.graph_experiments = self._names(lambda e: e.uses_graphs)
        self.shared_feature_experiments = self._names(lambda e: e.shares_features)
        self.shared_weight_experiments = self._names(lambda e: e.shares_weights)
        self.graph_fold_experiments = self._names(lambda e: e.uses_graphs and not e.shares_features)
        self.clip_network_experiments = self._names(lambda e: e.reads_clips)
        self.fold_experiments = self.graph_fold_experiments + self.clip_network_experiments
        self.linear_experiments = self._names(lambda e: SYSTEMS[e.system].kind == "linear")
        self.network_experiments = self.graph_experiments + self.clip_network_experiments
        self.ensembles = self._names(lambda e: e.is_ensemble)
        self.trained_experiments = self._names(lambda e: not e.is_ensemble)
        self.class_experiments = self._names(lambda e: not e.recognises_units)
        self.class_networks = [name for name in self.network_experiments if not self[name].recognises_units]
        self.calibrated_experiments = self.class_networks + self.ensembles

    def _names(self, accepts: Callable[[ExperimentBlock], bool]) -> list[str]:
        return [name for name, experiment in self.blocks.items() if accepts(experiment)]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.blocks)

    def __getitem__(self, name: str) -> ExperimentBlock:
        """Return the block of an experiment."""
        return self.blocks[name]

    def reading(self, name: str) -> str:
        """What the system was rebuilt from if its paper was not available; otherwise empty."""
        system = self[name].system
        return NETWORKS[system].reading if system in NETWORKS else ""

    def classes(self, name: str) -> list[str]:
        """Classes of an experiment: its own if it names some, otherwise those of its datasets, in their order.

        Those of the task ``action-units`` are its units, as ``AU4``.

        Raises:
            ConfigError: there are fewer than two, or no dataset has one of them.
        """
        e, where = self[name], f"experiments.{name}"
        if e.recognises_units:
            return [unit_name(number) for number in e.units or ()]
        if isinstance(e.classes, str | ClassMap):
            return list(self.class_set(name, e.datasets[0]).classes)
        classes = list(dict.fromkeys(label for dataset in e.datasets for label in self.data.index(dataset).classes))
        labels = ", ".join(classes) or "none"
        if unknown := [label for label in e.classes or () if label not in classes]:
            raise ConfigError(f"{where}.classes: no clip is labelled {', '.join(unknown)}; there are: {labels}")
        if not e.classes and len(classes) < 2:
            raise ConfigError(f"{where}: its clips need at least 2 labels; there are: {labels}")
        return list(e.classes or classes)

    def classes_by_name(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Classes of several experiments."""
        return {name: self.classes(name) for name in names}

    def class_set(self, name: str, dataset: str) -> ClassSet:
        """The class set or map of an experiment, for the labels of one of its datasets."""
        where, layout = f"experiments.{name}.classes", self.data.layout(dataset)
        return class_set(plain_classes(self[name].classes), where, layout, alone=False)

    def labels(self, name: str) -> dict[str, dict[str, str]]:
        """Label of each clip by dataset, if the experiment has its own class set or map, or units; otherwise empty.

        A dataset that only trains keeps its own class set or map, if it has one.
        """
        if name not in self._labels and (units := self[name].units):
            indexes = {dataset: self.data.index(dataset) for dataset in self[name].training_datasets}
            self._labels[name] = {
                dataset: dict(zip(index.names, unit_labels(index.unit_cells, units), strict=True))
                for dataset, index in indexes.items()
            }
        if name not in self._labels:
            if not isinstance(self[name].classes, str | ClassMap):
                return {}
            where, data = f"experiments.{name}.classes", self.data
            self._labels[name] = {
                dataset: relabel(data.index(dataset), data.layout(dataset), self.class_set(name, dataset), where)
                for dataset in self[name].training_datasets
                if dataset in self[name].datasets or data.config.datasets[dataset].classes is None
            }
        return self._labels[name]

    def clip_settings(self, name: str) -> ClipSettings:
        """The clips and classes that an experiment recognises."""
        e = self[name]
        return ClipSettings(e.datasets, self.classes(name), self.labels(name), e.train_also, e.recognises_units)

    def tested_clip_settings(self, name: str) -> ClipSettings:
        """The same without the clips that only train."""
        labels = {dataset: of for dataset, of in self.labels(name).items() if dataset in self[name].datasets}
        return replace(self.clip_settings(name), labels=labels, train_also=())

    def usable_clips(self, name: str) -> list[Clip]:
        """The clips that an experiment recognises, those that have no problem and a label among its classes."""
        return [clip for dataset in self[name].datasets for clip in self.usable_clips_of(name, dataset)]

    def usable_clips_of(self, name: str, dataset: str) -> list[Clip]:
        """Those of one of the datasets that an experiment recognises or trains on."""
        classes, labels = self.classes(name), self.labels(name).get(dataset, {})
        clips = [clip for clip in self.data.index(dataset).clips if not clip.problem]
        if self[name].recognises_units:
            return [clip for clip in clips if labels[clip.clip]]
        return [clip for clip in clips if labels.get(clip.clip, clip.label) in classes]

    def shared_people(self, name: str, dataset: str) -> set[str]:
        """People whom an experiment recognises, and who have clips in a dataset that only trains."""
        people = {clip.subject for clip in self.usable_clips_of(name, dataset)}
        names = {subject.split("/", 1)[1] for subject in people}
        people |= {f"{micro}/{person}" for micro in self.same_people(name, dataset) for person in names}
        return people & {clip.subject for clip in self.usable_clips(name)}

    def same_people(self, name: str, dataset: str) -> list[str]:
        """The datasets that an experiment recognises whose subject names mean the same people as another one's."""
        return [micro for micro in self[name].datasets if self.data.same_people(micro, dataset)]

    def class_counts(self, name: str) -> list[dict[str, Any]]:
        """Clips of each class of an experiment: ``label, expected`` (published, or None) and ``indexed``."""
        classes, labels = self.classes(name), self.labels(name)
        if self[name].recognises_units:
            texts = [label for dataset in self[name].datasets for label in labels[dataset].values()]
            shown = Counter(unit for label in texts for unit in label.split("+"))
            return [{"label": unit, "expected": None, "indexed": shown[unit]} for unit in classes]
        counts, expected, all_published = Counter[str](), Counter[str](), True
        for dataset in self[name].datasets:
            block = self.data.config.datasets[dataset]
            asked = class_set(plain_classes(self[name].classes if labels else block.classes), dataset, block.layout)
            published = asked.published(block.layout)
            expected.update(published.counts if published else {})
            all_published &= published is not None and set(classes) <= set(published.counts)
            clips = self.data.index(dataset).clips
            counts.update(labels[dataset][clip.clip] if labels else clip.label for clip in clips)
        return [{"label": c, "expected": expected[c] if all_published else None, "indexed": counts[c]} for c in classes]

    def folds(self, name: str) -> dict[str, str]:
        """The folds of an experiment, those of the subjects that have a usable clip, by their file names."""
        if name not in self._folds:
            people = {clip.subject for clip in self.usable_clips(name)}
            folds = fold_names(self[name].protocol, people, self[name].folds)
            self._folds[name] = {safe_filename(fold): fold for fold in folds}
        return self._folds[name]

    def shared_prep(self, name: str) -> str:
        """The first preparation of an experiment on the same datasets that aligns faces in the same way.

        Systems with different key-frames or flow are so compared on the same clips and splits, beside the same floors.
        """
        preparations, experiment = self.data.config.preparations, self[name]
        used = {e.prep for e in self.blocks.values() if e.datasets == experiment.datasets}
        align = preparations[experiment.prep].align
        return next(prep for prep in preparations if prep in used and preparations[prep].align == align)

    def comparison(self, name: str) -> Comparison:
        """The group of an experiment within which systems are compared."""
        experiment = self[name]
        split = "-".join(_as_name(getattr(experiment, key)) for key in SPLIT_KEYS.get(experiment.protocol, ()))
        protocol = experiment.protocol + (f"-{split}" if split else "")
        classes, train_also = _classes_name(experiment), "-".join(experiment.train_also)
        return tuple(experiment.datasets), self.shared_prep(name), protocol, classes, train_also

    def split_name(self, name: str) -> str:
        """Start of the names of an experiment's tables of splits; a corrected label does not change it."""
        experiment, datasets = self[name], self[name].datasets
        keys = [_as_name(getattr(experiment, key)) for key in SPLIT_KEYS.get(experiment.protocol, ()) if key != "seeds"]
        classes, validation = _classes_name(experiment), float(experiment.training.validation)
        identity = digest(datasets, self.shared_prep(name), keys, classes, validation)
        return f"{experiment.protocol}-{'-'.join(datasets)[:80]}-{identity[:6]}"

    def split_settings(self, name: str) -> SplitSettings:
        """What decides the splits of an experiment, except for the seed."""
        e = self[name]
        folds = e.folds if e.protocol == "subject-kfold" else None
        test_clips = e.test_clips if e.protocol == "paper-holdout" else None
        return SplitSettings(e.protocol, folds, test_clips, e.training.validation, self.tested_clip_settings(name))

    def evaluation_settings(self, name: str) -> EvaluationSettings:
        """How the predictions of an experiment are scored."""
        return EvaluationSettings(name, self[name].protocol, self.classes(name), self[name].recognises_units)

    def preparations(self, name: str) -> list[str]:
        """The preparations that new clips need for an experiment, or for all members of an ensemble."""
        return list(dict.fromkeys(self[member].prep for member in self[name].of or [name]))

    def averaging_settings(self, name: str) -> AveragingSettings:
        """How the members of an ensemble are averaged."""
        return AveragingSettings(name, self.classes(name), self[name].seeds)

    def resolve(self, asked: Sequence[str], where: str) -> list[str]:
        """The experiments and floors of a list of names; ``where`` is its key, for messages.

        If there are several floors of a system, its name means the one beside the first experiment of the list.

        Raises:
            ConfigError: there is no experiment or floor of a name.
        """
        declared = self.data.config.experiments.keys() & self.blocks.keys()
        first = next((name for name in asked if name in declared), None)
        beside = {self[name].system: name for name in self if first and self.comparison(name) == self.comparison(first)}
        names = [name if name in declared else beside.get(name, name) for name in asked]
        if unknown := [name for name in names if name not in self.blocks]:
            raise ConfigError(f"{where}: no experiment or floor {unknown[0]!r}; there are: {', '.join(self)}")
        return names

    def prepared(self) -> list[tuple[str, str]]:
        """Every (dataset, preparation) that is used, in the order of first use."""
        pairs = [
            (dataset, e.prep)
            for e in self.blocks.values()
            for dataset in ([e.macro] if e.pretrains else []) + e.training_datasets
        ]
        return list(dict.fromkeys(pairs))


def with_floors(config: Config, data: Data) -> Experiments:
    """The experiments of a configuration without its ensembles, and the floors that belong beside them.

    A floor has the clips and the split of the experiments that it is compared with. It repeats their seeds if a seed
    draws the split or the floor's weights. Its name ends in its group, unless that is the only one (with networks
    and without ``train_also``).
    """
    declared = Experiments({name: e for name, e in config.experiments.items() if not e.is_ensemble}, data)
    groups: dict[Comparison, str] = {}
    flows = {name: config.preparations[e.prep].flow.reference for name, e in declared.blocks.items()}
    # Floors read the flow from the onset: a group is named by an experiment that has it, if there is one.
    for name in sorted(declared, key=lambda name: (not declared[name].trains_network, flows[name] != "onset")):
        groups.setdefault(declared.comparison(name), name)
    networks = [group for group, name in groups.items() if declared[name].trains_network]
    plain = [group for group in networks if not group[-1]] or networks or list(groups)
    present = {(declared[name].system, declared.comparison(name)) for name in declared}
    floors: dict[str, ExperimentBlock] = {}
    for group, name in groups.items():
        for system in config.floors:
            if system == "majority" and declared[name].recognises_units:
                system = "all-ones"
            if (system, group) in present:
                continue
            parts = [system] if plain == [group] else [system, *group[0], *group[1:]]
            floor = "-".join(filter(None, parts))
            floors[f"floor-{floor}" if floor in declared.blocks else floor] = _floor(system, declared[name], config)
    return Experiments(declared.blocks | floors, data)


def _floor(system: str, experiment: ExperimentBlock, config: Config) -> ExperimentBlock:
    validation = {"validation": experiment.training.validation}
    settings = experiment.model_dump(include=CLIPS_AND_SPLIT, exclude_none=True)
    draws = system in NETWORKS or experiment.protocol in SPLIT_KEYS
    settings |= {"system": system, "seeds": experiment.seeds if draws else [0], "head": validation}
    if system in NETWORKS:
        network = config.network.model_dump(exclude_none=True)
        settings |= {"network": complete_block(system, network) | validation, "loss": dict(NETWORKS[system].loss)}
        settings["augment"] = config.augment.model_dump()
    return ExperimentBlock.model_validate(settings)


def plain_classes(classes: Any) -> Any:
    """``classes`` of a block as :func:`merflow.datasets.labels.class_set` takes them."""
    return classes.model_dump(exclude_none=True) if isinstance(classes, ClassMap) else classes


def distinct_settings(experiment: ExperimentBlock) -> str:
    """An experiment as text that is the same for equal settings."""
    networks = CLIPS_AND_SPLIT | {"system", "seeds", "network", "loss", "augment", "selection", "grid"}
    settings = experiment.model_dump(include=networks if experiment.reads_clips else None)
    if not experiment.reads_clips and experiment.loss.name == "cross-entropy":
        settings["loss"] = {"name": "cross-entropy", "weights": experiment.loss.weights}
    return json.dumps(json.loads(json.dumps(settings), parse_int=float), sort_keys=True)


def _classes_name(experiment: ExperimentBlock) -> str:
    """The classes of an experiment as part of a name; empty for those of its datasets."""
    classes = experiment.classes
    if experiment.units:
        return f"units-{'-'.join(map(str, experiment.units))}"
    if classes is None or isinstance(classes, str):
        return classes or ""
    if isinstance(classes, list):
        return "-".join(classes)
    return digest(sorted(classes.map.items()), classes.column)[:6]


def _as_name(value: Any) -> str:
    """A setting as part of a name."""
    return ".".join(map(str, value)) if isinstance(value, list) else "default" if value is None else str(value)
