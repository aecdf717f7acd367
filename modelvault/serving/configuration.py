"""The files of a configuration, form by form."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from modelvault.serving.addresses import Address, Upstream
from modelvault.serving.alerts import list_alerts
from modelvault.serving.choices import Form, Server
from modelvault.serving.hosts import SETTINGS, list_checks
from modelvault.serving.programs import Launch, Route, Start
from modelvault.serving.quoting import Quoted, systemd_argument
from modelvault.serving.rendering import render
from modelvault.serving.setup import Front, Setup

MODELS = "/models"
"""Where a container finds what it serves."""
_HOMES = ("/home", "/root", "/run/user")
"""Folders that ``ProtectHome=`` takes away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationFile:
    """One file."""

    path: str
    """Relative to the configuration's folder."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or folder of the host that a container reads."""

    source: str
    target: str
    inside: str
    """Path in the folder that models are installed in; ``.`` for that folder."""
    kind: str
    """``File`` or ``Directory``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What one upstream answers, below its name or, for the first one, at the top."""

    heading: str
    upstream: str
    health: str
    routes: tuple[Mapping[str, object], ...]


def list_notes(setup: Setup) -> tuple[str, ...]:
    """Return what the user should know that no file says."""
    notes = list(setup.memory.notes)
    if setup.form is Form.NGINX:
        return ()
    if not setup.known.metrics:
        notes.append(f"{setup.server.full_name} has no figures for Prometheus: nothing to scrape")
    if setup.form is not Form.KUBERNETES and not setup.address.is_local:
        notes.append(f"{setup.address} is reached without TLS: --as nginx writes a proxy")
    return tuple(notes)


def write_configuration(setup: Setup) -> tuple[ConfigurationFile, ...]:
    """Return the files of a configuration, the most important one first.

    Raises:
        BadOption: A value cannot be written in the form's format.
    """
    return tuple(_FORMS[setup.form](setup))


def _systemd(setup: Setup) -> Iterator[ConfigurationFile]:
    home = f"/var/cache/{setup.slug}"
    projector = setup.model.projector
    launch = setup.known.options(
        Start(
            path=str(setup.model.path),
            projector=None if projector is None else str(projector),
            name=setup.model.name,
            address=setup.address,
            memory=setup.memory,
            threads=setup.threads,
            home=home,
        )
    )
    text = render(
        "unit.service.j2",
        setup=setup,
        title=_title(setup),
        gpu=setup.memory.gpus > 0,
        devices=",".join(map(str, range(setup.memory.gpus))),
        ollama=setup.server is Server.OLLAMA,
        root=str(setup.model.root),
        command=_command_line(setup, launch),
        environment=launch.environment,
        home="read-only" if any(map(setup.model.root.is_relative_to, _HOMES)) else "yes",
    )
    yield ConfigurationFile(path=f"{setup.slug}.service", text=text)
    text = render("backoff.conf.j2", setup=setup)
    yield ConfigurationFile(path=f"{setup.slug}.service.d/backoff.conf", text=text)
    yield from _surroundings(setup, setup.address.from_here)


def _command_line(setup: Setup, launch: Launch) -> Quoted:
    lines = [" ".join((setup.program, *map(systemd_argument, setup.known.words)))]
    lines += [" ".join(map(systemd_argument, words)) for words in launch.options]
    return Quoted(" \\\n    ".join(lines))


def _compose(setup: Setup) -> Iterator[ConfigurationFile]:
    mount, launch = _contained(setup)
    text = render(
        "compose.yaml.j2",
        setup=setup,
        title=_title(setup),
        gpu=setup.memory.gpus > 0,
        options=launch.options,
        environment=launch.environment,
        published=f"{setup.address}:{setup.known.port}",
        mount=mount,
    )
    yield ConfigurationFile(path="compose.yaml", text=text)
    yield from _surroundings(setup, setup.address.from_here)


