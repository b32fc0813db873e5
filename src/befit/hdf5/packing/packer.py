"""``pack``: writing an HDF5 file that is read fast in random order."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from befit._internal.arguments import as_count, as_seed
from befit._internal.progress import Progress
from befit.errors import ArgumentError, DatasetError, UnsupportedObjectError
from befit.hdf5.inspection import inspect
from befit.hdf5.layout import Layout
from befit.hdf5.packing.choice import COMPRESSIONS, Choice, Compression, choose
from befit.hdf5.packing.deflate import Deflater
from befit.hdf5.packing.images import ImageFolder
from befit.hdf5.packing.numpy_files import open_arrays
from befit.hdf5.packing.output import Output, output
from befit.hdf5.packing.rows import Rows, from_array
from befit.hdf5.packing.tree import Tree

Source: TypeAlias = Mapping[str, Any] | str | os.PathLike[str]

_BLOCK = 8 << 20  # bytes that are read at once; one more block is being written meanwhile
_SHUFFLED_BLOCK = 64 << 20  # rows from everywhere: the more at once, the less is read twice
_HEADERS = 1 << 16  # bytes of a file beside its rows


@dataclasses.dataclass(frozen=True)
class PackedDataset:
    """One dataset with rows of a packed file."""

    layout: Layout
    """How it lies in the file."""
    reason: str
    """Why it lies there so."""


@dataclasses.dataclass(frozen=True)
class Packed:
    """A packed file."""

    path: str
    """Where it is."""
    nbytes: int
    """Its size."""
    datasets: tuple[PackedDataset, ...]
    """Those with rows, in the order of their names."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        datasets = [{**packed.layout.to_dict(), "why": packed.reason} for packed in self.datasets]
        return {"path": self.path, "nbytes": self.nbytes, "datasets": datasets}


