"""Datasets of HDF5 files as arrays that are read when they are indexed."""

from befit.hdf5.batches import HDF5Batches
from befit.hdf5.matrix import HDF5Matrix

__all__ = ["HDF5Batches", "HDF5Matrix"]
