"""What trains: graphs, pre-trained weights, features, heads, networks and linear baselines, with their files."""

import itertools
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from merflow.learning.settings import AugmentSettings, LossSettings
from merflow.protocols.settings import SelectionSettings, SplitSettings
from merflow.storage.files import digest
from merflow.study.config import Config, ExperimentBlock
from merflow.study.config_checks import table_cells
from merflow.study.experiments import Experiments
from merflow.study.paths import EXPERIMENT_TABLES, Paths
from merflow.systems.registry import network_settings
from merflow.systems.settings import (
    CellSettings,
    ClipNetworkSettings,
    FinetuneSettings,
    FoldTrainingSettings,
    GraphSettings,
    HeadSettings,
    LinearSettings,
    PretrainedNetwork,
    PretrainSettings,
    SGCNSettings,
    SignalSettings,
)

PARTS = ("first", "second")
"""End of the names of the weights of two SGCNs that are pre-trained together."""


class Network(NamedTuple):
    """One SGCN of a repeat: the names of its weights and of its graph, its seed and the settings of both.

    ``pair``: name of the two networks that are pre-trained together; empty for a network that is trained alone.
    """

    weights: str
    graph: str
    seed: int
    graph_settings: GraphSettings
    pretrain_settings: PretrainSettings
    pair: str = ""


