"""The archive of a study: an RO-Crate from which the scores follow, without faces, frames and annotations."""

import json
import os
import re
import shutil
import subprocess
from zipfile import ZipFile

import pytest
from private_content import private_content, zip_content
from report_study import Page, make_study, with_settings

from merflow.evaluation.recompute import KEYS, recompute
from merflow.evaluation.score_table import main
from merflow.report.bundle import METADATA, write_bundle
from merflow.report.page import write_report
from merflow.report.report_data import TABLES

PRIVATE = "/private/licensed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def licensed(folder):
    """A study of a licensed dataset with a clip that failed and an annotation that was corrected."""
    study = make_study(folder, synthetic=False, bad=f"{PRIVATE}/006_1_2/12.png is damaged")
    return with_settings(study, layouts={"people-macro": "ck-plus", "people-micro": "samm"})


@pytest.fixture(scope="module")
def bundle(licensed, folder):
    study = with_settings(licensed, shared=True)
    write_bundle(study, [folder / f"{name}.csv" for name in TABLES], folder, "9.9.9", folder / "bundle.zip")
    return folder / "bundle.zip"


def test_no_face_frame_annotation_or_path_is_in_it(bundle, folder, licensed, tmp_path):
    paths = [str(folder), PRIVATE]
    assert private_content(zip_content(bundle), paths) == []
    # The search is able to find all of them in what stays with the user.
    write_report(licensed, tmp_path / "report.html")
    kept = private_content({"report.html": (tmp_path / "report.html").read_bytes()}, paths)
    assert {
        "report.html: data URI of image/jpeg",
        "report.html: picture in a page",
        f"report.html: path {PRIVATE}",
    } <= {*kept}
    micro = folder / "data/people-micro"
    files = [micro / "clips.csv", micro / "default/faces/s01.h5", micro / "default/keyframes/s01.csv"]
    found = private_content({file.name: file.read_bytes() for file in files})
    assert {"clips.csv: column onset", "s01.h5: HDF5", "s01.csv: column apex_annotated"} <= set(found)


def test_report_in_it_has_no_dangling_link_and_no_corrected_annotation(bundle):
    page = Page(zip_content(bundle)["report.html"].decode())
    used = {value[1:] for value in page.values("href") if value.startswith("#")}
    assert used <= set(page.values("id")) and not {"failed", "pictures", "graphs"} & set(page.values("id"))
    assert "a slip in the release" not in page.html


def test_metadata_describe_every_file(bundle):
    content = zip_content(bundle)
    graph = {entity["@id"]: entity for entity in json.loads(content[METADATA])["@graph"]}
    described = {name for name, entity in graph.items() if entity["@type"] == "File"}
    assert described == set(content) - {METADATA} == {part["@id"] for part in graph["./"]["hasPart"]}
    assert all(graph[name]["contentSize"] == str(len(content[name])) for name in described)
    assert "SAMM (licence agreement)" in graph["#terms"]["description"]
    assert graph["#merflow"]["softwareVersion"].startswith("9.9.9")
    readme = content["README.md"].decode()
    assert "people-micro (layout `samm`): SAMM (licence agreement)" in readme
    assert content["config.yaml"] == b"study: made\n" and b"\nnumpy==" in content["environment.txt"]


def test_same_study_gives_the_same_bytes(bundle, licensed, folder, tmp_path):
    study = with_settings(licensed, shared=True)
    write_bundle(study, [folder / f"{name}.csv" for name in TABLES], folder, "9.9.9", tmp_path / "again.zip")
    assert zip_content(tmp_path / "again.zip") == zip_content(bundle)


def test_scores_follow_from_the_archive(bundle, capsys):
    tables = {table.name: table for table in recompute(bundle)}
    assert set(tables) == set(KEYS) and not any(table.different for table in tables.values())
    assert tables["metrics"].numbers > 500 and tables["differences"].numbers > 100
    assert main([str(bundle)]) == 0
    assert "metrics.csv: 588 numbers computed again, all equal" in capsys.readouterr().out


@pytest.mark.parametrize("table", ["metrics", "differences"])
def test_number_that_does_not_follow_is_shown(bundle, tmp_path, table, capsys):
    with ZipFile(bundle) as archive:
        archive.extractall(tmp_path)
    lines = (tmp_path / f"{table}.csv").read_text().splitlines()
    column = lines[0].split(",").index("value" if table == "metrics" else "difference")
    cells = lines[1].split(",")
    cells[column] = str(float(cells[column]) + 1e-4)
    lines[1] = ",".join(cells)
    (tmp_path / f"{table}.csv").write_text("\n".join(lines) + "\n")
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert re.search(rf"^{table}.csv: \d+ numbers computed again, 1 differ$", printed, re.MULTILINE)
    assert f"is {cells[column]}, computed again" in printed


def test_file_that_is_no_archive_is_named(tmp_path, capsys):
    (tmp_path / "x.zip").write_bytes(b"no zip")
    assert main([str(tmp_path / "x.zip")]) == 1
    assert "x.zip is neither a folder of a study nor its archive" in capsys.readouterr().err


@pytest.mark.slow
def test_roc_validator_accepts_it(bundle):
    """The validator reads the context of RO-Crate 1.1 from the web, or from its own cache."""
    command = os.environ.get("ROCRATE_VALIDATOR") or shutil.which("rocrate-validator")
    if not command:
        pytest.skip("no rocrate-validator; pip install roc-validator in an environment of its own, see docs/cite.md")
    arguments = [command, "-y", "validate", "--no-paging", "--profile-identifier", "ro-crate-1.1", str(bundle)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if "urlopen error" in done.stdout + done.stderr:
        pytest.skip("rocrate-validator needs the web, to read the context of RO-Crate")
    assert done.returncode == 0, done.stdout + done.stderr
