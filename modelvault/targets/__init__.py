"""Runtimes that models are installed into; one file a runtime."""
