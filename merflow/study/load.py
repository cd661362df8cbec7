"""Read a configuration: overlay over ``config.yaml``, complete with all defaults, checked before any job starts."""

import itertools
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from merflow.datasets.registry import LAYOUTS
from merflow.errors import ConfigError
from merflow.storage.yaml_files import read_yaml
from merflow.study.config import NO_MACRO, STUDY_BLOCKS, Config, TableBlock
from merflow.study.config_checks import check_references, check_selection, check_systems, check_tables
from merflow.study.config_errors import problems
from merflow.study.config_spotting import check_spotting, tasks_apart
from merflow.study.config_training import PRETRAINED_BATCH, PRETRAINED_RATE, UNTRAINED_BATCH, UNTRAINED_RATE
from merflow.study.unit_checks import check_units
from merflow.systems.registry import NETWORKS, complete_block

REPLACED = ("datasets", "experiments")
"""Blocks of an overlay that replace those of the base as a whole: a user's study has no demo clips in it."""


def load_config(base: Path, overlay: Mapping[str, Any]) -> Config:
    """Return the complete configuration of a run.

    Args:
        base: ``config.yaml``.
        overlay: what the user gave on the command line (``--configfile``, ``--config``); may be empty.

    Raises:
        ConfigError: one message with all problems, each with its key and what is allowed.
    """
    settings = read_yaml(base)
    for name in REPLACED:  # The demo's experiments fit no other datasets.
        if overlay.get(name) is not None or overlay.get("datasets") is not None:
            settings[name] = {}
    return complete(merge(_methods_as_blocks(settings), _methods_as_blocks(overlay)))


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``overlay`` laid over ``base``: mappings key by key, everything else replaced."""
    merged = deepcopy(dict(base))
    for name, value in overlay.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else deepcopy(value)
    return merged


def complete(settings: Mapping[str, Any]) -> Config:
    """Check ``settings`` key by key and as a whole, and fill in what depends on other keys."""
    settings = tasks_apart(settings)
    _raise_if_any(
        [re.sub(r"^(spotting|recognition)\.", "experiments.", message) for message in problems(Config, settings)]
    )
    declared = Config.model_validate(settings)
    config = Config.model_validate(_complete_blocks(settings, declared))
    messages = [*check_systems(config, declared), *check_selection(config), *check_units(config, declared)]
    if not messages:
        config = _with_grid_tables(config)
    _raise_if_any([*messages, *check_references(config), *check_tables(config), *check_spotting(config)])
    return config


def _raise_if_any(messages: list[str]) -> None:
    if messages:
        raise ConfigError("the configuration cannot be used:\n" + "\n".join(f"  - {problem}" for problem in messages))


def _methods_as_blocks(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with ``keyframes: adaptive`` written as ``keyframes: {method: adaptive}``."""
    settings = deepcopy(dict(declared))
    preparations = settings.get("preparations")
    for block in preparations.values() if isinstance(preparations, Mapping) else ():
        if isinstance(block, dict) and isinstance(block.get("keyframes"), str):
            block["keyframes"] = {"method": block["keyframes"]}
    return settings


def _complete_blocks(raw: Mapping[str, Any], declared: Config) -> dict[str, Any]:
    """``raw`` with the study's blocks in each experiment, and with the defaults that depend on other keys."""
    settings = deepcopy(dict(raw))
    study = {block: settings[block] for block in STUDY_BLOCKS if block in settings}
    for dataset in settings["datasets"].values():
        dataset["kind"] = dataset.get("kind") or LAYOUTS[dataset["layout"]].kind or "micro"
    for name, experiment in settings["experiments"].items():
        blocks = {block: experiment[block] for block in STUDY_BLOCKS if block in experiment}
        experiment |= merge(study, blocks)
        untrained = experiment.get("macro") == NO_MACRO
        if experiment.get("fusion") is None:
            experiment["fusion"] = "stack" if untrained else "clip"
        micro = [settings["datasets"].get(dataset) for dataset in declared.experiments[name].datasets]
        ready_made = any(dataset and not LAYOUTS[dataset["layout"]].has_frames for dataset in micro)
        signal, normalise = "u+v" if ready_made else "magnitude", "constant" if untrained else "image"
        defaults: dict[str, dict[str, Any]] = {
            # Pre-trained networks expect standardised images, and whole ones if they train further.
            "spatial": {"relative": untrained or experiment.get("transfer") != "end-to-end"},
            "temporal": {"signal": signal, "normalise": normalise},
            "head": {
                "learning_rate": UNTRAINED_RATE if untrained else PRETRAINED_RATE,
                "batch": UNTRAINED_BATCH if untrained else PRETRAINED_BATCH,
                "epoch_choice": "refit" if untrained else "validation",
            },
        }
        for block, values in defaults.items():
            given = experiment.get(block, {})
            experiment[block] = given | {key: value for key, value in values.items() if given.get(key) is None}
        if untrained:  # There are no pre-trained networks to freeze.
            experiment["transfer"] = "end-to-end"
        network = experiment.pop("network", {})
        if declared.experiments[name].reads_clips:
            system = declared.experiments[name].system
            experiment["network"] = complete_block(system, network)
            experiment["loss"] = merge(NETWORKS[system].loss, experiment.get("loss", {}))
    return settings


def _with_grid_tables(config: Config) -> Config:
    """Add a table of variants of the whole grid for each experiment with ``selection: paper-tuning``."""
    tables = dict(config.tables)
    for name, experiment in config.experiments.items():
        if experiment.selection != "paper-tuning":
            continue
        (row, rows), *columns = experiment.grid.items()
        cells = itertools.product(*([(key, value) for value in values] for key, values in columns))
        table: dict[str, Any] = {"of": name, "title": f"Grid of {name}", "rows": {row: rows}}
        table["columns"] = [dict(cell) for cell in cells] if columns else None
        tables.setdefault(f"{name}-grid", TableBlock.model_validate(table))
    return config.model_copy(update={"tables": tables})
