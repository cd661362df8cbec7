"""The plan of a study: configuration, paths, and the settings of each job."""
