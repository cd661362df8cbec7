"""The systems that are compared: TSDGCN, networks that read clips, and linear baselines."""
