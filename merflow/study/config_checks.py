"""Checks of a configuration beyond its types: names that must exist, folders, values that must fit together.

Each function yields messages; :func:`merflow.study.load.complete` gives them to the user in one error.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from merflow.datasets.registry import LAYOUTS
from merflow.evaluation.published import published
from merflow.protocols.variants import variant_label, variants, with_overrides
from merflow.study.config import NO_MACRO, Config, ExperimentBlock
from merflow.study.config_data import TVL1_KEYS, DatasetBlock, FlowBlock
from merflow.study.config_errors import problems
from merflow.systems.registry import NETWORKS, SYSTEMS, option_schemas

NOT_SEARCHED = {
    "validation": "decides the split, which is drawn before anything is chosen",
    "epoch_choice": "decides which clips train, which must be the same in every fold",
    "schedule": "is the same for all candidates",
    "average_seeds": "is the same for all candidates",
    "side": "decides what is read of a clip, once for all candidates",
    "input_kind": "decides what is read of a clip, once for all candidates",
}
"""Keys that no grid may vary, and why."""
GRAPH_KEYS = {"macro", "transfer", "graphs", "branches", "fusion", "graph", "pretrain", "sgcn", "spatial", "temporal"}
"""Keys of an experiment that only systems with graphs read, besides `head`."""


def check_systems(config: Config, declared: Config) -> Iterator[str]:
    """Yield the keys of an experiment, and of its ``network`` and ``loss``, that its system does not have.

    Args:
        config: the complete configuration.
        declared: the configuration before the study's blocks were added to the experiments.
    """
    for name, experiment in config.experiments.items():
        network, system = declared.experiments[name].network, experiment.system
        if experiment.is_ensemble:
            for key in sorted(declared.experiments[name].model_fields_set - {"system", "of"}):
                yield f"experiments.{name}.{key}: an ensemble has only `of`; its members decide the rest: leave it out"
            continue
        if experiment.of is not None:
            yield f"experiments.{name}.of: only for system: ensemble"
        unread = set() if experiment.uses_graphs else GRAPH_KEYS | ({"head"} if experiment.reads_clips else set())
        for key in sorted(declared.experiments[name].model_fields_set & unread):
            instead = "give its keys under `network`" if key == "head" else "leave it out"
            yield f"experiments.{name}.{key}: {system} does not read it; {instead}"
        if network is not None and not experiment.reads_clips:
            yield f"experiments.{name}.network: only the systems {', '.join(NETWORKS)} have it"
        elif network is not None:
            options = NETWORKS[system].options
            for option in sorted(network.model_fields_set & (set(option_schemas()) - set(options))):
                owners = ", ".join(other for other, entry in NETWORKS.items() if option in entry.options)
                allowed = ", ".join(options) or "none"
                yield (
                    f"experiments.{name}.network.{option}: {system} has no such key (its options: {allowed}); "
                    f"it belongs to {owners}"
                )
        given = declared.experiments[name]
        if given.macro == NO_MACRO and "transfer" in given.model_fields_set and given.transfer == "frozen":
            yield f"experiments.{name}.transfer: with macro: none there are no trained networks to freeze; leave it out"
        if given.augment.model_fields_set and not experiment.can_augment:
            yield f"experiments.{name}.augment: only networks that train inside the fold read it; leave it out"
        if experiment.loss.name != "cross-entropy":
            continue
        loss = declared.experiments[name].loss.model_fields_set
        unused = (
            [f"loss.{key}" for key in sorted(loss - {"weights"})]
            if experiment.reads_clips and "name" not in loss
            else []
        )
        unused += [f"grid: {key}" for key in experiment.grid if key in ("loss.alpha", "loss.gamma")]
        for where in unused:
            yield f"experiments.{name}.{where}: cross-entropy has no such parameter; give loss: {{name: focal}} too"


def check_selection(config: Config) -> Iterator[str]:
    """Yield what is wrong with ``selection`` and ``grid`` of the experiments."""
    for name, experiment in config.experiments.items():
        here, selection, grid = f"experiments.{name}", experiment.selection, experiment.grid
        blocks = SYSTEMS[experiment.system].searched
        searches = selection in ("nested", "paper-tuning")
        if searches and not blocks:
            yield f"{here}.selection: {experiment.system} has nothing to choose; leave selection out"
        elif searches and not grid:
            example = f"{{{blocks[-1]}.learning_rate: [0.0005, 0.001]}}"
            yield f"{here}.grid: selection: {selection} needs one, such as {example}"
        elif grid and not searches:
            yield f"{here}.grid: only selection: nested and paper-tuning read it"
        elif selection == "paper-tuning" and not experiment.shares_features:
            yield f"{here}.selection: paper-tuning is for tsdgcn with transfer: frozen; choose nested"
        for key, values in grid.items() if searches and blocks else ():
            yield from _grid_problems(here, experiment, key, values, blocks)


def _grid_problems(
    here: str, experiment: ExperimentBlock, key: str, values: list[Any], blocks: Sequence[str]
) -> Iterator[str]:
    block, _, option = key.partition(".")
    if block not in blocks or not option or "." in option:
        allowed = " and ".join(f"{block}.*" for block in blocks)
        yield f"{here}.grid: {key} cannot be chosen inside a fold; allowed: {allowed}"
        return
    if option in NOT_SEARCHED:
        yield f"{here}.grid: {key} {NOT_SEARCHED[option]}; leave it out"
        return
    options = NETWORKS[experiment.system].options if block == "network" else {}
    if block == "network" and option in set(option_schemas()) - set(options):
        yield f"{here}.grid: {experiment.system} has no {key}; its options: {', '.join(options) or 'none'}"
        return
    for value in values:
        for problem in problems(ExperimentBlock, with_overrides(settings_of(experiment), {key: value}), here):
            yield f"{here}.grid, {key}: {problem}"
        if value is None:
            yield f"{here}.grid, {key}: {here}.{key}: null is not allowed in a grid; write the value"


def settings_of(experiment: ExperimentBlock) -> dict[str, Any]:
    """The settings of an experiment as a dictionary that makes the same experiment again."""
    return experiment.model_dump(by_alias=True, exclude_none=True)


def table_cells(config: Config, table: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Row, column and settings of the experiment of every cell of a table of variants."""
    block = config.tables[table]
    base = with_overrides(settings_of(config.experiments[block.of]), block.set)
    return [
        (variant_label(row), variant_label(column), with_overrides(with_overrides(base, row), column))
        for row in variants(block.rows)
        for column in variants(block.columns)
    ]