class Training:
    """The training jobs of experiments, and of the tables of variants beside them."""

    def __init__(self, experiments: Experiments, paths: Paths, tables: Mapping[str, "Training"] | None = None) -> None:
        """Keep the experiments; ``tables`` has the training of the cells of each table."""
        self.experiments, self.paths, self.tables = experiments, paths, tables or {}
        self._with_tables = [self, *self.tables.values()]
        self._groups: dict[tuple[str, int], list[str]] = {}

    def caches(self, name: str) -> list[str]:
        """Caches of the datasets that an experiment recognises."""
        e = self.experiments[name]
        return [self.paths.cache(dataset, e.prep) for dataset in e.datasets]

    def training_caches(self, name: str) -> list[str]:
        """Caches of the datasets that an experiment trains on: those of :meth:`caches`, and of ``train_also``."""
        e = self.experiments[name]
        return [self.paths.cache(dataset, e.prep) for dataset in e.training_datasets]

    def splits(self, name: str) -> dict[int, str]:
        """The table of splits of each seed."""
        split = self.experiments.split_name(name)
        return {seed: self.paths.split(split, seed) for seed in self.experiments[name].seeds}

    @cached_property
    def split_experiments(self) -> dict[str, tuple["Training", str]]:
        """An experiment, or a cell of a table, of each split, by the name of the split."""
        splits: dict[str, tuple[Training, str]] = {}
        for training in self._with_tables:
            for name in training.experiments:
                splits.setdefault(training.experiments.split_name(name), (training, name))
        return splits

    def split_settings(self, split: str) -> SplitSettings:
        """What decides a split, except for the seed."""
        training, name = self.split_experiments[split]
        return training.experiments.split_settings(name)

    def prepared(self) -> list[tuple[str, str]]:
        """Every (dataset, preparation) of the experiments and of the tables, in the order of first use."""
        return list(dict.fromkeys(pair for training in self._with_tables for pair in training.experiments.prepared()))

    def split_caches(self, split: str) -> list[str]:
        """Caches of the datasets whose clips a split divides."""
        training, name = self.split_experiments[split]
        prep = training.experiments.shared_prep(name)
        return [self.paths.cache(dataset, prep) for dataset in training.experiments[name].datasets]

    def networks(self, name: str, seed: int) -> list[Network]:
        """The one or two SGCNs of one repeat of an experiment, in the order of ``graphs``."""
        e = self.experiments[name]
        networks = [_network(e, index, seed) for index in range(len(e.graphs))]
        return _pair(networks, seed) if e.pretrains_together else networks

    @cached_property
    def networks_by_weights(self) -> dict[str, Network]:
        """Every SGCN by the name of its weights, those of tables of variants included."""
        return {network.weights: network for network in self._all_networks}

    @cached_property
    def pairs(self) -> dict[str, list[Network]]:
        """The two SGCNs that are pre-trained together, by the name of the pair."""
        pairs: dict[str, list[Network]] = {}
        for network in self.networks_by_weights.values():
            if network.pair:
                pairs.setdefault(network.pair, []).append(network)
        return pairs

    @cached_property
    def graphs(self) -> dict[str, GraphSettings]:
        """Settings of every graph by its name, those of tables of variants included."""
        return {network.graph: network.graph_settings for network in self._all_networks}

    @cached_property
    def _all_networks(self) -> list[Network]:
        return [
            network
            for training in self._with_tables
            for name in training.experiments.graph_experiments
            for seed in training.experiments[name].seeds
            for network in training.networks(name, seed)
        ]

    def graph_files(self, name: str, seed: int) -> list[str]:
        """Graph of each SGCN of one repeat."""
        return [self.paths.graph(network.graph) for network in self.networks(name, seed)]

    def weight_files(self, name: str, suffix: str = ".safetensors") -> list[str]:
        """Weights of the pre-trained SGCNs of all repeats; with ``.csv`` their training curves."""
        e = self.experiments[name]
        networks = [network for seed in e.seeds for network in self.networks(name, seed)]
        return [self.paths.weights(e.macro, e.prep, network.weights, suffix) for network in networks]

    def pretrained_networks(self, name: str) -> list[PretrainedNetwork]:
        """The SGCNs in :meth:`weight_files`, named by their graphs; two that are pre-trained together count as one."""
        e = self.experiments[name]
        names = [f"{graph} (second)" if graph in e.graphs[:index] else graph for index, graph in enumerate(e.graphs)]
        if e.pretrains_together:
            names = [" and ".join(e.graphs)]
        return [PretrainedNetwork(name, seed, network) for seed in e.seeds for network in names]

    def pretraining_files(self, name: str, suffix: str = ".safetensors") -> list[str]:
        """A file of :meth:`weight_files` for each of :meth:`pretrained_networks`; the two files of a pair agree."""
        e, files = self.experiments[name], self.weight_files(name, suffix)
        return files[:: len(e.graphs)] if e.pretrains_together else files

    def features(self, name: str) -> dict[int, list[list[str]]]:
        """For each seed and each dataset that trains heads the feature files of the one or two SGCNs (Eq. 4)."""
        e = self.experiments[name]

        def files(seed: int, dataset: str) -> list[str]:
            names = [network.weights for network in self.networks(name, seed)]
            inputs = signal_settings(e)
            signal = inputs.signal + ("" if inputs.normalise == "constant" else f".{inputs.normalise}")
            return [self.paths.features(e.prep, e.macro, weights, dataset, signal) for weights in names]

        return {seed: [files(seed, dataset) for dataset in e.training_datasets] for seed in e.seeds}

    def feature_files(self, name: str) -> list[str]:
        """The files of :meth:`features` as one list."""
        return [file for datasets in self.features(name).values() for networks in datasets for file in networks]

    def fold_weights(self, name: str, seed: int) -> list[str]:
        """Pre-trained weights that a fold starts from; empty if there are none, or if the fold pre-trains."""
        e = self.experiments[name]
        if not e.shares_weights:
            return []
        return [self.paths.weights(e.macro, e.prep, network.weights) for network in self.networks(name, seed)]

    def fold_macro_cache(self, name: str) -> list[str]:
        """Cache of the macro dataset if each fold pre-trains without its test subjects; otherwise empty."""
        e = self.experiments[name]
        return [self.paths.cache(e.macro, e.prep)] if e.pretrains and e.pretrain.exclude_test_subjects else []

    def head_settings(self, name: str) -> FinetuneSettings:
        """Settings of the heads of an experiment with shared features."""
        return FinetuneSettings(**self._job(name), **_fused_head(self.experiments[name]))

    def fold_settings(self, name: str, seed: int) -> FoldTrainingSettings:
        """Settings of the folds of one repeat of an experiment whose SGCNs depend on the fold."""
        e = self.experiments[name]
        return FoldTrainingSettings(
            **self._job(name, seed),
            **_fused_head(e),
            transfer=e.transfer,
            pretrain=_pretrain(e) if self.fold_macro_cache(name) else None,
            together=e.pretrains_together,
            sgcn=SGCNSettings(**e.sgcn.model_dump()),
            network_seeds=[network.seed for network in self.networks(name, seed)],
            augment=_augment(e),
        )

    def clip_network_settings(self, name: str, seed: int) -> ClipNetworkSettings:
        """Settings of the folds of one repeat of a network that reads clips; options of other networks are left out."""
        e = self.experiments[name]
        network = network_settings(e.system, e.network_block, e.recognises_units)
        return ClipNetworkSettings(**self._job(name, seed), network=network, loss=_loss(e), augment=_augment(e))

    def linear_settings(self, name: str) -> LinearSettings:
        """Settings of a baseline without a network."""
        return LinearSettings(**self._job(name), system=self.experiments[name].system)

    def _job(self, name: str, seed: int | None = None) -> dict[str, Any]:
        """What every training job reads (:class:`JobSettings`), for one repeat or all of them."""
        splits = self.splits(name)
        return {
            "experiment": name,
            "clips": self.experiments.clip_settings(name),
            "selection": _selection(self.experiments[name]),
            "splits": splits if seed is None else {seed: splits[seed]},
            "members": self.experiments[name].members,
        }

    def model_files(self, name: str) -> list[str]:
        """The files of the trained networks of an experiment."""
        if self.experiments[name].shares_features:
            return [self.paths.experiment(name, "heads.safetensors")]
        return self._fold_files(name, "model.safetensors")

    def fold_tables(self, name: str, table: str) -> list[str]:
        """A table of all folds and seeds of an experiment in parts; ``table`` is a key of :data:`EXPERIMENT_TABLES`."""
        return self._fold_files(name, EXPERIMENT_TABLES[table])

    def _fold_files(self, name: str, file: str) -> list[str]:
        """A file of each job that trains folds of an experiment."""
        seeds = self.experiments[name].seeds
        return [self.paths.folds(name, seed, group, file) for seed in seeds for group in self.fold_groups(name, seed)]

    def fold_groups(self, name: str, seed: int) -> list[str]:
        """The folders of the jobs that train the folds of a repeat, ``folds_per_job`` in a job (:func:`_fold_groups`).

        If more of the folds were trained in groups of another size, these groups are kept: no fold trains again.
        """
        if (name, seed) not in self._groups:
            folds = list(self.experiments.folds(name))
            models = Path(self.paths.experiment(name, f"folds/{seed}")).glob("*/model.safetensors")
            trained = {model.parent.name for model in models}
            sizes = [self.experiments.data.config.folds_per_job, *(range(1, len(folds) + 1) if trained else ())]
            groupings = [_fold_groups(folds, size) for size in sizes]
            best = max(groupings, key=lambda groups: sum(groups[group] for group in trained & groups.keys()))
            self._groups[name, seed] = list(best)
        return self._groups[name, seed]

    def folds_of_group(self, name: str, group: str) -> list[str]:
        """The folds in a folder of :meth:`fold_groups`, from its name alone: trainings that run change the groups."""
        first, _, size = group.partition("+")
        folds = self.experiments.folds(name)
        start = list(folds).index(first)
        return list(folds.values())[start : start + int(size or 1)]

    def cells(self, table: str) -> list[CellSettings]:
        """Settings of the cells of a table."""
        cells = []
        for row, column, _ in table_cells(self.experiments.data.config, table):
            training, name = self.tables[table], cell_name(row, column)
            cell = CellSettings(
                row=row,
                column=column,
                protocol=training.experiments[name].protocol,
                finetune=training.head_settings(name),
                features=training.features(name),
                weights=training.weight_files(name),
            )
            cells.append(cell)
        return cells

    def table_files(self, table: str) -> dict[str, list[str]]:
        """Files that the cells of a table need, each once, by input of the rule."""
        training = self.tables[table]
        names = list(training.experiments)
        files = {
            "features": [file for name in names for file in training.feature_files(name)],
            "weights": [file for name in names for file in training.weight_files(name)],
            "splits": [file for name in names for file in training.splits(name).values()],
        }
        return {kind: list(dict.fromkeys(paths)) for kind, paths in files.items()}


