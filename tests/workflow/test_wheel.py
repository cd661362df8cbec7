"""The wheel, installed elsewhere and used in an empty folder."""

import os
import subprocess
import sys
from zipfile import ZipFile

import pytest
from repository import REPO
from videos import waves, write_video

pytestmark = pytest.mark.slow
WORKFLOW = ("Snakefile", "config.yaml", "config", "workflow", "envs", "profiles", "studies")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as ``python -m build`` builds it: from the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(REPO)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def merflow(wheel, tmp_path_factory):
    """A function that runs the installed command in a folder; the other packages are those of the tests."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True)

    def merflow(folder, *arguments):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")} | {"PYTHONPATH": str(target)}
        program = [sys.executable, str(target / "bin" / "merflow"), *arguments]
        done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return merflow


def test_wheel_has_each_file_of_library_and_workflow(wheel):
    command = ["git", "ls-files", "-z", "merflow", *WORKFLOW]
    tracked = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]
    assert len(tracked) > 250
    with ZipFile(wheel) as archive:
        for file in tracked:
            place = file if file.startswith("merflow/") else f"merflow/_workflow/{file}"
            assert archive.read(place) == (REPO / file).read_bytes(), file
        others = {name.split("/")[0] for name in archive.namelist()} - {"merflow"}
    assert [name.endswith(".dist-info") for name in others] == [True]


def test_help_and_demo_study_in_an_empty_folder(merflow, tmp_path):
    assert "merflow check mine.yaml" in merflow(tmp_path, "--help")
    plan = merflow(tmp_path, "run", "--dry-run")
    assert "merflow/_workflow/Snakefile" in plan and "write_report" in plan and str(REPO) not in plan
    assert not (tmp_path / "results").exists()


def test_own_clips_from_init_to_faces(merflow, tmp_path):
    """Of videos without a face."""
    for subject in ("s1", "s2"):
        for label in ("happy", "sad"):
            (tmp_path / "clips" / subject).mkdir(parents=True, exist_ok=True)
            write_video(tmp_path / "clips" / subject / f"{label}.avi", waves(9))
    merflow(tmp_path, "init", "mine", "--root", "clips")
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    labelled = [line.replace(",,clips/", f",{line.split(',')[0][3:]},clips/") for line in lines]
    (tmp_path / "manifest.csv").write_text("\n".join(labelled))
    cost = merflow(tmp_path, "check", "mine.yaml")
    assert "people: 4 clips of 2 people, 36 frames" in cost and "Time: about" in cost
    assert "align_faces" in merflow(tmp_path, "run", "--config", "mine.yaml", "--dry-run")
    merflow(tmp_path, "run", "--config", "mine.yaml", "results/data/people/default/faces/s1.h5")
    log = (tmp_path / "results/logs/align_faces/people/default/s1.log").read_text()
    assert log.count("no face found") == 2
    assert "1 of 1 jobs done" in merflow(tmp_path, "progress")
