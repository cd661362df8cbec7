"""The plan of a study: configuration, files, and what each job is told."""
