"""What surrounds every script: a log that a newcomer can read, fixed threads, one clear message on failure."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from merflow.errors import MerflowError, advice
from merflow.runtime.claims import claim
from merflow.runtime.runs import FOLDER, watch_drivers
from merflow.storage.files import digest, remove_stale_temporaries

THREADS = {
    # One thread a job: jobs run side by side, and results do not depend on the number of cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    # A file that calls itself a video is no list of other files, and no address.
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "protocol_whitelist;file",
    # Pictures are refused by their headers before; this is the wall behind.
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(8192**2),
    # The same instruction path, hence the same bits, whatever the alignment of arrays. "AVX2,STRICT" gives them for any
    # number of threads too, but takes matrix products a fifth to a half longer; jobs have one thread anyway.
    "MKL_CBWR": "AVX2",
    # glibc hands large blocks back to the system and fetches them anew in every training step; keeping them saves the
    # page faults, some 5 % of a step.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
}
"""Environment of every job; the Snakefile sets it before a library that reads it is loaded."""


@contextmanager
def job(snakemake: Any) -> Iterator[logging.Logger]:
    """Run a script's work: log to the rule's log file, and turn an error into one message there and on stderr.

    Where a job of a killed run is still at the same work, it is waited for, and the script ends with nothing to do.

    Args:
        snakemake: the object that Snakemake gives to a script; only ``rule``, ``log``, ``input``, ``output``,
            ``params`` and ``wildcards`` are used.
    """
    if not len(snakemake.log):
        with _logged(snakemake) as log:
            yield log
        return
    file = Path(snakemake.log[0]).with_suffix(".claim")
    claimed = claim(file, _made_of(snakemake), list(snakemake.output), watch_drivers(FOLDER))
    with claimed as work:
        if not work:
            print(f"merflow: {snakemake.rule} {_where(snakemake)}: done by a job of the killed run", file=sys.stderr)
            sys.exit(0)
        for output in snakemake.output:
            with suppress(OSError):
                remove_stale_temporaries(output)
        with _logged(snakemake) as log:
            yield log


def _made_of(snakemake: Any) -> str:
    """What decides a job's outputs: its rule, its parameters, and its inputs by their times and sizes."""
    states = [
        (name, os.stat(name).st_mtime_ns, os.stat(name).st_size) if os.path.exists(name) else name
        for name in snakemake.input
    ]
    return digest(snakemake.rule, dict(snakemake.wildcards.items()), dict(snakemake.params.items()), states)


def _where(snakemake: Any) -> str:
    return " ".join(f"{name}={value}" for name, value in snakemake.wildcards.items())


@contextmanager
def _logged(snakemake: Any) -> Iterator[logging.Logger]:
    log_file = {"encoding": "utf-8", "errors": "backslashreplace"}
    stream = open(snakemake.log[0], "w", **log_file) if len(snakemake.log) else sys.stderr  # noqa: SIM115
    logging.raiseExceptions = False  # A log that cannot be written (full disk) is no reason to say so at every line.
    logging.basicConfig(
        stream=stream,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    log = logging.getLogger(snakemake.rule)
    where = _where(snakemake)
    try:
        log.info("start %s", where)
        yield log
        log.info("done")
    except MerflowError as error:
        log.error("%s", error)
        print(f"merflow: {snakemake.rule} {where}: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if told := advice(error):
            log.error("%s\n%s", told, traceback.format_exc())
            print(f"merflow: {snakemake.rule} {where}: {told}", file=sys.stderr)
            sys.exit(1)
        log.error("unexpected error, please report it\n%s", traceback.format_exc())
        raise
