"""`python -m merflow.runtime.resume [FOLDER]`: go on with the run that was killed in this folder, with the same
command.

With `--gone` it also goes on with one of another machine, which is known to be at work no more; jobs on SLURM are
waited for all the same, where SLURM answers.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from merflow.runtime.runs import FOLDER, elsewhere, runs

ASK_EVERY_S = 5.0
"""Seconds between two questions to squeue."""


def _ended_on_slurm(numbers: Sequence[str], gone: bool) -> bool:
    """Wait until the jobs that killed runs have sent have ended: what they make counts, and nothing is made twice.

    Whether they have; where SLURM does not answer, ``gone`` says that they have.
    """
    told: list[str] = []
    while True:
        try:
            question = ["squeue", "--noheader", "--me", "--format", "%F"]  # Of a job array its own number.
            queue = subprocess.run(question, capture_output=True, text=True, check=True).stdout.split()
        except (OSError, subprocess.CalledProcessError) as error:
            if gone:
                return True
            why = (getattr(error, "stderr", "") or str(error)).strip()[:200]
            print(
                f"merflow: SLURM does not say which jobs of killed runs are still at work ({why}). Try again where "
                "squeue answers; or say that there are none: make resume GONE=1 (--gone).",
                file=sys.stderr,
            )
            return False
        if not (left := sorted(set(numbers) & set(queue), key=int)):
            return True
        if left != told:
            print(
                f"merflow: jobs of killed runs are still in SLURM's queue and are waited for: {' '.join(left)} (to "
                f"stop them instead: scancel {' '.join(left)})",
                flush=True,
            )
            told = left
        time.sleep(ASK_EVERY_S)


def main(arguments: list[str]) -> int:
    """Unlock the folder, and become the command of the last killed run; an exit status where that cannot be."""
    gone, folders = "--gone" in arguments, [name for name in arguments if name != "--gone"]
    folder = Path(folders[0]) if folders else Path()
    alive, killed = runs(folder / FOLDER)
    if alive:
        run = alive[-1][0]
        print(
            f"merflow: `{run.command}` is still at work, since {run.began}, process {run.process} on {run.host}: "
            "there is nothing to resume.",
            file=sys.stderr,
        )
        return 1
    if not killed:
        print(f"merflow: no killed run in {folder.resolve()}; type the command of your run.", file=sys.stderr)
        return 1
    run = killed[-1][0]
    strange = [one for one, _ in killed if one.host != socket.gethostname()]
    if strange and not gone:
        run = strange[-1]
        print(
            f"{elsewhere(run)} Type this on {run.host}; or here, if that is gone: make resume GONE=1 (--gone).",
            file=sys.stderr,
        )
        return 1
    if not Path(run.folder).is_dir():
        print(f"merflow: {run.folder}, where `{run.command}` was typed, is gone.", file=sys.stderr)
        return 1
    sent = [number for one, _ in killed for number in one.slurm]  # A later run may have been killed before it sent any.
    if sent and not _ended_on_slurm(sent, gone):
        return 1
    print(f"merflow: going on with `{run.command}`, begun {run.began}", flush=True)
    program = [sys.executable, "-m", "snakemake"]
    # Before what was typed: after its ``--`` everything is a target, and ``--quiet all`` would take the first one.
    unlocked = subprocess.run([*program, "--unlock", "--quiet=all", *run.arguments], cwd=run.folder)
    if unlocked.returncode:
        return unlocked.returncode
    os.chdir(run.folder)
    os.execv(
        sys.executable, [*program, *run.arguments]
    )  # It takes the place of this process, so that whoever stops this one stops it.


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
