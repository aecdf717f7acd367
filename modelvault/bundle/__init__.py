"""Bundles: what crosses the air gap, written, read, checked and found.

The format is specified in ``docs/formats/bundle.md``.
"""
