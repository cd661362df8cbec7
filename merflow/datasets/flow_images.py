"""Layout ``flow-images``: optical flow that somebody else computed, one three-channel image per clip, and a CSV.

Such sets circulate with public code (28 x 28 pixels: horizontal flow, vertical flow, optical strain, each scaled to
0..255). They have no frames: alignment, key-frames and flow are skipped, and the study starts at the cache.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from merflow.datasets.entries import Entry, Rules
from merflow.datasets.index import NOTED, Index, Problem
from merflow.datasets.labels import CLASS_SETS
from merflow.datasets.layouts import finish, root_of
from merflow.datasets.manifest import read_table_of_clips

REQUIRED = ["dataset", "subject", "clip", "label", "image"]
DATABASES = {"casme2": "casme2", "casmeii": "casme2", "samm": "samm", "smic": "smic-hs", "smichs": "smic-hs"}
"""Layouts of the databases that a table may name, to compare the counts of a part with the published ones."""


def index(name: str, settings: Mapping[str, Any]) -> Index:
    """Index a table of flow images: ``dataset, subject, clip, label, image``, images relative to the table.

    Clips are named ``dataset/subject/clip`` and subjects ``dataset/subject``, with the table's own dataset, so that
    results can be told by database.

    Raises:
        InputError: the table is missing, is no CSV or lacks columns.
    """
    table = root_of(settings) / (settings.get("table") or "flows.csv")
    entries = []
    for number, row in read_table_of_clips(table, REQUIRED, ()).items():
        image = (table.parent / row["image"]).as_posix() if row["image"] else ""
        clip = "/".join(row[key] for key in ("dataset", "subject", "clip"))
        entry = Entry(clip, row["subject"], image, "micro", str(table), number, row["clip"], prefix=row["dataset"])
        entry.source = {key: value for key, value in row.items() if key not in REQUIRED[1:3] + ["image"]}
        entry.found += [(key, "empty") for key in ("dataset", "subject", "clip") if not row[key]]
        entries.append(entry)
    found = finish(name, settings, Rules("flow-images", whole=True), entries)
    found.problems += _by_database(name, table, found)
    return found


def _by_database(name: str, table: Path, index: Index) -> list[Problem]:
    """A note for each database whose clips differ from the published numbers of the class set."""
    labels = CLASS_SETS.get(index.class_set)
    notes = []
    for database in dict.fromkeys(clip.subject.split("/")[0] for clip in index.clips):
        layout = DATABASES.get(re.sub(r"\W|_", "", database).lower())
        published = labels.counts.get(layout) if labels and layout else None
        if published is None:
            continue
        clips = [clip for clip in index.clips if clip.label and clip.subject.split("/")[0] == database]
        found = Counter(clip.label for clip in clips)
        wrong = [f"{c} {found[c]} instead of {n}" for c, n in published.clips.items() if found[c] != n]
        people = len({clip.subject for clip in clips})
        if published.subjects not in (None, people):
            wrong.append(f"{people} subjects instead of {published.subjects}")
        if wrong:
            text = f"{index.class_set}, {database}: {', '.join(wrong)} ({published.source})"
            notes.append(Problem(name, str(table), None, "", "classes", text, NOTED))
    return notes
