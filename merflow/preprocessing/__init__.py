"""From frames to arrays: aligned faces, key-frames, optical flow, and one cache per dataset."""
