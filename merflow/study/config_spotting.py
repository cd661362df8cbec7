"""Configuration of experiments in long videos, which are written under ``experiments`` beside those on clips."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from merflow.datasets.long_videos import KINDS, LONG_LAYOUTS
from merflow.study.config_data import Block, Names, NonEmpty, Unique, field

if TYPE_CHECKING:
    from merflow.study.config import Config

SPOTTING = "spotting"
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


def tasks_apart(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the experiments in long videos under ``spotting`` instead of ``experiments``."""
    experiments = settings.get("experiments")
    if not isinstance(experiments, Mapping):
        return dict(settings)
    long = {
        name: block
        for name, block in experiments.items()
        if isinstance(block, Mapping) and block.get("task") == SPOTTING
    }
    rest = {name: block for name, block in experiments.items() if name not in long}
    return {**settings, "experiments": rest} | ({"spotting": {**settings.get("spotting", {}), **long}} if long else {})


def check_spotting(config: "Config") -> Iterator[str]:
    """Yield datasets of experiments in long videos that do not exist or have no long videos."""
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
