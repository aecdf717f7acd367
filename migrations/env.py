"""Alembic's entry: runs the migrations on the connection it is handed.

``modelvault.catalog.schema`` opens the connection and the transaction, holds the writers'
lock, and commits; nothing here connects to anything.
"""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=True)
context.run_migrations()
