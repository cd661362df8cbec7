"""Trained networks of other studies that answer new clips in a study."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from merflow.errors import ConfigError, InputError
from merflow.inference.packed import PackedWeights
from merflow.study.config import Config
from merflow.study.config_data import PreparationBlock


def answering_weights(config: Config) -> dict[str, PackedWeights]:
    """The weights of ``predict.weights`` by the name under which they answer, that of their folder.

    Raises:
        ConfigError: a folder holds no weights, or its name is taken.
    """
    weights: dict[str, PackedWeights] = {}
    for folder in config.predict.weights:
        where, name = f"predict.weights: {folder}", Path(folder).name
        if name in {*config.experiments, *config.preparations, *weights}:
            raise ConfigError(f"{where}: the name {name} is taken; rename the folder")
        try:
            weights[name] = PackedWeights.read(folder)
            preparation_block(weights[name])
        except InputError as error:
            raise ConfigError(f"{where}: {error}") from error
    return weights


def preparation_block(weights: PackedWeights) -> PreparationBlock:
    """How clips must be prepared for weights.

    Raises:
        InputError: the weights name a preparation that this version of merflow does not have.
    """
    try:
        return PreparationBlock.model_validate(weights.about["preparation"])
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(
            f"{weights.folder}: its preparation does not fit this version of merflow ({key}); it was packed by merflow "
            f"{weights.about.get('merflow')}"
        ) from error


def trained_elsewhere(config: Config) -> list[dict[str, Any]]:
    """What the audit says of ``predict.weights``: ``experiment``, number of people, and a note."""
    layouts = {dataset.layout for dataset in config.datasets.values()}
    rows = []
    for name, weights in answering_weights(config).items():
        shared = sorted(layouts & {dataset["layout"] for dataset in weights.about["datasets"]})
        people = f"; people of {', '.join(shared)} may be in both studies" if shared else ""
        rows.append({"experiment": name, "people": int(weights.about["people"]), "note": weights.origin + people})
    return rows
