"""Training of any network: the training loop, checkpoints, losses."""
