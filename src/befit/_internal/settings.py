"""Environment variables: read when used, and always weaker than an argument.

========================  ==========================================================================
``KERAS_HOME``            the folder that Keras and befit keep their files in (default ``~/.keras``)
``KERAS_BACKEND``         the backend of Keras, read by Keras when it is imported
``BEFIT_OFFLINE``         ``1``: ``get_file`` takes what is in the cache and never goes online
``BEFIT_LOCK``            the file in which ``get_file`` looks for digests, and records those of new files
``BEFIT_PROGRESS``        ``0``: no progress bars, ``1``: also where standard error is no terminal
``BEFIT_MMAP``            ``0``: HDF5 files are never mapped into memory, ``1``: also those on a network
``BEFIT_SCRATCH``         the folder for temporary files as large as a data set
``BEFIT_KERAS2_HINTS``    ``0``: ``befit.keras2`` does not say what to write instead of old names
``HTTP_PROXY`` …          ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``: how ``get_file`` goes online
``REQUESTS_CA_BUNDLE``    also ``CURL_CA_BUNDLE``: a file or folder of certificates that ``get_file`` trusts;
                          ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are read by OpenSSL itself
``RANK``, ``WORLD_SIZE``  which process of a distributed run this is, and of how many, as torchrun says it;
                          likewise ``KERAS_DISTRIBUTION_PROCESS_ID`` and ``KERAS_DISTRIBUTION_NUM_PROCESSES``
                          (Keras), ``OMPI_COMM_WORLD_RANK`` and ``OMPI_COMM_WORLD_SIZE`` (Open MPI),
                          ``PMI_RANK`` and ``PMI_SIZE`` (MPICH, Intel MPI), ``SLURM_PROCID`` and
                          ``SLURM_STEP_NUM_TASKS`` (srun, if ``SLURM_STEP_ID`` says that it is one)
``LOCAL_RANK``            which process of its machine this is, ``LOCAL_WORLD_SIZE``: of how many; likewise
                          ``OMPI_COMM_WORLD_LOCAL_RANK`` and ``…_LOCAL_SIZE``, ``MPI_LOCALRANKID`` and
                          ``MPI_LOCALNRANKS``, ``SLURM_LOCALID`` and ``SLURM_STEP_TASKS_PER_NODE``
``MASTER_ADDR``           the machine of the first process, ``MASTER_PORT``: a free port of it (torchrun sets
                          them; after mpirun and srun they overrule what is found out without them)
``JAX_COORDINATOR_…``     ``…ADDRESS``: the same for JAX, as ``host:port``
``KERAS_DISTRIBUTION_…``  ``…JOB_ADDRESSES``: the same for Keras; the first of several is taken
``OMPI_MCA_orte_hnp_uri``  where mpirun itself runs, and the number of its job
``SLURM_STEP_NODELIST``   the machines of a job step; ``SLURM_JOB_ID`` gives the port
``CUDA_VISIBLE_DEVICES``  whether the launcher has given each process GPUs of its own
========================  ==========================================================================
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from befit.errors import ArgumentError

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}

# Rank, world size, and the same on this machine, as each launcher says them. A launcher may start another,
# whose processes inherit its variables: mpirun starts its daemons by srun, and torchrun is started by either.
# The innermost comes first.
_LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    "Keras": ("KERAS_DISTRIBUTION_PROCESS_ID", "KERAS_DISTRIBUTION_NUM_PROCESSES", "", ""),
    "Open MPI": (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    "MPI": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
}
_FIRST_RESERVED_SLURM_STEP = 0xFFFFFFF0

# Where a job number has to give a port: the last 4096, above those that systems hand out.
_JOB_PORTS = range(2**16 - 2**12, 2**16)


@dataclass(frozen=True)
class Launch:
    """What the launcher of this process says about it and the others."""

    launcher: str
    rank: int
    size: int
    local_rank: int | None
    local_size: int | None
    """``None`` where the launcher does not say."""


def _flag(name: str) -> bool | None:
    """Return the switch ``name``, or ``None`` where it is not set."""
    text = os.environ.get(name)
    if text is None:
        return None
    value = text.strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ArgumentError(f"environment variable {name} is {text!r}; write 1 or 0")


def keras_home() -> Path:
    """Return the folder that Keras and befit share, whether or not it exists yet."""
    home = os.environ.get("KERAS_HOME")
    return Path(home).expanduser() if home else Path.home() / ".keras"


def offline() -> bool:
    """Return whether going online is forbidden."""
    return _flag("BEFIT_OFFLINE") or False


def lock_file() -> str | None:
    """Return the lock file that is named for the digests of downloads."""
    return os.environ.get("BEFIT_LOCK") or None


def map_files() -> bool | None:
    """Return whether files may be mapped into memory; ``None``: where that is safe."""
    return _flag("BEFIT_MMAP")


def scratch_folder() -> str | None:
    """Return the folder that is named for large temporary files.

    Raises:
        ArgumentError: there is no such folder.
    """
    folder = os.environ.get("BEFIT_SCRATCH")
    if folder and not os.path.isdir(folder):
        raise ArgumentError(f"environment variable BEFIT_SCRATCH names {folder!r}, which is no folder")
    return folder or None


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment (or the system's settings) names for ``url``."""
    from urllib.request import getproxies, proxy_bypass  # 20 ms, and only a download needs it

    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all") or None


