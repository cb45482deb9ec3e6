"""A Slurm on this machine, in a folder of its own: a controller, two nodes that are one machine, GPUs that are none.

Slurm itself is real: Debian's munged, slurmctld and slurmd, in the foreground, as children of this process. What they
read has to be at /etc/slurm, since Snakemake's executor takes SLURM_CONF away from the jobs that it starts; links into
the folder are there for as long as the cluster is up.
"""

import ctypes
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

ETC = Path("/etc/slurm")
PROGRAMS = ["munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo"]
NODES = ("n1", "n2")
GPUS = 2
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")

# SlurmdTimeout, cred_expire and the intervals are short, so that a node that is lost is noticed, and its job starts
# again, in seconds; MinJobAge is long, so that jobs that ended are still known; config_overrides lets nodes claim what
# they lack.
SLURM_CONF = """\
ClusterName=pretended
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldPort={port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
MinJobAge=3600
ReturnToService=2
SlurmdTimeout=10
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=5,batch_sched_delay=1
AccountingStorageType=accounting_storage/none
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
"""


class Cluster:
    """A context in which commands such as sbatch and squeue work."""

    def __init__(self, folder: Path, cpus: int) -> None:
        self.folder = folder
        self.cpus = cpus
        self.daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Cluster":
        missing = [program for program in PROGRAMS if not shutil.which(program)]
        if missing or os.geteuid() != 0:
            raise RuntimeError(f"this takes root and Debian's slurm-wlm and munge; missing: {missing or 'root'}")
        for file in FILES:
            if (ETC / file).exists() and not left_behind():
                raise RuntimeError(f"{ETC / file} is there: this machine has a Slurm already, which is left alone")
        # orphaned processes become children of this process, which can end them: PR_SET_CHILD_SUBREAPER
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
        try:
            self._configure()
            self._start("munged", "--foreground", "--force", *self._munge_files())
            wait_for("munged", lambda: (self.folder / "munge.socket").exists())
            self.start_controller()
            for node in NODES:
                self.start_node(node)
            wait_for("nodes", lambda: set(self.node_states().values()) == {"idle"})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for file in FILES:
            (ETC / file).unlink(missing_ok=True)
        # the controller first, so that it does not restart the jobs
        for name in ["slurmctld", *NODES, "munged"]:
            if name in self.daemons:
                self._kill(name)
        for pid in descendants(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        reap()

    def _configure(self) -> None:
        self.folder.chmod(0o755)
        (self.folder / "controller").mkdir()
        ports = free_ports(1 + len(NODES))
        conf = SLURM_CONF.format(host=socket.gethostname(), folder=self.folder, port=ports[0])
        gres = []
        for node, port in zip(NODES, ports[1:], strict=True):
            (self.folder / node).mkdir()
            conf += (
                f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port}"
                f" CPUs={self.cpus} RealMemory=64000 Gres=gpu:{GPUS} State=UNKNOWN\n"
            )
            for number in range(GPUS):
                # Slurm counts device files; these are further /dev/null's
                device = self.folder / f"{node}.gpu{number}"
                os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
                gres.append(f"NodeName={node} Name=gpu File={device}\n")
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "gres.conf").write_text("".join(gres))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        ETC.mkdir(exist_ok=True)
        for file in FILES:
            (ETC / file).unlink(missing_ok=True)
            (ETC / file).symlink_to(self.folder / file)

    def _munge_files(self) -> list[str]:
        key = self.folder / "munge.key"
        subprocess.run(["mungekey", "--create", f"--keyfile={key}"], check=True)
        names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        return [f"--{option}={self.folder}/munge.{suffix}" for option, suffix in names.items()]

    def _start(self, name: str, *command: str) -> None:
        # daemons end with this process, however it ends
        with (self.folder / f"{name}.out").open("a") as log:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *(command if name in (*NODES, "slurmctld") else (name, *command))],
                stdout=log,
                stderr=log,
            )

    def _kill(self, name: str) -> None:
        self.daemons[name].kill()
        self.daemons.pop(name).wait()

    def start_controller(self) -> None:
        self._start("slurmctld", "slurmctld", "-D")
        wait_for("slurmctld", lambda: run("scontrol", "ping", check=False).returncode == 0)

    def start_node(self, node: str) -> None:
        self._start(node, "slurmd", "-D", "-N", node)

    def node_states(self) -> dict[str, str]:
        table = run("sinfo", "--noheader", "--Node", "--format=%N %T", check=False)
        return dict(line.split() for line in table.splitlines())

    def jobs(self) -> list[dict[str, str]]:
        """Return all jobs so far, as the scheduler describes them."""
        table = run("scontrol", "show", "jobs", "--oneliner", "--details")
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in table.splitlines() if line.startswith("JobId=")]


class Output(str):
    returncode: int


def run(*command: str, check: bool = True) -> Output:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}"
    output = Output(done.stdout)
    output.returncode = done.returncode
    return output


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {seconds} s")
        time.sleep(0.1)


def left_behind() -> bool:
    """Return whether the configuration was left by a test that was killed."""
    conf = ETC / "slurm.conf"
    ours = conf.is_symlink() and conf.exists() and SLURM_CONF.splitlines()[0] in conf.read_text()
    return ours and run("scontrol", "ping", check=False).returncode != 0


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def descendants(pid: int) -> list[int]:
    """Return the descendants of a process."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*/stat"):
        try:
            # the program's name, in parentheses, may contain anything
            parent = int(process.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(process.parent.name))
    pids = [pid]
    for each in pids:
        pids += children.get(each, [])
    return pids[1:]


def reap() -> None:
    """Wait for adopted children, so that no zombies remain."""
    try:
        while os.waitpid(-1, 0)[0]:
            pass
    except ChildProcessError:
        pass
