"""The workflow as a module of another workflow: by a local path, and by URL."""

import threading
import tomllib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
import yaml
from repository import REPO, copy_repository, snakemake

STUDY = {
    "study": "two",
    "demo": {"subjects": 4, "emotions": ["happiness", "surprise"], "clips_per_emotion": 1, "fps": 50},
    "datasets": {"people": {"layout": "demo"}},
    "experiments": {"svm": {"system": "linear-svm", "micro": "people"}},
    "floors": [],
}
SNAKEFILE = """
configfile: "study.yaml"


module mer:
    snakefile: {path!r}
    config: config


use rule * from mer as mer_*


rule everything:
    default_target: True
    input:
        rules.mer_all.input,
"""


def write_study(folder, path):
    (folder / "Snakefile").write_text(SNAKEFILE.format(path=str(path)))
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return folder


def test_module_by_local_path_runs_a_study(tmp_path):
    clone, folder = tmp_path / "clone", tmp_path / "mine"
    for new in (clone, folder):
        new.mkdir()
    copy_repository(clone)
    write_study(folder, clone / "workflow" / "Snakefile")
    snakemake(folder)
    predictions = pd.read_csv(folder / "results/two/predictions.csv")
    assert predictions.groupby("experiment")["subject"].nunique().to_dict() == {"svm": 2}
    assert (folder / "results/two/report.html").is_file() and not (clone / "results").exists()
    assert "Nothing to be done" in snakemake(folder, "-n").stdout


@pytest.fixture
def url(tmp_path):
    """Address of the repository on a server of this machine."""
    handler = partial(SimpleHTTPRequestHandler, directory=copy_repository(tmp_path / "site"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("installed", [None, "0.0.1"], ids=["missing", "other version"])
def test_module_by_url_needs_the_same_version(tmp_path, url, installed, monkeypatch):
    install(tmp_path / "site-packages", installed, monkeypatch)
    done = snakemake(write_study(tmp_path, f"{url}/workflow/Snakefile"), "-n", ok=False)
    assert done.returncode
    assert f"installed: {installed or 'none'}. Install that version" in done.stdout + done.stderr


def test_module_by_url_plans_with_installed_version(tmp_path, url, monkeypatch):
    version = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["version"]
    install(tmp_path / "site-packages", version, monkeypatch)
    done = snakemake(write_study(tmp_path, f"{url}/workflow/Snakefile"), "-n")
    assert "mer_align_faces" in done.stdout + done.stderr


def install(folder, version, monkeypatch):
    """Install the library as pip does: the package, and a folder that names its version."""
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    if version:
        (folder / "merflow").symlink_to(REPO / "merflow")
        information = folder / f"merflow-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: merflow\nVersion: {version}\n")
