"""``python -m merflow.runtime.resume ARGUMENTS``: continue a killed run; the arguments are those of ``snakemake``.

It waits for the SLURM jobs of the killed run, so that two jobs never write one file.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from merflow.runtime.driver import running_driver

SNAKEMAKE = [sys.executable, "-m", "snakemake"]
POLL_SECONDS = 5.0  # between two calls of squeue


def slurm_jobs(folder: Path) -> list[str]:
    """Return the ids of this user's SLURM jobs that work in ``folder``, except the one that this process runs in."""
    try:
        command = ["squeue", "--me", "--noheader", "-o", "%i %Z"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        if not (folder / ".snakemake" / "slurm_logs").exists():  # No run here has sent jobs to SLURM.
            return []
        reason = (getattr(error, "stderr", "") or str(error)).strip()
        sys.exit(f"merflow: squeue failed: {reason}; resume where it works, since SLURM jobs may still be running")
    jobs = dict(line.split(maxsplit=1) for line in lines)
    this_job = os.environ.get("SLURM_JOB_ID")
    return [job for job, path in jobs.items() if job != this_job and Path(path).resolve() == folder.resolve()]


def main(arguments: Sequence[str]) -> None:
    """Refuse while a driver runs, wait for SLURM jobs, unlock the folder, and become ``snakemake ARGUMENTS``."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-d", "--directory", type=Path, default=Path())
    folder = parser.parse_known_args(arguments)[0].directory
    if driver := running_driver(folder):
        sys.exit(
            f"merflow: another run is active in this folder ({driver}); wait for it or stop it. "
            "If that machine is gone: snakemake --unlock, then the command of the run"
        )
    reported: list[str] = []
    while jobs := slurm_jobs(folder):
        if jobs != reported:
            names = " ".join(jobs)
            print(f"merflow: waiting for SLURM jobs of the killed run: {names} (or scancel {names})", flush=True)
            reported = jobs
        time.sleep(POLL_SECONDS)
    # Before the arguments, since targets may follow "--" in them.
    if status := subprocess.run([*SNAKEMAKE, "--unlock", "--quiet=all", *arguments]).returncode:
        sys.exit(status)
    os.execv(sys.executable, [*SNAKEMAKE, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
