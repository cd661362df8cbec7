"""Paths of the files that the workflow makes.

The rules spell the same paths with pathvars (:attr:`Paths.pathvars`): a file name that rules and planners share, such
as ``<predictions>``, is written here only.
"""

from dataclasses import dataclass

EXPERIMENT_TABLES = {
    "predictions": "predictions.csv",
    "accuracy": "accuracy_train.csv",
    "curves": "curves.csv",
    "validation": "validation.csv",
    "test_epochs": "test_epochs.csv",
}
"""Tables of an experiment and of each job that trains its folds, by pathvar: ``<predictions>`` is a file name."""


@dataclass(frozen=True)
class Paths:
    """Paths of the study ``name`` in the folder ``results``."""

    results: str
    name: str

    @property
    def pathvars(self) -> dict[str, str]:
        """What ``<results>``, ``<study>`` and the other pathvars of the rules stand for."""
        folders = {"logs": f"{self.results}/logs", "benchmarks": f"{self.results}/benchmarks"}
        return {"results": self.results, "name": self.name, "study": self.study} | folders | EXPERIMENT_TABLES

    @property
    def study(self) -> str:
        """Folder of the study."""
        return f"{self.results}/{self.name}"

    def dataset(self, dataset: str) -> str:
        """Folder of a dataset."""
        return f"{self.results}/data/{dataset}"

    def prepared(self, dataset: str, prep: str, name: str) -> str:
        """A file of a dataset in one preparation, such as ``cache.h5``."""
        return f"{self.dataset(dataset)}/{prep}/{name}"

    def cache(self, dataset: str, prep: str) -> str:
        """Key-frames and flow of a dataset in one preparation."""
        return self.prepared(dataset, prep, "cache.h5")

    def scorer(self, dataset: str, prep: str) -> str:
        """Weights of the frame scorer that a dataset trains."""
        return f"{self.results}/scorers/{dataset}/{prep}.safetensors"

    def graph(self, graph: str) -> str:
        """A pixel graph."""
        return f"{self.results}/graphs/{graph}.h5"

    def weights(self, macro: str, prep: str, weights: str, suffix: str = ".safetensors") -> str:
        """Pre-trained weights; with ``.csv`` their training curve."""
        return f"{self.results}/pretrained/{macro}/{prep}/{weights}{suffix}"

    def features(self, prep: str, macro: str, weights: str, dataset: str, signal: str) -> str:
        """Features of a dataset from one pre-trained network."""
        return f"{self.results}/features/{prep}/{macro}/{weights}/{dataset}-{signal}.h5"

    def split(self, split: str, seed: int) -> str:
        """Table of the folds of a protocol under a seed."""
        return f"{self.study}/splits/{split}-seed{seed}.csv"

    def experiment(self, experiment: str, file: str) -> str:
        """A file of an experiment."""
        return f"{self.study}/experiments/{experiment}/{file}"

    def folds(self, experiment: str, seed: int, group: str, file: str) -> str:
        """A file of the folds of an experiment that one job trains."""
        return self.experiment(experiment, f"folds/{seed}/{group}/{file}")

    def table(self, name: str) -> str:
        """A table of the study, or one of its tables of variants or figures."""
        return f"{self.study}/{name}.csv"
