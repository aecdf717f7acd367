"""A configuration's facts, settled: every value was read, bounded and fits its form.

``settle`` is the edge. What it returns holds for what writes the files: texts are one line,
paths are absolute, addresses are addresses, an image is pinned.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from modelvault.core.sizes import parse_size
from modelvault.errors import BadOption
from modelvault.serving.addresses import (
    Address,
    Upstream,
    parse_address,
    parse_host,
    parse_network,
)
from modelvault.serving.choices import Form, Server
from modelvault.serving.images import choose_image
from modelvault.serving.memory import AskedMemory, Memory, choose_memory
from modelvault.serving.model import ServedModel, slug
from modelvault.serving.programs import PROGRAMS, Program, Route
from modelvault.serving.quoting import check_text
from modelvault.serving.wishes import Wishes, refuse_unheeded

THREADS = 8
RATE = 5
"""Requests a second that one key may make."""
BURST = 20
KEYS = "/etc/nginx/modelvault"

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/+-]{1,1023}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_RFC1123 = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ROUTE = re.compile(r"(?:(?P<method>GET|POST) )?(?P<path>/[A-Za-z0-9._/-]{1,200})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What a reverse proxy before the servers is told."""

    server_name: str
    certificate: str
    certificate_key: str
    keys: str
    """Folder whose ``*.map`` files list the clients' keys."""
    upstreams: tuple[Upstream, ...]
    """The first also answers without a name in the path."""
    rate: int
    """Requests a second."""
    burst: int
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything that the files of a configuration say."""

    server: Server
    form: Form
    model: ServedModel
    slug: str
    """Name of the unit, service or zone."""
    memory: Memory
    threads: int
    address: Address
    """Where it listens; of a container, where the host publishes it."""
    clients: tuple[str, ...]
    """Networks that may reach it, beside this host."""
    program: str
    user: str | None
    """Account of the service; None for one that systemd makes for it."""
    image: str
    """Pinned; empty where no container is asked for."""
    namespace: str
    claim: str | None
    """Volume claim that holds the models; None for a folder of the node."""
    front: Front | None
    """The proxy's part; None for a server."""

    @property
    def known(self) -> Program:
        """What is known of the server."""
        return PROGRAMS[self.server]


def settle(server: Server, form: Form, model: ServedModel, wishes: Wishes) -> Setup:
    """Return the facts of a configuration.

    Args:
        server: The program that serves.
        form: What is written.
        model: What is served, and where it stands.
        wishes: What the user asked for.

    Raises:
        BadOption: A value cannot be used, alone, in this form, or together with another.
    """
    refuse_unheeded(wishes, form)
    known = PROGRAMS[server]
    check_text(str(model.path), what="the model's path")
    check_text(model.name, what="the model's name")
    memory = _memory(server, model, wishes)
    address = _address(form, known, wishes)
    clients = tuple(parse_network(text, what="--clients") for text in wishes.clients)
    if form is Form.SYSTEMD and not address.is_local and not clients:
        raise BadOption(
            f"--listen {address} is open to others, and nothing says to whom",
            hint="name their networks with --clients 10.0.0.0/8, or listen on 127.0.0.1 behind "
            "the proxy that --as nginx writes",
        )
    return Setup(
        server=server,
        form=form,
        model=model,
        slug=slug("models" if form is Form.NGINX else server.value, model.name),
        memory=memory,
        threads=_bounded("--threads", wishes.threads, THREADS, 1024),
        address=address,
        clients=clients,
        program=_match(_PLAIN_PATH, wishes.program, known.path, "--program", "an absolute path"),
        user=_match(_USER, wishes.user, "", "--user", "the name of an account") or None,
        image=choose_image(known, wishes, gpus=memory.gpus) if _contained(form) else "",
        namespace=_match(_RFC1123, wishes.namespace, "models", "--namespace", "a namespace"),
        claim=_match(_RFC1123, wishes.claim, "", "--claim", "a volume claim") or None,
        front=_front(known, model, wishes) if form is Form.NGINX else None,
    )


def _contained(form: Form) -> bool:
    return form in (Form.COMPOSE, Form.KUBERNETES)


def _memory(server: Server, model: ServedModel, wishes: Wishes) -> Memory:
    asked = AskedMemory(
        gpus=wishes.gpus,
        context=wishes.context,
        concurrency=wishes.concurrency,
        share=wishes.gpu_memory,
        kv_cache=wishes.kv_cache,
        host=None if wishes.memory is None else parse_size(wishes.memory, what="--memory"),
    )
    return choose_memory(server, asked, declared=model.context, weights=model.weights)


def _address(form: Form, known: Program, wishes: Wishes) -> Address:
    usual = {
        Form.NGINX: Address(host="0.0.0.0", port=443),  # noqa: S104 - with TLS and keys
        Form.KUBERNETES: Address(host="0.0.0.0", port=known.port),  # noqa: S104 - in its pod
    }
    if wishes.listen is None:
        return usual.get(form, Address(host="127.0.0.1", port=known.port))
    return parse_address(wishes.listen, what="--listen")


def _front(known: Program, model: ServedModel, wishes: Wishes) -> Front:
    own = Upstream(name="general", servers=(Address(host="127.0.0.1", port=known.port),))
    upstreams = tuple(map(Upstream.parse, wishes.upstream)) or (own,)
    names = [upstream.name for upstream in upstreams]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadOption(
            f"--upstream names {twice[0]!r} twice", hint="list its servers after one name"
        )
    allowed = map(_parse_route, wishes.allow)
    routes = (*known.routes, *(_check_route(route, names) for route in allowed))
    name = slug("models", model.name)
    return Front(
        server_name=parse_host(wishes.server_name or "models.internal", what="--server-name"),
        certificate=_absolute("--certificate", wishes.certificate, f"{KEYS}/{name}/tls.crt"),
        certificate_key=_absolute(
            "--certificate-key", wishes.certificate_key, f"{KEYS}/{name}/tls.key"
        ),
        keys=_match(_PLAIN_PATH, wishes.keys, f"{KEYS}/{name}/keys", "--keys", "a plain path"),
        upstreams=upstreams,
        rate=_bounded("--rate", wishes.rate, RATE, 10_000),
        burst=_bounded("--burst", wishes.burst, BURST, 100_000),
        routes=tuple(dict.fromkeys(routes)),
    )


def _parse_route(text: str) -> Route:
    match = _ROUTE.fullmatch(text)
    if match is None or "//" in text or any(part in (".", "..") for part in text.split("/")):
        raise BadOption(f"--allow {text!r} is no request", hint="write it as in 'POST /v1/rerank'")
    return Route(method=match["method"] or "POST", path=match["path"])


def _check_route(route: Route, names: list[str]) -> Route:
    first = route.path.split("/")[1]
    if route.path == "/health" or first in (*names, "_modelvault"):
        raise BadOption(f"--allow {route.path!r} is a path of the proxy's own", hint="leave it out")
    return route


def _absolute(what: str, given: str | None, usual: str) -> str:
    path = check_text(usual if given is None else given, what=what)
    if not path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise BadOption(f"{what} {path!r} is no absolute path", hint="write one that begins with /")
    return path


def _match(pattern: re.Pattern[str], given: str | None, usual: str, what: str, kind: str) -> str:
    if given is None:
        return usual
    if not pattern.fullmatch(given):
        raise BadOption(f"{what} {given!r} is not {kind}")
    return given


def _bounded(what: str, given: int | None, usual: int, most: int) -> int:
    if given is None:
        return usual
    if not 1 <= given <= most:
        raise BadOption(f"{what} {given} is not between 1 and {most}")
    return given
