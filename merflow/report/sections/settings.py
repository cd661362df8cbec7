"""Section "Settings": the whole configuration."""

from collections.abc import Mapping
from typing import Any

import yaml

from merflow.report.report_data import ReportData
from merflow.report.section import Section


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``settings.html.j2``."""
    text = yaml.safe_dump(_plain(report.settings.config), sort_keys=False, allow_unicode=True, width=100)
    return {"configuration": text}


def _plain(value: Any) -> Any:
    """Settings as plain dictionaries, lists and scalars, for YAML."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


SECTION = Section("settings", "Settings", content, badge=False)
