"""The plan of a study: its configuration, its files, and the settings of its jobs."""
