"""What a study tells others: the settings of a report without faces, and a configuration without the user's folders."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from merflow.report.settings import ReportSettings
from merflow.study.config import Config
from merflow.study.publishing import Publishing


def shared_report_settings(publishing: Publishing) -> ReportSettings:
    """Settings of the report that an archive of the study holds."""
    config = shared_config(publishing.config)
    return replace(publishing.report_settings(), shared=True, graphs={}, config=config)


def shared_config(config: Config) -> dict[str, Any]:
    """A configuration in which ``/path/to/NAME`` stands for each folder and each table of the user."""
    shared = config.model_dump(by_alias=True, exclude_none=True)
    for name in ("results", "clips"):
        shared.pop(name, None)
    for name, dataset in shared["datasets"].items():
        if "root" in dataset:
            dataset["root"] = _elsewhere(name)
        for key in ("table", "images", "corrections"):  # The first two are relative to the root, usually.
            if key in dataset:
                dataset[key] = Path(dataset[key]).name
    shared["predict"]["weights"] = [Path(folder).name for folder in shared["predict"]["weights"]]
    for block, key in ((shared, "corrections"), (shared["demo"], "portraits")):
        if key in block:
            block[key] = _elsewhere(Path(block[key]).name)
    return shared


def _elsewhere(name: str) -> str:
    return f"/path/to/{name}"
