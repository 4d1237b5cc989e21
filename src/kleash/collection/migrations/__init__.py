"""The schema's history from the first version on: one file per change, applied when a database is opened."""
