"""Datasets on disk: a file per layout, their registry, and what they share; ``synthetic`` has the demo's people."""
