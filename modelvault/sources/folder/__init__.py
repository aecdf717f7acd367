"""A folder as a source: a model that is already on disk."""
