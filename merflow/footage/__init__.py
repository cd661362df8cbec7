"""Clips and their frames: images and videos on disk, and fingerprints that show whether they changed."""