def pack(
    sources: Source | Sequence[Source],
    out: str | os.PathLike[str],
    *,
    compression: Compression | None = "auto",
    chunk_rows: int | None = None,
    dtype: Any = None,
    image_size: tuple[int, int] | None = None,
    shuffle_rows: bool = False,
    seed: int | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Packed:
    """Write arrays, folders of images or an existing HDF5 file into a file that is read fast in random order.

    The file appears whole or not at all: an error, Ctrl-C or a killed process leaves nothing at ``out``, and
    what was there stays. Sources are read block by block, so they may be larger than memory; ``out`` may be
    one of them.

    Args:
        sources: One of these, or a list of them: a dictionary from names to arrays (anything that has a shape
            and can be sliced: NumPy, memory maps, ``HDF5Matrix``, ``h5py.Dataset``); the path of an ``.npy``
            or ``.npz`` file; the path of an HDF5 file, of which everything is kept, attributes, groups and
            links included; a folder of images, whose sub-folders are classes: it becomes ``images``,
            ``uint8`` of shape ``(rows, height, width, 3)``, and ``labels``, ``int64``, with an attribute
            ``class_names``.
        out: Path of the file to be made.
        compression: ``"auto"`` compresses with gzip what becomes at least 1.3 times smaller by it, and leaves
            everything else in one piece, which is read fastest; ``None`` compresses nothing. ``"gzip"``,
            ``"lzf"``, and, with the package ``hdf5plugin``, ``"zstd"`` and ``"blosc2"`` compress everything.
        chunk_rows: Rows in a chunk; ``None``: as many as suit.
        dtype: A floating-point type that all other floating-point datasets are converted to.
        image_size: ``(height, width)`` that images are resized to; needed where their sizes differ.
        shuffle_rows: Write the rows of all datasets in one random order, the same for all.
        seed: Decides that order.
        overwrite: Replace a file that is at ``out``.
        progress: Show a bar; ``None``: if ``BEFIT_PROGRESS`` says so, else if standard error is a terminal.

    Raises:
        FileExistsError: There is a file at ``out``, and ``overwrite`` is false.
        FileNotFoundError: A source, or the folder of ``out``, does not exist.
        ArgumentError: An argument has a value that cannot work, or two sources have a dataset of one name.
        DatasetError: A source cannot be read, ``out`` cannot be written, or the disk has too little space.
        UnsupportedObjectError: A source is of a kind that befit cannot write.
        MissingDependencyError: Reading images, or a compressor, needs a package that is not installed.

    Example:
        >>> import os, tempfile
        >>> import numpy as np
        >>> from befit.hdf5 import pack
        >>> path = os.path.join(tempfile.mkdtemp(), "train.h5")
        >>> packed = pack({"x": np.zeros((1000, 28, 28), "float32"), "y": np.arange(1000)}, path)
        >>> for dataset in packed.datasets:
        ...     print(dataset.layout.dataset, dataset.layout.shape, dataset.layout.storage)
        x (1000, 28, 28) chunked
        y (1000,) contiguous
    """
    target = Path(os.path.abspath(_path(out, "out")))
    floats = _checked(compression, chunk_rows, dtype, image_size)
    rng = np.random.default_rng(None if seed is None else as_seed(seed)) if shuffle_rows else None
    given: list[Any] = list(sources) if isinstance(sources, list | tuple) else [sources]
    if not given:
        raise ArgumentError("there is nothing to pack; write a dictionary from names to arrays, or a path")
    with output(target, overwrite=overwrite) as written, ExitStack() as opened:
        job = _Job(opened, floats, image_size, any_order=shuffle_rows)
        for source in given:
            job.add(source)
        order = None if rng is None else rng.permutation(_common_length(job.rows))
        choices = [choose(rows, chunk_rows=chunk_rows, compression=compression, rng=rng) for rows in job.rows]
        _complain_of_space(target.parent, job.rows, choices)
        total = sum(rows.nbytes for rows in job.rows)
        deflater = Deflater(opened)
        with Progress(total, description=f"packing {target.name}", enabled=progress) as bar:
            for tree in job.trees:
                written.do(tree.before)
            for rows, choice in zip(job.rows, choices, strict=True):
                _write(written, rows, choice, order, deflater, bar)
            for tree in job.trees:
                written.do(tree.after)
            for name, attribute, value in job.attributes:
                written.do(_set_attribute, name, attribute, value)
            written.finish()
        opened.close()  # a source that is open cannot be replaced on every system
        layouts = [dataclasses.replace(layout, path=str(target)) for layout in inspect(str(written.part))]
        nbytes = written.part.stat().st_size
    reasons = {rows.name: choice.reason for rows, choice in zip(job.rows, choices, strict=True)}
    datasets = (PackedDataset(layout, reasons.get(layout.dataset, "")) for layout in layouts)
    return Packed(str(target), nbytes, tuple(datasets))


class _Job:
    """Everything that is to be written."""

    def __init__(
        self,
        opened: ExitStack,
        floats: np.dtype[Any] | None,
        image_size: tuple[int, int] | None,
        *,
        any_order: bool,
    ) -> None:
        self.rows: list[Rows] = []
        self.trees: list[Tree] = []
        self.attributes: list[tuple[str, str, Any]] = []  # (dataset, attribute, value)
        self._origins: dict[str, str] = {}  # of each name
        self._opened = opened
        self._floats = floats
        self._image_size = image_size
        self._any_order = any_order

    def add(self, source: Source) -> None:
        """Open a source, and note its datasets."""
        if isinstance(source, Mapping):
            self._add_arrays(source, "")
            return
        path = Path(_path(source, "a source"))
        if path.is_dir():
            self._add_images(path)
        elif path.suffix in (".npy", ".npz"):
            arrays = open_arrays(path, self._opened, any_order=self._any_order)
            self._add_arrays(arrays, f" in {path}")
        else:
            tree = Tree(str(path), self._opened, self._floats, any_order=self._any_order)
            for name in tree.names:
                self._claim(name, str(path))
            self.trees.append(tree)
            self.rows += tree.rows

    def _add_arrays(self, arrays: Mapping[str, Any], where: str) -> None:
        for name, array in arrays.items():
            self._add_rows(name, array, f"array {name!r}{where}")

    def _add_images(self, path: Path) -> None:
        images = ImageFolder(path, self._image_size, self._opened)
        self._add_rows("images", images, f"the images in {path}")
        if images.class_names:
            self._add_rows("labels", images.labels, f"the classes in {path}")
            self.attributes.append(("labels", "class_names", images.class_names))

    def _add_rows(self, name: Any, source: Any, origin: str) -> None:
        if not isinstance(name, str) or not name.strip("/") or "\0" in name:
            raise ArgumentError(f"{name!r} is no name of a dataset; write a string")
        name = name.strip("/")
        self._claim(name, origin)
        self.rows.append(from_array(name, source, origin, self._floats))

    def _claim(self, name: str, origin: str) -> None:
        for taken, other in self._origins.items():
            if f"{taken}/".startswith(f"{name}/") or f"{name}/".startswith(f"{taken}/"):
                raise ArgumentError(f"{name!r} ({origin}) and {taken!r} ({other}) cannot be in one file")
        self._origins[name] = origin


def _write(
    written: Output, rows: Rows, choice: Choice, order: Any, deflater: Deflater, bar: Progress
) -> None:
    """Create a dataset and write its rows, reading the next ones while the last ones are written."""
    if not rows.shape:
        written.do(_set_value, rows.name, rows.as_written(rows.value))
        return
    written.do(_create, rows.name, rows.shape, rows.dtype, choice.options)
    count, step = rows.shape[0], choice.chunk_rows
    most = max((_BLOCK if order is None else _SHUFFLED_BLOCK) // rows.row_bytes, rows.at_once)
    step = max(1, most // step) * step  # no chunk is compressed twice
    for start in range(0, count if rows.nbytes else 0, step):
        stop = min(start + step, count)
        block = rows.block(start, stop) if order is None else rows.chosen(order[start:stop])
        if choice.options.get("compression") == "gzip":
            level, shuffle = choice.options["compression_opts"], choice.options["shuffle"]
            chunks = deflater.chunks(block, choice.chunk_rows, level=level, shuffle=shuffle)
            written.do(_fill_chunks, rows.name, start, choice.chunk_rows, chunks)
        else:
            written.do(_fill, rows.name, start, block)
        bar.advance(block.nbytes)


def _create(file: Any, name: str, shape: tuple[int, ...], dtype: Any, options: dict[str, Any]) -> None:
    file.create_dataset(name, shape, dtype, **options)


def _fill(file: Any, name: str, start: int, block: Any) -> None:
    file[name][start : start + len(block)] = block


def _fill_chunks(file: Any, name: str, start: int, chunk_rows: int, chunks: Sequence[bytes]) -> None:
    dataset = file[name].id
    for number, chunk in enumerate(chunks):
        dataset.write_direct_chunk((start + number * chunk_rows,) + (0,) * (dataset.rank - 1), chunk)


def _set_value(file: Any, name: str, value: Any) -> None:
    file.create_dataset(name, data=value, dtype=value.dtype)


def _set_attribute(file: Any, name: str, attribute: str, value: Any) -> None:
    file[name].attrs[attribute] = value


def _path(path: Any, role: str) -> str:
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise UnsupportedObjectError(
            f"{role} is {path!r}; write a path, or for sources a dictionary from names to arrays"
        ) from None
    if "://" in text:
        raise ArgumentError(f"{text} is a URL; pack works with files of this machine: download it first")
    return text


def _checked(compression: Any, chunk_rows: Any, dtype: Any, image_size: Any) -> np.dtype[Any] | None:
    """Return the type for floating-point numbers, if all these arguments can work."""
    if compression is not None and compression not in COMPRESSIONS:
        known = ", ".join(map(repr, COMPRESSIONS))
        raise ArgumentError(f"compression is {compression!r}; write None or one of {known}")
    if chunk_rows is not None:
        as_count("chunk_rows", chunk_rows)
    if image_size is not None:
        try:
            height, width = image_size
        except (TypeError, ValueError):
            raise ArgumentError(f"image_size is {image_size!r}; write (height, width) in pixels") from None
        as_count("the height in image_size", height)
        as_count("the width in image_size", width)
    if dtype is None:
        return None
    try:
        floats: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise ArgumentError(f"dtype is {dtype!r}; write a floating-point type, like 'float32'") from error
    if floats.kind != "f":
        raise ArgumentError(f"dtype is {floats}; write a floating-point type: other datasets keep theirs")
    return floats if floats.isnative else floats.newbyteorder("=")


def _common_length(datasets: Sequence[Rows]) -> int:
    lengths = {rows.name: rows.shape[0] for rows in datasets if rows.shape}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise ArgumentError(f"shuffle_rows needs datasets with the same number of rows: {found}")
    return next(iter(lengths.values()), 0)


def _complain_of_space(folder: Path, datasets: Sequence[Rows], choices: Sequence[Choice]) -> None:
    needed = _HEADERS + sum(
        int(rows.nbytes / choice.ratio) for rows, choice in zip(datasets, choices, strict=True)
    )
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"the file will have about {needed / 1e9:.2f} GB and {folder} has {free / 1e9:.2f} GB free; make "
            "room, write to another disk, or choose a compression"
        )