def ca_bundle() -> str | None:
    """Return the certificates that the environment names in place of the system's."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(name)
        if path:
            if not os.path.exists(path):
                raise ArgumentError(f"environment variable {name} names {path!r}, which does not exist")
            return path
    return None


def progress() -> bool | None:
    """Return whether progress bars are wanted; ``None``: where standard error is a terminal."""
    return _flag("BEFIT_PROGRESS")


def keras2_hints() -> bool:
    """Return whether ``befit.keras2`` says what to write instead of old names."""
    return _flag("BEFIT_KERAS2_HINTS") is not False


def keras_backend() -> str | None:
    """Return the Keras backend that the environment names."""
    return os.environ.get("KERAS_BACKEND") or None


def set_keras_backend(name: str) -> None:
    """Choose the Keras backend of this process; has an effect only before Keras is imported."""
    os.environ["KERAS_BACKEND"] = name


def launched_rank() -> tuple[int, int] | None:
    """Return (rank, world size) that the launcher of this process gave it; ``None``: nobody did.

    Raises:
        ArgumentError: the variables contradict each other, or are no numbers.
    """
    launched = launch()
    return None if launched is None else (launched.rank, launched.size)


def launch() -> Launch | None:
    """Return what the launcher of this process says; ``None``: there was none.

    Raises:
        ArgumentError: the variables contradict each other, or are no numbers.
    """
    for launcher, names in _LAUNCHERS.items():
        if launcher == "srun" and not _started_by_srun():
            continue
        texts = [os.environ.get(name) for name in names]
        if any(texts[:2]):
            rank, size = _as_rank(names[0], names[1], texts[0], texts[1])
            local_rank, local_size = (_local_number(name) for name in names[2:])
            return Launch(launcher, rank, size, local_rank, local_size)
    return None


def coordinator(launched: Launch) -> tuple[str, int]:
    """Return host and port at which the first of the launched processes can be met.

    Raises:
        ArgumentError: the variables do not say.
    """
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if launched.launcher == "Keras":
        addresses = os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES", "")
        return _as_address("KERAS_DISTRIBUTION_JOB_ADDRESSES", addresses.partition(",")[0])
    if host and port:
        return _as_address("MASTER_PORT", f"{host}:{port}")
    if host or port:
        is_set, is_not = ("MASTER_ADDR", "MASTER_PORT") if host else ("MASTER_PORT", "MASTER_ADDR")
        raise ArgumentError(f"environment variable {is_set} is set, and {is_not} is not; set both")
    if launched.launcher == "srun":
        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST")
        job, step = os.environ.get("SLURM_JOB_ID", ""), os.environ["SLURM_STEP_ID"]
        if nodes and job.isdecimal():
            return _first_node(nodes), _job_port(int(job) + int(step))
    # Before version 5: 1531576320.0;tcp://10.96.0.1,10.148.0.1:34911. The job is a multiple of 4096.
    uri = os.environ.get("OMPI_MCA_orte_hnp_uri", "")  # noqa: SIM112 - Open MPI writes it so
    daemon = re.match(r"(\d+)\.\d+;(?:tcp://([^,:]+)|tcp6://\[([^],]+))", uri)
    if launched.launcher == "Open MPI" and daemon:
        return daemon[2] or daemon[3], _job_port(int(daemon[1]) // 2**12)
    raise ArgumentError(
        f"{launched.launcher} says that this is process {launched.rank} of {launched.size}, and not "
        "where the first one is; set MASTER_ADDR (its machine) and MASTER_PORT (a free port there) for all"
    )


def jax_coordinator() -> tuple[str, int] | None:
    """Return host and port that are named for JAX, as JAX itself reads them."""
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    return _as_address("JAX_COORDINATOR_ADDRESS", address) if address else None


def gpus_of_its_own() -> bool:
    """Return whether this process was shown a single GPU, and so cannot choose one."""
    return bool(re.fullmatch(r"[^,]+", os.environ.get("CUDA_VISIBLE_DEVICES", "")))


def _local_number(name: str) -> int | None:
    text = os.environ.get(name)
    if not text:
        return None
    if name == "SLURM_STEP_TASKS_PER_NODE":  # 2(x3),1: two tasks on each of three machines, one on the fourth
        counts = [
            count
            for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
            for _ in range(int(times or 1))
        ]
        machine = _local_number("SLURM_NODEID")
        return int(counts[machine]) if machine is not None and machine < len(counts) else None
    if not text.isdecimal():
        raise ArgumentError(f"environment variable {name} is {text!r}, which is no number")
    return int(text)


def _as_address(name: str, address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ArgumentError(
            f"environment variable {name} gives the address {address!r} of the first process; it has to be "
            "host:port, as in 10.0.0.1:1234"
        )
    return host.strip("[]"), int(port)


def _first_node(nodes: str) -> str:
    """Return the first host of a list as Slurm writes them.

    >>> _first_node("node[007-015,020],other"), _first_node("alpha,beta"), _first_node("gpu[3].site")
    ('node007', 'alpha', 'gpu3.site')
    """
    match = re.match(r"([^,\[]+)(?:\[(\w+)[^]]*\]([^,]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else nodes


def _job_port(job: int) -> int:
    return _JOB_PORTS[job % len(_JOB_PORTS)]


def _started_by_srun() -> bool:
    """Whether the tasks of this job step are all processes of one program.

    A batch script, and the shell of ``salloc``, are one process with ``SLURM_PROCID=0``, although
    ``SLURM_NTASKS`` is what the job may start. They have no step, or one of the reserved numbers.
    """
    step = os.environ.get("SLURM_STEP_ID", "")
    return step.isdecimal() and int(step) < _FIRST_RESERVED_SLURM_STEP


def _as_rank(rank_name: str, size_name: str, rank: str | None, size: str | None) -> tuple[int, int]:
    def explained(problem: str) -> ArgumentError:
        return ArgumentError(
            f"environment variable {problem}; set both {rank_name} and {size_name}, or neither, or pass "
            "shard=(rank, world size)"
        )

    numbers = []
    for name, other, text in ((rank_name, size_name, rank), (size_name, rank_name, size)):
        if not text:
            raise explained(f"{other} is set, and {name} is not")
        try:
            numbers.append(int(text))
        except ValueError:
            raise explained(f"{name} is {text!r}, which is no number") from None
    if not 0 <= numbers[0] < numbers[1]:
        raise explained(f"{rank_name} is {rank}, which is no rank below {size_name}={size}")
    return numbers[0], numbers[1]
