"""The catalogue: a database of what the vault holds and what happened to it."""
