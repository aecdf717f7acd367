"""ModelVault carries open-weight models across an air gap.

The version is written here, not read from package metadata: reading metadata
costs a third of the start-up budget of ``modelvault --version``.
"""

__version__ = "0.1.0"
