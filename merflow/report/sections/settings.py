"""Section "Settings and versions": the whole configuration, and the packages of the environment that wrote the page."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import distributions
from typing import Any

import yaml

from merflow.report.report_data import ReportData
from merflow.report.section import Section


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``settings.html.j2``."""
    return {"configuration": configuration(report.settings.config), "versions": installed_packages()}


def configuration(config: Mapping[str, Any]) -> str:
    """The configuration as YAML."""
    plain = json.loads(json.dumps(config, default=str))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100))


def installed_packages() -> list[tuple[str, str]]:
    """Name and version of Python, and then of every package of this environment."""
    packages = sorted({(package.name, package.version) for package in distributions()}, key=lambda p: p[0].casefold())
    return [("Python", platform.python_version()), *packages]


SECTION = Section("settings", "Settings and versions", content, badge=False)
