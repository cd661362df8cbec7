"""``merflow check``: all that is wrong with a study, and what a run of it will cost, before it runs."""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import click

from merflow.command.run import read_study, snakemake_arguments

STAGES = {
    "synthetic people": ("make_demo",),
    "tables of clips": ("index_clips",),
    "faces": ("align_faces",),
    "key-frames": ("train_scorer", "score_frames", "select_keyframes"),
    "optical flow": ("compute_flow", "build_cache", "import_flow_images"),
    "pre-training": ("build_graph", "pretrain_sgcn", "pretrain_pair", "extract_features"),
    "training": ("make_splits", "finetune", "train_fold", "train_clip_network", "run_floor", "run_table"),
}
"""Rules by the stage that the table shows; all others belong to the last row."""


@click.command()
@click.argument("config", required=False, type=click.Path())
@click.option("--cores", type=click.IntRange(1), help="Cores of the run; if left out, all of this machine.")
def check(config: str | None, cores: int | None) -> None:
    """Show what is wrong with a study, and what a run will cost.

    All problems of its folders and tables are listed. Nothing runs and no frame is decoded. The cost is an estimate
    from the numbers of frames, clips and folds.

    \b
    Examples:
      merflow check mine.yaml
      merflow check mine.yaml --cores 32
    """
    from merflow.command.cost import count_frames, disk_bytes, job_seconds
    from merflow.datasets.index import problem_report
    from merflow.study.plan import plan_study

    plan = plan_study(read_study(config))
    try:
        plan.check()
    finally:  # Bad clips may be the reason why an experiment cannot run.
        for name, index in plan.data.indexes.items():
            if index.problems:
                click.echo(problem_report(name, index) + "\n")
    frames = {}
    for name, index in plan.data.indexes.items():
        usable = [clip for clip in index.clips if not clip.problem]
        frames[name], unreadable = count_frames(usable)
        people = len({clip.subject for clip in usable})
        click.echo(f"{name}: {len(usable)} clips of {people} people, {frames[name]} frames")
        for reason in unreadable:
            click.echo(f"  {reason}; it will be left out")
    cores = cores or len(os.sched_getaffinity(0))
    jobs = planned_jobs(config)
    if not jobs:
        click.echo("All is done: a run has no job to do.")
        return
    show_cost(jobs, job_seconds(plan, frames), cores)
    free = shutil.disk_usage(next(p for p in (Path(plan.config.results), Path()) if p.exists())).free
    click.echo(f"Space: about {_size(disk_bytes(plan, frames))} in {plan.config.results}/; {_size(free)} are free")


def planned_jobs(config: str | None) -> Counter[str]:
    """Return the number of jobs that a run would do, by rule, from a dry run of Snakemake.

    Raises:
        MerflowError: Snakemake cannot plan the run.
    """
    from merflow.errors import ConfigError
    from merflow.runtime.resume import SNAKEMAKE

    arguments = snakemake_arguments(config, ["--cores", "1", "--dry-run", "--quiet", "rules", "reason"])
    done = subprocess.run([*SNAKEMAKE, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(f"the run cannot be planned:\n{done.stdout}{done.stderr}".rstrip())
    statistics = done.stdout.rpartition("Job stats:")[2]
    counts = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", statistics, re.MULTILINE)}
    return Counter({rule: count for rule, count in counts.items() if rule not in ("total", "all")})


def show_cost(jobs: Counter[str], seconds: dict[str, float], cores: int) -> None:
    """Print a table of jobs and minutes of a core by stage, and the time on ``cores``."""
    from rich.console import Console
    from rich.table import Table

    from merflow.command.cost import JOB

    stage_of = {rule: stage for stage, rules in STAGES.items() for rule in rules}
    table = Table("stage", "jobs", "minutes of a core", box=None)
    total = sum(seconds.get(rule, JOB) * count for rule, count in jobs.items())
    for stage in [*STAGES, "tables and report"]:
        rules = [rule for rule in jobs if stage_of.get(rule, "tables and report") == stage]
        if rules:
            minutes = sum(seconds.get(rule, JOB) * jobs[rule] for rule in rules) / 60
            table.add_row(stage, str(sum(jobs[rule] for rule in rules)), f"{minutes:.1f}")
    table.add_row("all", str(jobs.total()), f"{total / 60:.1f}")
    Console().print(table)
    in_series = sum(seconds.get(rule, JOB) for rule in jobs)  # Most rules wait for others, however many the cores.
    click.echo(
        f"Time: about {_duration(max(total / cores, in_series))} on {cores} cores, half or twice as much on others"
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{max(1, round(seconds / 60))} min"


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size > 1e9 else f"{max(1, round(size / 1e6))} MB"
