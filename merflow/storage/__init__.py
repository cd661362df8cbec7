"""Files on disk: whole or not at all; HDF5, CSV tables, weights, and arrays that wait on the disk."""