def check_tables(config: Config) -> Iterator[str]:
    """Yield what is wrong with tables of variants: the experiment, and the experiments of their cells."""
    for name, table in config.tables.items():
        here, experiment = f"tables.{name}", config.experiments.get(table.of)
        if experiment is not None and experiment.reads_clips:
            systems = ", ".join(name for name, system in SYSTEMS.items() if system.kind == "graph")
            yield (
                f"{here}.of: tables are only for {systems}; give variants of {table.of!r} as experiments and show them "
                "in a figure"
            )
            continue
        if experiment is None or not experiment.uses_graphs:
            trained = ", ".join(name for name, e in config.experiments.items() if e.uses_graphs)
            yield f"{here}.of: no experiment {table.of!r} that trains a network; there are: {trained}"
            continue
        yield from _published_problems(here, table.published)
        cells = table_cells(config, name)
        changes = [table.set, *variants(table.rows), *variants(table.columns)]
        for key in sorted({key for change in changes for key, value in change.items() if value is None}):
            yield f"{here}: {key}: null is not allowed in a table; write the value"
        if len({cell[:2] for cell in cells}) < len(cells):
            yield f"{here}: two cells have the same name; vary another key in them"
        for row, column, cell in cells:
            where = " | ".join(filter(None, (row, column)))
            for problem in _cell_problems(config, table.of, cell):
                yield f"{here}, cell {where}: {problem}"


def _cell_problems(config: Config, name: str, cell: dict[str, Any]) -> list[str]:
    messages = problems(ExperimentBlock, cell, f"experiments.{name}")
    if messages:
        return messages
    experiment = ExperimentBlock.model_validate(cell)
    messages = list(_experiment_problems(config, name, experiment))
    if not messages and experiment.selection == "nested":
        return ["a table shows fixed settings; selection: nested searches others"]
    if not messages and not experiment.shares_features:
        return ["tables are for transfer: frozen, where features are extracted once"]
    return messages


