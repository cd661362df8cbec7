"""What a run leaves behind if it is killed: Snakemake's lock, and a record by which `python -m merflow.runtime.resume`
goes on.

The record is a file that the run holds locked for as long as it lives, so that a killed run and one at work can be told
from each other, with no question of whose process number it was.
"""

import atexit
import fcntl
import json
import logging
import os
import re
import shlex
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TextIO

FOLDER = Path(".snakemake") / "merflow-runs"
"""Records, one for each run, in the folder that Snakemake works in."""


BEFORE_LOCK = "Building DAG of jobs..."
"""What Snakemake says before it locks the folder; with jobs to run, an event ``RUN_INFO`` comes after the lock."""
SUBMITTED = re.compile(r"(?:has been submitted with SLURM jobid|and SLURM job ID) (\d+)")
"""What the SLURM executor says of a job that it has sent, and of an array of them."""


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        arguments: of the command ``snakemake``.
        folder: where it was typed.
        began: local time.
        process: number of the driver.
        host: its machine.
        slurm: numbers of the jobs that it has sent to SLURM; they outlive it.
    """

    arguments: list[str]
    folder: str
    began: str
    process: int
    host: str
    slurm: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command as it was typed."""
        return shlex.join(["snakemake", *self.arguments])


def runs(folder: Path) -> tuple[list[tuple[Run, Path]], list[tuple[Run, Path]]]:
    """Runs at work and killed runs whose records lie in ``folder``, each in the order in which they began."""
    alive, killed = [], []
    for file in sorted(folder.glob("*.json")):
        try:
            with open(file, encoding="utf-8") as record:
                found = alive if _is_held(record) else killed
                run = Run(**json.loads(record.readline()))
                found.append((replace(run, slurm=tuple(record.read().split())), file))
        except (OSError, ValueError, TypeError):  # Removed meanwhile, or cut off by a full disk: it says nothing.
            continue
    return sorted(alive, key=_when), sorted(killed, key=_when)


def _when(entry: tuple[Run, Path]) -> str:
    return entry[0].began


