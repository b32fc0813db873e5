"""Writing HDF5 files that are read fast in random order."""

from befit.hdf5.packing.packer import Packed, PackedDataset, Source, pack

__all__ = ["Packed", "PackedDataset", "Source", "pack"]
