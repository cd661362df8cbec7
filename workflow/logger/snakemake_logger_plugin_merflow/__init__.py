"""Snakemake logger plugin for `make run`: one line with jobs done, time left and the latest job, and all errors.

Snakemake finds it by the name of its folder, on ``PYTHONPATH``. The log file in ``.snakemake/log`` has everything else.
"""

import logging
import sys
import time

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

NO_TERMINAL_SECONDS = 30
"""Least time between two lines where the output is not a terminal."""


class LogHandler(LogHandlerBase):
    """Write the progress of a run to stderr."""

    writes_to_stream, writes_to_file = True, False
    has_filter, has_formatter = False, False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.begin = self.written = time.monotonic()
        self.job = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Update the line when a job has ended; print errors below it."""
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            sys.stderr.write(f"{record.stats['total']} jobs\n")
        elif event == LogEvent.JOB_INFO:
            self.job = record.rule_msg or record.rule_name
        elif event == LogEvent.PROGRESS:
            self.show_progress(record.done, record.total)
        elif record.levelno > logging.WARNING and (text := self.format(record)):
            sys.stderr.write(f"\n{text}\n")

    def show_progress(self, done: int, total: int) -> None:
        """Replace the line; the time left is estimated from the mean time of the jobs so far."""
        now = time.monotonic()
        left = round((now - self.begin) * (total - done) / done)
        line = f"{done} of {total} jobs done, about {left // 60}:{left % 60:02d} min left. {self.job}"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{line[:118]}" + "\n" * (done == total))
        elif done == total or now > self.written + NO_TERMINAL_SECONDS:
            sys.stderr.write(f"{line}\n")
            self.written = now
        sys.stderr.flush()
