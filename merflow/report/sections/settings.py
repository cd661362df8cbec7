"""Section "Settings and versions": the whole configuration, and the packages of the environment that wrote the page."""

import json
import platform
from importlib.metadata import distributions
from typing import Any

import yaml

from merflow.report.report_data import ReportData
from merflow.report.section import Section


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``settings.html.j2``."""
    plain = json.loads(json.dumps(report.settings.config, default=str))
    packages = sorted({(package.name, package.version) for package in distributions()}, key=lambda p: p[0].casefold())
    return {
        "configuration": yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100),
        "versions": [("Python", platform.python_version()), *packages],
    }


SECTION = Section("settings", "Settings and versions", content, badge=False)
