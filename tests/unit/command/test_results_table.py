"""The table of studies, and how far a run is."""

import pytest
from click.testing import CliRunner

from merflow.command import results as module
from merflow.command.app import main
from merflow.storage.tables import METRICS

LOG = """SNAKEMAKE
=========
  Date: 2026-01-01 10:00:00

Job stats:
job            count
-----------  -------
align_faces        3
total              4

Execute 2 jobs...
Job 3: Align the faces of people/s1
Job 2: Align the faces of people/s2
Finished jobid: 3 (Rule: align_faces)
1 of 4 steps (25%) done
Job 1: Align the faces of people/s3
"""
FAILED = """Error in rule align_faces:
    message: Align the faces of people/s2
    jobid: 2
    output: results/data/people/default/faces/s2.h5
    log: results/logs/align_faces/people/default/s2.log (check log file(s) for error details)
"""
NOON = 1767261600.0 + 3600


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments):
    done = CliRunner().invoke(main, arguments)
    return done.exit_code, done.output


def study(folder, name, value):
    row = [f"{name}-net", "loso", "pooled", "uf1", str(value), str(value - 0.1), str(value + 0.1), "40", "5", "1"]
    other = [*row[:2], "dataset", *row[3:4], "0.9", *row[5:]]
    (folder / "results" / name).mkdir(parents=True)
    lines = [METRICS, row, other]
    (folder / "results" / name / "metrics.csv").write_text("".join(",".join(line) + "\n" for line in lines))


def test_results_of_all_studies_are_one_table(folder):
    study(folder, "first", 0.5)
    study(folder, "second", 0.25)
    (folder / "results" / "unfinished").mkdir()
    code, output = invoke("results")
    assert code == 0
    assert [line.split() for line in output.splitlines()[:-1]] == [
        ["study", "clips", "people", "UF1"],
        ["first"],
        ["first-net", "40", "5", ".50", "[.40,", ".60]"],
        ["second"],
        ["second-net", "40", "5", ".25", "[.15,", ".35]"],
    ]


def test_results_of_long_videos_alone(folder):
    (folder / "results/talkers/spotting").mkdir(parents=True)
    rows = "experiment,dataset,kind,f1,f1_low,f1_high\nspot,d,micro,0.25,0.1,0.5\nspot,all,micro,0.25,0.1,0.5\n"
    (folder / "results/talkers/spotting/metrics.csv").write_text(rows)
    code, output = invoke("results")
    assert code == 0 and [line.split() for line in output.splitlines()] == [
        ["study", "long", "videos", "kind", "F1"],
        ["talkers"],
        ["spot", "d", "micro", ".25", "[.10,", ".50]"],
        ["Reports:", "results/STUDY/spotting/index.html"],
    ]


def test_three_metrics_fit_in_80_columns(folder, monkeypatch):
    study(folder, "composite", 0.5)
    metrics = folder / "results" / "composite" / "metrics.csv"
    text = metrics.read_text().replace("composite-net", "off-apexnet-w8")
    rows = [line for line in text.splitlines() if "pooled" in line]
    metrics.write_text(text + "".join(f"{rows[0].replace('uf1', name)}\n" for name in ("accuracy", "uar")))
    monkeypatch.setenv("COLUMNS", "80")
    lines = invoke("results")[1].splitlines()
    assert len(lines) == 4 and lines[2].count(".50 [.40, .60]") == 3 and max(map(len, lines)) <= 80


def test_without_a_finished_study(folder):
    assert invoke("results") == (1, "Error: results holds no finished study; `merflow run` makes one\n")


def test_running(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    module.time.tzset()
    text = module.state(LOG, "process 7 on host", NOON - 3600 + 60)
    assert text.splitlines() == [
        "1 of 4 jobs done, about 3:00 min left (process 7 on host)",
        "  at work: Align the faces of people/s2",
        "  at work: Align the faces of people/s3",
    ]


def test_killed_and_failed_runs():
    assert module.state(LOG, "", NOON) == "1 of 4 jobs done; the run has ended, and the same `merflow run` continues it"
    assert module.state(LOG + FAILED, "", NOON).splitlines()[1:] == [
        "  failed: results/logs/align_faces/people/default/s2.log"
    ]
    assert "people/s2" not in module.state(LOG + FAILED, "process 7 on host", NOON).split("failed")[0]


def test_progress_reads_the_newest_run_with_jobs(folder):
    assert invoke("progress")[0] == 1
    logs = folder / ".snakemake" / "log"
    logs.mkdir(parents=True)
    (logs / "2026-01-01.snakemake.log").write_text(LOG)
    (logs / "2026-01-02.snakemake.log").write_text(LOG.replace("1 of 4", "2 of 4"))
    (logs / "2026-01-03.snakemake.log").write_text("Nothing to be done")
    code, output = invoke("progress")
    assert code == 0 and output.startswith("2 of 4 jobs done; the run has ended")
