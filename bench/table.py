"""Run all benchmarks and print one table: `make bench`. Minutes to an hour, depending on the machine.

A benchmark whose peer is not installed is left out; bench/requirements*.txt name the peers.
"""

import json
import subprocess
import sys
from pathlib import Path

FIGURES = {
    "sgcn.py": ["train_vs_pyg_default", "train_vs_reference", "infer_vs_pyg_tuned", "memory_pyg_vs_ours"],
    "flow.py": ["numba_ms_231", "numba_vs_opencv_defaults_231", "two_processes_scaling"],
    "study.py": ["ours_s", "naive_over_ours", "one_by_one_over_ours"],
    "networks.py": ["seconds"],
    "faces.py": ["hog_lost", "auto_lost", "found_by_hog_alone"],
    "video.py": ["h264_vs_opencv", "mjpeg_vs_opencv", "mpeg4_vs_opencv"],
    "spotting.py": [
        "ours_25",
        "farneback_vs_ours_25",
        "dis_vs_ours_25",
        "ours_200",
        "farneback_vs_ours_200",
        "dis_vs_ours_200",
    ],
    "listing.py": ["index_first_s", "index_s"],
    "scale.py plan": ["jobs", "plan_cpu_s", "plan_ratio", "nothing_cpu_s"],
}
"""Figures of each benchmark that the table shows."""


def main() -> None:
    """Run each benchmark and print its figures as they arrive."""
    print(f"{'benchmark':16}{'figure':36}{'value':>10}")
    for command, names in FIGURES.items():
        script, *arguments = command.split()
        run = [sys.executable, str(Path(__file__).with_name(script)), *arguments, "--json"]
        done = subprocess.run(run, capture_output=True, text=True)
        if done.returncode:
            print(f"{command:16}not measured: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
            continue
        figures = json.loads(done.stdout.splitlines()[-1])
        for name in names:
            print(f"{command:16}{name:36}{figures[name]:10.3g}", flush=True)


if __name__ == "__main__":
    main()