def _is_held(record: TextIO) -> bool:
    try:
        fcntl.flock(record, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.flock(record, fcntl.LOCK_UN)
    return False


def record_run(folder: Path, typed_in: str) -> Callable[[str], None]:
    """Write the record of this process's run, locked; it goes away when the process ends by itself.

    Returns:
        A function that adds the number of a job which was sent to SLURM.
    """
    run = Run(sys.argv[1:], typed_in, time.strftime("%Y-%m-%d %H:%M:%S"), os.getpid(), socket.gethostname())
    folder.mkdir(parents=True, exist_ok=True)
    # A number of a process comes again, after a reboot or in a container, and a killed run's record is still needed.
    file = folder.resolve() / f"{run.host}-{run.process}-{time.time_ns()}.json"
    record = open(file, "x", encoding="utf-8")  # noqa: SIM115
    try:
        fcntl.flock(record, fcntl.LOCK_EX)  # Whoever looks whether it is held holds it for a moment.
    except OSError:  # A file system without locks: no record is better than one that seems to be of a killed run.
        record.close()
        file.unlink(missing_ok=True)
        return lambda number: None
    # Numbers of jobs come below, a line each: a line is added whole, where a text that is replaced may be cut off.
    about = {name: value for name, value in asdict(run).items() if name != "slurm"}
    record.write(json.dumps(about) + "\n")
    record.flush()

    def remove() -> None:
        file.unlink(missing_ok=True)
        record.close()

    def add(number: str) -> None:
        with suppress(OSError):  # A full disk: the run goes on, and is resumed without this knowledge.
            os.write(record.fileno(), f"{number}\n".encode())

    atexit.register(remove)
    return add


def watch_drivers(folder: Path) -> Callable[[], bool]:
    """A function that tells whether the runs that are at work now, with records in ``folder``, are all at an end."""
    began = {file for _, file in runs(folder)[0]}
    return lambda: bool(began) and not began & {file for _, file in runs(folder)[0]}


def forget_killed(folder: Path, typed_in: str) -> list[str]:
    """Remove the records of killed runs, as this process has the lock now; of another machine's only its own command's.

    Returns:
        Numbers of the jobs that they have sent to SLURM.
    """
    sent: list[str] = []
    for old, file in runs(folder)[1]:
        if old.host == socket.gethostname() or (old.arguments, old.folder) == (sys.argv[1:], typed_in):
            file.unlink(missing_ok=True)
            sent += old.slurm
    return sent


def explain_lock(folder: Path, resume: str) -> str:
    """What to say where Snakemake finds its folder locked; ``resume`` is the command that goes on."""
    alive, killed = runs(folder)
    own = os.getpid(), socket.gethostname()
    if others := [run for run, _ in alive if (run.process, run.host) != own]:
        run = others[-1]
        return (
            f"merflow: another run is at work on these files: `{run.command}`, since {run.began}, process "
            f"{run.process} on {run.host}. Wait for it, or stop it with Ctrl-C (kill -INT {run.process}); what is "
            "finished is kept."
        )
    kept = "Everything that it finished is kept, and a training that has a checkpoint goes on from it."
    if not killed:
        return (
            f"merflow: a run was killed and left its lock on these files. {kept} To go on, type\n\n"
            "    snakemake --unlock\n\nand then the command of your run."
        )
    strange = [run for run, _ in killed if run.host != own[1]]
    run = strange[-1] if strange else killed[-1][0]
    if strange:
        forced = "make resume GONE=1" if resume == "make resume" else f"{resume} --gone"
        return f"{elsewhere(run)} To go on, type on {run.host}\n\n    {resume}\n\nor here, if that is gone: {forced}\n"
    return (
        f"merflow: `{run.command}`, begun {run.began}, was killed and left its lock on these files. {kept} To go on, "
        f"type\n\n    {resume}\n"
    )


def elsewhere(run: Run) -> str:
    """What is to be said of a run of another machine: locks of that kind may be seen on their own machine alone."""
    return (
        f"merflow: `{run.command}`, begun {run.began}, left its lock on these files. It ran on {run.host} (process "
        f"{run.process}), and whether it is still at work can be told there alone. Everything that it finished is kept."
    )


def how_to_resume(repository: Path, folder: Path) -> str:
    """The command that goes on with a killed run of ``folder``, with the Python of this process."""
    if folder == repository and Path(sys.prefix) == repository / ".venv":
        return "make resume"
    program = shlex.join([sys.executable, "-m", "merflow.runtime.resume"])
    if folder == repository:
        return program
    return f"cd {shlex.quote(str(repository))} && {program} {shlex.quote(str(folder))}"


def _in_hand(record: logging.LogRecord) -> bool:
    """Whether Snakemake says what it does only with the lock in hand: which jobs there are, or that there are none."""
    event = getattr(getattr(record, "event", None), "name", "")
    return event == "RUN_INFO" or str(record.msg).startswith("Nothing to be done")


class Watcher(logging.Filter):
    """Sees Snakemake's log pass: records the run when it starts, and says what a lock means where there is one."""

    def __init__(self, typed_in: str, resume: str, real: Callable[[], bool]) -> None:
        """``typed_in``: folder of the command; ``resume``: the command that goes on; ``real``: whether jobs are run."""
        super().__init__()
        self._typed_in, self._resume, self._real = typed_in, resume, real
        self._add: Callable[[str], None] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass; a message of a lock is replaced."""
        if record.msg == BEFORE_LOCK and not self._add and self._real():
            self._add = record_run(FOLDER, self._typed_in)
        elif self._add and (sent := SUBMITTED.search(str(record.msg))):
            self._add(sent[1])
        elif _in_hand(record) and self._real():
            for number in forget_killed(FOLDER, self._typed_in):
                if self._add:  # They may still be in the queue, if this run is killed too.
                    self._add(number)
        elif "Directory cannot be locked" in str(record.msg) and self._real():
            record.msg, record.args = explain_lock(FOLDER, self._resume), ()
        return True
