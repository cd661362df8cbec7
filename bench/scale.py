"""What a study of many clips costs: time to plan it, time to see that nothing is to be done, memory of each stage.

    python bench/scale.py plan --clips 10000 --subjects 600        # the DAG, and a run with nothing to do
    python bench/scale.py memory --clips 100 1000                  # peak memory of each stage
    python bench/scale.py memory --stages calibrate audit          # of these alone

`plan` needs no frames: its clips are a table and empty videos. `memory` works on made-up arrays of the real shapes, a
fresh process for each stage; trainings take one epoch, as their memory does not depend on how many there are. What
follows the trainings reads made-up answers of two systems under leave-one-subject-out.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO))
EMOTIONS = ["happiness", "surprise", "disgust", "sadness", "fear"]
KEYFRAMES, SIZE = 5, 128
PER_SUBJECT = 10
ANSWERS = "made-up answers"
NEEDS = {
    "cache": [], "splits": ["cache"], ANSWERS: ["splits"], "ensemble": ["cache", ANSWERS], "calibrate": [ANSWERS],
    "compare": [ANSWERS], "audit": ["cache", "splits", ANSWERS],
    "report": ["cache", ANSWERS, "calibrate", "compare", "audit"],
}  # fmt: skip
"""Stages that can be measured without all of those before them, and what they need of these."""


# --- plan -------------------------------------------------------------------------------------------------------------


def write_index(folder: Path, clips: int, subjects: int) -> None:
    """A manifest of videos that nobody opens."""
    (folder / "videos").mkdir(parents=True)
    rows = []
    for n in range(clips):
        (folder / f"videos/{n:06d}.avi").write_bytes(b"-")
        label = EMOTIONS[n // subjects % len(EMOTIONS)]
        rows.append([f"c{n:06d}", f"s{n % subjects:04d}", label, f"videos/{n:06d}.avi", 0, 5, 10, 200])
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        names = ["clip", "subject", "label", "frames", "onset", "apex", "offset", "fps"]
        csv.writer(file).writerows([names, *rows])


def run(folder: Path, *arguments: str) -> tuple[str, float, float, float]:
    """Output, seconds, seconds of CPU and peak MB of a Snakemake command on the study of ``folder``."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPO / "Snakefile"), "--directory", str(folder)]
    command += ["--cores", "2", "--no-hooks", *arguments, "--configfile", str(folder / "study.yaml")]
    start = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    if done.returncode:
        sys.exit(f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout + done.stderr, seconds, cpu, after.ru_maxrss / 1024


def pretend_finished(folder: Path) -> int:
    """Make every output of the study, empty but for what a plan reads, and have Snakemake take note of it; how many."""
    from merflow.footage.fingerprints import footage, stat_digest
    from merflow.study.config import load_config
    from merflow.study.study import Study

    overlay = yaml.safe_load((folder / "study.yaml").read_text())
    study = Study(load_config(REPO / "config.yaml", overlay=overlay))
    summary, *_ = run(folder, "--summary")
    lines = [line.split("\t") for line in summary.splitlines() if line.startswith("results/")]
    names = [line[0] for line in lines]
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        if name.endswith(".source.json"):
            dataset, subject = name.split("/")[2], file.name.removesuffix(".source.json")
            now = stat_digest(footage(study.clips(dataset, subject)))
            file.write_text(json.dumps({"token": now, "stat": now, "content": ""}))
    run(folder, "--touch")
    return len(names)


def measure_plan(clips: int, subjects: int) -> dict[str, Any]:
    """Seconds to plan a study from nothing, and to find that a finished one needs nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_index(folder / "micro", clips, subjects)
        write_index(folder / "macro", subjects, subjects // 2)
        datasets = {
            kind: {"layout": "manifest", "kind": kind, "root": str(folder / kind)} for kind in ("micro", "macro")
        }
        experiments = {
            "tsdgcn": {"system": "tsdgcn", "macro": "macro", "micro": "micro"},
            "msjfn": {"system": "msjfn", "micro": "micro"},
            "mersiamc3d": {"system": "mersiamc3d", "micro": "micro"},
        }
        study = {"study": "big", "datasets": datasets, "experiments": experiments}
        (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
        plan, seconds, cpu, memory = run(folder, "-n", "--quiet", "rules")
        jobs = next(int(line.split()[1]) for line in plan.splitlines() if line.startswith("total"))
        found = {
            "clips": clips,
            "subjects": subjects,
            "jobs": jobs,
            "plan_s": seconds,
            "plan_cpu_s": cpu,
            "plan_mb": memory,
        }
        found["files"] = pretend_finished(folder)
        nothing, seconds, cpu, memory = run(folder)
        assert "Nothing to be done" in nothing, nothing[-2000:]
        return found | {"nothing_s": seconds, "nothing_cpu_s": cpu}


# --- memory -----------------------------------------------------------------------------------------------------------


def people(clips: int) -> list[dict[str, str]]:
    """Rows of an index: ten clips of each person."""
    return [
        {"clip": f"c{n:05d}", "subject": f"d/s{n // PER_SUBJECT:04d}", "label": EMOTIONS[n % 5], "kind": "clip"}
        for n in range(clips)
    ]


def write_subject(folder: Path, rows: list[dict[str, str]], frames: int = 13) -> tuple[Path, Path, Path]:
    """Faces, key-frames and flow of a person, of random numbers."""
    import h5py
    import numpy as np

    from merflow.storage.files import safe_filename
    from merflow.storage.tables import KEYFRAMES as COLUMNS
    from merflow.storage.tables import write_table

    name = rows[0]["subject"].split("/")[1]
    rng = np.random.default_rng(int(name[1:]))  # The audit finds copies.
    faces, chosen, flow = folder / f"{name}.faces.h5", folder / f"{name}.csv", folder / f"{name}.flow.h5"
    table = []
    with h5py.File(faces, "w") as one, h5py.File(flow, "w") as two:
        one.attrs["size"] = SIZE
        one.attrs["settings"] = json.dumps({"crop": 2.6, "eye_height": 0.36})
        for row in rows:
            group = one.create_group(safe_filename(row["clip"]))
            group["frames"] = rng.integers(0, 256, (frames, SIZE, SIZE), np.uint8)
            group["frame_numbers"] = np.arange(frames)
            names = {name: row[name] for name in ("clip", "subject", "kind")}
            group.attrs.update({**names, "status": "ok", "onset": 0, "apex": 6, "offset": frames - 1})
            group = two.create_group(safe_filename(row["clip"]))
            group["flow"] = rng.normal(0, 1, (KEYFRAMES, 2, SIZE, SIZE)).astype(np.float32)
            group.attrs.update({"clip": row["clip"], "status": "ok", "head_motion_px": 0.0})
            for index in range(KEYFRAMES + 1):
                apex = {"apex_annotated": 6, "apex_spotted": 6, "apex_source": "annotated"}
                table.append({"clip": row["clip"], "index": index, "frame": 2 * index, "magnitude_px": 1.0} | apex)
    write_table(table, chosen, COLUMNS)
    return faces, chosen, flow


def prepare(folder: Path, clips: int) -> None:
    """Files of every stage, made by the stages before it where these are quick."""
    rows = people(clips)
    for first in range(0, clips, PER_SUBJECT):
        write_subject(folder, rows[first : first + PER_SUBJECT])


def settings(system: str) -> dict[str, Any]:
    """Settings of a network, one epoch."""
    from merflow.systems.registry import NETWORKS, own_settings, plan

    own = own_settings(system, {"epochs": 1, "patience": 1, "validation": 0.2, "weight_decay": 0.0, "refit": False})
    own |= {"prior_epochs": 1} if "prior_epochs" in own else {}
    shared = {"experiment": "x", "system": system, "protocol": "loso", "classes": EMOTIONS, "network": own}
    return shared | plan(system, own) | {"loss": dict(NETWORKS[system].loss)}


def stages(folder: Path, clips: int) -> dict[str, Callable[[], Any]]:
    """Each stage as a call, in order."""
    from merflow.preprocessing.settings import PreparationSettings

    rows, cache, graph = people(clips), folder / "cache.h5", folder / "graph.h5"
    names = sorted({row["subject"].split("/")[1] for row in rows})
    out = {name: folder / name for name in ("p.csv", "a.csv", "c.csv", "w.safetensors", "f.h5", "s.csv", "q.csv")}
    tables = {"predictions": out["p.csv"], "accuracy_train": out["a.csv"], "curves": out["c.csv"]}
    config = yaml.safe_load((REPO / "config.yaml").read_text(encoding="utf-8"))
    block = config["preparations"]["default"]
    block["align"] |= {"size": SIZE}
    block["keyframes"] |= {"count": KEYFRAMES}
    preparation = PreparationSettings.from_block(block)
    pretraining = {
        "epochs": 1, "patience": 1, "learning_rate": 1e-3, "decay": 0.0, "batch": 32, "dropout": 0.5, "frames": "all",
        "validation": 0.2,
    }  # fmt: skip
    head = {
        "hidden": 64, "dropout": 0.5, "epochs": 1, "patience": 1, "learning_rate": 1e-3, "decay": 0.0, "batch": 64,
        "weight_decay": 0.0, "validation": 0.2,
    }  # fmt: skip

    def select() -> None:
        from merflow.preprocessing.keyframes import select_subject

        select_subject(folder / f"{names[0]}.faces.h5", folder / "again.csv", preparation.keyframes)

    def flow() -> None:
        from merflow.preprocessing.flow import subject_flow

        faces, keyframes = folder / f"{names[0]}.faces.h5", folder / f"{names[0]}.csv"
        subject_flow(faces, keyframes, folder / "again.h5", preparation.flow)

    def cached() -> None:
        from merflow.preprocessing.cache import build_cache

        files = [[folder / f"{name}{end}" for name in names] for end in (".faces.h5", ".csv", ".flow.h5")]
        about = {"dataset": "d", "preparation": "default", "settings": preparation, "classes": EMOTIONS, "code": ""}
        build_cache(rows, *files, cache=cache, quality=out["q.csv"], **about)

    def graphs() -> None:
        from merflow.systems.tsdgcn.graph import build_graph

        build_graph(64, 8, 2).save(graph)

    def pretrained() -> None:
        from merflow.systems.tsdgcn.pretrain import pretrain

        pretrain(cache, graph, out["w.safetensors"], out["c.csv"], pretraining, 0)

    def features() -> None:
        from merflow.systems.tsdgcn.features import extract

        extract(cache, out["w.safetensors"], graph, out["f.h5"], {"signal": "magnitude"})

    def split() -> None:
        from merflow.protocols.splits import make_splits

        own = {"protocol": "loso", "classes": EMOTIONS, "datasets": ["d"], "validation": 0.2}
        make_splits([cache], out["s.csv"], own, 0)

    def heads() -> None:
        from merflow.systems.tsdgcn.finetune import finetune

        own = {"experiment": "x", "branches": ["spatial", "temporal"], "fusion": "stack", "head": head}
        own |= {"loss": {"name": "focal", "alpha": 1.0, "gamma": 1.0}, "protocol": "subject-kfold", "folds": 5}
        finetune({0: [[out["f.h5"]]]}, *tables.values(), own)

    def in_fold() -> None:
        from merflow.systems.tsdgcn.fold_training import train_fold

        own = {"experiment": "x", "branches": ["spatial", "temporal"], "fusion": "stack", "head": head}
        own |= {"loss": {"name": "focal", "alpha": 1.0, "gamma": 1.0}, "protocol": "loso", "transfer": "end-to-end"}
        own |= {"signal": "magnitude", "classes": EMOTIONS, "datasets": ["d"], "network_seeds": [0]}
        given = {"weights": [out["w.safetensors"]], "macro": None, **tables, "settings": own, "seed": 0}
        train_fold([cache], [graph], fold=rows[0]["subject"], **given)

    def network(system: str) -> Callable[[], None]:
        def work() -> None:
            from merflow.systems.clip_networks import train_fold

            train_fold([cache], **tables, settings=settings(system), seed=0, fold=rows[0]["subject"])

        return work

    def floor(system: str) -> Callable[[], None]:
        def work() -> None:
            from merflow.systems.linear import run

            own = {"experiment": "x", "protocol": "subject-kfold", "folds": 5, "classes": EMOTIONS}
            run([cache], system, out["p.csv"], out["a.csv"], own)

        return work

    def evaluated() -> None:
        from merflow.evaluation.evaluate import evaluate

        evaluate(out["p.csv"], folder / "m.csv", {"experiment": "x", "protocol": "loso", "classes": EMOTIONS})

    networks = {f"train {system}": network(system) for system in ("ststnet", "msjfn", "mersiamc3d")}
    floors = {f"floor {system}": floor(system) for system in ("linear-svm", "softmax")}
    return {
        "key-frames (a subject)": select, "flow (a subject)": flow, "cache": cached, "graph": graphs,
        "pre-train": pretrained, "features": features, "splits": split, "heads": heads, "train end-to-end": in_fold,
        **networks, **floors, "evaluate": evaluated, **later_stages(folder, rows, cache, out["s.csv"], out["q.csv"]),
    }  # fmt: skip


def write_answers(folder: Path, rows: list[dict[str, str]], splits: Path) -> None:
    """Tables and heads of two systems, ``x`` and ``y``, as trainings leave them; answers are drawn."""
    import numpy as np

    from merflow.evaluation.evaluate import evaluate, merge
    from merflow.protocols.splits import read_splits
    from merflow.storage.tables import ACCURACY_TRAIN, CURVES, PREDICTIONS, write_table, write_table_in_parts
    from merflow.systems.tsdgcn.heads import SavedHead, save_heads

    label = {row["clip"]: row["label"] for row in rows}
    tables = {"predictions": PREDICTIONS, "validation": PREDICTIONS, "accuracy_train": ACCURACY_TRAIN, "curves": CURVES}
    for name in ("x", "y"):
        rng, own = np.random.default_rng(ord(name)), folder / name

        def answers(part: str, name: str = name, rng: Any = rng) -> Any:
            for fold, split in read_splits(splits):
                chosen, found = split[split["part"] == part], []
                for clip, subject in zip(chosen["clip"], chosen["subject"], strict=True):
                    chances = rng.dirichlet(1 + 2 * (np.array(EMOTIONS) == label[clip]))
                    names = {"experiment": name, "repeat": 0, "fold": fold, "dataset": "d", "subject": subject}
                    names |= {"clip": clip, "truth": label[clip], "predicted": EMOTIONS[chances.argmax()]}
                    found.append(names | {f"p_{one}": float(p) for one, p in zip(EMOTIONS, chances, strict=True)})
                yield found

        write_table_in_parts(answers("test"), own / "predictions.csv", PREDICTIONS)
        write_table_in_parts(answers("validation"), own / "validation.csv", PREDICTIONS)
        common = {"experiment": name, "repeat": 0, "stage": "finetune", "accuracy": 0.5}
        folds = [(fold, int((split["part"] == "train").sum())) for fold, split in read_splits(splits)]
        trained = [common | {"fold": fold, "n": count, "chosen": ""} for fold, count in folds]
        write_table(trained, own / "accuracy_train.csv", ACCURACY_TRAIN)
        course = [
            {"epoch": epoch, "split": part, "loss": 1.0} for epoch in range(30) for part in ("train", "validation")
        ]
        write_table([common | {"name": fold} | row for fold, _ in folds for row in course], own / "curves.csv", CURVES)
        sizes = {"weight_1": (64, 1024), "bias_1": 64, "weight_2": (len(EMOTIONS), 64), "bias_2": len(EMOTIONS)}
        sizes |= {"mean": (2, 1024), "scale": (2, 1024)}
        heads = [
            SavedHead(0, fold, np.arange(2), {one: np.zeros(size, np.float32) for one, size in sizes.items()})
            for fold, _ in folds
        ]
        save_heads(heads, own / "heads.safetensors", {})
        about = {"experiment": name, "protocol": "loso", "classes": EMOTIONS}
        evaluate(own / "predictions.csv", own / "metrics.csv", about)
    for table in (*(set(tables) - {"validation"}), "metrics"):
        merge([folder / name / f"{table}.csv" for name in ("x", "y")], folder / f"{table}.csv")


def later_stages(
    folder: Path, rows: list[dict[str, str]], cache: Path, splits: Path, quality: Path
) -> dict[str, Callable[[], Any]]:
    """What follows the trainings, as calls, and the answers that it reads."""
    study = folder / "study"
    table = {
        name: study / f"{name}.csv"
        for name in (
            "predictions", "accuracy_train", "curves", "metrics", "calibration", "reliability", "coverage",
            "differences", "audit",
        )
    }  # fmt: skip

    def answers() -> None:
        write_answers(study, rows, splits)

    def ensemble() -> None:
        from merflow.inference.ensemble import gather_ensemble

        reads = {"kind": "signals", "side": 64, "branches": ["spatial", "temporal"], "fusion": "stack"}
        own = {"experiment": "x", "classes": EMOTIONS, "reads": reads, "networks": {}}
        heads = [{"file": study / "x/heads.safetensors"}]
        gather_ensemble(own, study / "x/validation.csv", heads, [cache], study / "x/ensemble.json", folder)

    def calibrated() -> None:
        from merflow.evaluation.calibration import calibrate

        given = ([study / name / f"{kind}.csv" for name in ("x", "y")] for kind in ("predictions", "validation"))
        names = {"calibration": "calibration", "reliability_table": "reliability", "coverage_table": "coverage"}
        calibrate(dict.fromkeys("xy", EMOTIONS), *given, **{kind: table[name] for kind, name in names.items()})

    def compared() -> None:
        from merflow.evaluation.significance import compare

        compare(table["predictions"], table["differences"], dict.fromkeys("xy", EMOTIONS))

    def audited() -> None:
        from merflow.evaluation.leakage import audit

        entry = {"splits": {0: splits}, "caches": {"d": cache}, "macro": "", "same_people": [], "excluded": False}
        entry |= {"scorer": "", "scorer_people": [], "divides": False, "fitted": ["train"], "scored": True}
        plan = [entry | {"experiment": name} for name in ("x", "y")]
        audit(plan, table["predictions"], table["accuracy_train"], table["audit"])

    def reported() -> None:
        from merflow.report.page import write_report
        from merflow.storage.tables import CLASSES, CLIPS, write_table

        named = [row | {"kind": "micro", "onset": 0, "apex": 6, "offset": 12, "fps": 200} for row in rows]
        write_table(named, study / "clips.csv", CLIPS)
        write_table([], study / "classes.csv", CLASSES)
        names = sorted({row["subject"].split("/")[1] for row in rows})
        stages_of = {"faces": ".faces.h5", "keyframes": ".csv", "flows": ".flow.h5"}
        files = {stage: {"d": [folder / f"{name}{end}" for name in names]} for stage, end in stages_of.items()}
        experiments = {name: {"system": "tsdgcn", "seeds": (0,)} for name in ("x", "y")}
        config = {"study": "made", "datasets": {"d": {"layout": "manifest"}}, "experiments": experiments}
        given = {"name": "made", "title": "Made up", "synthetic": False, "config": config, "versions": {}}
        given |= {"clips": {"d": study / "clips.csv"}, "quality": {"d": quality}, "problems": {"d": None}}
        given |= {"classes": {"d": study / "classes.csv"}, "benchmarks": study / "benchmarks", **files, **table}
        write_report(given, study / "report.html", study / "report_figures")

    return {
        ANSWERS: answers, "ensemble": ensemble, "calibrate": calibrated, "compare": compared, "audit": audited,
        "report": reported,
    }  # fmt: skip


def with_needs(wanted: list[str]) -> set[str]:
    """The stages, and those that they need."""
    return {need for stage in wanted for need in with_needs(NEEDS[stage])} | set(wanted)


def measure_memory(counts: list[int], wanted: list[str] | None = None) -> dict[str, dict[int, float]]:
    """Peak MB of each stage, or of those that are wanted, at each number of clips."""
    found: dict[str, dict[int, float]] = {}
    needed = with_needs(wanted) if wanted else None
    for clips in counts:
        with tempfile.TemporaryDirectory() as name:
            prepare(Path(name), clips)
            for stage in stages(Path(name), clips):
                if needed and stage not in needed:
                    continue
                command = [sys.executable, __file__, "stage", stage, "--clips", str(clips), "--folder", name]
                start = time.monotonic()
                done = subprocess.run(
                    command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
                )
                if done.returncode:
                    sys.exit(f"{stage}: {done.stderr[-3000:]}")
                peak = float(done.stdout.split()[-1])
                if stage in (wanted or [stage]) and stage != ANSWERS:
                    found.setdefault(stage, {})[clips] = peak
                print(f"{stage}, {clips} clips: {peak:.0f} MB, {time.monotonic() - start:.0f} s", file=sys.stderr)
    return found


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["plan", "memory", "stage"])
    parser.add_argument("stage", nargs="?")
    parser.add_argument("--clips", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--stages", nargs="+", choices=[stage for stage in NEEDS if stage != ANSWERS], metavar="STAGE")
    parser.add_argument("--subjects", type=int, default=600)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.what == "stage":
        stages(given.folder, given.clips[0])[given.stage]()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    if given.what == "plan":
        found: Any = [measure_plan(clips, min(given.subjects, clips // 5)) for clips in given.clips]
        lines = [
            ", ".join(f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in one.items()) for one in found
        ]
    else:
        found = measure_memory(given.clips, given.stages)
        lines = [
            f"{stage:24}" + "".join(f"{n:8} clips {mb:6.0f} MB" for n, mb in own.items())
            for stage, own in found.items()
        ]
    print(json.dumps(found, indent=1) if given.json else "\n".join(lines))


if __name__ == "__main__":
    main()
