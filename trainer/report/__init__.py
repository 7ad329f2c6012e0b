"""The report of a run: one HTML file with its pictures inside, and no script and no network."""
