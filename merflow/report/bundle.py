"""A finished study as one archive that can be published and cited: an RO-Crate 1.1 with no face and no frame.

Of the annotations it holds the classes alone (or the action units that were recognised), without which no score can be
computed.
"""

import json
import mimetypes
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from merflow.datasets.registry import LAYOUTS
from merflow.report.formats import templates
from merflow.report.page import write_report
from merflow.report.report_data import ReportData
from merflow.report.sections.settings import configuration, installed_packages
from merflow.storage.files import atomic_write, scratch_folder

METADATA = "ro-crate-metadata.json"
CONTENT = {
    "README.md": "what the archive holds, how to compute the scores again, and under which terms",
    "config.yaml": "complete configuration; folders of its user are replaced by placeholders",
    "environment.txt": "Python and the packages of the environment that wrote the archive, at their versions",
    "report.html": "report without faces, frames and lists of clips that failed",
    "report_figures": "drawing of the report, or its numbers",
    "predictions.csv": "answer and probabilities of each system for each clip of the test, with the true class",
    "metrics.csv": "accuracy, UF1 and UAR of each system with 95 % intervals over subjects",
    "audit.csv": "leakage audit: what the training of each fold shares with its test",
    "differences.csv": "every pair of systems by paired bootstrap over subjects",
    "calibration.csv": "calibration of the probabilities",
    "reliability.csv": "confidence and accuracy in bins",
    "coverage.csv": "accuracy on the clips whose probability reaches a threshold",
    "chosen_on_test.csv": "no results: what epochs that are chosen on the test clips would have scored",
    "accuracy_train.csv": "accuracy on the training clips of each fold",
    "curves.csv": "learning curves",
    "splits": "part of each clip in each fold: train, validation or test",
    "experiments": "answers for the validation clips, from which the calibration follows",
    "tables": "table of variants",
    "figures": "figure of the study, or its numbers",
}
"""What each file of the archive, or each file of a folder, holds."""


def write_bundle(report: ReportData, files: Sequence[Path], study: Path, version: str, output: Path) -> None:
    """Write the archive of a study.

    Args:
        report: what the report is made of; its settings are shared ones (``ReportSettings.shared``).
        files: tables and figures of the study.
        study: folder of the study; the files have the same places in the archive.
        version: of merflow.
        output: zip file, written atomically. The same inputs give the same bytes on the same day.

    Raises:
        InputError: a table is missing or lacks a column of its contract.
    """
    settings, today = report.settings, date.today().isoformat()
    code = code_version(version)
    terms = {name: _terms(layout) for name, layout in settings.layouts.items()}
    content = {file.relative_to(study).as_posix(): file.read_bytes() for file in sorted(files)}
    content["config.yaml"] = configuration(settings.config).encode()
    content["environment.txt"] = "".join(f"{line}\n" for line in _environment()).encode()
    with scratch_folder(output) as folder:
        write_report(report, folder / "report.html", folder / "report_figures")
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            content[file.relative_to(folder).as_posix()] = file.read_bytes()
    readme = templates(Path(__file__).parent).get_template("bundle.md.j2").render(
        settings=settings, code=code, terms=terms, units=any(e.coded for e in settings.experiments.values()),
        content={name: text for name, text in CONTENT.items() if any(file.split("/")[0] == name for file in content)},
    )  # fmt: skip
    content["README.md"] = readme.encode()
    crate = describe(content, settings.title, settings.synthetic, code, terms, today)
    content[METADATA] = (json.dumps(crate, indent=1) + "\n").encode()
    with atomic_write(output) as temporary, ZipFile(temporary, "w") as archive:
        for name in sorted(content, key=lambda name: (name != METADATA, name)):
            archive.writestr(ZipInfo(name), content[name], ZIP_DEFLATED)


def describe(
    content: Mapping[str, bytes], title: str, synthetic: bool, code: str, terms: Mapping[str, str], day: str
) -> dict[str, Any]:
    """Return the metadata of an RO-Crate (Sefton et al., RO-Crate Metadata Specification 1.1) as JSON-LD.

    Args:
        content: the files.
        title: of the study.
        synthetic: whether demo data take part.
        code: version of the code.
        terms: under which each dataset is distributed.
        day: of the publication, as ``2026-11-30``.
    """
    data = "synthetic clips (no claim about people)" if synthetic else f"the datasets {', '.join(terms)}"
    agreements = "; ".join(f"{name}: {text}" for name, text in terms.items())
    files = [
        {
            "@id": name,
            "@type": "File",
            "name": name,
            "description": CONTENT[name.split("/")[0]],
            "encodingFormat": mimetypes.guess_type(name)[0] or "text/plain",
            "contentSize": str(len(content[name])),
        }
        for name in sorted(content)
    ]
    parts = [{"@id": file["@id"]} for file in files]
    results = [part for part in parts if part["@id"] not in ("README.md", "config.yaml", "environment.txt")]
    return {
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": [
            {
                "@id": METADATA,
                "@type": "CreativeWork",
                "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
                "about": {"@id": "./"},
            },
            {
                "@id": "./",
                "@type": "Dataset",
                "name": title,
                "description": f"A study of micro-expression recognition on {data}: configuration, splits, "
                "predictions, metrics, leakage audit, environment and report. It holds no face and no frame.",
                "datePublished": day,
                "license": {"@id": "#terms"},
                "hasPart": parts,
                "mentions": {"@id": "#study"},
            },
            *files,
            {
                "@id": "#terms",
                "@type": "CreativeWork",
                "name": "Terms",
                "description": "The authors of the study name the terms of their own tables. Names and classes of "
                f"clips come from the datasets, whose terms apply ({agreements}).",
            },
            {
                "@id": "#study",
                "@type": "CreateAction",
                "name": f"Run of the study {title}",
                "instrument": {"@id": "#merflow"},
                "object": {"@id": "config.yaml"},
                "result": results,
            },
            {
                "@id": "#merflow",
                "@type": "SoftwareApplication",
                "name": "merflow",
                "softwareVersion": code,
                "softwareRequirements": {"@id": "environment.txt"},
            },
        ],
    }


def code_version(version: str) -> str:
    """Return the version of merflow, in a clone with its commit, and whether its files differ from that."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return version
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # Without git, or in a clone of another user.
        return version
    commit, dirty, _ = commit.partition("-dirty")
    return f"{version}, commit {commit}" + (" with local changes" if dirty else "")


def _terms(layout: str) -> str:
    """Return the terms of the datasets of a layout."""
    synthetic = LAYOUTS[layout].synthetic
    return LAYOUTS[layout].licence or ("synthetic, made by merflow" if synthetic else "terms unknown to merflow")


def _environment() -> list[str]:
    """Return the lines of ``environment.txt``, which pip reads as requirements."""
    (_, python), *packages = installed_packages()
    return [f"# Python {python}", *(f"{name}=={version}" for name, version in packages)]
