"""The configuration: read, laid over the defaults, checked as a whole before any job starts."""

import difflib
import itertools
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from merflow.datasets.labels import class_sets
from merflow.datasets.registry import LAYOUTS
from merflow.errors import ConfigError
from merflow.evaluation.published import published
from merflow.protocols.variants import variant_label, variants, with_overrides
from merflow.systems.registry import NETWORKS, complete_block, option_schemas

SCHEMA = Path(__file__).parents[2] / "workflow" / "schemas" / "config.schema.yaml"
REPLACED = ("datasets", "experiments")
"""Blocks of an overlay that replace those of the base as a whole: a user's study has no demo clips in it."""
STUDY_BLOCKS = ("graph", "pretrain", "temporal", "head", "network")
"""Blocks that an experiment takes from the study and may override key by key."""
RATES = {"paper": 1e-5, "untrained": 5e-4}
"""Adam's learning rate where none is given: the paper's, with which a network that has learnt nothing stays there."""
FLOW_IMAGE_KEYS = ("channels", "scaling")
NO_MACRO = "none"
"""Value of ``macro`` where nothing is pre-trained."""
SEARCHED = {"tsdgcn": ("loss", "head")}
"""Blocks of which ``grid`` may vary keys, beside ``network`` and ``loss`` of the systems of the registry."""
GIVEN = {
    "validation": "decides the split, which is drawn before anything is chosen",
    "refit": "decides who trains, which has to be the same in every fold",
    "side": "decides what is read of a clip, once for all candidates",
    "input_kind": "decides what is read of a clip, once for all candidates",
}
"""Keys that no grid may vary, and why."""
LEARNED = {"tsdgcn"}
"""Systems with graphs and a pre-training; those of the registry read clips, the others are floors."""


