"""The HDF5 file format, and nothing of versions."""
