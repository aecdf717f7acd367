"""A converter that a test writes as a few lines of Python, and a vault to run it on."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelvault.app.conversion import requests
from modelvault.app.pull import plan_pull, pull
from modelvault.app.vault import Vault
from modelvault.core.names import ModelName
from modelvault.core.ports import Silence
from modelvault.store.paths import VaultPaths
from tests.support.fakes import FakeSource

PRELUDE = """
import json, os, pathlib, sys
request = json.loads(sys.stdin.buffer.read())
out = pathlib.Path(request["output"])
def say(event, **values):
    print(json.dumps({"event": event, **values}), flush=True)
def planned(target="Q8_0", size=8):
    say("planned", target=target, size=size, tensors=1, parameters=8)
def produced(target="Q8_0", files=("a.gguf",), parameters=(), **more):
    say("produced", target=target, files=list(files), format="gguf", quantization=target,
        tools={"fake": "1"}, parameters={"type": target, **dict(parameters)}, **more)
"""

Install = Callable[[str], None]


def make_vault(root: Path) -> Path:
    """Make a vault that holds a small model, ``acme/tiny``."""
    files = {"config.json": b"{}", "model.safetensors": b"w" * 100, "LICENSE": b"free"}
    source = FakeSource(ModelName.parse("acme/tiny"), files)
    plan = plan_pull(source, VaultPaths(root), include=(), exclude=())
    with Vault.open(root, create=True) as opened:
        pull(opened, plan, Silence())
    return root


def installer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that makes any ``--to`` run the given program."""

    def install(program: str) -> None:
        script = folder / "converter.py"
        script.write_text(PRELUDE + program)
        command = [sys.executable, str(script)]
        monkeypatch.setattr(requests, "find_converter", lambda _: command)

    return install