def _kubernetes(setup: Setup) -> Iterator[ConfigurationFile]:
    mount, launch = _contained(setup)
    text = render(
        "kubernetes.yaml.j2",
        setup=setup,
        title=_title(setup),
        gpu=setup.memory.gpus > 0,
        options=launch.options,
        environment=launch.environment,
        mount=mount,
    )
    yield ConfigurationFile(path=f"{setup.slug}.yaml", text=text)
    service = Address(host=f"{setup.slug}.{setup.namespace}.svc", port=setup.known.port)
    yield from _surroundings(setup, service)


def _contained(setup: Setup) -> tuple[Mount, Launch]:
    """Return what a container mounts, and how its server is started."""
    model = setup.model
    single = setup.server is Server.LLAMACPP and model.path == model.root
    root = PurePosixPath(MODELS, "model.gguf" if single else "model")
    projector = model.projector
    mount = Mount(
        source=str(model.root),
        target=str(root),
        inside=str(model.inside),
        kind="File" if single else "Directory",
    )
    launch = setup.known.options(
        Start(
            path=str(root / model.path.relative_to(model.root)),
            projector=None if projector is None else str(root / projector.relative_to(model.root)),
            name=model.name,
            address=Address(host="0.0.0.0", port=setup.known.port),  # noqa: S104 - in a container
            memory=setup.memory,
            threads=setup.threads,
            home="/cache",
        )
    )
    # Libraries ask for the account's name, which the image does not know.
    environment = {**launch.environment, "USER": "modelvault"}
    return mount, Launch(options=launch.options, environment=environment)


def _nginx(setup: Setup) -> Iterator[ConfigurationFile]:
    assert setup.front is not None  # ``settle`` makes it for this form
    text = render(
        "nginx.conf.j2",
        setup=setup,
        title=_title(setup),
        front=setup.front,
        id=setup.slug.replace("-", "_"),
        places=_places(setup.front),
    )
    yield ConfigurationFile(path=f"{setup.slug}.conf", text=text)


def _places(front: Front) -> Iterator[Place]:
    first = front.upstreams[0]
    yield _place(first, "", front.routes, heading=f"{first.name}, which also needs no name")
    if len(front.upstreams) > 1:
        for upstream in front.upstreams:
            yield _place(upstream, f"/{upstream.name}", front.routes, heading=upstream.name)


def _place(upstream: Upstream, prefix: str, routes: tuple[Route, ...], *, heading: str) -> Place:
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(route.path, []).append(route.method)
    return Place(
        heading=heading,
        upstream=upstream.name,
        health=f"{prefix}/health",
        routes=tuple(
            {"shown": f"{prefix}{path}", "path": path, "methods": methods[path]}
            for path in sorted(methods)
        ),
    )


def _surroundings(setup: Setup, target: Address) -> Iterator[ConfigurationFile]:
    """Yield what comes with every server: Prometheus' files, and the host's."""
    if alerts := list_alerts(setup):
        text = render("scrape.yml.j2", setup=setup, title=_title(setup), target=str(target))
        yield ConfigurationFile(path=f"prometheus/{setup.slug}.scrape.yml", text=text)
        text = render("rules.yml.j2", setup=setup, title=_title(setup), alerts=alerts)
        yield ConfigurationFile(path=f"prometheus/{setup.slug}.rules.yml", text=text)
    yield ConfigurationFile(
        path="sysctl.d/90-modelvault.conf", text=render("sysctl.conf.j2", settings=SETTINGS)
    )
    text = render("host-checks.md.j2", setup=setup, checks=list_checks(setup))
    yield ConfigurationFile(path=f"{setup.slug}.host-checks.md", text=text)


def _title(setup: Setup) -> str:
    if setup.form is Form.NGINX:
        return f"nginx before {setup.server.full_name}, for {setup.model.name}"
    return f"{setup.server.full_name} serves {setup.model.name}"


_FORMS = {
    Form.SYSTEMD: _systemd,
    Form.COMPOSE: _compose,
    Form.KUBERNETES: _kubernetes,
    Form.NGINX: _nginx,
}
