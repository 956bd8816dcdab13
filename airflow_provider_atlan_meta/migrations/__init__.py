"""Schema ``meta``, by alembic."""
