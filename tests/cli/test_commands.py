"""Commands as a user types them: options, output, completion, another database."""

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import Site, closed_site
from tests.support.postgresql import Server

CONFIG = b'{"architectures": ["LlamaForCausalLM"]}'
CARD = "---\nlicense: mit\npipeline_tag: text-generation\n---\n# tiny\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a folder that looks like a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes(CONFIG)
    (folder / "model.safetensors").write_bytes(b"w" * 1000)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "tokenizer.json").write_bytes(b"{}")
    (folder / "README.md").write_text(CARD)
    return folder


def pull(site: Site, model: Path) -> None:
    """Pull the folder as acme/tiny."""
    site.run("pull", model, "--as", "acme/tiny").ok()


def test_common_options_stand_before_and_after_the_command(tmp_path: Path, model: Path) -> None:
    """--vault and --json mean the same in both places; the later one wins."""
    site = Site(tmp_path / "site")
    here, there = tmp_path / "here", tmp_path / "there"
    site.run("--vault", here, "pull", model, "--as", "acme/tiny").ok()
    assert len(site.run("list", "--vault", here, "--json").ok().document) == 1
    assert len(site.run("--json", "--vault", there, "list", "--vault", here).ok().document) == 1
    assert site.run("--json", "--vault", here, "list", "--version").ok().stdout.startswith("model")


def test_environment_names_the_vault_and_an_option_overrides_it(
    tmp_path: Path, model: Path
) -> None:
    """MODELVAULT_HOME is the default only."""
    site = Site(tmp_path / "site", MODELVAULT_HOME=str(tmp_path / "home"))
    pull(site, model)
    assert (tmp_path / "home" / "catalog.db").exists()
    site.run("--vault", tmp_path / "other", "pull", model, "--as", "acme/other").ok()
    assert "acme/other" not in site.run("list").ok().stdout


def test_dry_run_of_a_pull_writes_nothing_and_says_what_is_left_out(
    tmp_path: Path, model: Path
) -> None:
    """The plan shows files, licence and what stays behind, and no vault appears."""
    site = Site(tmp_path / "site")
    done = site.run("pull", model, "--as", "acme/tiny", "--dry-run", "--json").ok().document
    assert [item["path"] for item in done["left_out"]] == ["pytorch_model.bin"]
    assert done["license"] == "mit"
    assert done["card"]["pipeline_tag"] == "text-generation"
    assert not site.vault.exists()
    lines = site.run("pull", model, "--as", "acme/tiny", "--dry-run").ok().stdout
    assert "pytorch_model.bin" in lines
    assert "model.safetensors" in lines


def test_progress_with_json_is_one_object_a_line(tmp_path: Path, model: Path) -> None:
    """Programs read events from standard error and one document from standard output."""
    site = Site(tmp_path / "site")
    done = site.run("pull", model, "--as", "acme/tiny", "--json").ok()
    assert done.document["new"] is True
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"begin", "end"} <= {event["event"] for event in events}
    quiet = site.run("pull", model, "--as", "acme/tiny", "--quiet").ok()
    assert quiet.stderr.splitlines() == [  # no progress; what is left out is said all the same
        "warning: left out: pytorch_model.bin (6 B): safetensors hold the same weights",
        "warning: the same command with --include '*' takes everything, as one artefact",
    ]


