"""Bundles: what crosses the air gap, and how it is written and read."""
