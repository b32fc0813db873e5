"""An existing HDF5 file as a source: its rows, and everything else that is in it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import h5py
import numpy as np

from befit.errors import DatasetError, UnsupportedObjectError
from befit.hdf5.handles import open_file
from befit.hdf5.packing.rows import Rows, from_file, holds_references

_SCALE_ATTRIBUTES = frozenset(("DIMENSION_LIST", "REFERENCE_LIST"))  # made again by attaching the scales


class Tree:
    """The objects of a file: ``rows`` are packed, the rest is copied by ``before`` and ``after``."""

    def __init__(self, path: str, stack: ExitStack, floats: np.dtype[Any] | None, *, any_order: bool) -> None:
        self._path = path
        self._stack = stack
        self._floats = floats
        self._any_order = any_order
        open_file(path)  # its errors say what is wrong with the file
        self._file = stack.enter_context(h5py.File(path, "r"))
        self.rows: list[Rows] = []
        self.names: list[str] = []  # of everything but groups
        self._attributed: dict[str, Any] = {}  # objects of the source whose attributes are copied
        self._before: list[Callable[[Any], None]] = []
        self._after: list[Callable[[Any], None]] = []
        self._first_names: dict[Any, str] = {}
        self._enter("", self._file)

    def before(self, file: Any) -> None:
        """Copy what has no rows into a new file."""
        for action in self._before:
            action(file)

    def after(self, file: Any) -> None:
        """Copy attributes and links, once all datasets are there."""
        for action in self._after:
            action(file)
        for name, source in self._attributed.items():
            _copy_attributes(source, file[name] if name else file, f"{name or '/'!r} in {self._path}")
        for name, source in self._attributed.items():
            if isinstance(source, h5py.Dataset) and "DIMENSION_LIST" in source.attrs:
                for axis, dimension in enumerate(source.dims):
                    for scale in dimension.values():
                        file[name].dims[axis].attach_scale(file[scale.name])

    def _enter(self, name: str, group: Any) -> None:
        self._first_names[group.id] = name
        self._attributed[name] = group
        if name:
            self._before.append(lambda file: file.require_group(name))
        for key in group:
            self._add(f"{name}/{key}" if name else key, group, key)

    def _add(self, name: str, group: Any, key: str) -> None:
        link = group.get(key, getlink=True)
        if isinstance(link, h5py.SoftLink):
            self.names.append(name)
            self._after.append(lambda file: file.__setitem__(name, link))
            return
        try:
            found = group[key]
        except (KeyError, OSError) as error:  # an external link that leads nowhere
            raise DatasetError(f"{name!r} in {self._path} cannot be opened: {error}") from error
        first = self._first_names.setdefault(found.id, name)
        if first == name and isinstance(found, h5py.Group):
            self._enter(name, found)
            return
        self.names.append(name)
        if first != name:
            self._after.append(lambda file: file.__setitem__(name, file[first] if first else file["/"]))
        else:
            self._attributed[name] = found
            if isinstance(found, h5py.Dataset) and found.shape:
                origin = f"dataset {name!r} in {self._path}"
                self.rows.append(
                    from_file(name, found, origin, self._floats, any_order=self._any_order, stack=self._stack)
                )
                return
            if isinstance(found, h5py.Dataset) and holds_references(found.dtype):
                raise UnsupportedObjectError(
                    f"{name!r} in {self._path} holds references to other objects, which mean nothing in "
                    "another file; pack the datasets you need: pack({'x': file['x']}, out)"
                )
            self._before.append(lambda file: group.copy(found, file, name, without_attrs=True))


def _copy_attributes(source: Any, target: Any, origin: str) -> None:
    for name in source.attrs:
        if name in _SCALE_ATTRIBUTES:
            continue
        attribute = source.attrs.get_id(name)
        if holds_references(attribute.dtype):
            raise UnsupportedObjectError(
                f"attribute {name!r} of {origin} holds references to other objects, which mean nothing in "
                "another file; remove it, or pack the datasets you need: pack({'x': file['x']}, out)"
            )
        encoded = name.encode()
        space = attribute.get_space()
        if h5py.h5a.exists(target.id, encoded):
            h5py.h5a.delete(target.id, encoded)
        made = h5py.h5a.create(target.id, encoded, attribute.get_type(), space)
        if space.get_simple_extent_type() != h5py.h5s.NULL:
            element, axes = attribute.dtype.subdtype or (attribute.dtype, ())
            values = np.empty((*attribute.shape, *axes), element)
            memory_type = h5py.h5t.py_create(attribute.dtype)
            attribute.read(values, mtype=memory_type)
            made.write(values, mtype=memory_type)