def _published_problems(here: str, table: str | None) -> Iterator[str]:
    if table and table not in (tables := {key[0] for key in published()}):
        yield f"{here}.published: no table {table!r}; there are: {', '.join(sorted(tables))}"


def check_references(config: Config) -> Iterator[str]:
    """Yield names, files and values of datasets, preparations, experiments and figures that do not fit together."""
    for name, dataset in config.datasets.items():
        yield from _dataset_problems(f"datasets.{name}", dataset)
    corrections = {f"datasets.{name}.corrections": dataset.corrections for name, dataset in config.datasets.items()}
    for where, file in ({"corrections": config.corrections} | corrections).items():
        if file and not Path(file).is_file():
            yield f"{where}: {file} does not exist; docs/datasets.md shows such a table"
    for name, preparation in config.preparations.items():
        if preparation.keyframes.interpolate and preparation.keyframes.method != "proportional":
            yield f"preparations.{name}.keyframes.interpolate: it is for method: proportional; leave it out"
        here, keyframes = f"preparations.{name}.keyframes.learn_from", preparation.keyframes
        if preparation.flow.backend == "farneback":
            for key in TVL1_KEYS:
                if getattr(preparation.flow, key) != getattr(FlowBlock(), key):
                    yield f"preparations.{name}.flow.{key.strip('_')}: farneback does not read it; leave it out"
        if (source := keyframes.learn_from) is None:
            continue
        if keyframes.method != "adaptive":
            yield f"{here}: only method: adaptive learns; leave it out, or give method: adaptive"
        elif source not in config.datasets:
            yield f"{here}: no dataset {source!r}; there are: {', '.join(config.datasets)}; null: synthetic people"
        elif not _has_frames(config, source):
            yield f"{here}: {source!r} holds flow images; name a dataset of moving clips with annotated apexes, or null"
    yield from _demo_problems(config)
    portraits = config.demo.portraits
    if portraits is not None and not Path(portraits).is_dir():
        yield f"demo.portraits: folder {portraits} does not exist; give a folder of frontal photographs, or null"
    for name, experiment in config.experiments.items():
        if not experiment.is_ensemble:
            yield from _experiment_problems(config, name, experiment)
    yield from _figure_problems(config)


def _demo_problems(config: Config) -> Iterator[str]:
    """Yield labels and people that the repertoire of the synthetic people does not have."""
    if config.demo.repertoire == "annotated":
        return
    if "others" in config.demo.emotions:
        yield "demo.emotions: others has no prototype; leave it out, or give repertoire: annotated"
    for name, dataset in config.datasets.items():
        if dataset.people is not None:
            yield f"datasets.{name}.people: needs demo.repertoire: annotated; give it, or leave people out"


def _dataset_problems(here: str, dataset: DatasetBlock) -> Iterator[str]:
    layout = LAYOUTS[dataset.layout]
    if layout.synthetic and dataset.classes:
        yield f"{here}.classes: synthetic people have classes of their own; give the experiment `classes` instead"
    if not layout.synthetic:
        yield from _folder_problems(here, dataset)
    if layout.kind and dataset.kind != layout.kind:
        yield f"{here}.kind: layout {dataset.layout} holds {layout.kind} clips"
    if dataset.people is not None and not (dataset.layout == "demo" and dataset.kind == "micro"):
        yield f"{here}.people: only for layout demo with kind: micro; leave it out"
    if dataset.long_people is not None and dataset.layout != "long-demo":
        yield f"{here}.long_people: only for layout long-demo; leave it out"
    for key in ("channels", "scaling"):
        if getattr(dataset, key) is not None and layout.has_frames:
            yield f"{here}.{key}: only flow images (layout flow-images) have {key}"
    for key in ("align", "bit_depth"):
        if getattr(dataset, key) is not None and not layout.has_frames:
            yield f"{here}.{key}: flow images have no frames to align"


def _has_frames(config: Config, dataset: str) -> bool:
    """Whether a dataset holds frames, not flow images; True if there is no such dataset, which is another problem."""
    return dataset not in config.datasets or LAYOUTS[config.datasets[dataset].layout].has_frames


