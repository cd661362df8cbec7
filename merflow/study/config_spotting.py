"""Configuration of experiments in long videos, which are written under ``experiments`` beside those on clips."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from merflow.datasets.long_videos import KINDS, LONG_LAYOUTS
from merflow.study.config_data import Block, Names, NonEmpty, Unique, field

if TYPE_CHECKING:
    from merflow.study.config import Config

TASKS = {"spotting": "spotting", "spot-then-recognise": "recognition"}
"""Tasks of experiments in long videos, and the key of :class:`merflow.study.config.Config` that has them."""
SYSTEM = "search (flow both ways), peaks (the rule of published systems) or learned (a small network)"
PROTOCOL = "how people are split into those whose videos fit thresholds and networks, and those who are searched"


class SpottingExperimentBlock(Block):
    """One experiment in long videos; written under `experiments`."""

    task: Literal["spotting"] = field(..., "find the expressions in long videos")
    system: Literal["search", "peaks", "learned"] = field(..., SYSTEM)
    videos: str | Names = field(..., "a dataset of long videos, or a list of them")
    kinds: Annotated[NonEmpty[Literal["micro", "macro"]], Unique] = field(list(KINDS), "kinds of expressions")
    protocol: Literal["loso", "subject-kfold"] = field("loso", PROTOCOL)
    folds: int = field(5, "groups of people of subject-kfold", ge=2)
    seed: int = field(0, "seed of the groups and of the network", ge=0)

    @property
    def datasets(self) -> list[str]:
        """The datasets of long videos."""
        return [self.videos] if isinstance(self.videos, str) else list(self.videos)


class RecognitionBlock(Block):
    """One experiment that recognises what another one spotted; written under `experiments`."""

    task: Literal["spot-then-recognise"] = field(..., "name the emotion of the micro-expressions that were spotted")
    spotter: str = field(..., "the experiment of task spotting whose detections are recognised")
    recogniser: str = field(
        ..., "the experiment on clips whose networks answer, of each person those that never saw it"
    )


def tasks_apart(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the experiments in long videos under the keys of :data:`TASKS`, not ``experiments``."""
    experiments = settings.get("experiments")
    if not isinstance(experiments, Mapping):
        return dict(settings)
    apart: dict[str, Any] = {**settings, "experiments": {}}
    for name, block in experiments.items():
        key = TASKS.get(str(block.get("task")), "experiments") if isinstance(block, Mapping) else "experiments"
        apart[key] = {**apart.get(key, {}), name: block}
    return apart


def check_spotting(config: "Config") -> Iterator[str]:
    """Yield what experiments in long videos name and does not exist or cannot be used."""
    for name, block in config.spotting.items():
        here = f"experiments.{name}.videos"
        for dataset in block.datasets:
            if dataset not in config.datasets:
                yield f"{here}: no dataset {dataset!r}; there are: {', '.join(config.datasets)}"
            elif (layout := config.datasets[dataset].layout) not in LONG_LAYOUTS:
                yield (
                    f"{here}: dataset {dataset!r} has layout {layout}, which has no long videos; "
                    f"those that have: {', '.join(LONG_LAYOUTS)}"
                )
    spotters = [name for name, block in config.spotting.items() if "micro" in block.kinds]
    if config.predict.spotter not in (None, "none", *spotters):
        yield (
            f"predict.spotter: no experiment {config.predict.spotter!r} that spots micro-expressions; "
            f"there are: {', '.join([*spotters, 'none'])}"
        )
    for name, recognition in config.recognition.items():
        yield from _recognition_problems(config, f"experiments.{name}", recognition)


def _recognition_problems(config: "Config", here: str, block: RecognitionBlock) -> Iterator[str]:
    spotters = [name for name, spotter in config.spotting.items() if "micro" in spotter.kinds]
    if block.spotter not in spotters:
        yield (
            f"{here}.spotter: no experiment {block.spotter!r} that spots micro-expressions; "
            f"there are: {', '.join(spotters) or 'none'}"
        )
    experiments, able = config.experiments, []
    for name, experiment in experiments.items():
        members = [experiments[member] for member in experiment.of or [name] if member in experiments]
        networks = len(members) == len(experiment.of or [name]) and all(each.trains_network for each in members)
        people_apart = all(each.protocol != "paper-holdout" for each in members)
        if networks and people_apart and not experiment.recognises_units and len({each.prep for each in members}) == 1:
            able.append(name)
    if block.recogniser not in able:
        yield (
            f"{here}.recogniser: no experiment {block.recogniser!r} that trains networks on clips of other people, in "
            f"one preparation; there are: {', '.join(able) or 'none'}"
        )
