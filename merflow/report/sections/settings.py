"""Section "Settings": the whole configuration."""

import json
from typing import Any

import yaml

from merflow.report.report_data import ReportData
from merflow.report.section import Section


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``settings.html.j2``."""
    plain = json.loads(json.dumps(report.settings.config, default=str))
    return {"configuration": yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)}


SECTION = Section("settings", "Settings", content, badge=False)