def _folder_problems(here: str, dataset: DatasetBlock) -> Iterator[str]:
    root = Path(dataset.root or "")
    table = dataset.table or LAYOUTS[dataset.layout].table
    if not root.is_dir():
        yield f"{here}.root: folder {root} does not exist" + (f"; it should hold {table}" if table else "")
    elif table and not (root / table).is_file():
        guide = LAYOUTS[dataset.layout].guide
        yield f"{here}.table: {root / table} does not exist" + (f"; {guide} shows one" if guide else "")
    elif dataset.images and not (root / dataset.images).is_dir():
        yield f"{here}.images: folder {root / dataset.images} does not exist"


def _experiment_problems(config: Config, name: str, experiment: ExperimentBlock) -> Iterator[str]:
    here, datasets = f"experiments.{name}", config.datasets
    if experiment.prep not in config.preparations:
        yield f"{here}.prep: no preparation {experiment.prep!r}; there are: {', '.join(config.preparations)}"
    for dataset in experiment.datasets:
        if dataset not in datasets:
            yield f"{here}.micro: no dataset {dataset!r}; there are: {', '.join(datasets)}"
        elif datasets[dataset].kind != "micro":
            yield f"{here}.micro: dataset {dataset!r} is of kind {datasets[dataset].kind}, expected micro"
    for dataset in experiment.train_also:
        if dataset not in datasets:
            yield f"{here}.train_also: no dataset {dataset!r}; there are: {', '.join(datasets)}"
        elif dataset in experiment.datasets:
            yield f"{here}.train_also: {dataset!r} is recognised, so each fold trains on its other clips; leave it out"
    if not experiment.uses_graphs:
        return
    if experiment.macro == NO_MACRO:
        for key in ("exclude_test_subjects", "together"):
            if getattr(experiment.pretrain, key):
                yield f"{here}.pretrain.{key}: there is no pre-training with macro: none"
    elif experiment.macro not in datasets:
        yield f"{here}.macro: no dataset {experiment.macro!r}; there are: {', '.join(datasets)}"
    elif experiment.macro in experiment.datasets:
        yield f"{here}.macro: {experiment.macro!r} is also the micro dataset; pre-train on other clips"
    if experiment.pretrains and experiment.sgcn != type(experiment.sgcn)():
        yield f"{here}.sgcn: only networks that are not pre-trained (macro: none) have other layers than the paper's"
    if experiment.temporal.signal == "channels" and (experiment.pretrains or "spatial" in experiment.branches):
        yield f"{here}.temporal.signal: channels needs macro: none and branches: [temporal]"
    threshold = experiment.graph.threshold
    for index, graph in enumerate(experiment.graphs):
        if sum(map(int, graph.split("+"))) > (most := neighbours_within(threshold)):
            yield f"{here}.graphs.{index}: {graph} is more than the {most} neighbours within T = {threshold:g}"


def neighbours_within(threshold: float) -> int:
    """Number of pixels within ``threshold`` of an inner pixel: 24 for 2 sqrt(2)."""
    reach = range(-int(threshold) - 1, int(threshold) + 2)
    return sum(0 < x * x + y * y <= threshold**2 + 1e-9 for x in reach for y in reach)


def _figure_problems(config: Config) -> Iterator[str]:
    for name, figure in config.figures.items():
        here, statistics = f"figures.{name}", figure.kind == "flow-statistics"
        if name in config.tables:
            yield f"{here}: a table of variants has this name; choose another one"
        available = [*config.experiments, *([] if statistics else config.floors)]
        if unknown := [experiment for experiment in figure.experiments if experiment not in available]:
            yield f"{here}.of: no experiment {unknown[0]!r}; there are: {', '.join(dict.fromkeys(available))}"
            continue
        yield from _published_problems(here, figure.published)
        if not statistics:
            continue
        if len(figure.experiments) > 1:
            yield f"{here}.of: flow-statistics show the clips of one experiment; give one name"
        if figure.published:
            yield f"{here}.published: flow-statistics have no published numbers"
        for dataset in config.experiments[figure.experiments[0]].datasets:
            if not _has_frames(config, dataset):
                yield f"{here}.of: {dataset!r} holds flow images, whose scale in pixels is not known"
