"""Checks of experiments with the task ``action-units``, and of what only experiments with classes have."""

from collections.abc import Iterator

from merflow.study.config import Config

PROTOCOLS = ("loso", "subject-kfold", "cross-dataset")
REFUSED = {
    "classes": "the units take the place of classes",
    "loss": "the loss is binary cross entropy, weighted by the training clips of each unit",
    "selection": "settings of this task are fixed",
    "grid": "settings of this task are fixed",
}
"""Keys of an experiment that the task does not have, and why."""


def check_units(config: Config, declared: Config) -> Iterator[str]:
    """Yield what the task ``action-units`` does not have; arguments as of ``config_checks.check_systems``."""
    units = [name for name, experiment in config.experiments.items() if experiment.recognises_units]
    for name, experiment in config.experiments.items():
        here = f"experiments.{name}"
        if name not in units:
            if experiment.units is not None:
                yield f"{here}.units: only for task: action-units"
            if experiment.system == "all-ones":
                yield f"{here}.system: all-ones is the floor of task: action-units; for classes there is majority"
            for member in experiment.of or ():
                if member in units:
                    yield f"{here}.of: {member!r} recognises action units; an ensemble averages classes"
            continue
        if experiment.system == "majority":
            yield f"{here}.system: the floor of task: action-units is all-ones; majority is for classes"
        if experiment.protocol not in PROTOCOLS:
            yield f"{here}.protocol: task: action-units has {', '.join(PROTOCOLS)}, not {experiment.protocol}"
        for key in sorted(declared.experiments[name].model_fields_set & set(REFUSED)):
            yield f"{here}.{key}: not for task: action-units: {REFUSED[key]}; leave it out"
    shown = {f"tables.{name}.of": [table.of] for name, table in config.tables.items()}
    shown |= {f"figures.{name}.of": figure.experiments for name, figure in config.figures.items()}
    shown["export.experiments"] = list(config.export.experiments or ())
    for where, names in shown.items():
        for name in names:
            if name in units:
                yield f"{where}: {name!r} recognises action units; tables, figures and exports are of classes"
