"""Reading and writing of files: atomic writes, HDF5, CSV tables, safetensors weights and arrays on disk."""
