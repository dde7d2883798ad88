"""Keep every state of HDF5 files."""

__version__ = "0.1.0"
