"""Bad input ends in its own error class, exit status and hint; never in a traceback."""

import fcntl
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Outcome, Site, closed_site, only_mounted
from tests.support.hub.hub import LoopbackHub
from tests.support.needs import require

CONFIG = b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}'
FILES = {"config.json": CONFIG, "model.safetensors": b"\x02\0\0\0\0\0\0\0{}", "README.md": b"# x"}


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    """Return a hub with an open, a gated and a private repository."""
    with LoopbackHub() as hub:
        hub.add("acme/open", FILES)
        hub.add("acme/gated", FILES, gated="manual")
        hub.add("acme/private", FILES, private=True)
        hub.add("acme/unsafe", {**FILES, "../evil": b"x"})
        yield hub


@pytest.fixture
def site(tmp_path: Path, hub: LoopbackHub) -> Site:
    """Return a site that knows the hub."""
    return Site(tmp_path / "site", HF_ENDPOINT=hub.endpoint)


def refused(outcome: Outcome, status: int, error: str) -> dict[str, Any]:
    """Assert that a ``--json`` command failed with this error; return its report."""
    assert outcome.status == status, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""
    report: dict[str, Any] = json.loads(outcome.stderr.splitlines()[-1])
    assert (report["error"], report["exit_code"]) == (error, status)
    assert report["message"]
    return report


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["pull", "llama"], 2, "BadReference"),
        (["pull", "acme/open:Q4_K_M"], 2, "BadOption"),
        (["pull", "acme/open@main", "--revision", "other"], 2, "BadOption"),
        (["pull", "acme/open", "--revision", "no such"], 2, "BadOption"),
        (["pull", "acme/open", "--token-file", "/nonexistent"], 2, "BadOption"),
        (["pull", "acme/open", "--endpoint", "ftp://x"], 2, "BadOption"),
        (["pull", "acme/open", "--include", "*.gguf"], 3, "NothingSelected"),
        (["pull", "./nowhere", "--as", "acme/x"], 3, "NotFound"),
        (["pull", "./nowhere"], 2, "BadOption"),
        (["pull", "acme/missing"], 3, "RepositoryNotFound"),
        (["pull", "acme/private"], 3, "RepositoryNotFound"),
        (["pull", "acme/open", "--revision", "v9"], 3, "RevisionNotFound"),
        (["pull", "acme/gated"], 6, "GatedRepository"),
        (["pull", "acme/unsafe"], 2, "BadPath"),
        (["pull", "acme/open", "--endpoint", "http://127.0.0.1:9"], 6, "HubUnreachable"),
        (["show", "acme/open"], 3, "VaultNotFound"),
        (["import", "/nonexistent"], 3, "BundleNotFound"),
        (["bundle", "verify", "."], 3, "BundleNotFound"),
        (["trust", "add", "/nonexistent"], 3, "KeyNotFound"),
        (["trust", "add", "/etc/hostname", "--yes"], 5, "KeyUnusable"),
    ],
)
def test_bad_command_is_refused(site: Site, arguments: list[str], status: int, error: str) -> None:
    """The class and the exit status are the ones of the error catalogue, with a hint."""
    report = refused(site.run("--json", *arguments), status, error)
    assert report["hint"] or error in ("BadOption", "NotFound", "BadPath", "BundleNotFound")


def test_import_with_nothing_mounted_is_refused(tmp_path: Path) -> None:
    """The hint says what to do."""
    site = closed_site(tmp_path / "site", **only_mounted(tmp_path / "mounts"))
    report = refused(site.run("--json", "import"), 3, "BundleNotFound")
    assert "mount the medium" in report["hint"]


def test_gated_repository_says_where_to_ask(site: Site, hub: LoopbackHub) -> None:
    """The hint names the page on which access is granted."""
    report = refused(site.run("--json", "pull", "acme/gated"), 6, "GatedRepository")
    assert f"{hub.endpoint}/acme/gated" in report["hint"]


def test_unknown_things_in_a_vault_are_not_found(site: Site) -> None:
    """Each verb names what is missing and what is near."""
    site.run("pull", "acme/open").ok()
    report = refused(site.run("--json", "show", "acme/open:Q8_0"), 3, "ArtifactNotFound")
    assert report["hint"]
    refused(site.run("--json", "remove", "acme/opne"), 3, "ArtifactNotFound")
    refused(site.run("--json", "uninstall", "nothing"), 3, "InstallNotFound")
    refused(site.run("--json", "trust", "remove", "SHA256:abc"), 3, "KeyNotFound")
    report = refused(
        site.run("--json", "install", "acme/open", "--to", "toaster"), 8, "UnknownTarget"
    )
    assert "ollama" in report["hint"]
    report = refused(
        site.run("--json", "install", "acme/open", "--to", "ollama"), 8, "UnsuitableArtifact"
    )
    assert "convert" in report["hint"]
    refused(site.run("--json", "convert", "acme/open", "--to", "gguf"), 2, "BadOption")
    refused(site.run("--json", "convert", "acme/open", "--to", "onnx:F16"), 7, "ConverterMissing")
    refused(site.run("--json", "convert", "acme/open", "--to", "gguf:Q1_X"), 7, "UnsupportedTarget")


