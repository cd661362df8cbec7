"""How long a dataset of 10,000 clips of 100 frames takes to be listed, and how much memory. Never run by the tests.

    python bench/index.py [--clips 10000] [--frames 100] [--json]

The peer is what the folder walk alone costs: `os.walk` over the same tree with the size of every file, in the same run.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
HEADER = "Subject,Filename,Onset Frame,Apex Frame,Offset Frame,Action Units,Estimated Emotion,Objective Classes\n"


def build(root: Path, clips: int, frames: int, people: int = 250) -> None:
    """A tree as SAMM's, with frames of one byte."""
    rows = []
    for n in range(clips):
        person = f"{n % people + 1:03d}"
        name = f"{person}_{n // people + 1}_1"
        folder = root / person / name
        folder.mkdir(parents=True)
        for frame in range(1000, 1000 + frames):
            (folder / f"{person}_{frame:05d}.jpg").write_bytes(b"x")
        rows.append(f"{person},{name},1000,{1000 + frames // 2},{999 + frames},AU4,Anger,3\n")
    (root / "SAMM_Micro_FACS_Codes_v2.csv").write_text(HEADER + "".join(rows))


def index(root: str) -> dict[str, float]:
    """Figures of one indexing, in this process."""
    from merflow.datasets.index import index_dataset

    start = time.perf_counter()
    found = index_dataset("samm", {"layout": "samm", "root": root})
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"clips": len(found.clips), "usable": sum(not c.problem for c in found.clips), "s": seconds, "MB": peak}


def walk(root: str) -> float:
    """Seconds of the walk alone."""
    start = time.perf_counter()
    sum(os.path.getsize(os.path.join(folder, file)) for folder, _, files in os.walk(root) for file in files)
    return time.perf_counter() - start


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--root", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.root:
        print(json.dumps(index(arguments.root)))
        return
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), arguments.clips, arguments.frames)
        walks = [walk(folder) for _ in range(3)]
        runs = [
            json.loads(subprocess.check_output([sys.executable, __file__, "--root", folder], text=True))
            for _ in range(3)
        ]
    best = sorted(runs, key=lambda run: run["s"])[1]
    figures = best | {"walk_s": sorted(walks)[1], "ratio_to_walk": best["s"] / sorted(walks)[1]}
    print(f"{figures['clips']} clips listed in {figures['s']:.1f} s, {figures['MB']:.0f} MB; the walk alone: "
          f"{figures['walk_s']:.1f} s")  # fmt: skip
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
