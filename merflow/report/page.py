"""The report of a study: one HTML file that needs nothing else, the answer first."""

import base64
import hashlib
import logging
import math
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from merflow.report import contents, figures, in_print
from merflow.report.certainty import how_sure
from merflow.report.compared import class_bars, difference_forest
from merflow.report.neighbours import graphs_on_a_face
from merflow.report.pipeline import pipeline
from merflow.report.saved import Figures
from merflow.report.sheets import BUDGET, contact_sheets
from merflow.report.subjects import by_subject
from merflow.runtime.summary import SYNTHETIC_MARK
from merflow.storage.files import atomic_write

log = logging.getLogger(__name__)

TEMPLATE = "template.html.j2"
STYLE = "style.css.j2"
SCRIPT = "script.js.j2"
PACKAGES = (
    "snakemake", "numpy", "scipy", "pandas", "h5py", "opencv-contrib-python-headless", "dlib-bin", "dlib", "torch",
    "scikit-learn", "matplotlib", "Jinja2",
)  # fmt: skip
"""Packages whose versions a reader may want to know."""

OPTIONAL = ("audit", "differences", "calibration", "reliability", "coverage")
"""Tables of the study that a report can do without."""


def study_files(settings: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`write_report` needs, from the study's settings and the files of the rule.

    Args:
        settings: ``name, title, synthetic, experiments, readings, tables, figures, counts, config, benchmarks`` as in
            :func:`write_report`, and ``prepared``: [[dataset, preparation], ...]; ``graphs`` without their files.
        inputs: ``clips, problems, classes, quality`` (one file per prepared dataset, in order), ``faces, keyframes,
            flow`` (one per subject, in ``.../{dataset}/{preparation}/{stage}/``), ``flow_images`` (the cache of each
            dataset of flow images, in ``.../{dataset}/{preparation}/``), ``tables`` (of variants), ``figures`` (their
            tables), ``graphs`` (of the settings), ``predictions, metrics, accuracy, curves``, and if there are any
            :data:`OPTIONAL`.
    """
    prepared = [tuple(pair) for pair in settings["prepared"]]
    datasets = [dataset for dataset, _ in prepared]
    titles = {(d, prep): d if datasets.count(d) == 1 else f"{d} ({prep})" for d, prep in prepared}

    def per_dataset(name: str) -> dict[str, Path]:
        return {titles[pair]: Path(file) for pair, file in zip(prepared, _list(inputs[name]), strict=True)}

    def per_subject(name: str) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {title: [] for title in titles.values()}
        for file in map(Path, _list(inputs[name])):
            found[titles[file.parts[-4], file.parts[-3]]].append(file)
        return found

    figures_made = map(Path, _list(inputs.get("figures", [])))
    return {
        **{
            name: settings[name]
            for name in ("name", "title", "synthetic", "experiments", "tables", "counts", "config", "benchmarks")
        },
        "versions": versions(),
        "readings": settings.get("readings", {}),
        "figures": settings.get("figures", {}),
        "dag": settings.get("dag", []),
        "figure_tables": dict(zip(settings.get("figures", {}), figures_made, strict=True)),
        **{name: per_dataset(name) for name in ("clips", "problems", "classes", "quality")},
        "flow_images": {titles[f.parts[-3], f.parts[-2]]: f for f in map(Path, _list(inputs.get("flow_images", [])))},
        "graphs": {
            name: {**graph, "file": Path(file)}
            for (name, graph), file in zip(
                settings.get("graphs", {}).items(), _list(inputs.get("graphs", [])), strict=True
            )
        },
        "faces": per_subject("faces"),
        "keyframes": per_subject("keyframes"),
        "flows": per_subject("flow"),
        "variants": dict(zip(settings["tables"], map(Path, _list(inputs.get("tables", []))), strict=True)),
        "predictions": Path(inputs["predictions"]),
        "metrics": Path(inputs["metrics"]),
        "accuracy_train": Path(inputs["accuracy"]),
        "curves": Path(inputs["curves"]),
        **{name: Path(inputs[name]) for name in OPTIONAL if inputs.get(name)},
    }


def write_report(study: Mapping[str, Any], output: Path, drawings: Path | None = None) -> None:
    """Write the report.

    The page loads nothing (its content security policy forbids it, and allows no script but its own), follows the
    reader's light or dark mode, and is the same, byte for byte, for the same inputs.

    Args:
        study: ``name, title, synthetic`` (whether demo data take part), ``config`` (full settings), ``versions``
            ({software: version}); ``clips, quality, problems`` ({dataset: table}, ``problems`` may be None);
            ``faces, keyframes, flows`` ({dataset: one file per subject, in the same order}); ``predictions, metrics,
            curves, accuracy_train`` (tables of the study); ``benchmarks`` (folder of Snakemake's benchmarks,
            ``{stage}/**/*.tsv``). Optional: ``experiments`` (as in ``config``, floors included), ``readings``
            ({experiment: what its system was rebuilt from, if not the paper}), ``counts``
            ({experiment: rows ``label, expected, found``}), ``classes`` ({dataset: table}), ``flow_images`` ({dataset:
            cache}), ``tables`` ({table of variants: title}), ``variants`` ({table of variants: its CSV}), ``figures``
            ({figure: settings of :meth:`merflow.study.study.Study.figure_settings`}), ``figure_tables`` ({figure: its
            CSV}), ``graphs`` ({graph: ``file, experiments, datasets``}), ``dag`` (of :func:`merflow.study.dag.stages`),
            ``pretraining`` (more curves), ``audit, differences, calibration, reliability, coverage`` (tables of the
            study).
        output: HTML file, written whole or not at all.
        drawings: folder for every figure of the page as ``{name}.svg`` and ``{name}.csv``, written whole or not at all
            (None: the page has them alone).

    Raises:
        InputError: a table is missing or has not the columns of its contract.
    """
    log.info("results")
    found = contents.results(study)
    page = {
        "study": study,
        "synthetic_mark": SYNTHETIC_MARK,
        "synthetic_datasets": [name for name in study["clips"] if contents.is_synthetic(name, study)] or ["this study"],
        "head_subtracted": all(
            preparation.get("flow", {}).get("rigid", True)
            for preparation in study["config"].get("preparations", {}).values()
        ),
        "results": found,
        "answer": (answer := contents.answer(study, found)),
        "made": in_print.made(answer["main"], study),
        "in_print": in_print.beside(answer["main"], study),
        "clicked": contents.answers_by_clip(study, found),
        "audit": contents.leakage(study),
        "differences": contents.differences(study),
        "forests": contents.forests(found),
        "titles": contents.TITLES,
        "datasets": contents.datasets(study),
        "recognised": contents.recognised(study),
        "variants": contents.variants(study),
        "figures": contents.drawn_figures(study),
        "rows_shown": contents.ROWS_SHOWN,
    }
    page |= {"certainty": how_sure(study), "subjects": by_subject(study, found)}
    page |= {"graphs": graphs_on_a_face(study), "pipeline": pipeline(study)}
    page |= {"class_bars": class_bars(found), "difference_forest": difference_forest(page["differences"])}
    log.info("contact sheets")
    page |= {"sheets": contact_sheets(study), "sheet_budget": BUDGET, "wheel": figures.colour_wheel()}
    page["anchors"] = {person["anchor"] for sheet in page["sheets"] for person in sheet["subjects"]}
    log.info("curves and timings")
    page |= {"curves": contents.training_curves(study), "timings": contents.timings(study)}
    page["settings"] = yaml.safe_dump(_plain(study["config"]), sort_keys=False, allow_unicode=True, width=100)
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, interval=interval, percent=percent, duration=duration, memory=memory)
    environment.filters.update(exact=exact, sections=sections, fingerprint=fingerprint)
    page["style"], page["script"] = ((here / name).read_text(encoding="utf-8") for name in (STYLE, SCRIPT))
    drawn = Figures(page["style"], "(synthetic)" if study["synthetic"] else "")
    environment.globals["keep"] = drawn.keep
    with atomic_write(output) as temporary:
        temporary.write_text(environment.get_template(TEMPLATE).render(page) + "\n", encoding="utf-8")
        if drawings:
            drawn.write(drawings)
    log.info("%s: %.1f MB", output, Path(output).stat().st_size / 1e6)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages of :data:`PACKAGES` that are installed here."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def exact(value: float | None) -> str:
    """A number with six digits, for sorting and saving; empty where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def interval(value: Mapping[str, float]) -> str:
    """``[low, high]`` of a metric; empty where there is none."""
    return "" if math.isnan(value["low"]) else f"[{value['low']:.2f}, {value['high']:.2f}]"


def percent(value: float | None, digits: int = 0) -> str:
    """A share in per cent, on one line."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """Seconds in words that people use: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def memory(megabytes: float) -> str:
    """Memory in MB, or GB where there is much of it; a dash for 0, which stands for unknown."""
    if not megabytes:
        return "–"
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"


def sections(body: str) -> list[dict[str, str]]:
    """The sections of a page with their headings, in order: ``id, title`` (without its badge, as HTML)."""
    found = re.findall(r'<section id="([^"]+)"[^>]*>\s*<h2[^>]*>([^<]*)', body)
    return [{"id": name, "title": title.strip()} for name, title in found]


def fingerprint(script: str) -> str:
    """A script as a content security policy names it; a browser runs no other."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _list(files: Any) -> list[Any]:
    """Snakemake gives one file as text and several as a list."""
    return [files] if isinstance(files, str | Path) else list(files)


def _plain(value: Any) -> Any:
    """Settings as plain dictionaries, lists and scalars, for YAML."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
