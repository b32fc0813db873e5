"""Datasets of HDF5 files as arrays that are read when they are indexed."""

from befit.hdf5.batches import HDF5Batches, HDF5Sampler
from befit.hdf5.inspection import inspect
from befit.hdf5.layout import Filter, Layout
from befit.hdf5.matrix import HDF5Matrix
from befit.hdf5.packing import Packed, PackedDataset, pack

__all__ = [
    "Filter",
    "HDF5Batches",
    "HDF5Matrix",
    "HDF5Sampler",
    "Layout",
    "Packed",
    "PackedDataset",
    "inspect",
    "pack",
]
