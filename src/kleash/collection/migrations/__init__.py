"""The schema's history, from the first version on: one file per change, applied by Alembic when a database is opened."""