def make_training(config: Config, experiments: Experiments, paths: Paths) -> Training:
    """The training of a configuration: its experiments, and the cells of its tables of variants."""
    tables = {}
    for table in config.tables:
        cells = {
            cell_name(row, column): ExperimentBlock.model_validate(cell)
            for row, column, cell in table_cells(config, table)
        }
        tables[table] = Training(Experiments(cells, experiments.data), paths)
    return Training(experiments, paths, tables)


def cell_name(row: str, column: str) -> str:
    """Name of a cell of a table among the experiments of the table."""
    return f"{row} | {column}"


def _fold_groups(folds: list[str], per_job: int) -> dict[str, int]:
    """The number of folds of each job, by its folder: consecutive folds, about as many in each job.

    A folder has the name of its first fold and, if there are several, their number: other groups are other files.
    """
    jobs = math.ceil(len(folds) / per_job)
    bounds = [len(folds) * job // jobs for job in range(jobs + 1)]
    sizes = {start: end - start for start, end in itertools.pairwise(bounds)}
    return {folds[start] + (f"+{size}" if size > 1 else ""): size for start, size in sizes.items()}


def _network(experiment: ExperimentBlock, index: int, seed: int) -> Network:
    """The SGCN of one repeat, for the graph at ``index``."""
    graph_name, graph = experiment.graphs[index], experiment.graph
    if graph_name in experiment.graphs[:index]:
        # The second network of equal specification (Table VII: 8+2 and 8+2) has a seed of its own.
        seed = int(digest(seed, "twin"), 16) % 2**31
    p, q = map(int, graph_name.split("+"))
    sigma = graph.sigma if isinstance(graph.sigma, str) else f"{graph.sigma:.10g}"
    name = f"{graph_name}-{graph.side}px-T{graph.threshold:.10g}-sigma-{sigma}-seed{seed}"
    if graph.symmetrise != "maximum":
        name += f"-{graph.symmetrise}"
    pretrain = digest(sorted(experiment.pretrain.model_dump(exclude={"together"}).items()))[:6]
    settings = GraphSettings(p=p, q=q, seed=seed, **graph.model_dump())
    return Network(f"{name}-{pretrain}", name, seed, settings, _pretrain(experiment))


def _pair(networks: list[Network], seed: int) -> list[Network]:
    """The same networks, pre-trained together with the seed of the repeat."""
    name = "-and-".join(network.graph.split("-")[0] for network in networks)
    pair = f"{name}-seed{seed}-{digest([network.weights for network in networks])[:12]}"
    parts = zip(networks, PARTS, strict=True)
    return [network._replace(weights=f"{pair}-{part}", pair=pair) for network, part in parts]


def _pretrain(experiment: ExperimentBlock) -> PretrainSettings:
    return PretrainSettings(**experiment.pretrain.model_dump(exclude={"exclude_test_subjects", "together"}))


def _fused_head(experiment: ExperimentBlock) -> dict[str, Any]:
    block = experiment.head
    head = HeadSettings(
        **block.model_dump(exclude={"validation", "schedule", "epoch_choice", "average_seeds"}),
        cosine=block.schedule == "cosine",
        average=block.epoch_choice == "average",
    )
    return {"inputs": signal_settings(experiment), "loss": _loss(experiment), "head": head}


def signal_settings(experiment: ExperimentBlock) -> SignalSettings:
    """What an experiment with graphs reads of a clip."""
    e = experiment
    relative = {"frozen": "features", "end-to-end": "pixels"}[e.transfer] if e.spatial.relative else "no"
    assert e.fusion and e.temporal.signal and e.temporal.normalise  # `load_config` has filled them in.
    return SignalSettings(e.branches, e.fusion, e.temporal.signal, e.temporal.normalise, relative)


def _loss(experiment: ExperimentBlock) -> LossSettings:
    loss = experiment.loss
    if experiment.recognises_units:
        return LossSettings("binary-cross-entropy", alpha=1.0, gamma=0.0, weights="balanced")
    if loss.name == "cross-entropy" and "loss.name" not in experiment.grid:  # It has no parameters.
        return LossSettings(name=loss.name, alpha=1.0, gamma=0.0, weights=loss.weights)
    return LossSettings(**loss.model_dump())


def _augment(experiment: ExperimentBlock) -> AugmentSettings | None:
    return AugmentSettings(**experiment.augment.model_dump(exclude={"apply"})) if experiment.augments else None


def _selection(experiment: ExperimentBlock) -> SelectionSettings:
    """Who chooses epochs and hyper-parameters; ``paper-tuning`` shows its grid in a table and searches nothing."""
    e = experiment
    if e.selection == "nested":
        return SelectionSettings("nested", e.epoch_choice, e.grid, e.inner_folds, e.training.validation)
    return SelectionSettings("fixed", e.epoch_choice or "refit", grid={}, inner_folds=0, validation=0.0)
