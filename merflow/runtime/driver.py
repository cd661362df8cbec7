"""The driver is the Snakemake process of a run. A folder has one driver at a time.

Jobs on the machine of the driver end with it. Otherwise a job of a killed run would write the same files as the next
run. SLURM jobs continue without their driver: :mod:`merflow.runtime.resume` waits for them.
"""

import atexit
import ctypes
import multiprocessing
import os
import select
import signal
import socket
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

VARIABLE = "MERFLOW_DRIVER"
"""Environment variable that the Snakefile sets for the jobs: the driver's process id, start time and host."""
RECORDS = Path(".snakemake") / "merflow-drivers"
"""Folder of empty files with such names, one per driver that runs or was killed, where Snakemake works."""
POLL_MILLISECONDS = 500
"""Polling interval where the kernel cannot report the end of the driver (before Linux 5.3)."""


def register_driver(folder: Path) -> None:
    """Make this process known as the driver, to its jobs and in ``folder``."""
    start = start_time(os.getpid())
    if not start:  # A system without /proc: other processes cannot be identified.
        return
    os.environ[VARIABLE] = f"{os.getpid()}-{start}-{socket.gethostname()}"
    record = folder.resolve() / RECORDS / os.environ[VARIABLE]
    with suppress(OSError):  # A full disk or a read-only folder, which Snakemake reports.
        record.parent.mkdir(parents=True, exist_ok=True)
        record.touch()
        atexit.register(record.unlink, missing_ok=True)


def running_driver(folder: Path) -> str:
    """Return process and host of a driver that runs in ``folder``, or an empty string; remove records of killed ones.

    A driver on another host counts as running as long as Snakemake's lock is there.
    """
    locked = any((folder / ".snakemake" / "locks").glob("*"))
    for record in (folder / RECORDS).glob("*-*-*"):
        process, start, host = record.name.split("-", 2)
        if start_time(int(process)) == start if host == socket.gethostname() else locked:
            return f"process {process} on {host}"
        record.unlink(missing_ok=True)
    return ""


def end_with_driver() -> None:
    """End this process and its workers when the driver ends, immediately if it has ended already.

    Does nothing if there is no driver on this host, and in SLURM jobs.
    """
    process, start, host = os.environ.get(VARIABLE, "0--").split("-", 2)
    if host != socket.gethostname() or "SLURM_JOB_ID" in os.environ:
        return
    if start_time(int(process)) != start:
        _end()
    threading.Thread(target=_wait_and_end, args=(int(process), start), daemon=True).start()


def start_time(process: int) -> str:
    """Return when a process started, in clock ticks since the boot, or an empty string if it has ended.

    Process ids are used again; id and start time together identify a process.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _wait_and_end(process: int, start: str) -> None:
    ended, timeout = select.poll(), None
    try:
        ended.register(os.pidfd_open(process), select.POLLIN)
    except OSError:  # An old kernel, or the driver has just ended.
        timeout = POLL_MILLISECONDS
    while start_time(process) == start:
        ended.poll(timeout)
    _end()


def _end() -> None:
    for worker in multiprocessing.active_children():
        worker.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def worker_pool(processes: int) -> ProcessPoolExecutor:
    """Return a pool of forked processes; a fresh interpreter would run the script of the job again."""
    return ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _end_with_parent)


def _end_with_parent() -> None:
    """Ask the kernel to end this worker if its parent is killed; otherwise it would block forever."""
    with suppress(OSError, AttributeError):  # Only Linux has it.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
