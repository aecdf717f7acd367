"""The version, written here and not read from package metadata.

Reading metadata costs a third of the start-up budget of ``modelvault --version``. It has a module
of its own so that every room may name it: the package itself points at the interface for
programs, which stands above all rooms.
"""

__version__ = "0.1.0"
