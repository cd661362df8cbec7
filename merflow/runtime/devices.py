"""The device that a job computes on: the CPU, or one GPU per job.

A job reads `device:` of the configuration from the environment variable :data:`VARIABLE` and not from its parameters:
results of a CPU and a GPU agree within rounding, so a change of device reruns nothing.
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
"""Environment variable with the value of `device:` (auto, cpu or cuda) for the jobs; unset means auto."""

_gpu_locks: list[TextIO] = []
"""The locked file of this process's GPU; it stays open, and so locked, until the process ends."""


def installed_gpus() -> int:
    """Return the number of NVIDIA GPUs of this machine that the installed torch can use.

    Does not import torch, which the environment of the Snakemake process may lack.
    """
    with suppress(PackageNotFoundError):
        if version("torch").endswith("+cpu"):
            return 0
    return sum(1 for _ in Path("/proc/driver/nvidia/gpus").glob("*"))


def gpus_per_job(setting: str) -> int:
    """Return how many GPUs (1 or 0) a job requests that can use one.

    Args:
        setting: `device`; cuda requests one, cpu none, and auto one if the machine that plans the run has a GPU.
    """
    return int(setting == "cuda" or (setting == "auto" and installed_gpus() > 0))


@cache
def device() -> "torch.device":
    """Return the device of this process, chosen once: the first GPU that no job of this user has locked, or the CPU.

    Raises:
        ConfigError: the setting is cuda and torch finds no GPU.
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
    # Disable TF32 (a fraction of ten bits) and fix the algorithms, so that a GPU is as exact as the CPU.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    gpu = torch.device("cuda", _lock_gpu([str(torch.cuda.get_device_properties(n).uuid) for n in range(count)]))
    torch.cuda.set_device(gpu)
    log.info("device: %s (%s)", gpu, torch.cuda.get_device_name(gpu))
    return gpu


def _lock_gpu(names: list[str]) -> int:
    """Lock the first free GPU and return its index; share one if none is free."""
    for number, name in enumerate(names):
        file = open(Path(tempfile.gettempdir()) / f"merflow-{os.getuid()}-gpu-{name}.lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            _gpu_locks.append(file)
            return number
    shared = os.getpid() % len(names)
    log.warning("all GPUs are in use; this job shares GPU %d. --resources gpu=%d avoids this", shared, len(names))
    return shared
