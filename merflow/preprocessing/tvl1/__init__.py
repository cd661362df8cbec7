"""TV-L1 optical flow: its definition and two backends."""
