"""The layouts that this release reads, by name."""

from modelvault.bundle.format.layouts.layout import Layout
from modelvault.bundle.format.layouts.volumes import VOLUMES
from modelvault.core.fields import UPDATE
from modelvault.errors import UnsupportedVersion

_LAYOUTS = (VOLUMES,)


def find_layout(name: str) -> Layout:
    """Return the layout that an index names.

    Raises:
        UnsupportedVersion: Unknown to this release.
    """
    for layout in _LAYOUTS:
        if layout.name == name:
            return layout
    raise UnsupportedVersion(f"the bundle has a layout unknown here: {name!r}", hint=UPDATE)


def is_carrier(name: str) -> bool:
    """Return whether a file is called like a carrier of any of the layouts."""
    return any(layout.is_carrier(name) for layout in _LAYOUTS)