def test_unsupported_architecture_names_what_is_known(site: Site, tmp_path: Path) -> None:
    """A model that has no converter is refused before anything is written."""
    folder = tmp_path / "strange"
    folder.mkdir()
    for path, data in FILES.items():
        (folder / path).write_bytes(data)
    (folder / "config.json").write_text('{"architectures": ["LlamoForCausalLM"]}')
    site.run("pull", folder, "--as", "acme/strange").ok()
    report = refused(
        site.run("--json", "convert", "acme/strange", "--to", "gguf:F16"),
        7,
        "UnsupportedArchitecture",
    )
    assert "LlamaForCausalLM" in report["hint"] + report["message"]


def test_newer_catalogue_is_refused(site: Site) -> None:
    """A catalogue of a later release is left alone."""
    site.run("pull", "acme/open").ok()
    with sqlite3.connect(site.vault / "catalog.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for command in ("list", "history"):
        refused(site.run("--json", command), 9, "NewerCatalog")


def test_damaged_catalogue_is_rebuilt(site: Site) -> None:
    """Bytes that are no database: every verb says so, and rebuild restores what was."""
    site.run("pull", "acme/open").ok()
    before = site.run("--json", "show", "acme/open").ok().document["artifact"]
    for path in site.vault.glob("catalog.db-*"):
        path.unlink()
    (site.vault / "catalog.db").write_bytes(b"not a database" * 1000)
    report = refused(site.run("--json", "show", "acme/open"), 4, "CatalogDamaged")
    assert "rebuild" in report["hint"]
    rebuilt = site.run("--json", "rebuild").ok().document
    assert len(rebuilt["artifacts"]) == 1
    assert Path(rebuilt["set_aside"]).exists()
    assert site.run("--json", "show", "acme/open").ok().document["artifact"] == before


def test_gc_and_a_writer_exclude_each_other(site: Site) -> None:
    """While another process writes, gc is refused and says why."""
    site.run("pull", "acme/open").ok()
    with open(site.vault / "vault.lock", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        report = refused(site.run("--json", "gc"), 9, "VaultBusy")
    assert "hint" in report
    site.run("gc").ok()


def test_two_pulls_at_once_both_end_well(site: Site) -> None:
    """Two processes share one vault and one partial; both succeed."""
    first, second = site.start("pull", "acme/open"), site.start("pull", "acme/open")
    for process in (first, second):
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
    assert len(site.run("--json", "list").ok().document) == 1


def test_damaged_blob_is_named_quarantined_and_fetched_again(site: Site) -> None:
    """The file is named by verify; the next pull brings back exactly that file."""
    site.run("pull", "acme/open").ok()
    shown = site.run("--json", "show", "acme/open").ok().document
    digest = next(
        file["digest"] for file in shown["files"] if file["path"] == "model.safetensors"
    ).removeprefix("sha256:")
    blob = site.vault / "blobs" / "sha256" / digest[:2] / digest
    blob.chmod(0o644)
    blob.write_bytes(b"\x03" + blob.read_bytes()[1:])
    report = refused(site.run("--json", "--quiet", "verify"), 4, "Corruption")
    assert any("model.safetensors" in issue for issue in report["issues"])
    assert len(list((site.vault / "quarantine").iterdir())) == 2
    site.run("pull", "acme/open").ok()
    site.run("verify").ok()


def test_read_only_medium_is_refused(site: Site, tmp_path: Path) -> None:
    """An export onto a medium mounted read-only says so."""
    site.run("pull", "acme/open").ok()
    medium = tmp_path / "medium"
    medium.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(medium)]
    if subprocess.run(mount, check=False).returncode:
        require("tmpfs mounts")
    try:
        report = refused(site.run("--json", "export", "--bundle", medium), 9, "ReadOnly")
        assert report["hint"]
    finally:
        subprocess.run(["umount", str(medium)], check=True)


def test_interrupt_stops_soon_and_can_go_on(site: Site, hub: LoopbackHub) -> None:
    """Ctrl-C in the middle of a pull: exit status 130, what came is kept, the hint helps."""
    from tests.support.hub.faults import Fault, Kind

    data = os.urandom(6_000_000)
    hub.add("acme/large", {**FILES, "model.safetensors": data})
    hub.faults.add(Fault(kind=Kind.SLOW, rate=500_000, times=None))
    process = site.start("pull", "acme/large")
    while hub.journal.sent(path="model.safetensors") < 1_000_000:
        assert process.poll() is None
    process.send_signal(2)
    _, stderr = process.communicate(timeout=60)
    hub.faults.clear()
    assert process.returncode == 130, stderr
    assert "hint: run the same command again" in stderr
    site.run("pull", "acme/large").ok()
    site.run("verify", "acme/large").ok()


def test_internal_errors_are_reported_without_a_traceback(site: Site) -> None:
    """A defect ends in one line and status 1; --verbose adds the traceback."""
    site.run("pull", "acme/open").ok()
    (site.vault / "config.toml").mkdir()
    outcome = site.run("list")
    assert outcome.status in (1, 2, 9)
    assert "Traceback" not in outcome.stderr
    assert outcome.stderr.startswith("error: ")
