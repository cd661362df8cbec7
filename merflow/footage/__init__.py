"""Clips and their frames: images and videos as they lie on disk, and whether they have changed."""
