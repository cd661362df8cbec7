"""Whole runs with a full disk, truncated results, missing footage, killed jobs and special characters in names."""

import csv
import os
import re
import shutil
import subprocess

import pandas as pd
import people
import pytest
from repository import copy_repository, snakemake

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Three synthetic people."""
    folder = tmp_path_factory.mktemp("footage")
    people.draw(folder / "people", "micro", 3, 0, frames=10)
    return folder / "people"


@pytest.fixture
def folder(tmp_path, footage):
    """A repository with a user's clips in it."""
    copy_repository(tmp_path)
    shutil.copytree(footage, tmp_path / "people")
    return tmp_path


def config(folder, **changes):
    """The cheapest study with every stage up to the report: one floor."""
    return {
        "study": "mine",
        "datasets": {"people": {"layout": "manifest", "root": str(folder / "people"), "kind": "micro"}},
        "experiments": {"svm": {"system": "linear-svm", "micro": "people"}},
        "floors": [],
        "preparations": {"default": {"keyframes": {"count": 2}}},
    } | changes


def run(folder, *arguments, **changes):
    """Run the study; returns exit status and output."""
    done = snakemake(folder, *arguments, config=config(folder, **changes), ok=False)
    return done.returncode, done.stdout + done.stderr


def written(folder):
    """Time of every file of the results."""
    return {file: file.stat().st_mtime_ns for file in (folder / "results").rglob("*.h5") if file.is_file()}


def jobs_of(text, rule):
    return len(re.findall(rf"^rule {rule}:|^localrule {rule}:", text, re.MULTILINE))


@pytest.fixture
def disk(folder):
    """A small disk for the results: mount it with its size; root only."""
    (folder / "results").mkdir()

    def mount(options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder / "results"])
        if os.geteuid() or done.returncode:
            pytest.skip("mounting a small disk needs root")

    yield mount
    subprocess.run(["umount", folder / "results"])


def test_run_continues_after_full_disk(folder, disk):
    disk("size=600k")
    status, text = run(folder)
    assert status and "no space left on the disk of the results" in text
    # Files with their final name are complete.
    good = {file: file.read_bytes() for file in (folder / "results").rglob("*.h5")}
    subprocess.run(["mount", "-o", "remount,size=200m", folder / "results"], check=True)
    status, text = run(folder)
    assert status == 0, text
    assert (folder / "results/mine/report.html").is_file()
    assert all(file.read_bytes() == data for file, data in good.items() if not file.name.startswith("."))
    assert not [file for file in (folder / "results").rglob(".*.tmp*")]


def test_read_only_results_are_one_message_before_any_job(folder, disk):
    disk("size=1m,ro")
    status, text = run(folder)
    assert status and "results is not writable (read-only, or owned by someone else)" in text
    assert "rule " not in text and "Traceback" not in text


def test_truncated_files_are_named_and_made_again(folder):
    assert run(folder)[0] == 0
    for name in ("data/people/default/cache.h5", "data/people/default/flow/s01.h5"):
        file = folder / "results" / name
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])
        status, text = run(folder)
        assert status and f"{name} is damaged (it was cut short); remove it and run again" in text
        file.unlink()
        status, text = run(folder)
        assert status == 0, text


def test_missing_footage_is_named_and_results_are_kept(folder):
    """The dataset disappears before the second person is aligned, as when its disk is unplugged."""
    script = folder / "workflow/scripts/align_faces.py"
    text = script.read_text()
    assert "with script_context(snakemake):\n" in text
    unplugged = (
        'with script_context(snakemake):\n    if snakemake.wildcards.subject == "s02":\n'
        '        Path(snakemake.params.clips[0]["frames"]).parents[1].rename(Path("away"))\n'
    )
    script.write_text(text.replace("with script_context(snakemake):\n", unplugged))
    status, output = run(folder, "--cores", "1", "--until", "align_faces")
    assert status and re.search(r"merflow: align_faces .*subject=s02: dataset people: \S*/people is gone since", output)
    faces = {file.name for file in (folder / "results/data/people/default/faces").glob("*.h5")}
    assert "s02.h5" not in faces
    script.write_text(text)
    status, output = run(folder)
    assert status and "folder" in output and "people does not exist" in output, (
        "a run without the dataset is one message"
    )
    assert {file.name for file in (folder / "results/data/people/default/faces").glob("*.h5")} == faces
    (folder / "away").rename(folder / "people")
    assert run(folder)[0] == 0
    quality = pd.read_csv(folder / "results/data/people/default/quality.csv")
    assert set(quality["status"]) == {"ok"}, "no clip is marked as failed because the folder was missing"


