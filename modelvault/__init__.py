"""ModelVault carries open-weight models across an air gap."""

from modelvault.version import __version__

__all__ = ["__version__"]
