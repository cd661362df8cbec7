"""Section "Versions": Python and the packages of the environment that wrote the page."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from merflow.report.report_data import ReportData
from merflow.report.section import Section

PACKAGES = (
    "snakemake", "numpy", "scipy", "pandas", "h5py", "opencv-contrib-python-headless", "dlib-bin", "dlib", "torch",
    "scikit-learn", "matplotlib", "Jinja2",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed :data:`PACKAGES`."""
    versions = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``versions.html.j2``."""
    return {"versions": package_versions()}


SECTION = Section("versions", "Versions", content, badge=False)
