"""Alembic migrations of the catalogue; shipped as ``modelvault.migrations``."""
