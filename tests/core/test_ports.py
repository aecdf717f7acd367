"""Ports stay tiny: what is small can have a fake that keeps the whole contract."""

import pytest

from modelvault.core.ports import Progress, Signer, Silence, Verifier
from modelvault.sources.source import Source
from modelvault.targets.runtime import Runtime


@pytest.mark.parametrize("port", [Progress, Signer, Verifier, Source, Runtime])
def test_port_has_three_methods_at_most(port: type) -> None:
    """A rule of the house; a fourth belongs into a port of its own, or into an argument."""
    public = [name for name in vars(port) if not name.startswith("_")]
    assert 0 < len(public) <= 3


def test_silence_takes_what_progress_takes() -> None:
    """The adapter that shows nothing has the port's methods, and no other."""
    names = {name for name in vars(Progress) if not name.startswith("_")}
    assert names == {name for name in vars(Silence) if not name.startswith("_")}
