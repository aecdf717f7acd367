"""A Hub as a source: what a repository offers, and where its files are."""