def load_config(base: Path, overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Settle the configuration of a run.

    Args:
        base: ``config.yaml``.
        overlay: what the user gave on the command line (``--configfile``, ``--config``), may be empty.

    Returns:
        The complete configuration: overlay over base, every default filled in, each experiment with all its blocks.

    Raises:
        ConfigError: one message with all problems, each with its key and what is allowed.
    """
    try:
        settings = yaml.safe_load(base.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{base} cannot be read: {error}") from error
    for name in REPLACED:
        if overlay.get(name) is not None:
            settings[name] = {}
    return settle(merge(_methods_as_blocks(settings), _methods_as_blocks(overlay)))


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """``overlay`` laid over ``base``: mappings key by key, everything else replaced."""
    merged = deepcopy(dict(base))
    for name, value in overlay.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else deepcopy(value)
    return merged


def settle(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check ``settings`` against the schema and against itself, and fill in the defaults.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    schema = _schema()
    settings = _labels_as_text(settings)
    problems = sorted(set(_schema_problems(settings, schema)))
    if problems:
        raise ConfigError(_listed(problems))
    settings = deepcopy(dict(settings))
    experiments = settings["experiments"]
    unnamed: dict[str, set[str]] = {}
    blocks = {name: set(experiment["network"]) for name, experiment in experiments.items() if "network" in experiment}
    for name, experiment in experiments.items():
        if experiment["system"] in NETWORKS:
            loss = experiment.get("loss", {})
            unnamed[name] = set() if "name" in loss else set(loss)
            experiment["loss"] = merge(NETWORKS[experiment["system"]].loss, loss)
        own = {block: experiment[block] for block in STUDY_BLOCKS if block in experiment}
        study = {block: settings[block] for block in STUDY_BLOCKS if block in settings}
        experiments[name] = merge(experiment, merge(study, own))
    settings = _filled(settings, schema)
    for dataset in settings["datasets"].values():
        dataset.setdefault("kind", LAYOUTS[dataset["layout"]].kind or "micro")
    for experiment in settings["experiments"].values():
        untrained = experiment.get("macro") == NO_MACRO
        if untrained:  # Nothing is there to be frozen.
            experiment["transfer"] = "end-to-end"
        if experiment["head"]["learning_rate"] is None:
            experiment["head"]["learning_rate"] = RATES["untrained" if untrained else "paper"]
        block = experiment.pop("network")
        if experiment["system"] in NETWORKS:
            experiment["network"] = complete_block(experiment["system"], block)
    problems = list(_network_problems(settings, blocks)) + list(_loss_problems(settings, unnamed))
    problems += _selection_problems(settings, schema)
    if not problems:
        _show_grids(settings, schema)
    problems += list(_cross_problems(settings)) + list(_table_problems(settings, schema))
    problems += _figure_problems(settings)
    if problems:
        raise ConfigError(_listed(problems))
    return settings


def _schema() -> dict[str, Any]:
    """The schema, with the layouts, class sets and systems of the registries among the values that it allows."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    dataset = schema["properties"]["datasets"]["additionalProperties"]["properties"]
    dataset["layout"]["enum"] += LAYOUTS
    dataset["classes"]["anyOf"][0]["enum"] += class_sets()  # Experiments refer to the same block.
    experiment = schema["properties"]["experiments"]["additionalProperties"]["properties"]
    for place in (experiment["system"], schema["properties"]["floors"]["items"]):
        place["enum"] += NETWORKS
    for place in (experiment["network"], schema["properties"]["network"]):
        place["properties"] = place["properties"] | option_schemas()
    return schema


def _network_problems(settings: Mapping[str, Any], blocks: Mapping[str, set[str]]) -> Iterator[str]:
    """What is wrong with blocks ``network`` of experiments: ``blocks`` has the keys that each was given."""
    options = option_schemas()
    for name, given in sorted(blocks.items()):
        system = settings["experiments"][name]["system"]
        if system not in NETWORKS:
            yield f"experiments.{name}.network: only the systems {', '.join(NETWORKS)} have it"
            continue
        for option in sorted(given & set(options) - set(NETWORKS[system].options)):
            owners = ", ".join(other for other, one in NETWORKS.items() if option in one.options)
            own = ", ".join(NETWORKS[system].options) or "none"
            yield f"experiments.{name}.network.{option}: {system} has no such key (its own: {own}); it is of {owners}"


def _loss_problems(settings: Mapping[str, Any], given: Mapping[str, set[str]]) -> Iterator[str]:
    """What is wrong with losses: parameters of the focal loss, given or searched, where cross entropy is meant."""
    for name, experiment in settings["experiments"].items():
        if experiment["loss"]["name"] != "cross-entropy":
            continue
        unused = [f"loss.{key}" for key in sorted(given.get(name, ()))]
        unused += [f"grid: {key}" for key in experiment["grid"] if key in ("loss.alpha", "loss.gamma")]
        for where in unused:
            yield f"experiments.{name}.{where}: cross-entropy has no such parameter; give loss: {{name: focal}} too"


def _labels_as_text(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with labels such as 0 and 1, which YAML reads as numbers, as text."""
    settings = deepcopy(dict(settings))
    for name in REPLACED:
        blocks = settings.get(name)
        for block in blocks.values() if isinstance(blocks, Mapping) else ():
            classes = block.get("classes") if isinstance(block, Mapping) else None
            if isinstance(classes, list):
                block["classes"] = [str(one) if type(one) is int else one for one in classes]
            elif isinstance(classes, Mapping) and isinstance(classes.get("map"), Mapping):
                pairs = classes["map"].items()
                classes["map"] = {str(k): str(v) if type(v) is int else v for k, v in pairs}
    return settings


def _methods_as_blocks(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with ``keyframes: adaptive``, or any other word there, as the block that it is short for."""
    settings = deepcopy(dict(settings))
    preparations = settings.get("preparations")
    for block in preparations.values() if isinstance(preparations, Mapping) else ():
        if isinstance(block, dict) and isinstance(block.get("keyframes"), str):
            block["keyframes"] = {"method": block["keyframes"]}
    return settings


def _listed(problems: list[str]) -> str:
    return "the configuration cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems)


def _schema_problems(settings: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    for error in Draft202012Validator(schema).iter_errors(settings):
        where = ".".join(map(str, error.absolute_path))
        about = error.schema.get("description") if isinstance(error.schema, Mapping) else None
        shown = repr(error.instance) if not isinstance(error.instance, Mapping) else "this block"
        match error.validator:
            case "additionalProperties":
                known = sorted(error.schema.get("properties", {}))
                for name in sorted(set(error.instance) - set(known), key=str):
                    near = difflib.get_close_matches(str(name), known, 1)
                    hint = f" (did you mean `{near[0]}`?)" if near else ""
                    full = f"{where}.{name}" if where else name
                    yield f"{full}: unknown key{hint}; allowed: {', '.join(known)}"
            case "required":
                missing = [name for name in error.validator_value if name not in error.instance]
                yield f"{where or 'the file'}: missing {', '.join(missing)}"
            case "enum":
                yield f"{where}: {shown} is not allowed; allowed: {', '.join(map(str, error.validator_value))}"
            case "anyOf":
                yield f"{where}: {shown} is not allowed; expected {about}"
            case "pattern" | "type" if "propertyNames" in list(error.absolute_schema_path):
                yield f"{where}: the name {shown} is not allowed; use letters, digits, `_`, `.` and `-`"
            case "type":
                expected = error.validator_value
                expected = " or ".join(expected) if isinstance(expected, list) else expected
                yield f"{where or 'the file'}: {shown} is not allowed; expected {_article(expected)}" + _about(about)
            case "not":
                yield f"{where}: {shown} is reserved; choose another name"
            case _:
                graphs = error.absolute_path and "graphs" in error.absolute_path
                about = 'a graph such as "8+2": p nearest + q drawn neighbours, p + q at least 1' if graphs else about
                yield f"{where}: {shown} is not allowed" + (_about(about) or f"; {error.message}")


def _article(kind: str) -> str:
    return {
        "integer": "a whole number",
        "object": "a block of keys",
        "array": "a list",
        "boolean": "true or false",
    }.get(kind, f"a {kind}")


def _about(about: str | None) -> str:
    return f": {about}" if about else ""


def _filled(value: Any, schema: Mapping[str, Any]) -> Any:
    """``value`` with the schema's defaults filled in, all the way down."""
    if isinstance(value, Mapping):
        filled = dict(value)
        for name, inner in schema.get("properties", {}).items():
            if name not in filled and "default" in inner:
                filled[name] = deepcopy(inner["default"])
            if name in filled:
                filled[name] = _filled(filled[name], inner)
        inner = schema.get("additionalProperties")
        if isinstance(inner, Mapping):
            filled |= {
                name: _filled(v, inner) for name, v in filled.items() if name not in schema.get("properties", {})
            }
        return filled
    return value


def micro_datasets(experiment: Mapping[str, Any]) -> list[str]:
    """The datasets that an experiment recognises, as a list."""
    micro = experiment["micro"]
    return [micro] if isinstance(micro, str) else list(micro)


def candidates(threshold: float) -> int:
    """How many pixels lie within ``threshold`` of an inner pixel: 24 for 2 sqrt(2)."""
    reach = range(-int(threshold) - 1, int(threshold) + 2)
    return sum(0 < x * x + y * y <= threshold**2 + 1e-9 for x in reach for y in reach)


def _folder_problems(where: str, dataset: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the places that a dataset names."""
    root = Path(dataset["root"])
    table = dataset.get("table") or LAYOUTS[dataset["layout"]].table
    if not root.is_dir():
        yield f"{where}.root: folder {root} does not exist" + (f"; it should hold {table}" if table else "")
    elif table and not (root / table).is_file():
        shown = {"manifest": "; docs/own-clips.md shows one", "flow-images": "; docs/datasets.md shows one"}
        yield f"{where}.table: {root / table} does not exist{shown.get(dataset['layout'], '')}"
    elif dataset.get("images") and not (root / dataset["images"]).is_dir():
        yield f"{where}.images: folder {root / dataset['images']} does not exist"


def _corrections(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every table of corrections that the settings name, with its key."""
    if settings.get("corrections"):
        yield "corrections", settings["corrections"]
    for name, dataset in settings["datasets"].items():
        if dataset.get("corrections"):
            yield f"datasets.{name}.corrections", dataset["corrections"]


def table_cells(settings: Mapping[str, Any], table: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Row, column and experiment of every cell of a table of variants."""
    own = settings["tables"][table]
    base = with_overrides(settings["experiments"][own["of"]], own["set"])
    return [
        (variant_label(row), variant_label(column), with_overrides(with_overrides(base, row), column))
        for row in variants(own["rows"])
        for column in variants(own.get("columns"))
    ]


def _table_problems(settings: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with tables of variants: the experiment, and what its variants make of it."""
    for name, table in settings["tables"].items():
        here, experiment = f"tables.{name}", settings["experiments"].get(table["of"])
        if experiment is not None and experiment["system"] in NETWORKS:
            systems = ", ".join(LEARNED)
            yield f"{here}.of: tables are of {systems}; give variants of {table['of']!r} as experiments and a figure"
            continue
        if experiment is None or experiment["system"] not in LEARNED:
            trained = [n for n, e in settings["experiments"].items() if e["system"] in LEARNED]
            yield f"{here}.of: no experiment {table['of']!r} that trains a network; there are: {', '.join(trained)}"
            continue
        if table["published"] and table["published"] not in (known := {key[0] for key in published()}):
            yield f"{here}.published: no table {table['published']!r}; there are: {', '.join(sorted(known))}"
        cells = table_cells(settings, name)
        if len({cell[:2] for cell in cells}) < len(cells):
            yield f"{here}: two cells have the same name; vary something else in them"
        for row, column, cell in cells:
            where = " | ".join(filter(None, (row, column)))
            changed = dict(settings) | {"experiments": {table["of"]: cell}, "tables": {}}
            found = list(_schema_problems(changed, schema)) or list(_cross_problems(changed))
            yield from (f"{here}, cell {where}: {problem}" for problem in found)
            if not found and cell["selection"] == "nested":
                yield f"{here}, cell {where}: a table shows fixed settings; selection: nested searches others"
            elif not found and not _fixed_features(cell):
                yield f"{here}, cell {where}: tables are for transfer: frozen, whose features are extracted once"


def _selection_problems(settings: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with ``selection`` and ``grid``."""
    for name, experiment in settings["experiments"].items():
        here, selection, grid = f"experiments.{name}", experiment["selection"], experiment["grid"]
        networks = ("loss", "network") if experiment["system"] in NETWORKS else ()
        blocks = SEARCHED.get(experiment["system"], networks)
        searches = selection in ("nested", "paper-tuning")
        if searches and not blocks:
            yield f"{here}.selection: nothing of {experiment['system']} is chosen; leave selection out"
        elif searches and not grid:
            example = f"{{{blocks[-1]}.learning_rate: [0.0005, 0.001]}}"
            yield f"{here}.grid: selection: {selection} needs one, such as {example}"
        elif grid and not searches:
            yield f"{here}.grid: only selection: nested and paper-tuning read it"
        elif selection == "paper-tuning" and not _fixed_features(experiment):
            yield f"{here}.selection: paper-tuning is for tsdgcn with transfer: frozen; choose nested"
        for key, values in grid.items() if searches and blocks else ():
            block, _, inner = key.partition(".")
            if block not in blocks or not inner or "." in inner:
                allowed = " and ".join(f"{block}.*" for block in blocks)
                yield f"{here}.grid: {key} cannot be chosen inside a fold; allowed: {allowed}"
                continue
            if inner in GIVEN:
                yield f"{here}.grid: {key} {GIVEN[inner]}; leave it out"
                continue
            own = NETWORKS[experiment["system"]].options if block == "network" else {}
            if block == "network" and inner in set(option_schemas()) - set(own):
                yield f"{here}.grid: {experiment['system']} has no {key}; its own: {', '.join(own) or 'none'}"
                continue
            for value in values:
                changed = dict(settings) | {
                    "experiments": {name: with_overrides(experiment, {key: value})},
                    "tables": {},
                }
                found = list(_schema_problems(changed, schema))
                found += [f"{here}.{key}: null stands for a default; give the value"] if value is None else []
                yield from (f"{here}.grid, {key}: {problem}" for problem in found)


def _fixed_features(experiment: Mapping[str, Any]) -> bool:
    """Whether the features of an experiment are the same for all folds."""
    trained = experiment["system"] in LEARNED and experiment["macro"] != NO_MACRO
    return trained and experiment["transfer"] == "frozen" and not experiment["pretrain"]["exclude_test_subjects"]


def _show_grids(settings: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """Add a table of variants of the whole grid for each experiment with ``selection: paper-tuning``."""
    for name, experiment in settings["experiments"].items():
        if experiment["selection"] != "paper-tuning":
            continue
        (row, rows), *columns = experiment["grid"].items()
        table = {"of": name, "title": f"Grid of {name}", "rows": {row: rows}}
        if len(columns) == 1:
            table["columns"] = dict(columns)
        elif columns:
            table["columns"] = [
                dict(zip(dict(columns), values, strict=True)) for values in itertools.product(*dict(columns).values())
            ]
        settings["tables"].setdefault(
            f"{name}-grid", _filled(table, schema["properties"]["tables"]["additionalProperties"])
        )


def named_experiments(figure: Mapping[str, Any]) -> list[str]:
    """The experiments, or floors, that a figure shows, as a list."""
    return [figure["of"]] if isinstance(figure["of"], str) else list(figure["of"])


def _figure_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with figures: their names, experiments and published tables."""
    experiments = settings["experiments"]
    for name, figure in settings["figures"].items():
        here, of = f"figures.{name}", named_experiments(figure)
        if name in settings["tables"]:
            yield f"{here}: a table of variants has this name; choose another one"
        shown = [*experiments, *(settings["floors"] if figure["kind"] != "flow-statistics" else [])]
        if unknown := [experiment for experiment in of if experiment not in shown]:
            yield f"{here}.of: no experiment {unknown[0]!r}; there are: {', '.join(dict.fromkeys(shown))}"
            continue
        if figure["published"] and figure["published"] not in (known := {key[0] for key in published()}):
            yield f"{here}.published: no table {figure['published']!r}; there are: {', '.join(sorted(known))}"
        if figure["kind"] != "flow-statistics":
            continue
        if len(of) > 1:
            yield f"{here}.of: flow-statistics show the clips of one experiment; give one name"
        if figure["published"]:
            yield f"{here}.published: flow-statistics have no published numbers"
        for dataset in micro_datasets(experiments[of[0]]):
            if settings["datasets"].get(dataset, {}).get("layout") == "flow-images":
                yield f"{here}.of: {dataset!r} holds flow images, whose scale in pixels is not known"


def _cross_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    """What a schema cannot say: names that must exist, folders, values that must fit together."""
    datasets, preparations = settings["datasets"], settings["preparations"]
    for name, dataset in datasets.items():
        layout = dataset["layout"]
        if layout == "demo" and "classes" in dataset:
            yield f"datasets.{name}.classes: layout demo takes its classes from demo.emotions"
        if layout != "demo":
            yield from _folder_problems(f"datasets.{name}", dataset)
        if (kind := LAYOUTS[layout].kind) and dataset["kind"] != kind:
            yield f"datasets.{name}.kind: layout {layout} holds {kind} clips"
        for key in FLOW_IMAGE_KEYS:
            if key in dataset and layout != "flow-images":
                yield f"datasets.{name}.{key}: only flow images (layout flow-images) have {key}"
        if "align" in dataset and layout == "flow-images":
            yield f"datasets.{name}.align: flow images have no frames to align"
    for where, file in _corrections(settings):
        if not Path(file).is_file():
            yield f"{where}: {file} does not exist; docs/datasets.md shows such a table"
    for name, preparation in preparations.items():
        here, own = f"preparations.{name}.keyframes.learn_from", preparation["keyframes"]
        if (source := own["learn_from"]) is None:
            continue
        if own["method"] != "adaptive":
            yield f"{here}: only method: adaptive learns; leave it out, or give method: adaptive"
        elif source not in datasets:
            yield f"{here}: no dataset {source!r}; there are: {', '.join(datasets)}; null: people drawn for it"
        elif datasets[source]["layout"] == "flow-images":
            yield f"{here}: {source!r} holds flow images; name a dataset of moving clips with annotated apexes, or null"
    portraits = settings["demo"]["portraits"]
    if portraits is not None and not Path(portraits).is_dir():
        yield f"demo.portraits: folder {portraits} does not exist; give a folder of frontal photographs, or null"
    for name, experiment in settings["experiments"].items():
        here = f"experiments.{name}"
        if experiment["prep"] not in preparations:
            yield f"{here}.prep: no preparation {experiment['prep']!r}; there are: {', '.join(preparations)}"
        for dataset in micro_datasets(experiment):
            if dataset not in datasets:
                yield f"{here}.micro: no dataset {dataset!r}; there are: {', '.join(datasets)}"
            elif datasets[dataset]["kind"] != "micro":
                yield f"{here}.micro: dataset {dataset!r} is of kind {datasets[dataset]['kind']}, expected micro"
        if experiment["system"] not in LEARNED:
            continue
        images = [d for d in micro_datasets(experiment) if datasets.get(d, {}).get("layout") == "flow-images"]
        if images and "spatial" in experiment["branches"]:
            yield f"{here}.branches: {images[0]!r} holds flow images and no frames; give branches: [temporal]"
        if experiment["macro"] == NO_MACRO:
            if experiment["pretrain"]["exclude_test_subjects"]:
                yield f"{here}.pretrain.exclude_test_subjects: there is no pre-training with macro: none"
        elif experiment["macro"] not in datasets:
            yield f"{here}.macro: no dataset {experiment['macro']!r}; there are: {', '.join(datasets)}"
        elif experiment["macro"] in micro_datasets(experiment):
            yield f"{here}.macro: {experiment['macro']!r} is also the micro dataset; pre-train on other clips"
        threshold = experiment["graph"]["threshold"]
        for place, graph in enumerate(experiment["graphs"]):
            if sum(map(int, graph.split("+"))) > (most := candidates(threshold)):
                yield f"{here}.graphs.{place}: {graph} is more than the {most} neighbours within T = {threshold:g}"
