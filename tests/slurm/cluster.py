"""A real SLURM with two nodes on the loopback interface: munged, slurmctld and two slurmd in a temporary folder.

It needs no /etc/slurm.conf, no systemd and no database, and does not disturb another SLURM on the machine.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PACKAGES = ("slurm-wlm", "munge")
COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
NODES = ("node1", "node2")
CPUS = 4
MEMORY_MB = 32000

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MpiDefault=none
# Two nodes on one machine, with more cores and memory than it may have.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=600 State=UP
# Measure memory every second and kill jobs that use more than they requested.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
KillWait=2
# Remember ended jobs for the whole test (default: 300 s).
MinJobAge=7200
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=1,bf_interval=1
# Seconds until a dead node is noticed. A node that returns serves again; one that was set down waits for `resume`.
SlurmdTimeout=6
ReturnToService=1
"""

WRAPPERS = {
    "srun": """\
#!/bin/sh
# The executor removes SLURM_CONF before it calls srun.
SLURM_CONF={folder}/slurm.conf exec {command} "$@"
""",
    "squeue": """\
#!/bin/sh
# The executor waits 10 s longer before each question. Here the answer waits until one more job of the run has ended,
# but at most 40 s: the executor forgets jobs if squeue takes longer than a minute.
case "$*" in *--name*) ;; *) exec {command} "$@" ;; esac
for run; do :; done
seen="{folder}/ended-$run"
end=$(($(date +%s) + 40))
while [ "$(date +%s)" -lt "$end" ]; do
  answer=$({command} "$@") || exit
  ended=$(echo "$answer" | grep -c -v -e '|PENDING' -e '|CONFIGURING' -e '|RUNNING' -e '|COMPLETING')
  [ "$ended" = "$(cat "$seen" 2>/dev/null)" ] || break
  sleep 0.2
done
echo "$ended" >"$seen"
echo "$answer"
""",
}
"""Wrappers that precede SLURM's commands on the PATH of a run."""


class Unavailable(Exception):
    """SLURM is not installed and cannot be; the message says why."""


def install() -> None:
    """Install the Debian packages if they are absent.

    Raises:
        Unavailable: they are absent and cannot be installed (no Debian, not root, or apt-get failed).
    """
    missing = [command for command in COMMANDS if not find(command)]
    if not missing:
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise Unavailable(f"no {missing[0]} here; install it with: apt-get install {' '.join(PACKAGES)}")
    with open(Path(tempfile.gettempdir()) / "merflow-apt.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run(["apt-get", "-qq", *arguments], env=environment, capture_output=True, text=True)
            if done.returncode:
                raise Unavailable(f"apt-get {arguments[0]} failed: {done.stderr.strip()[-300:]}")


def find(command: str) -> str | None:
    """Return the path of a command; daemons are in folders that a user's PATH may lack."""
    return shutil.which(command) or shutil.which(command, path="/usr/sbin:/usr/local/sbin")


def free_ports(count: int) -> list[int]:
    """Return unused ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """A running SLURM.

    Attributes:
        folder: its configuration, logs, pid files and state.
        environment: environment variables for processes that use it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "bin").mkdir()
        for name, text in WRAPPERS.items():
            (folder / "bin" / name).write_text(text.format(folder=folder, command=find(name)))
            (folder / "bin" / name).chmod(0o755)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SLURM"))}
        self.environment = inherited | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
        }

    def call(self, command: str, *arguments: str) -> str:
        """Run a SLURM command without the wrappers; returns its output."""
        done = subprocess.run([find(command), *arguments], env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start the daemons and wait until both nodes are idle."""
        for name in ("munge", "state", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self.call("munged", "--force", *(f"--{option}={munge / name}" for option, name in files.items()))
        host = socket.gethostname().split(".")[0]
        ports = free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory={MEMORY_MB}"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        user = self.call("id", "-un").strip()
        settings = {"folder": self.folder, "host": host, "ports": ports, "nodes": nodes, "user": user}
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(**settings))
        self.call("slurmctld", "-c")
        for node in NODES:
            self.start_node(node)
        self.wait(lambda: self.states() == dict.fromkeys(NODES, "idle"), 30)

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self.call("slurmd", "-N", node)

    def pid(self, node: str) -> int:
        """Return the process id of a node's daemon."""
        return int((self.folder / f"slurmd-{node}.pid").read_text())

    def states(self) -> dict[str, str]:
        """Return the state of each node."""
        return dict(line.split() for line in self.call("sinfo", "-h", "-N", "-o", "%N %t").splitlines())

    def jobs(self) -> list[dict[str, str]]:
        """Return all jobs, oldest first: ``id``, ``state``, ``node``, ``comment`` (of the executor)."""
        lines = self.call("squeue", "-h", "-t", "all", "-S", "i", "-o", "%i|%T|%N|%k").splitlines()
        return [dict(zip(("id", "state", "node", "comment"), line.split("|"), strict=True)) for line in lines]

    def job(self, number: str) -> dict[str, str]:
        """Return all properties of a job, such as ``MinMemoryNode``."""
        words = self.call("scontrol", "-o", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, condition, seconds: float) -> None:
        """Wait until a condition holds; fails with the logs after ``seconds``."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                logs = "\n".join(log.read_text()[-2000:] for log in self.folder.glob("*.log"))
                raise AssertionError(f"the condition does not hold after {seconds} s\n{logs}")
            time.sleep(0.1)

    def processes(self, node: str) -> list[psutil.Process]:
        """Return the processes of a node's jobs, after their slurmstepd."""
        processes = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                variables = process.environ()
                if variables.get("SLURMD_NODENAME") == node and variables.get("SLURM_CONF") == str(
                    self.folder / "slurm.conf"
                ):
                    processes.append(process)
        daemons = {parent for process in processes for parent in process.parents() if "slurmstepd" in parent.name()}
        return [*daemons, *processes]

    def kill_node(self, node: str) -> None:
        """Kill a node's daemon and its jobs, as if the node lost power."""
        os.kill(self.pid(node), signal.SIGKILL)
        for process in self.processes(node):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """Cancel all jobs and stop the daemons."""
        for job in self.jobs():
            if job["state"] in ("PENDING", "RUNNING"):
                self.call("scancel", job["id"])
        files = [*self.folder.glob("slurmd-*.pid"), self.folder / "slurmctld.pid", self.folder / "munge/pid"]
        daemons = []
        for file in files:
            with suppress(FileNotFoundError, psutil.NoSuchProcess, ValueError):
                daemons.append(psutil.Process(int(file.read_text())))
                daemons[-1].terminate()
        for daemon in psutil.wait_procs(daemons, timeout=10)[1]:
            daemon.kill()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Yield a running cluster and stop it afterwards.

    Raises:
        Unavailable: SLURM is absent and cannot be installed.
    """
    install()
    # A short path, since a socket's path is limited to about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="merflow-slurm-"))
    running = Cluster(folder)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
