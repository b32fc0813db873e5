"""Environment variables: read when used, and always weaker than an argument.

========================  ==========================================================================
``KERAS_HOME``            the folder that Keras and befit keep their files in (default ``~/.keras``)
``KERAS_BACKEND``         the backend of Keras, read by Keras when it is imported
``BEFIT_OFFLINE``         ``1``: ``get_file`` takes what is in the cache and never goes online
``BEFIT_LOCK``            the file in which ``get_file`` looks for digests, and records those of new files
``BEFIT_PROGRESS``        ``0``: no progress bars, ``1``: also where standard error is no terminal
``BEFIT_MMAP``            ``0``: HDF5 files are never mapped into memory, ``1``: also those on a network
``BEFIT_SCRATCH``         the folder for temporary files as large as a data set
``HTTP_PROXY`` …          ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``: how ``get_file`` goes online
``REQUESTS_CA_BUNDLE``    also ``CURL_CA_BUNDLE``: a file or folder of certificates that ``get_file`` trusts;
                          ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are read by OpenSSL itself
``RANK``, ``WORLD_SIZE``  which process of a distributed run this is, and of how many, as torchrun says it;
                          likewise ``OMPI_COMM_WORLD_RANK`` and ``OMPI_COMM_WORLD_SIZE`` (Open MPI),
                          ``PMI_RANK`` and ``PMI_SIZE`` (MPICH, Intel MPI), ``SLURM_PROCID`` and
                          ``SLURM_STEP_NUM_TASKS`` (srun, if ``SLURM_STEP_ID`` says that it is one)
========================  ==========================================================================
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from befit.errors import ArgumentError

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}

# A launcher may start another one, whose processes inherit its variables: mpirun starts its daemons by srun,
# and torchrun is started by either. The innermost comes first.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
_FIRST_RESERVED_SLURM_STEP = 0xFFFFFFF0


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
    for rank_name, size_name in _LAUNCHERS:
        if rank_name == "SLURM_PROCID" and not _started_by_srun():
            continue
        texts = os.environ.get(rank_name), os.environ.get(size_name)
        if any(texts):
            return _as_rank(rank_name, size_name, *texts)
    return None


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
