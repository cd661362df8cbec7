"""Section "Versions": Python and the packages of the environment that wrote the page."""

import platform
from importlib.metadata import distributions
from typing import Any

from merflow.report.report_data import ReportData
from merflow.report.section import Section


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``versions.html.j2``."""
    packages = sorted({(package.name, package.version) for package in distributions()}, key=lambda p: p[0].casefold())
    return {"versions": [("Python", platform.python_version()), *packages]}


SECTION = Section("versions", "Versions", content, badge=False)
