"""What a small change costs: seconds and jobs of the demo study after one, against a run from nothing.

    python bench/reruns.py --cores 2                    # a copy of the repository in a temporary folder
    python bench/reruns.py --cores 2 --finished FOLDER  # a clone whose `make run` has ended; it is changed

Each change is made on top of those before it, and the study is run again with the same command.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

REPO = Path(__file__).parents[1]
COPIED = ("merflow", "workflow", "envs", "profiles", "Snakefile", "config.yaml")


def run(folder: Path, settings: dict, cores: int) -> dict[str, float]:
    """Seconds of the run and its jobs, without the one that makes nothing."""
    (folder / "change.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--no-hooks", "--configfile", "change.yaml"]
    start = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(done.stderr[-4000:])
    steps = re.search(r"(\d+) of \1 steps", done.stdout + done.stderr)
    return {"seconds": round(seconds, 1), "jobs": int(steps[1]) - 1 if steps else 0}


def one_clip(folder: Path, settings: dict) -> None:
    """One frame of one micro clip gets a grey spot."""
    import cv2

    frames = sorted((folder / "results/data/demo-micro/source").rglob("*.jpg"))
    frame = frames[len(frames) // 2]
    image = cv2.imread(str(frame), cv2.IMREAD_UNCHANGED)
    image[:8, :8] = 127
    cv2.imwrite(str(frame), image)
    # The folder is the output that Snakemake watches, as a user's own footage is watched by its content.
    subject = folder / "results/data/demo-micro/source" / frame.relative_to(folder).parts[4]
    os.utime(subject / ".snakemake_timestamp")


def one_label(folder: Path, settings: dict) -> None:
    """One micro clip is said to show another emotion."""
    import pandas as pd

    clips = pd.read_csv(folder / "results/data/demo-micro/clips.csv", dtype=str)
    clip, subject, label = clips.loc[0, ["clip", "subject", "label"]]
    other = next(name for name in clips["label"] if name != label)
    row = f"demo-micro,{subject.split('/')[-1]},{clip},label,{other},seen anew"
    (folder / "fixes.csv").write_text(f"dataset,subject,clip,field,value,reason\n{row}\n")
    settings["corrections"] = "fixes.csv"


def one_loss_parameter(folder: Path, settings: dict) -> None:
    """Alpha of TSDGCN's focal loss."""
    experiments = yaml.safe_load((folder / "config.yaml").read_text())["experiments"]
    experiments["tsdgcn"]["loss"]["alpha"] = 2.0
    settings["experiments"] = experiments


def module(name: str) -> Callable[[Path, dict], None]:
    """A line is added to a module."""

    def change(folder: Path, settings: dict) -> None:
        with open(folder / "merflow" / name, "a") as file:
            file.write("\nCHANGED = True\n")

    return change


CHANGES = {
    "nothing": lambda folder, settings: None,
    "one clip (a frame)": one_clip,
    "one label (a correction)": one_label,
    "one loss parameter (loss.alpha of tsdgcn)": one_loss_parameter,
    "a library module: models/msjfn.py": module("models/msjfn.py"),
    "a library module: report/contents.py": module("report/contents.py"),
    "a library module: keyframes.py": module("keyframes.py"),
}


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--finished", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found, settings = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = given.finished or Path(name)
        if not given.finished:
            for item in COPIED:
                (shutil.copytree if (REPO / item).is_dir() else shutil.copy)(REPO / item, folder / item)
            found["everything, from nothing"] = run(folder, settings, given.cores)
        for change, make in CHANGES.items():
            make(folder, settings)
            found[change] = run(folder, settings, given.cores)
            print(change, found[change], file=sys.stderr)
    lines = [f"{change:45} {one['seconds']:7.1f} s {one['jobs']:5d} jobs" for change, one in found.items()]
    print(json.dumps(found, indent=1) if given.json else "\n".join(lines))


if __name__ == "__main__":
    main()
