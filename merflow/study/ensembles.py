"""Experiments with ``system: ensemble``: the mean of other experiments and floors on the same clips and folds."""

from merflow.errors import ConfigError
from merflow.study.config import Config, ExperimentBlock
from merflow.study.experiments import CLIPS_AND_SPLIT, Experiments

SHARED = ("datasets", "alignment of faces", "protocol (its folds and seeds included)", "classes")
"""What members of an ensemble must share, in the order of :data:`merflow.study.experiments.Comparison`."""


def with_ensembles(config: Config, experiments: Experiments) -> Experiments:
    """The experiments and floors of a study, and its ensembles, whose clips and folds are those of their members.

    Raises:
        ConfigError: the members of an ensemble cannot be averaged.
    """
    blocks = {
        name: _ensemble(name, block, experiments) if block.is_ensemble else block
        for name, block in config.experiments.items()
    }
    return Experiments(blocks | {name: experiments[name] for name in experiments}, experiments.data)


def _ensemble(name: str, block: ExperimentBlock, experiments: Experiments) -> ExperimentBlock:
    """The block of an ensemble, complete."""
    where, declared = f"experiments.{name}.of", experiments.data.config.experiments
    if nested := [member for member in block.of or () if member in declared and declared[member].is_ensemble]:
        raise ConfigError(f"{where}: {nested[0]!r} is an ensemble itself; name its members instead")
    first, *others = members = experiments.resolve(block.of or [], where)
    for other in others:
        parts = zip(SHARED, experiments.comparison(first)[:4], experiments.comparison(other)[:4], strict=True)
        if different := [name for name, *values in parts if values[0] != values[1]]:
            raise ConfigError(
                f"{where}: {first} and {other} differ in their {' and '.join(different)}; an ensemble needs the same "
                "clips in the same folds"
            )
    lead = experiments[first]
    settings = lead.model_dump(include=CLIPS_AND_SPLIT, exclude_none=True)
    settings |= {"system": block.system, "of": members, "seeds": _seeds(where, members, experiments)}
    settings["train_also"] = list(dict.fromkeys(also for member in members for also in experiments[member].train_also))
    return ExperimentBlock.model_validate(settings | {"head": {"validation": lead.training.validation}})


def _seeds(where: str, members: list[str], experiments: Experiments) -> list[int]:
    """The repeats of an ensemble: the seeds of all members that have several; one with a single seed repeats itself."""
    several = [experiments[member].seeds for member in members if len(experiments[member].seeds) > 1]
    if not several:
        return list(experiments[members[0]].seeds)
    shared = [seed for seed in several[0] if all(seed in seeds for seeds in several)]
    if not shared:
        raise ConfigError(f"{where}: no seed is common to all members that have several seeds; give them one")
    return shared
