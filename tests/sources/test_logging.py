"""What the log says of a pull: decisions and retries, and never what opens a door."""

import logging
import os

import pytest

from modelvault.core.names import ModelName
from modelvault.sources.hub.source import HubSource
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.retry import Limits
from modelvault.store.blobs import Store
from tests.support.delivery import deliver
from tests.support.downloads import QUICK
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub


@pytest.mark.usefixtures("no_token")
def test_log_tells_retries_and_no_secret(
    hub: LoopbackHub, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the token nor a signed URL's query, though both were sent and failed on the way."""
    caplog.set_level(logging.DEBUG)  # everybody's loggers, those of the libraries below, too
    weights = os.urandom(300_000)
    hub.add("acme/tiny", {"model.safetensors": weights}, private=True)
    token = hub.grant("hf_very_secret", "acme/tiny")
    hub.faults.add(
        Fault(kind=Kind.CUT, after=10_000, times=2),
        Fault(kind=Kind.STATUS, stage=Stage.CDN, status=403, times=1, skip=3),
        Fault(kind=Kind.STATUS, stage=Stage.API, path="info", status=503, times=1),
    )
    connection = Connection(endpoint=hub.endpoint, token=token, limits=Limits(**QUICK))
    deliver(HubSource(ModelName.parse("acme/tiny"), None, connection), store)
    ours = [entry for entry in caplog.records if entry.name.startswith("modelvault.")]
    said = "\n".join(entry.getMessage() for entry in ours)
    assert "model.safetensors: the connection broke" in said or "ends early" in said
    assert "asked again in" in said
    assert "published as" in said
    assert token not in said
    assert "?" not in said
    assert "Signature" not in said
