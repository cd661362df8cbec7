"""The context of every script: its log, one clear message on failure, an end with the driver, and its settings."""

import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from merflow.errors import MerflowError, advice
from merflow.runtime.driver import end_with_driver
from merflow.storage.files import remove_stale_temporaries

T = TypeVar("T")

THREADS = {
    # One thread per job: jobs run side by side, and results do not depend on the number of cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    # The second limit on image sizes, after the check of the header (merflow.footage.images).
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(8192**2),
    # Fix the instruction set, so that results do not depend on the alignment of arrays. "AVX2,STRICT" also gives the
    # same bits for any number of threads, but matrix products take 20 to 50 % longer; jobs have one thread anyway.
    "MKL_CBWR": "AVX2",
    # glibc returns large blocks to the system and requests them again in every training step. Keeping them saves the
    # page faults, some 5 % of a step.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
}
"""Environment variables of every job; the Snakefile sets them before a library that reads them is loaded."""


@contextmanager
def script_context(snakemake: Any) -> Iterator[logging.Logger]:
    """Run a script's work: log to the rule's log file, and report an error as one message there and on stderr.

    The process ends with the driver of the run. Temporary files of killed jobs with the same outputs are removed.

    Args:
        snakemake: the object that Snakemake gives to a script; only ``rule``, ``log``, ``output`` and ``wildcards``
            are used.
    """
    end_with_driver()
    for output in snakemake.output:
        with suppress(OSError):
            remove_stale_temporaries(output)
    stream = sys.stderr
    if len(snakemake.log):
        stream = open(snakemake.log[0], "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    logging.raiseExceptions = False  # Do not report at every line that a log cannot be written (full disk).
    logging.basicConfig(
        stream=stream,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    log = logging.getLogger(snakemake.rule)
    wildcards = " ".join(f"{name}={unquote(value)}" for name, value in snakemake.wildcards.items())
    try:
        log.info("start %s", wildcards)
        yield log
        log.info("done")
    except Exception as error:
        message = str(error) if isinstance(error, MerflowError) else advice(error)
        if not message:
            log.error("unexpected error, please report it\n%s", traceback.format_exc())
            raise
        log.error("%s", message, exc_info=not isinstance(error, MerflowError))
        print(f"merflow: {snakemake.rule} {wildcards}: {message}", file=sys.stderr)
        sys.exit(1)


def from_params(cls: type[T], params: Mapping[str, Any]) -> T:
    """Return the settings class whose :func:`dataclasses.asdict` is ``params``; the inverse of ``asdict``.

    Raises:
        TypeError: a field is missing, or ``params`` has a key that is not a field.
    """
    types = get_type_hints(cls)
    names = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: _value(types[name], value) if name in names else value for name, value in params.items()})


def _value(annotation: Any, value: Any) -> Any:
    """Make the settings classes inside a field: one, an optional one, or a sequence or mapping of them."""
    if is_dataclass(annotation) and isinstance(annotation, type):
        return from_params(annotation, value)
    arguments = [argument for argument in get_args(annotation) if argument is not NoneType]
    if not arguments or value is None:
        return value
    if get_origin(annotation) is UnionType:
        return _value(arguments[0], value) if len(arguments) == 1 else value
    if isinstance(value, Mapping):
        return {key: _value(arguments[-1], inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_value(arguments[0], inner) for inner in value)
    return value
