"""The algorithms as rows of two tables: `online` and `direct`."""
