"""An HDF5 file that appears whole or not at all.

It is written under another name in the same folder, brought to the disk, looked at, and only then renamed.

Who owns what: the writer's thread alone opens, uses and closes the h5py objects of the new file; the caller's
thread reads the next rows meanwhile. It has to be that way round: HDF5 cannot close a file that it failed to
write, and the process ends with a segmentation fault. So HDF5 writes to a ``_Sink`` that never fails, and a
failure is raised afterwards; and Ctrl-C, which Python raises in the main thread, never interrupts the sink.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from befit._internal.staging import part_file, sweep
from befit.errors import ArgumentError, DatasetError

_ALIGNED_FROM = 1 << 20  # bytes; what is larger begins at a page, so that a map of it is aligned
_PAGE = 4096


class Output:
    """The new file, for as long as it is being written."""

    def __init__(self, part: Path, target: Path) -> None:
        self.part = part
        self._target = target
        self._sink = _Sink(io.FileIO(part, "r+"))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="befit-pack")
        self._pending: Future[None] = self._thread.submit(self._open)

    def do(self, work: Callable[..., None], *arguments: Any) -> None:
        """Begin ``work(file, *arguments)`` once the work before it is done; raise what went wrong in that."""
        previous = self._pending
        self._pending = self._thread.submit(self._work, work, arguments)
        self._wait(previous)

    def finish(self) -> None:
        """Wait until all is written, and on the disk.

        Raises:
            DatasetError: something could not be written.
        """
        self._wait(self._pending)
        self._wait(self._thread.submit(self._close))
        try:
            os.fsync(self._sink.file.fileno())
        except OSError as error:
            raise self._failure(error) from error

    def abandon(self) -> None:
        """Stop and let go of everything, in whatever state it is."""
        self._thread.submit(self._close).exception()  # what it could raise is not what went wrong
        self._thread.shutdown()
        self._sink.file.close()

    def _open(self) -> None:
        self._file = h5py.File(self._sink, "w", alignment_threshold=_ALIGNED_FROM, alignment_interval=_PAGE)

    def _work(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if self._sink.error is None:
            work(self._file, *arguments)

    def _close(self) -> None:
        self._file.close()

    def _wait(self, work: Future[None]) -> None:
        work.result()
        if self._sink.error is not None:
            raise self._failure(self._sink.error) from self._sink.error

    def _failure(self, error: BaseException) -> BaseException:
        if not isinstance(error, OSError):
            return error
        failure = DatasetError(
            f"cannot write {self._target}: {error.strerror or error}; nothing was left behind. "
            "Free some space or write to another folder"
        )
        failure.errno = error.errno
        return failure


@contextmanager
def output(target: Path, *, overwrite: bool) -> Iterator[Output]:
    """Write to a temporary neighbour of ``target`` and put it in place at the end, unless an error comes.

    Raises:
        FileExistsError: there is a file already, and ``overwrite`` is false.
        FileNotFoundError: the folder does not exist.
        ArgumentError: ``target`` is a folder.
        DatasetError: something could not be written.
    """
    target = Path(os.path.realpath(target))  # a link stays a link
    _refuse(target, overwrite=overwrite)
    with contextlib.suppress(OSError):  # of a folder that cannot be listed, or of another user
        sweep(target)
    with contextlib.ExitStack() as temporary:
        try:
            part = temporary.enter_context(part_file(target))
        except OSError as error:
            raise type(error)(
                error.errno, f"cannot write to this folder: {error.strerror}", str(target.parent)
            ) from error
        written = Output(part, target)
        try:
            yield written
            written.finish()
        finally:
            written.abandon()
        _refuse(target, overwrite=overwrite)  # somebody may have put one there in the meantime
        os.replace(part, target)
        _sync_folder(target.parent)


def _refuse(target: Path, *, overwrite: bool) -> None:
    if target.is_dir():
        raise ArgumentError(f"{target} is a folder; write the path of the file that is to be made")
    if not overwrite and os.path.lexists(target):
        hint = "there is a file already; overwrite=True (on the command line: --force) replaces it"
        raise FileExistsError(errno.EEXIST, hint, str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no folder", str(target.parent))


def _sync_folder(folder: Path) -> None:
    """Make the new name last, where a folder can be synchronised."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Sink:
    """What HDF5 writes to: a file until a write fails; then it only pretends, and keeps the error."""

    def __init__(self, file: io.FileIO) -> None:
        self.file = file
        self.error: BaseException | None = None
        self._unwritten: dict[int, bytes] = {}  # what HDF5 may want to read back before it closes
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += os.fstat(self.file.fileno()).st_size
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        raise NotImplementedError  # h5py recognises a file by this name, and uses readinto

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        kept = self._unwritten.get(self._position, b"")[: len(view)]
        view[: len(kept)] = kept
        done = len(kept)
        if not kept:
            self.file.seek(self._position)
            while done < len(view) and (count := self.file.readinto(view[done:])):
                done += count
        view[done:] = bytes(len(view) - done)  # beyond what is written, a file is zeros
        return len(view)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                self.file.seek(self._position)
                done = 0
                while done < len(view):
                    done += self.file.write(view[done:])
            except BaseException as error:  # noqa: BLE001 - raised by Output, once HDF5 is out of the way
                self.error = error
        if self.error is not None:
            self._unwritten[self._position] = bytes(view)
        return len(view)

    def truncate(self, size: int) -> int:
        if self.error is None:
            try:
                self.file.truncate(size)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Nothing is held back here."""
