"""Bundles are made and read without a network."""

import pytest


@pytest.fixture(autouse=True)
def _sealed(no_network: None) -> None:
    """Nothing that crosses the gap may ask a network for anything."""