def test_removed_artifact_frees_its_bytes_with_gc_only(tmp_path: Path, model: Path) -> None:
    """Remove forgets, gc frees, and a rebuild brings nothing back."""
    site = Site(tmp_path / "site")
    pull(site, model)
    site.run("remove", "acme/tiny").ok()
    blobs = [path for path in (site.vault / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == 5  # four files and the manifest; the record went at once
    assert site.run("rebuild", "--json").ok().document["artifacts"] == []
    assert site.run("gc", "--dry-run", "--json").ok().document["size"] > 1000
    assert len(site.run("gc", "--json").ok().document["blobs"]) == 5
    assert not [path for path in (site.vault / "blobs").rglob("*") if path.is_file()]


def test_installed_artifact_cannot_be_removed(tmp_path: Path, model: Path) -> None:
    """It has to be uninstalled first; the error says so."""
    site = Site(tmp_path / "site")
    pull(site, model)
    folder = tmp_path / "models"
    planned = site.run("install", "acme/tiny", "--to", "vllm", "--dir", folder, "--dry-run").ok()
    assert "would install" in planned.stdout
    assert not folder.exists()
    site.run("install", "acme/tiny", "--to", "vllm", "--dir", folder).ok()
    refused = site.run("remove", "acme/tiny")
    assert refused.status == 8
    assert "uninstall" in refused.stderr
    site.run("uninstall", "acme/tiny").ok()
    site.run("remove", "acme/tiny").ok()


def test_export_names_the_key_once_and_what_to_do_with_it(tmp_path: Path, model: Path) -> None:
    """The first export makes the key and says so; the second does not."""
    site = Site(tmp_path / "site")
    pull(site, model)
    first = site.run("export", "--bundle", tmp_path / "one").ok()
    assert "a signing key was made" in first.stderr
    assert "modelvault trust add" in first.stderr
    second = site.run("export", "--bundle", tmp_path / "two").ok()
    assert "a signing key was made" not in second.stderr
    shown = site.run("bundle", "show", tmp_path / "two", "--json").ok().document
    assert shown["serial"] == 2
    again = site.run("export", "--bundle", tmp_path / "two", "--json").ok().document
    assert again["unchanged"] is True


_TWO_DAYS_AHEAD = """
import datetime

class Ahead(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(days=2)

datetime.datetime = Ahead
"""


def test_expired_bundle_and_older_serial_are_noticed(tmp_path: Path, model: Path) -> None:
    """Expiry refuses, and so does a bundle older than the last import."""
    site, closed = Site(tmp_path / "site"), closed_site(tmp_path / "closed")
    pull(site, model)
    for name in ("old", "new"):
        site.run("export", "--bundle", tmp_path / name).ok()
    past = site.run("export", "--bundle", tmp_path / "late", "--expires", "2020-01-01")
    assert past.status == 2
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    late = tmp_path / "late"
    site.run("export", "--bundle", late, "--expires", f"{tomorrow:%Y-%m-%dT%H:%M:%S}").ok()
    fingerprint = site.run("key", "list", "--json").ok().document["fingerprint"]
    closed.run("trust", "add", tmp_path / "new", "--fingerprint", fingerprint).ok()
    closed.run("import", tmp_path / "new").ok()
    older = closed.run("import", tmp_path / "old")
    assert older.status == 5
    assert "not newer" in older.stderr
    ahead = tmp_path / "ahead"
    ahead.mkdir()
    (ahead / "sitecustomize.py").write_text(_TWO_DAYS_AHEAD)
    expired = closed_site(tmp_path / "closed", PYTHONPATH=str(ahead)).run("import", late)
    assert expired.status == 5
    assert "expired" in expired.stderr


def test_shell_completion_knows_references(tmp_path: Path, model: Path) -> None:
    """The second word of ``show`` completes to what the vault holds."""
    site = Site(tmp_path / "site")
    pull(site, model)
    script = Path(sys.executable).with_name("modelvault")
    done = subprocess.run(
        [str(script)],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(site.home),
            "_MODELVAULT_COMPLETE": "complete_bash",
            "COMP_WORDS": "modelvault show ac",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["acme/tiny"]


def test_catalogue_on_postgresql_serves_every_verb(
    tmp_path: Path, model: Path, postgresql_server: Server
) -> None:
    """With MODELVAULT_DATABASE_URL the same commands work, and no catalog.db appears."""
    url = postgresql_server.create_database()
    site = Site(tmp_path / "site", MODELVAULT_DATABASE_URL=url)
    try:
        pull(site, model)
        assert len(site.run("list", "--json").ok().document) == 1
        site.run("export", "--bundle", tmp_path / "medium").ok()
        site.run("install", "acme/tiny", "--to", "vllm", "--dir", tmp_path / "models").ok()
        site.run("uninstall", "acme/tiny").ok()
        site.run("verify").ok()
        verbs = [event["verb"] for event in site.run("history", "--json").ok().document]
        assert verbs == ["pull", "key generate", "export", "install", "uninstall", "verify"]
        site.run("rebuild").ok()
        site.run("show", "acme/tiny").ok()
        assert not (site.vault / "catalog.db").exists()
    finally:
        postgresql_server.drop_database(url)
