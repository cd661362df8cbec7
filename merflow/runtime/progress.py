"""One line of progress in the terminal, in place of the lines that Snakemake prints for each job.

The log file in ``.snakemake/log`` keeps everything.
"""

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from urllib.parse import unquote

VARIABLE = "MERFLOW_PROGRESS"
"""Environment variable of `make run`: if it is set, the line is printed where there is no terminal too."""
NO_TERMINAL_SECONDS = 30
"""Least time between two lines where there is no terminal."""


def show_progress_line(logger: logging.Logger, is_dry_run: Callable[[], bool]) -> None:
    """Replace Snakemake's own handler of the terminal by :class:`ProgressLine`; the user's ``--logger`` stays.

    ``is_dry_run`` is asked at every message, because Snakemake does not know it yet when it reads the Snakefile.
    """
    if not (sys.stderr.isatty() or VARIABLE in os.environ):
        return
    for handler in [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]:
        line = ProgressLine(handler, is_dry_run)
        line.setFormatter(handler.formatter)
        line.filters = handler.filters
        logger.removeHandler(handler)
        logger.addHandler(line)


def plain_names(record: logging.LogRecord) -> bool:
    """Filter of Snakemake's logger: people and folds have their names, without the encoding of file names."""
    if message := getattr(record, "rule_msg", None):
        record.rule_msg = unquote(message)
    return True


class ProgressLine(logging.Handler):
    """Write jobs done, time left and the latest job in one line of stderr, and messages and errors above it."""

    def __init__(self, replaced: logging.Handler, is_dry_run: Callable[[], bool]) -> None:
        """Start the clock; the handler ``replaced`` shows the plan of a dry run."""
        super().__init__()
        self.replaced, self.is_dry_run = replaced, is_dry_run
        self.begin = self.written = time.monotonic()
        self.job = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Update the line when a job has ended; print what is not about a single job."""
        if self.is_dry_run():
            self.replaced.handle(record)
            return
        event, fields = getattr(getattr(record, "event", None), "value", ""), vars(record)
        if event == "run_info":
            self.write(f"{fields['stats']['total']} jobs")
        elif event == "job_info":
            self.job = fields["rule_msg"] or fields["rule_name"]
        elif event == "progress":
            self.show_progress(fields["done"], fields["total"])
        elif record.levelno > logging.INFO or not (event or record.getMessage().startswith("Select jobs")):
            self.write(self.format(record))

    def show_progress(self, done: int, total: int) -> None:
        """Replace the line; the time left is estimated from the mean time of the jobs so far."""
        now = time.monotonic()
        left = round((now - self.begin) * (total - done) / done)
        line = f"{done} of {total} jobs done, about {left // 60}:{left % 60:02d} min left. {self.job}"
        if sys.stderr.isatty():
            self.write(line[: shutil.get_terminal_size().columns - 1], end="\n" if done == total else "")
        elif done == total or now > self.written + NO_TERMINAL_SECONDS:
            self.write(line)
            self.written = now

    def write(self, text: str, end: str = "\n") -> None:
        """Write ``text`` in place of the line."""
        sys.stderr.write(("\r\033[K" if sys.stderr.isatty() else "") + text + end)
        sys.stderr.flush()
