"""Layouts: how the carriers of a bundle are called and cut; one file each, and a table."""
