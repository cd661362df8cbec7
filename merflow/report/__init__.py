"""The report of a study: the page, and a file per section in ``sections/``."""
