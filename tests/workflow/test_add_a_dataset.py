"""The file and the entry of docs/add-a-dataset.md make a dataset of a copy of the repository."""

import re
import shutil
import subprocess
import sys

import dataset_files
import pandas as pd
import pytest
from repository import REPO, copy_repository, snakemake

PAGE = REPO / "docs" / "add-a-dataset.md"
HEADER = ["Subject", "Filename", "Onset", "Apex", "Offset", "Emotion"]
ROWS = [
    ["spNO.1", "a", 1, 2, 3, "happy"],
    ["spNO.1", "b", 1, 2, 3, "fear"],
    ["spNO.2", "a", 1, 2, 3, "happy"],
    ["spNO.2", "b", 1, 2, 9, "fear"],
]
CLIPS = "results/data/mine/clips.csv"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the repository with the page's dataset, and footage of it."""
    folder = copy_repository(tmp_path_factory.mktemp("dataset"))
    shutil.copytree(REPO / "docs", folder / "docs")
    module, entry = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (folder / module.split("\n", 1)[0].removeprefix("# ")).write_text(module)
    registry = folder / "merflow/datasets/registry.py"
    first, second = registry.read_text().split("LAYOUTS: dict[str, Layout] = {\n")
    registry.write_text(f"{first}LAYOUTS: dict[str, Layout] = {{\n{entry}{second}")
    for subject, clip, *_ in ROWS:
        frames = folder / "CASME3" / subject / clip / "color"
        frames.mkdir(parents=True)
        for number in (1, 2, 3):
            (frames / f"{number}.jpg").write_bytes(b"frame")
    dataset_files.write_table(folder / "CASME3" / "cas(me)3_part_A.xlsx", [HEADER, *ROWS])
    return folder


def config(**changes):
    dataset = {"layout": "casme3", "root": "CASME3", "classes": "casme3-2"} | changes
    experiment = {"system": "linear-svm", "micro": "mine", "protocol": "loso"}
    return {"study": "toy", "datasets": {"mine": dataset}, "experiments": {"svm": experiment}, "floors": []}


def test_page_has_at_most_40_lines():
    assert len(PAGE.read_text().splitlines()) <= 40


def test_clips_and_counts_of_the_new_layout(repository):
    done = snakemake(repository, CLIPS, config=config())
    clips = pd.read_csv(repository / CLIPS)
    assert clips["clip"].tolist() == ["spNO.1/a", "spNO.1/b", "spNO.2/a", "spNO.2/b"] and set(clips["fps"]) == {30}
    assert clips["label"].tolist() == ["happy", "fear", "happy", "fear"]
    assert "frame 9 does not exist" in clips["problem"].tolist()[3] and "1 of 4 clips cannot be used" in done.stderr
    counts = pd.read_csv(repository / "results/data/mine/classes.csv").set_index("label")
    assert counts["expected"].to_dict() == counts["found"].to_dict() == {"happy": 2, "fear": 2}


def test_changed_reader_lists_its_own_datasets_again(repository):
    assert "Nothing to be done" in snakemake(repository, CLIPS, "-n", config=config()).stdout
    with (repository / "merflow/datasets/samm.py").open("a") as file:
        file.write("# changed\n")
    assert "Nothing to be done" in snakemake(repository, CLIPS, "-n", config=config()).stdout
    with (repository / "merflow/datasets/casme3.py").open("a") as file:
        file.write("# changed\n")
    assert "List the clips of mine" in snakemake(repository, CLIPS, "-n", config=config()).stdout


@pytest.mark.parametrize("changes", [{"layout": "casme33"}, {"classes": "casme3-3"}, {"kind": "macro"}])
def test_configuration_knows_the_new_layout(repository, changes):
    done = snakemake(repository, "-n", config=config(**changes), ok=False)
    (key,) = changes
    message = done.stdout + done.stderr
    assert f"datasets.mine.{key}: " in message and "casme3" in message


def test_tables_of_the_documentation_have_the_new_layout(repository):
    script = "import sys; sys.path.insert(0, 'docs'); import hooks; print(*hooks.dataset_tables().values())"
    command = [sys.executable, "-c", script]
    text = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout
    assert "| `casme3` | CAS(ME)³ | micro, 30 |" in text
    assert "| `casme3-2` | casme3 | estimated_emotion | happy 2, fear 2 = 4 |" in text
