"""The report of a study: one HTML file that needs nothing else, the answer first."""
