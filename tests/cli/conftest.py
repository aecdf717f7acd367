"""A PostgreSQL server for the commands that run on one."""

from tests.support.postgresql import postgresql_server

__all__ = ["postgresql_server"]
