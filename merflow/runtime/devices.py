"""Where a job computes: the CPU, or one GPU for itself.

`device:` of the configuration says what may be used; a job reads it from :data:`VARIABLE`, since a device is no setting
of the study: what a GPU makes and what a CPU makes agree within rounding, and changing it reruns nothing.
"""

import fcntl
import logging
import os
import tempfile
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from merflow.errors import ConfigError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

VARIABLE = "MERFLOW_DEVICE"
"""Environment variable that hands `device:` (auto, cpu or cuda) to the jobs; not set means auto."""

_held: list[TextIO] = []
"""The lock on this process's GPU: open, and so held, for as long as the process lives."""


def installed_gpus() -> int:
    """Number of NVIDIA GPUs of this machine, as its driver lists them, that the installed torch can use.

    Torch is not loaded for it: the driver of a run may be in an environment without it.
    """
    with suppress(PackageNotFoundError):
        if version("torch").endswith("+cpu"):
            return 0
    return sum(1 for _ in Path("/proc/driver/nvidia/gpus").glob("*"))


def gpus_of_a_job(setting: str) -> int:
    """GPUs that a job which can use one asks for: 1 or 0.

    Args:
        setting: `device`: cuda always asks for one, cpu never; auto where the machine that plans the run has one.
    """
    return int(setting == "cuda" or (setting == "auto" and installed_gpus() > 0))


@cache
def device() -> "torch.device":
    """The device of this process, chosen once: the first GPU that no other merflow job of this user holds, or the CPU.

    Raises:
        ConfigError: `device: cuda`, and torch finds no GPU.
    """
    import torch

    setting = os.environ.get(VARIABLE, "auto")
    count = 0 if setting == "cpu" or not torch.cuda.is_available() else torch.cuda.device_count()
    if setting == "cuda" and not count:
        raise ConfigError(
            f"device: cuda, but torch {torch.__version__} finds no GPU here; install a torch built for CUDA, ask the "
            "cluster for a GPU, or set device: auto"
        )
    if not count:
        return torch.device("cpu")
    # Without TF32 (ten bits of fraction) and with the same algorithms each time, a GPU is as exact as the CPU.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    place = torch.device("cuda", _own_gpu([str(torch.cuda.get_device_properties(n).uuid) for n in range(count)]))
    torch.cuda.set_device(place)
    log.info("device: %s (%s)", place, torch.cuda.get_device_name(place))
    return place


def _own_gpu(names: list[str]) -> int:
    """Place of the first GPU that is free, which is locked from now on; where none is, one is shared."""
    for number, name in enumerate(names):
        file = open(Path(tempfile.gettempdir()) / f"merflow-{os.getuid()}-gpu-{name}.lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            _held.append(file)
            return number
    shared = os.getpid() % len(names)
    log.warning("every GPU is taken by a job; this one shares GPU %d. --resources gpu=%d avoids it", shared, len(names))
    return shared
