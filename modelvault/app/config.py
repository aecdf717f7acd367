"""What ``config.toml`` in the vault's folder and the environment say.

``config.toml``, every key optional::

    [hub]
    endpoint = "https://hub.example"     # default of --endpoint
    connections = 8                      # default of --connections
    engine = "http"                      # default of --engine
    limit_rate = "20MB"                  # default of --limit-rate; none by default
    ca_bundle = "/etc/ssl/site.pem"      # default of --ca-bundle
    timeout = 60                         # default of --timeout, in seconds

    [catalog]
    url = "postgresql://db.example/vault"  # where the catalogue is; "sqlite" for the vault's folder

    [trust]
    threshold = 1                        # signatures by trusted keys that a bundle needs
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelvault import fsio
from modelvault.errors import BadConfiguration

_LARGEST = 1024 * 1024
_KNOWN: dict[str, dict[str, type]] = {
    "hub": {
        "endpoint": str,
        "connections": int,
        "engine": str,
        "limit_rate": str,
        "ca_bundle": str,
        "timeout": int,
    },
    "catalog": {"url": str},
    "trust": {"threshold": int},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one vault."""

    endpoint: str | None = None
    connections: int | None = None
    engine: str | None = None
    limit_rate: str | None = None
    ca_bundle: Path | None = None
    timeout: int | None = None
    """Seconds."""
    threshold: int = 1
    database_url: str | None = None
    """``MODELVAULT_DATABASE_URL``, else ``catalog.url``: where the catalogue is. ``sqlite`` is
    the file in the vault; None, too, for a vault that has no other."""
    key_passphrase: bytes | None = field(default=None, repr=False)
    """``MODELVAULT_KEY_PASSPHRASE``: of the signing key's file, where it has one."""


def read_config(path: Path, environment: Mapping[str, str]) -> Config:
    """Return the settings; the file may be missing.

    Raises:
        BadConfiguration: The file does not parse, or a key or value is not known.
    """
    values: dict[str, Any] = {}
    for section, content in _read_toml(path).items():
        if section not in _KNOWN or not isinstance(content, dict):
            raise BadConfiguration(f"{path}: unknown section '{section}'")
        for key, value in content.items():
            kind = _KNOWN[section].get(key)
            if kind is None:
                raise BadConfiguration(f"{path}: unknown key '{section}.{key}'")
            if type(value) is not kind or (isinstance(value, int) and value < 1):
                raise BadConfiguration(f"{path}: '{section}.{key}' has an unusable value")
            values[key] = value
    if "ca_bundle" in values:
        values["ca_bundle"] = Path(values["ca_bundle"]).expanduser()
    url = values.pop("url", None)
    passphrase = environment.get("MODELVAULT_KEY_PASSPHRASE")
    return Config(
        **values,
        database_url=environment.get("MODELVAULT_DATABASE_URL") or url,
        key_passphrase=passphrase.encode() if passphrase else None,
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with fsio.storage_errors(path), open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return {}
    if len(data) > _LARGEST:
        raise BadConfiguration(f"{path}: larger than {_LARGEST} bytes")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise BadConfiguration(f"{path}: {error}") from error
