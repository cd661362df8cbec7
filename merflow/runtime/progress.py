"""How far the networks of a study are: ``python -m merflow.runtime.progress [results/STUDY]``, while it runs or after.

Each fold of a network is a job with a log of its epochs; this reads the logs and changes nothing.
"""

import re
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from merflow.errors import InputError, MerflowError
from merflow.runtime.summary import own_study

EPOCH = re.compile(
    r"training: .*?(?P<stage>, pairs)?: epoch (?P<now>\d+) of (?P<of>\d+), .*at most (?P<left>\d+) s left"
)


SILENT = 2
"""Minutes without a line after which a job that is not done may have been killed."""


def progress(study_folder: Path) -> str:
    """A line per experiment that trains in its folds, and a line per fold that is not done.

    Args:
        study_folder: ``results/{study}``.

    Raises:
        InputError: no fold of the study has begun.
    """
    folder = Path(study_folder)
    logs = folder.parent / "logs" / "fold" / folder.name
    lines = []
    for experiment in sorted(logs.glob("*/")):
        states = {log: state(log.read_text(encoding="utf-8")) for log in sorted(experiment.glob("*/*.log"))}
        counts = Counter(found.split(":")[0] for found in states.values())
        told = ", ".join(f"{counts[word]} {word}" for word in ("done", "at work", "failed") if counts[word])
        lines.append(f"{experiment.name}: folds: {told}")
        for log, found in states.items():
            if found != "done":
                silent = (time.time() - log.stat().st_mtime) / 60
                told = f"; silent for {silent:.0f} min" if silent >= SILENT and found.startswith("at work") else ""
                lines.append(f"  seed {log.parent.name}, {unquote(log.stem)}: {found.removeprefix('at work: ')}{told}")
    if not lines:
        raise InputError(f"{logs} has no log of a fold: no network of this study has begun to train")
    return "\n".join(lines)


def state(text: str) -> str:
    """What the log of a fold says last: ``done``, ``failed``, or ``at work: `` and its epoch."""
    lines = text.splitlines()
    for line in reversed(lines):
        if line.endswith(": done"):
            return "done"
        if " ERROR " in line:
            return "failed: see its log"
        if epoch := EPOCH.search(line):
            stage = "pairs, " if epoch["stage"] else ""
            return f"at work: {stage}epoch {epoch['now']} of {epoch['of']}, at most {epoch['left']} s left"
    return "at work: begins"


if __name__ == "__main__":
    try:
        print(progress(Path(sys.argv[1]) if len(sys.argv) > 1 else own_study(Path("config.yaml"))))
    except MerflowError as error:
        sys.exit(f"merflow: {error}")
