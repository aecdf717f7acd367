"""What a user may ask of a configuration, and which form heeds it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from modelvault.errors import BadOption
from modelvault.serving.choices import Form

_HOSTED = frozenset({Form.SYSTEMD, Form.COMPOSE, Form.KUBERNETES})
_CONTAINED = frozenset({Form.COMPOSE, Form.KUBERNETES})
_ALL = frozenset(Form)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Values of options, as they were written; None or empty where nothing was said."""

    path: str | None = None
    name: str | None = None
    gpus: int | None = None
    context: int | None = None
    concurrency: int | None = None
    gpu_memory: float | None = None
    kv_cache: str | None = None
    memory: str | None = None
    threads: int | None = None
    listen: str | None = None
    clients: tuple[str, ...] = ()
    program: str | None = None
    user: str | None = None
    registry: str | None = None
    image: str | None = None
    namespace: str | None = None
    claim: str | None = None
    server_name: str | None = None
    certificate: str | None = None
    certificate_key: str | None = None
    keys: str | None = None
    upstream: tuple[str, ...] = ()
    rate: int | None = None
    burst: int | None = None
    allow: tuple[str, ...] = ()


HEEDED: Mapping[str, frozenset[Form]] = {
    "path": _HOSTED,
    "name": _HOSTED,
    "gpus": _HOSTED,
    "context": _HOSTED,
    "concurrency": _HOSTED,
    "gpu_memory": _HOSTED,
    "kv_cache": _HOSTED,
    "memory": _HOSTED,
    "threads": _HOSTED,
    "listen": _ALL - {Form.KUBERNETES},
    "clients": _ALL - {Form.COMPOSE},
    "program": frozenset({Form.SYSTEMD}),
    "user": frozenset({Form.SYSTEMD}),
    "registry": _CONTAINED,
    "image": _CONTAINED,
    "namespace": frozenset({Form.KUBERNETES}),
    "claim": frozenset({Form.KUBERNETES}),
    "server_name": frozenset({Form.NGINX}),
    "certificate": frozenset({Form.NGINX}),
    "certificate_key": frozenset({Form.NGINX}),
    "keys": frozenset({Form.NGINX}),
    "upstream": frozenset({Form.NGINX}),
    "rate": frozenset({Form.NGINX}),
    "burst": frozenset({Form.NGINX}),
    "allow": frozenset({Form.NGINX}),
}
"""The forms that an option means something for."""


def option(field: str) -> str:
    """Return what a user types for a wish: ``--gpu-memory``."""
    return f"--{field.replace('_', '-')}"


def refuse_unheeded(wishes: Wishes, form: Form) -> None:
    """Refuse options that would change nothing: who gives one expects something of it.

    Raises:
        BadOption: There are some; all of them are listed.
    """
    issues = []
    for field in dataclasses.fields(wishes):
        given = getattr(wishes, field.name)
        if given is not None and given != () and form not in HEEDED[field.name]:
            places = ", ".join(item for item in Form if item in HEEDED[field.name])
            issues.append(f"{option(field.name)} is for --as {places}")
    if issues:
        raise BadOption(
            f"options that --as {form} does not have: {issues[0]}",
            hint="leave them out",
            issues=issues if len(issues) > 1 else (),
        )
