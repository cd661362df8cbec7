"""TV-L1 optical flow: the model, and its three backends."""
