"""What is made of trained networks: ensembles, ONNX exports, and the report of the study."""

import itertools

from merflow.datasets.registry import LAYOUTS
from merflow.errors import ConfigError
from merflow.inference.settings import (
    SIGNALS,
    EnsembleSettings,
    ExportSettings,
    InputSettings,
    SystemEnsembleSettings,
    SystemMember,
)
from merflow.report.settings import (
    AddedClips,
    ClassCount,
    ExperimentSettings,
    GraphSettings,
    ReportSettings,
    VariantTableSettings,
)
from merflow.study.config import NO_MACRO, ExperimentBlock
from merflow.study.figures import Figures
from merflow.study.training import Training, signal_settings
from merflow.systems.registry import network_settings

EPOCH_CHOICES = {
    "validation": "validation subjects choose the epoch and do not train",
    "refit": "validation subjects choose the number of epochs, for which all training clips then train",
    "fixed": "all training clips train for a fixed number of epochs",
    "average": "all training clips train for a fixed number of epochs; the mean of the last weights is kept",
}
"""What the report says of each way to choose the epoch."""


class Publishing:
    """Ensembles, exports and the report of a study."""

    def __init__(self, training: Training, figures: Figures) -> None:
        """Keep the planners of the training jobs and of the figures."""
        self.training, self.figures = training, figures
        self.experiments, self.paths, self.data = training.experiments, training.paths, training.experiments.data
        self.config = self.data.config

    def ensemble_settings(self, name: str) -> EnsembleSettings:
        """What ``ensemble.json`` says of an experiment beside its members and its calibration."""
        e = self.experiments[name]
        return EnsembleSettings(
            name,
            e.system,
            self.experiments.classes(name),
            e.datasets,
            e.macro if e.uses_graphs else NO_MACRO,
            e.prep,
            e.protocol,
            e.seeds,
            "nested" if e.selection == "nested" else "fixed",
            e.epoch_choice,
            self._input_settings(name),
            {} if e.reads_clips else {seed: self._network_files(name, seed) for seed in e.seeds},
            e.recognises_units,
        )

    def _input_settings(self, name: str) -> InputSettings:
        e = self.experiments[name]
        if e.uses_graphs:
            return InputSettings(**vars(signal_settings(e)), kind=SIGNALS, side=e.graph.side)
        network = network_settings(e.system, e.network_block)
        return InputSettings([], "", "", "", "", network.input_kind, network.side)

    def _network_files(self, name: str, seed: int) -> list[dict[str, str]]:
        """``graph`` of each SGCN of one repeat and, if all folds share them, its ``weights``."""
        files = [{"graph": file} for file in self.training.graph_files(name, seed)]
        if self.experiments[name].shares_features:
            weights = self.training.fold_weights(name, seed)
            files = [{**graph, "weights": file} for graph, file in zip(files, weights, strict=True)]
        return files

    def ensemble_networks(self, name: str) -> list[str]:
        """Graphs of an experiment, and the weights that its folds share."""
        if self.experiments[name].reads_clips:
            return []
        networks = [network for seed in self.experiments[name].seeds for network in self._network_files(name, seed)]
        return list(dict.fromkeys(file for network in networks for file in network.values()))

    def ensemble_files(self, name: str) -> list[str]:
        """``ensemble.json`` of an experiment, and every file that it points to."""
        file = self.paths.experiment(name, "ensemble.json")
        if self.experiments[name].is_ensemble:
            return [file, *self.member_files(name)]
        return [file, *self.training.model_files(name), *self.ensemble_networks(name)]

    def system_ensemble_settings(self, name: str) -> SystemEnsembleSettings:
        """What ``ensemble.json`` says of an ensemble of systems beside the temperatures of its baselines."""
        e = self.experiments[name]
        members = [self._member(member) for member in e.of or ()]
        classes = self.experiments.classes(name)
        return SystemEnsembleSettings(name, classes, e.datasets, e.prep, e.protocol, e.seeds, members)

    def _member(self, name: str) -> SystemMember:
        if name in self.experiments.network_experiments:
            return SystemMember(name, self.experiments[name].system, [self.paths.experiment(name, "ensemble.json")])
        caches, clips = self.training.training_caches(name), self.experiments.clip_settings(name)
        return SystemMember(name, self.experiments[name].system, caches, clips)

    def baselines(self, name: str) -> list[str]:
        """The members of an ensemble that train no network."""
        return [member for member in self.experiments[name].of or () if member in self.experiments.linear_experiments]

    def member_files(self, name: str) -> list[str]:
        """Every file that the members of an ensemble answer by, each once."""
        baselines = self.baselines(name)
        files = [
            self.training.training_caches(member) if member in baselines else self.ensemble_files(member)
            for member in self.experiments[name].of or ()
        ]
        return list(dict.fromkeys(itertools.chain(*files)))

    @property
    def exported(self) -> list[str]:
        """Experiments that ``snakemake export`` writes as ONNX."""
        asked, trained = (
            self.config.export.experiments,
            [*self.experiments.class_networks, *self.exported_ensembles],
        )
        if asked is None:
            return [name for name in trained if name in self.config.experiments]
        for name in asked:
            if name in self.experiments.ensembles and name not in trained:
                why = f"its members have the preparations {', '.join(self.experiments.preparations(name))}"
                if baselines := ", ".join(self.baselines(name)):
                    why = f"its member {baselines} trains no network"
                raise ConfigError(f"export.experiments: {name!r} cannot be exported, because {why}; name its members")
        if unknown := [name for name in asked if name not in trained]:
            raise ConfigError(f"export.experiments: {unknown[0]!r} trains no network; there are: {', '.join(trained)}")
        return asked

    @property
    def exported_ensembles(self) -> list[str]:
        """Ensembles that can be written as ONNX: all members are networks that read the same prepared clips."""
        return [
            name
            for name in self.experiments.ensembles
            if not self.baselines(name) and len(self.experiments.preparations(name)) == 1
        ]

    def export_settings(self, name: str) -> ExportSettings:
        """What the export and its model card say of an experiment."""
        e = self.experiments[name]
        roles = dict.fromkeys(e.datasets, "recognised")
        roles |= dict.fromkeys(e.train_also, "training only")
        if e.pretrains:
            roles.setdefault(e.macro, "pre-training")
        layouts = {dataset: self.data.layout(dataset) for dataset in roles}
        floors = [floor for floor in self.experiments if floor not in self.config.experiments]
        comparison = self.experiments.comparison(name)
        return ExportSettings(
            self.config.export.members,
            self.data.preparation(e.prep),
            [
                {"name": dataset, "layout": layout, "role": roles[dataset], "licence": LAYOUTS[layout].licence}
                for dataset, layout in layouts.items()
            ],
            self.experiments.class_counts(name),
            bool(self.config.demo.portraits),
            [floor for floor in floors if self.experiments.comparison(floor) == comparison],
        )

    def report_settings(self) -> ReportSettings:
        """What the report says of the study beside its tables."""
        config, experiments, prepared = self.config, self.experiments, self.training.prepared()
        preparations = config.preparations
        return ReportSettings(
            name=self.paths.name,
            title=config.title or self.paths.name,
            synthetic=any(self.data.is_synthetic(dataset) for dataset, _ in prepared),
            prepared=prepared,
            layouts={name: dataset.layout for name, dataset in config.datasets.items()},
            demo_portraits=bool(config.demo.portraits),
            head_motion_subtracted=all(preparation.flow.rigid for preparation in preparations.values()),
            scorer_datasets=[dataset for prep in preparations if (dataset := self.data.scorer_dataset(prep))],
            uncertain_below=config.predict.uncertain_below,
            experiments={name: self._experiment(name) for name in experiments},
            tables={
                name: VariantTableSettings(table.title or name, table.of, table.published)
                for name, table in config.tables.items()
            },
            figures={name: self.figures.settings(name) for name in self.figures.blocks},
            graphs=self.shown_graphs,
            config=config.model_dump(by_alias=True, exclude_none=True),
            benchmarks=self.paths.pathvars["benchmarks"],
        )

    def _experiment(self, name: str) -> ExperimentSettings:
        """What the report says of an experiment; a linear one is a floor if the study declares a network."""
        e = self.experiments[name]
        trains = any(experiment.trains_network for experiment in self.config.experiments.values())
        return ExperimentSettings(
            system=e.system,
            datasets=e.datasets,
            floor=name not in self.config.experiments or (trains and name in self.experiments.linear_experiments),
            members=e.of or [],
            added=[self._added(name, dataset) for dataset in e.train_also],
            reading=self.experiments.reading(name),
            class_counts=[ClassCount(**count) for count in self.experiments.class_counts(name)],
            training=_training_text(e),
            coded=self._coded(name) if e.recognises_units else {},
        )

    def _coded(self, name: str) -> dict[str, list[int]]:
        """Usable clips of each dataset whose action units were coded, and those that were not."""
        coded = {}
        for dataset in self.experiments[name].training_datasets:
            usable = sum(not clip.problem for clip in self.data.index(dataset).clips)
            count = len(self.experiments.usable_clips_of(name, dataset))
            coded[dataset] = [count, usable - count]
        return coded

    def _added(self, name: str, dataset: str) -> AddedClips:
        """What the report says of a dataset that only trains."""
        clips = self.experiments.usable_clips_of(name, dataset)
        usable = sum(not clip.problem for clip in self.data.index(dataset).clips)
        return AddedClips(dataset, len(clips), len({clip.subject for clip in clips}), usable - len(clips))

    @property
    def shown_graphs(self) -> dict[str, GraphSettings]:
        """The graphs that the report draws: those of the first seed of each experiment."""
        users: dict[str, dict[str, list[str]]] = {}
        for name in self.experiments.graph_experiments:
            for network in self.training.networks(name, self.experiments[name].seeds[0]):
                users.setdefault(network.graph, {})[name] = self.experiments[name].datasets
        return {
            graph: GraphSettings(list(names), list(dict.fromkeys(itertools.chain(*names.values()))))
            for graph, names in users.items()
        }


def _training_text(experiment: ExperimentBlock) -> str:
    """How the epoch of a network was chosen, whether clips were augmented, and how many networks answer for a fold."""
    if not experiment.trains_network:
        return ""
    parts = [EPOCH_CHOICES[experiment.epoch_choice]]
    parts += ["training clips are augmented"] if experiment.augments else []
    parts += [f"the answer is the mean of {experiment.members} networks"] if experiment.members > 1 else []
    return "; ".join(parts)