def test_killed_job_is_named_and_other_jobs_finish(folder):
    """What the kernel does when memory runs out."""
    script = folder / "workflow/scripts/align_faces.py"
    text = script.read_text()
    killed = (
        'with script_context(snakemake):\n    if snakemake.wildcards.subject == "s02":\n'
        "        import os\n\n        os.kill(os.getpid(), 9)\n"
    )
    script.write_text(text.replace("with script_context(snakemake):\n", killed))
    status, output = run(folder)
    assert status and "Error in rule align_faces" in output and "align_faces/people/default/s02.log" in output
    faces = folder / "results/data/people/default/faces"
    assert {file.name for file in faces.glob("*.h5")} == {"s01.h5", "s03.h5"}
    script.write_text(text)
    status, output = run(folder)
    assert status == 0, output


def test_names_with_special_characters_pass_the_workflow(folder):
    """Subjects, clips, labels and folders with characters that shells, patterns, tables, HTML or formulas interpret."""
    names = [
        "../../e vil",
        "{subject} %s `id` 'q' \"d\" é\u0301 \u202e <script>alert(1)</script>",
        "=cmd|'/c calc'!A1 [x]*?\\",
    ]
    labels = ["<script>alert(2)</script>", "$\\frac{a$", "=1+1"]
    rows = [row for row in csv.DictReader((folder / "people/manifest.csv").open())]
    people_ = sorted({row["subject"] for row in rows})
    emotions = sorted({row["label"] for row in rows})
    for number, row in enumerate(rows):
        source = folder / "people" / row["frames"]
        target = folder / "people" / f"clip {number} [a]*?\n'\"{{x}}%d \\é"
        source.rename(target)
        row["frames"] = target.name
        row["clip"] = f"{row['clip']} {names[people_.index(row['subject'])]}"
        row["subject"], row["label"] = names[people_.index(row["subject"])], labels[emotions.index(row["label"])]
    with (folder / "people/manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    outside = {file for file in folder.rglob("*") if not file.is_relative_to(folder / "results")}
    above = set(folder.parent.iterdir())
    figure = {"matrix": {"kind": "confusion", "of": "svm", "title": "<script>alert(3)</script> $\\frac{a$"}}
    status, text = run(folder, title="<script>alert(4)</script>", figures=figure)
    assert status == 0, text
    new = {file for file in folder.rglob("*") if not file.is_relative_to(folder / "results")} - outside
    assert {file.relative_to(folder).parts[0] for file in new} <= {".snakemake", "overlay.yaml", "merflow", ".cache"}
    assert set(folder.parent.iterdir()) == above
    for page in [folder / "results/mine/report.html", *(folder / "results/mine").rglob("*.svg")]:
        content = page.read_text()
        scripts = 2 if page.suffix == ".html" else 0  # The data and the script of the page.
        assert content.count("<script") == content.count("</script") == scripts and "<script>alert" not in content, page
        assert page.suffix != ".html" or "&lt;script&gt;alert" in content
    predictions = pd.read_csv(folder / "results/mine/predictions.csv", dtype=str)
    assert len(predictions) == len(rows) and set(predictions["truth"]) == {*labels[:2], "'=1+1"}
    cells = pd.concat([pd.read_csv(f, dtype=str, header=None).stack() for f in (folder / "results/mine").glob("*.csv")])
    assert not cells.str.match(r"[=@]|[+-](?![\d.]|$)").any()
    quality = pd.read_csv(folder / "results/data/people/default/quality.csv")
    assert (quality["status"] == "ok").all(), quality["reason"].tolist()
    status, text = run(folder, title="<script>alert(4)</script>", figures=figure)
    assert status == 0 and "Nothing to be done" in text
