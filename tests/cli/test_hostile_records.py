"""What an attacker's own key signed is refused in time, and cannot steer the terminal."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from modelvault.bundle.format import names
from modelvault.bundle.write.bundle import write_bundle
from modelvault.core.artifact import Artifact, ConversionOrigin, FolderOrigin, License
from modelvault.store.blobs import Store
from modelvault.trust.keys import LocalKey, generate_key
from tests.support.bundles import OPTIONS, add_model
from tests.support.command import Outcome, Site

SEVEN_BIT = "\x1b[2J\x1b]0;pwned\x07\r\x00\x7f\n2026 forged line"
EIGHT_BIT = "\x9b31m\x85\u2028\u202e\u2066\u200f"
HOSTILE = f"text{SEVEN_BIT}{EIGHT_BIT}"
STEERS = {char for char in HOSTILE if not char.isprintable()} - {"\n"}


@pytest.fixture
def attacker(tmp_path: Path) -> LocalKey:
    """Return a key that nobody was told about."""
    return generate_key(tmp_path / "attacker.pem", passphrase=None)


def plain(outcome: Outcome) -> Outcome:
    """Return the outcome, after asserting that nothing in it steers a terminal."""
    said = outcome.stdout + outcome.stderr
    assert STEERS.isdisjoint(said)
    assert [line for line in said.splitlines() if line.startswith("2026 forged")] == []
    assert "internal error" not in said
    return outcome


def hostile(artifact: Artifact, store: Store, **changes: Any) -> Artifact:
    """Return an artefact whose texts steer terminals, put into the store."""
    changed = dataclasses.replace(artifact, **changes)
    store.put(changed.encode())
    return changed


def hostile_bundle(folder: Path, key: LocalKey) -> Path:
    """Write a bundle in good form whose every free text steers a terminal."""
    store = Store.create(folder / "store")
    medium = folder / "medium"
    medium.mkdir()
    first = hostile(
        add_model(store, "org/first", {"model.gguf": b"one"}),
        store,
        quantization=f"Q{EIGHT_BIT}{SEVEN_BIT}",
        license=License(id=HOSTILE, name=HOSTILE, link=f"https://{HOSTILE}"),
        card={HOSTILE: HOSTILE, "pipeline_tag": HOSTILE, "base_model": HOSTILE},
        origin=FolderOrigin(label=HOSTILE),
    )
    second = hostile(
        add_model(store, "org/second", {"model.gguf": b"two"}),
        store,
        variant="F16",
        format="gguf",
        origin=ConversionOrigin(
            parent=first.digest,
            parent_manifest=first.manifest,
            converter=HOSTILE,
            tools={HOSTILE: HOSTILE},
            parameters={HOSTILE: HOSTILE, "type": HOSTILE},
        ),
    )
    write_bundle((first, second), store, medium, signer=key, options=OPTIONS)
    return medium


def test_texts_of_signed_records_never_steer_a_terminal(tmp_path: Path, attacker: LocalKey) -> None:
    """Before and after import, in results, notes and errors; programs get the texts unchanged."""
    medium = hostile_bundle(tmp_path, attacker)
    site = Site(tmp_path / "site")
    plain(site.run("bundle", "show", medium)).ok()
    plain(site.run("bundle", "verify", medium)).ok()
    assert plain(site.run("import", medium)).status == 5
    label = ("--label", f"label{EIGHT_BIT}")
    plain(site.run("trust", "add", medium, "--yes", *label))
    plain(site.run("trust", "add", medium, "--yes")).ok()
    plain(site.run("import", medium)).ok()
    for command in ("list", "history", "status", "verify"):
        plain(site.run(command)).ok()
    plain(site.run("trust", "list")).ok()
    for name in ("org/first", "org/second:F16"):
        shown = plain(site.run("show", name)).ok()
        assert r"\x1b[2J\x1b]0;pwned\x07\r\x00\x7f\n2026 forged" in shown.stdout
        plain(site.run("install", name, "--to", "vllm", "--dir", tmp_path / "vllm"))
    for arguments in (["show", "org/first"], ["list"], ["history"]):
        assert plain(site.run(*arguments, "--json")).ok().document
    document = site.run("show", "org/first", "--json").ok().document
    assert document["record"]["license"]["id"] == HOSTILE


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", f"org/{HOSTILE.replace(chr(0), '')}"],
        ["bundle", "show", f"/no/such{HOSTILE.replace(chr(0), '')}"],
        ["list", f"--{EIGHT_BIT}"],
        ["pull", f"/no/such{EIGHT_BIT}", "--as", "org/x"],
    ],
)
def test_errors_never_steer_a_terminal(tmp_path: Path, arguments: list[str]) -> None:
    """Names of files and what else stands in a message are anyone's, too."""
    assert plain(Site(tmp_path / "site").run(*arguments)).status in (2, 3)


def sign(medium: Path, key: LocalKey, index: bytes) -> None:
    """Put bytes into the bundle as its index, signed."""
    bundle = medium / names.FOLDER
    (bundle / names.INDEX).write_bytes(index)
    (bundle / names.SIGNATURE).write_bytes(key.sign(names.INDEX, index))


MEASURED = """
import re, resource, sys
from modelvault.cli.main import run
status = run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which begins with what the parent had when it forked.
peak = re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())[1]
print([status, used.ru_utime + used.ru_stime, int(peak)])
"""
HEAD = b'{"_type":"modelvault/bundle/v1","artifacts":['


@pytest.mark.parametrize(
    "unit", [b"[", b'{"a":', b"[],", b"{},", b"[[[[[[]]]]]],", b'"",', b"0,", b'"\\u0000",']
)
@pytest.mark.parametrize("verb", ["show", "verify"])
def test_signed_index_that_would_swell_is_refused_at_once(
    tmp_path: Path, attacker: LocalKey, verb: str, unit: bytes
) -> None:
    """32 MiB of nesting or of tiny values: no minute, no gigabyte, and a word about it."""
    medium = hostile_bundle(tmp_path, attacker)
    sign(medium, attacker, HEAD + unit * ((32 * 1024 * 1024 - len(HEAD)) // len(unit)))
    outcome = plain(Site(tmp_path / "site").run_python("-c", MEASURED, "bundle", verb, medium))
    assert "more than" in outcome.stderr
    status, seconds, peak = json.loads(outcome.stdout)
    assert status == 4
    assert seconds < 3  # of which one goes to libraries
    assert peak < 200 * 1024  # with Python, libraries and the index itself
