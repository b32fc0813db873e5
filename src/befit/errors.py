"""Every error that befit raises on purpose.

Each error is a ``BefitError`` and also the builtin that a reader would expect, so old ``except ValueError``
code goes on working::

    BefitError (Exception)
    ├── ArgumentError (ValueError)            an argument has a value that cannot work
    ├── LabelError (ValueError, IndexError)   to_categorical: a label that has no class
    ├── UnknownObjectError (ValueError)       a name that no scope and no registry knows
    ├── RegistrationError (ValueError)        a name that already stands for something else
    ├── SerializationError (TypeError)        an object that has no name to be found again by
    ├── DatasetError (OSError)                HDF5: the file cannot be read as asked
    │   └── DatasetNotFoundError (KeyError)   HDF5: the file has no such dataset
    ├── OutOfWindowError (IndexError)         HDF5: an index outside [start, end)
    ├── LoaderError (RuntimeError)            loading: an epoch that cannot go on
    │   ├── WorkerDiedError                   a worker process ended; names the batches it held
    │   └── WorkerTimeoutError (TimeoutError) a worker gave no answer in time; names the batches
    ├── DownloadError (OSError)               get_file: nothing usable came from the origin
    │   └── OfflineError                      get_file: the file is not cached and offline is set
    ├── DigestError (ValueError)              get_file: the bytes are not the ones that were promised
    ├── ArchiveError (ValueError)             get_file: not an archive, or a broken one
    │   └── UnsafeArchiveError                get_file: a member that would leave its folder
    ├── GraphError (ValueError)               summary, plot: a model that cannot be read as a graph
    │   └── UnbuiltModelError (RuntimeError)  a model whose layers have no shapes yet
    ├── DeviceError (ValueError)              multi_gpu_model: devices that do not exist
    ├── ReplicationError (ValueError)         multi_gpu_model: a model or a setting that cannot be split
    ├── ReplicaDiedError (RuntimeError)       multi_gpu_model: the process of a replica ended
    ├── UnsupportedObjectError (TypeError)    an object of a kind that this function does not take
    └── MissingDependencyError (ImportError)  an optional package is needed; names the extra
"""

from __future__ import annotations

__all__ = [
    "ArchiveError",
    "ArgumentError",
    "BefitError",
    "DatasetError",
    "DatasetNotFoundError",
    "DeviceError",
    "DigestError",
    "DownloadError",
    "GraphError",
    "LabelError",
    "LoaderError",
    "MissingDependencyError",
    "OfflineError",
    "OutOfWindowError",
    "RegistrationError",
    "ReplicaDiedError",
    "ReplicationError",
    "SerializationError",
    "UnbuiltModelError",
    "UnknownObjectError",
    "UnsafeArchiveError",
    "UnsupportedObjectError",
    "WorkerDiedError",
    "WorkerTimeoutError",
]


class BefitError(Exception):
    """The root of every error that befit raises on purpose."""


class ArgumentError(BefitError, ValueError):
    """An argument has a value that cannot work."""


class LabelError(BefitError, ValueError, IndexError):
    """A label that has no class. Keras raised ``IndexError`` here; ``ValueError`` says what it is."""


class UnknownObjectError(BefitError, ValueError):
    """A name that no scope and no registry knows."""


class RegistrationError(BefitError, ValueError):
    """A name that already stands for something else."""


class SerializationError(BefitError, TypeError):
    """An object that has no name to be found again by."""


class DatasetError(BefitError, OSError):
    """An HDF5 file that cannot be read as asked."""


class DatasetNotFoundError(DatasetError, KeyError):
    """An HDF5 file that has no dataset of that name."""


class OutOfWindowError(BefitError, IndexError):
    """An index outside the window ``[start, end)`` of a dataset."""


class LoaderError(BefitError, RuntimeError):
    """An epoch that cannot go on."""


class WorkerDiedError(LoaderError):
    """A worker process ended; the message names the batches that it held."""


class WorkerTimeoutError(LoaderError, TimeoutError):
    """A worker gave no answer in time; the message names the batches that it held."""


class DownloadError(BefitError, OSError):
    """Nothing usable came from the origin."""


class OfflineError(DownloadError):
    """The file is not in the cache, and going online was forbidden."""


class DigestError(BefitError, ValueError):
    """The bytes that came are not the ones that the digest promised."""


class ArchiveError(BefitError, ValueError):
    """Not an archive, or a broken one."""


class UnsafeArchiveError(ArchiveError):
    """An archive member that would land outside its folder, or is no plain file, folder or link."""


class GraphError(BefitError, ValueError):
    """A model that cannot be read as a graph."""


class UnbuiltModelError(GraphError, RuntimeError):
    """A model whose layers have no shapes yet."""


class DeviceError(BefitError, ValueError):
    """Devices that do not exist, or cannot be used together."""


class ReplicationError(BefitError, ValueError):
    """A model or a setting that cannot be split over devices."""


class ReplicaDiedError(BefitError, RuntimeError):
    """The process of a replica ended; the message says which, how, and what is safe."""


class UnsupportedObjectError(BefitError, TypeError):
    """An object of a kind that this function does not take."""


class MissingDependencyError(BefitError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""
