"""Configurations of servers for tests, and the programs that judge them."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from modelvault.serving.choices import Form, Server
from modelvault.serving.configuration import write_configuration
from modelvault.serving.model import ServedModel
from modelvault.serving.setup import Setup, settle
from modelvault.serving.wishes import Wishes
from tests.support.needs import require

SERVERS = tuple(Server)
HOSTED = (Form.SYSTEMD, Form.COMPOSE, Form.KUBERNETES)

HOSTILE = (
    "two words",
    "ends with a space ",
    'quote" quote',
    "it's",
    "back\\slash",
    "50%n %h %%",
    "$HOME ${HOME} $(HOME) $$",
    "{{ setup }} {% raw %} {# x #}",
    "{{ query `x` }}",
    "# comment",
    "key: value",
    "- item",
    "&anchor *alias !tag | > @ `",
    "; rm -rf x",
    "a{b}c;d",
    "no",
    "~",
    "한국어 모델 10.7B",
    "\U0001f600",
    "x" * 180,
)
"""Names and folders that some format would take for something else."""

UNSPEAKABLE = (
    "a\nExecStart=/bin/sh",
    "a\rb",
    "a\tb",
    "a\0b",
    "a\x85b",
    "a\u2028b",
    "a\x1b[2Jb",
    "\ud800",
)
"""Texts that no format can hold on one line."""


def served_model(**changes: Any) -> ServedModel:
    """Return a model that is served, ``changes`` applied; a path sets the root, too."""
    path = PurePosixPath(changes.pop("path", "/srv/models/acme/Tiny-1B"))
    model = ServedModel(
        reference="acme/Tiny-1B@0123456789",
        artifact="sha256:" + "a5" * 32,
        name="acme/Tiny-1B",
        path=path,
        root=path,
        inside=PurePosixPath("acme/Tiny-1B"),
        weights=2_000_000_000,
        context=131_072,
    )
    return replace(model, **changes)


def usual_model(server: Server, **changes: Any) -> ServedModel:
    """Return a model as the server has it where ModelVault installed it."""
    if server is Server.LLAMACPP:
        changes = {"path": "/srv/gguf/Tiny.gguf", "inside": PurePosixPath("Tiny.gguf")} | changes
    elif server is Server.OLLAMA:
        changes = {"path": "/usr/share/ollama/.ollama/models", "inside": PurePosixPath()} | changes
    return served_model(**changes)


def settled(server: Server, form: Form, model: ServedModel | None = None, **wishes: Any) -> Setup:
    """Return the facts of a configuration; containers get a registry."""
    if form in (Form.COMPOSE, Form.KUBERNETES) and "image" not in wishes:
        wishes.setdefault("registry", "registry.example:5000")
    return settle(server, form, model or usual_model(server), Wishes(**wishes))


def configuration(
    server: Server, form: Form, model: ServedModel | None = None, **wishes: Any
) -> dict[str, str]:
    """Return the files of a configuration, path → text, the main one first."""
    setup = settled(server, form, model, **wishes)
    return {file.path: file.text for file in write_configuration(setup)}


def main_file(server: Server, form: Form, model: ServedModel | None = None, **wishes: Any) -> str:
    """Return the text of the main file."""
    return next(iter(configuration(server, form, model, **wishes).values()))


def write(files: Mapping[str, str], folder: Path) -> Path:
    """Write files into a folder; return the first of them."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return folder / next(iter(files))


def program(name: str, package: str, *places: str) -> str:
    """Return where a program is; the test is skipped, or fails, without it."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *places])
    return shutil.which(name, path=search) or require(f"{name} (Debian package {package})")


def call(*arguments: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; return what it said."""
    return subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **settings,
    )
