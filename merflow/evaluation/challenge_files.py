"""Detections in the tables that entries of the MEGC challenges handed in, such as ``cas_pred.csv``.

``python -m merflow.evaluation.challenge_files detections.csv cas_pred.csv --task spotting``
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from merflow.errors import InputError, MerflowError
from merflow.storage.tables import DETECTIONS, read_table, write_table

TASKS = {
    "spotting": ["vid", "pred_onset", "pred_offset", "type"],
    "spot-then-recognise": ["subject", "video", "onset", "offset", "emotion"],
}
"""Columns of each task, as of an entry of 2022 and of one of 2024."""
TYPES = {"micro": "me", "macro": "mae"}


def challenge_table(detections: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return detections in the columns of a task of :data:`TASKS`, in order of video and onset.

    Spotting has all of them; ``vid`` is the video with ``_`` for ``/``. Spot-then-recognise has the micro-expressions
    with a label; ``subject`` is without its dataset, and ``video`` without its subject.
    """
    table = detections.sort_values(["video", "onset", "offset"], kind="stable")
    if task == "spotting":
        parts = [table["video"].str.replace("/", "_"), table["onset"], table["offset"], table["kind"].map(TYPES)]
    else:
        table = table[(table["kind"] == "micro") & (table["label"] != "")]
        subject, video = (table[name].str.split("/").str[-1] for name in ("subject", "video"))
        parts = [subject, video, table["onset"], table["offset"], table["label"]]
    return pd.DataFrame(dict(zip(TASKS[task], parts, strict=True)))


def write_challenge_file(
    detections: Path, output: Path, task: str, dataset: str | None = None, experiment: str | None = None
) -> None:
    """Write the detections of one dataset and one experiment as a challenge's table; without any it has no row.

    Raises:
        InputError: the table cannot be read, has several datasets or experiments and none is chosen, or lacks labels.
    """
    table = read_table(detections, DETECTIONS)
    for name, wanted in (("dataset", dataset), ("experiment", experiment)):
        there = list(dict.fromkeys(table[name]))
        if wanted is None and len(there) > 1:
            raise InputError(f"{detections} has several values of {name}: {', '.join(there)}; choose one with --{name}")
        if wanted is not None and there and wanted not in there:
            raise InputError(f"{detections} has no {name} {wanted!r}; there are: {', '.join(there)}")
        table = table if wanted is None else table[table[name] == wanted]
    if task != "spotting" and len(table) and not (table["label"] != "").any():
        raise InputError(f"{detections} has no labels; take the detections of a task spot-then-recognise")
    write_table(challenge_table(table, task), output, TASKS[task])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m merflow.evaluation.challenge_files", description="Detections as the MEGC challenges take them."
    )
    parser.add_argument("detections", type=Path, help="detections.csv of an experiment")
    parser.add_argument("output", type=Path, help="file to write, such as cas_pred.csv or samm_pred.csv")
    parser.add_argument("--task", choices=TASKS, default="spotting", help="whose columns are written")
    parser.add_argument("--dataset", help="needed if the table has several")
    parser.add_argument("--experiment", help="needed if the table has several")
    options = parser.parse_args(arguments)
    try:
        write_challenge_file(options.detections, options.output, options.task, options.dataset, options.experiment)
    except MerflowError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
