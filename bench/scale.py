"""What a study of many clips costs: time to plan it, time to find that nothing is to be done, memory of each rule.

    python bench/scale.py plan --clips 10000 --subjects 600
    python bench/scale.py memory --clips 60 240

`plan` needs no frames: its clips are a table and empty videos. `plan_ratio` is the CPU time of the plan over that of
bare.smk, which has as many jobs and files and no parameters; the two take turns. `memory` runs the demo study with two
numbers of micro clips (key-frames, flow, one epoch of each training) and reads `max_rss` from `results/benchmarks/`;
the difference is what a clip adds.
"""

import csv
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml
from common import REPO, Run, parser, show, snakemake, write_study

EMOTIONS = ["happiness", "surprise", "disgust", "sadness", "fear"]
ROUNDS = 3


# --- plan -------------------------------------------------------------------------------------------------------------


def write_index(folder: Path, clips: int, subjects: int) -> None:
    """Write a manifest of videos that nothing opens."""
    (folder / "videos").mkdir(parents=True)
    rows = []
    for n in range(clips):
        (folder / f"videos/{n:06d}.avi").write_bytes(b"-")
        label = EMOTIONS[n // subjects % len(EMOTIONS)]
        rows.append([f"c{n:06d}", f"s{n % subjects:04d}", label, f"videos/{n:06d}.avi", 0, 5, 10, 200])
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        names = ["clip", "subject", "label", "frames", "onset", "apex", "offset", "fps"]
        csv.writer(file).writerows([names, *rows])


def pretend_finished(folder: Path) -> int:
    """Make every output of the study, empty except for what a plan reads, and return their number."""
    from merflow.footage.fingerprints import footage_files, stat_digest
    from merflow.study.load import load_config
    from merflow.study.plan import plan_study

    study = plan_study(load_config(REPO / "config.yaml", overlay=yaml.safe_load((folder / "study.yaml").read_text())))
    lines = [line.split("\t") for line in snakemake(folder, "--summary").output.splitlines()]
    names = [line[0] for line in lines if line[0].startswith("results/")]
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch() if file.suffix else file.mkdir(exist_ok=True)
        if name.endswith(".source.json"):
            dataset, subject = name.split("/")[2], file.name.removesuffix(".source.json")
            now = stat_digest(footage_files(study.data.clips(dataset, subject)))
            file.write_text(json.dumps({"token": now, "stat": now, "content": ""}))
    snakemake(folder, "--touch")
    return len(names)


def count_jobs(plan: Run) -> dict[str, int]:
    """Return the number of jobs of each rule, and the ``total``, that a dry run printed."""
    rows = (line.split() for line in plan.output.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def measure_plan(folder: Path, clips: int, subjects: int) -> dict[str, Any]:
    """Return seconds to plan a study from nothing, and to find that a finished one needs nothing."""
    write_index(folder / "micro", clips, subjects)
    write_index(folder / "macro", subjects, subjects // 2)
    kinds = ("micro", "macro")
    overlay = {
        "study": "big",
        "folds_per_job": 1,
        "datasets": {kind: {"layout": "manifest", "kind": kind, "root": str(folder / kind)} for kind in kinds},
        "experiments": {
            "tsdgcn": {"system": "tsdgcn", "macro": "macro", "micro": "micro"},
            "msjfn": {"system": "msjfn", "micro": "micro"},
            "mersiamc3d": {"system": "mersiamc3d", "micro": "micro"},
        },
    }
    write_study(folder, overlay)
    plan = snakemake(folder, "-n", "--quiet", "rules")
    jobs, networks, bare = count_jobs(plan), ["msjfn", "mersiamc3d", "ststnet"], folder / "bare"
    trainings = jobs["train_clip_network"] // len(networks)
    write_study(bare, {"micro": subjects, "macro": subjects // 2, "networks": networks, "trainings": trainings})
    seconds: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        bare_plan = snakemake(bare, "-n", "--quiet", "rules", snakefile=Path(__file__).with_name("bare.smk"))
        again = snakemake(folder, "-n", "--quiet", "rules")
        seconds.append((again.cpu_seconds, bare_plan.cpu_seconds))
    cpu_seconds, bare_cpu_seconds = map(statistics.median, zip(*seconds, strict=True))
    figures = {"clips": clips, "subjects": subjects, "jobs": jobs["total"], "bare_jobs": count_jobs(bare_plan)["total"]}
    figures |= {"plan_s": plan.seconds, "plan_mb": plan.peak_mb, "plan_cpu_s": cpu_seconds}
    figures |= {"bare_cpu_s": bare_cpu_seconds, "plan_ratio": cpu_seconds / bare_cpu_seconds}
    figures["files"] = pretend_finished(folder)
    again = snakemake(folder)
    assert "Nothing to be done" in again.output, again.output[-2000:]
    return figures | {"nothing_s": again.seconds, "nothing_cpu_s": again.cpu_seconds}


# --- memory -----------------------------------------------------------------------------------------------------------


def measure_memory(folder: Path, clips: int) -> dict[str, float]:
    """Return the peak memory of each rule in MB, for a demo study with so many micro clips of 12 people."""
    once = {"epochs": 1}
    overlay = {
        "demo": {"clips_per_emotion": max(1, clips // 36), "fps": 50},
        "pretrain": once,
        "head": once,
        "network": once,
    }
    write_study(folder, overlay)
    snakemake(folder, "--quiet", "all")
    peaks: dict[str, float] = {}
    for file in (folder / "results" / "benchmarks").rglob("*.tsv"):
        rule = file.relative_to(folder / "results" / "benchmarks").parts[0]
        with file.open(newline="", encoding="utf-8") as table:
            values = [row["max_rss"] for row in csv.DictReader(table, delimiter="\t")]
        peaks[rule] = max(peaks.get(rule, 0.0), *(float(value) for value in values if value != "NA"), 0.0)
    return peaks


def main() -> None:
    """Command line."""
    options = parser(__doc__)
    options.add_argument("what", choices=["plan", "memory"])
    options.add_argument("--clips", type=int, nargs="+")
    options.add_argument("--subjects", type=int, default=600)
    arguments = options.parse_args()
    figures: dict[str, Any] = {}
    for clips in arguments.clips or ([10_000] if arguments.what == "plan" else [60, 240]):
        with tempfile.TemporaryDirectory() as folder:
            if arguments.what == "plan":
                figures |= measure_plan(Path(folder), clips, min(arguments.subjects, clips // 5))
            else:
                peaks = measure_memory(Path(folder), clips)
                figures |= {f"{rule}_{clips}_mb": peak for rule, peak in sorted(peaks.items())}
    show(figures, arguments.json)


if __name__ == "__main__":
    main()
