"""``merflow results`` and ``merflow progress``: what finished studies say, and how far a run is."""

import re
import time
from datetime import datetime
from pathlib import Path

import click

LOGS = Path(".snakemake") / "log"
ERROR = r"^Error in rule .*\n(?: .*\n)*?    jobid: (\d+)\n(?: .*\n)*?    log: (\S+)"
"""Of Snakemake's log: number and log file of a failed job."""


@click.command()
@click.argument("folder", default="results", type=click.Path(path_type=Path))
def results(folder: Path) -> None:
    """Show the metrics of all finished studies.

    FOLDER is that of all studies, by default results. Values are pooled over all test clips, with 95 % intervals over
    people. Floors are among the rows. A second table has F1 of what was spotted in long videos.

    \b
    Examples:
      merflow results
      merflow results /data/results
    """
    from rich.console import Console
    from rich.table import Table

    from merflow.errors import InputError
    from merflow.runtime.summary import METRICS, cell, pooled_metrics, spotting_f1

    studies = {path.parent.name: pooled_metrics(path.parent) for path in sorted(folder.glob("*/metrics.csv"))}
    spotted = {
        path.parents[1].name: spotting_f1(path.parents[1]) for path in sorted(folder.glob("*/spotting/metrics.csv"))
    }
    if not studies and not spotted:
        raise InputError(f"{folder} holds no finished study; `merflow run` makes one")
    rows = [metrics for experiments in studies.values() for metrics in experiments.values()]
    shown = [metric for metric in METRICS if any(metric in metrics for metrics in rows)]
    table = Table("study", "clips", "people", *(METRICS[metric] for metric in shown), box=None)
    for study, experiments in studies.items():
        table.add_row(study)
        for name, metrics in experiments.items():
            first = next(iter(metrics.values()))
            values = [_short(cell(metrics.get(metric), digits=2)) for metric in shown]
            table.add_row(f"  {name}", first["n_clips"], first["n_subjects"], *values)
    of_videos = Table("study", "long videos", "kind", "F1", box=None)
    for study, scores in spotted.items():
        of_videos.add_row(study)
        for score in scores:
            of_videos.add_row(
                f"  {score['experiment']}", score["dataset"], score["kind"], _short(cell(score, digits=2))
            )
    console = Console()
    for each, page, filled in ((table, "report.html", studies), (of_videos, "spotting/index.html", spotted)):
        if filled:
            console.print(each, crop=False, width=None if console.is_terminal else 200)
            console.print(f"Reports: {folder}/STUDY/{page}", highlight=False)


def _short(value: str) -> str:
    """Return the text of a value between 0 and 1 without its leading zero."""
    return value.replace("0.", ".").replace("1.00", "1")


@click.command()
def progress() -> None:
    """Show how far the run in this folder is.

    It prints jobs done, time left, jobs at work, and the logs of failed jobs.

    \b
    Examples:
      merflow progress
      watch merflow progress
    """
    from merflow.errors import InputError
    from merflow.runtime.driver import running_driver

    log = latest_run(LOGS)
    if log is None:
        raise InputError("no run has started a job in this folder; `merflow run` starts one")
    click.echo(state(log.read_text(encoding="utf-8", errors="replace"), running_driver(Path()), time.time()))


def latest_run(logs: Path) -> Path | None:
    """Return the newest log of Snakemake in which a job starts, which is not that of a dry run."""
    files = sorted(logs.glob("*.snakemake.log"), reverse=True)
    return next((file for file in files if "\nExecute " in file.read_text(encoding="utf-8", errors="replace")), None)


def state(log: str, driver: str, now: float) -> str:
    """Return what the log of a run says, as text.

    Args:
        log: content of the log file of Snakemake.
        driver: process and host of the run; empty if it has ended.
        now: time in seconds, from which the time left is estimated.
    """
    begin = re.search(r"^ *Date: (\S+ \S+)$", log, re.MULTILINE)
    total = re.search(r"^total +(\d+)$", log, re.MULTILINE)
    steps = re.findall(r"^(\d+) of (\d+) steps", log, re.MULTILINE)
    done, jobs = map(int, steps[-1]) if steps else (0, int(total[1]) if total else 0)
    failed = dict(re.findall(ERROR, log, re.MULTILINE))
    ended = {*re.findall(r"^Finished jobid: (\d+)", log, re.MULTILINE), *failed}
    active = [text for job, text in re.findall(r"^Job (\d+): (.+)$", log, re.MULTILINE) if job not in ended]
    lines = [f"{done} of {jobs} jobs done"]
    if driver and done and begin:
        left = round((now - datetime.fromisoformat(begin[1]).timestamp()) * (jobs - done) / done)
        lines[0] += f", about {left // 60}:{left % 60:02d} min left"
    if driver:
        lines[0] += f" ({driver})"
        lines += [f"  at work: {text}" for text in active]
    elif done < jobs:
        lines[0] += "; the run has ended, and the same `merflow run` continues it"
    lines += [f"  failed: {file}" for file in failed.values()]
    return "\n".join(lines)
