"""One writer for the outputs of a job, even where the driver of the run was killed and its jobs were not.

A job that lives on after its driver goes on to write its files. The run that is started anew plans the same job; its
process finds the claim taken, waits, and has nothing to do once the first has finished. The claim is a lock of the
kernel on a file, so a job that was killed holds nothing.

Snakemake removes the outputs of a job that its killed driver did not see end. A job whose driver is gone therefore
keeps them once more, as further names of the same files beside the claim, and the one that comes after takes them.
"""

import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import ESTALE
from pathlib import Path
from typing import BinaryIO

DONE = "done"
_held: set[BinaryIO] = set()
"""Claims of this process. Forked workers let go of them: they may outlive it, and would hold the lock without end."""


def _let_go() -> None:
    for file in _held:
        file.close()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def claim(
    file: Path, made_of: str, outputs: Sequence[str | Path], orphaned: Callable[[], bool] = lambda: False
) -> Iterator[bool]:
    """Hold the right to write ``outputs``, waiting for whoever has it.

    Yields whether there is work: False where the process that was waited for, or one whose driver was killed, has made
    the same outputs of the same things. The file is there while a job is at work, after one that was killed, and after
    one whose driver was.

    Args:
        file: the claim; one for each job.
        made_of: digest of everything that decides the outputs.
        outputs: what the job writes.
        orphaned: whether the driver is gone, asked when the work is done.
    """
    kept = file.with_suffix(".kept")
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            held = open(file, "ab+", buffering=0)  # noqa: SIM115
        except OSError:  # A full disk, or a folder that is only read: the work itself says so better.
            yield True
            return
        _held.add(held)
        try:
            _lock(held)
            own, said = _state(held)
            if said == [DONE, made_of] and (
                (own and _take_back(kept, outputs)) or all(os.path.exists(output) for output in outputs)
            ):
                if own:
                    _forget(file, kept)
                yield False
                return
            if own:
                shutil.rmtree(kept, ignore_errors=True)
                _write(held, f"process {os.getpid()} on {socket.gethostname()}")
                stays = False
                try:
                    yield True
                    stays = orphaned() and _keep(kept, outputs)
                    _write(held, f"{DONE} {made_of}")
                finally:
                    if not stays:
                        _forget(file, kept)
                return
            # Removed by the process that was waited for, which failed or made other things: claim anew.
        finally:
            _held.discard(held)
            held.close()


def _state(held: BinaryIO) -> tuple[int, list[str]]:
    """How many names the locked file has, 0 if it was removed, and its words."""
    try:
        held.seek(0)
        return os.fstat(held.fileno()).st_nlink, held.read().decode().split()
    except OSError as error:
        if error.errno == ESTALE:  # NFS: removed on another machine.
            return 0, []
        raise


def _keep(kept: Path, outputs: Sequence[str | Path]) -> bool:
    """Give the outputs a second name each in the folder ``kept``; whether that could be done."""
    try:
        kept.mkdir()
        for number, output in enumerate(outputs):
            if os.path.isdir(output):
                shutil.copytree(output, kept / str(number), copy_function=os.link)
            else:
                os.link(output, kept / str(number))
    except OSError:  # A file system without second names: the work will be done again.
        return False
    return True


def _take_back(kept: Path, outputs: Sequence[str | Path]) -> bool:
    """Put what :func:`_keep` has kept where the outputs belong; whether that could be done."""
    if not all((kept / str(number)).exists() for number in range(len(outputs))):
        return False
    try:
        for number, output in enumerate(outputs):
            if os.path.isdir(output):
                shutil.rmtree(output)
            Path(output).parent.mkdir(parents=True, exist_ok=True)
            os.replace(kept / str(number), output)
    except OSError:
        return False
    return True


def _forget(file: Path, kept: Path) -> None:
    file.unlink(missing_ok=True)
    shutil.rmtree(kept, ignore_errors=True)


def _lock(held: BinaryIO) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = " ".join(_state(held)[1]) or "another process"
        print(f"merflow: waiting for {owner}, which is at the same job ({held.name})", file=sys.stderr, flush=True)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno != ESTALE:  # Removed while it was waited for, which :func:`_state` finds.
                raise
    except OSError:  # A file system without locks: Snakemake's own lock is all there is.
        pass


def _write(held: BinaryIO, text: str) -> None:
    with suppress(OSError):  # A full disk: the lock holds without the words.
        held.seek(0)
        held.truncate()
        held.write(text.encode())
