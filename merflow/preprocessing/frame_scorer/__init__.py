"""The network that scores frames for adaptive key-frames, and its training."""
