"""The report of a study: one HTML file that loads nothing.

The page is a list of sections. To add one, write ``sections/NAME.py`` and its template beside it, and add it to
:data:`SECTIONS`; docs/report.md shows an example.
"""

import base64
import hashlib
import logging
import os
import shutil
from functools import partial
from pathlib import Path

from matplotlib import rc_context

from merflow.report.formats import templates
from merflow.report.report_data import ReportData
from merflow.report.section import METRIC_TITLES, Drawing
from merflow.report.sections import (
    action_units,
    answer,
    audit,
    certainty,
    chosen_on_test,
    classes,
    curves,
    data,
    differences,
    failed,
    figures,
    graphs,
    pictures,
    results,
    settings,
    subjects,
    timings,
    variants,
    wrong,
)
from merflow.report.svg import STYLE, standalone_svg, style_sheet
from merflow.runtime.summary import SYNTHETIC_MARK
from merflow.storage.files import atomic_write, safe_filename, scratch_folder

log = logging.getLogger(__name__)

SECTIONS = [module.SECTION for module in (
    answer, results, action_units, differences, audit, chosen_on_test, classes, wrong, subjects, certainty, figures,
    variants, data, failed, pictures, graphs, curves, timings, settings,
)]  # fmt: skip
"""Sections of the page, in order."""
OF_FOOTAGE = ("failed", "pictures", "graphs")
"""Sections with faces, annotations or file names, which a report that is shared leaves out."""
OF_CLASSES = ("answer", "results", "differences", "classes", "wrong", "subjects")
"""Sections that need a system that recognises classes."""


@rc_context(STYLE)
def write_report(report: ReportData, output: Path, drawings: Path | None = None) -> None:
    """Write the report.

    The content security policy of the page forbids it to load anything and to run any script but its own. The page
    follows the reader's light or dark mode. The same inputs give the same bytes.

    Args:
        report: settings and files of the study.
        output: HTML file, written atomically.
        drawings: folder for every drawing of the page as ``{name}.svg`` and ``{name}.csv``, or None.

    Raises:
        InputError: a table is missing or lacks a column of its contract.
    """
    here = Path(__file__).parent
    script = (here / "script.js.j2").read_text(encoding="utf-8")
    saved: dict[str, str] = {}
    mark = "(synthetic)" if report.settings.synthetic else ""
    environment = templates(here, here / "sections")
    environment.filters["filename"] = safe_filename
    environment.globals.update(keep=partial(keep_drawing, saved, mark), report=report, titles=METRIC_TITLES)
    sections = []
    for section in SECTIONS:
        if report.settings.shared and section.name in OF_FOOTAGE:
            continue
        log.info("%s", section.title)
        content = section.content(report) if report.systems or section.name not in OF_CLASSES else None
        if content is not None:
            sections.append((section, environment.get_template(f"{section.name}.html.j2").render(content)))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("page.html.j2").render(
        sections=sections,
        style=style_sheet(),
        script=script,
        script_hash=f"sha256-{digest}",
        synthetic_mark=SYNTHETIC_MARK,
    )
    with atomic_write(output) as temporary:
        temporary.write_text(page + "\n", encoding="utf-8")
        if drawings:
            write_drawings(saved, drawings)
    log.info("%s: %.1f MB", output, Path(output).stat().st_size / 1e6)


def keep_drawing(saved: dict[str, str], mark: str, drawing: Drawing) -> dict[str, str]:
    """Add the files of a drawing to ``saved``, {file name: content}; returns their content as data URIs by file name.

    The SVG has the title with ``mark`` and the caption.

    Raises:
        ValueError: another drawing has this name.
    """
    name = safe_filename(drawing.name)
    if f"{name}.svg" in saved:
        raise ValueError(f"two figures of the report are named {drawing.name}")
    svg = standalone_svg(drawing.svg, f"{drawing.title} {mark}", [drawing.caption])
    files = {f"{name}.svg": (svg, "image/svg+xml"), f"{name}.csv": (drawing.csv, "text/csv")}
    saved |= {file: content for file, (content, _) in files.items()}
    return {
        file: f"data:{kind};base64,{base64.b64encode(content.encode()).decode()}"
        for file, (content, kind) in files.items()
    }


def write_drawings(saved: dict[str, str], folder: Path) -> None:
    """Write ``{name}.svg`` and ``{name}.csv`` of every drawing into a folder, replaced as a whole."""
    with scratch_folder(folder) as temporary:
        for name, content in saved.items():
            (temporary / name).write_text(content, encoding="utf-8", newline="")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
