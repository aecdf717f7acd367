"""``pull URL --as ORG/NAME`` as a user types it: before, while and after, killed and mended."""

import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.core.digest import Digest
from tests.support.command import Site
from tests.support.fileserver import FileServer, Style
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.tls import Authority

MIB = 1024 * 1024
CARD = b"---\nlicense: apache-2.0\n---\n# Tiny\n"
FILES = {
    "README.md": CARD,
    "config.json": b"{}",
    "model.safetensors": os.urandom(2 * MIB),
    "pytorch_model.bin": b"pickle",
}


@pytest.fixture
def server() -> Iterator[FileServer]:
    """Return a web server with a model."""
    with FileServer(FILES) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site that has a token of the Hub, and nothing else."""
    return Site(tmp_path / "site", HF_TOKEN="hf_hush")


def arguments(server: FileServer, *more: str) -> list[str]:
    """Return the command that pulls a server's model by its pinned list."""
    return ["pull", server.url, "--as", "acme/tiny", "--sums-digest", server.digest, *more]


def test_model_comes_by_its_list_and_is_shown_as_such(site: Site, server: FileServer) -> None:
    """Licence, revision, origin and every file; the Hub's token goes nowhere."""
    done = site.run(*arguments(server, "--json")).ok()
    document = done.document
    assert document["license"] == "apache-2.0"
    assert [item["path"] for item in document["left_out"]] == ["pytorch_model.bin"]
    assert document["left_out"][0]["size"] is None
    shown = site.run("show", "acme/tiny", "--json").ok().document
    assert shown["record"]["origin"] == {
        "kind": "sums",
        "url": server.url,
        "sums": server.digest,
        "requested": Digest.parse(server.digest).hex[:40],
    }
    assert {file["path"]: file["digest"] for file in shown["files"]} == {
        path: str(Digest.of(data)) for path, data in FILES.items() if path != "pytorch_model.bin"
    }
    assert shown["record"]["revision"] == document["revision"]
    assert f"pulled from  {server.url}" in site.run("show", "acme/tiny").ok().stdout
    (event,) = site.run("history", "acme/tiny", "--json").ok().document
    assert event["details"]["endpoint"] == server.url
    assert not any(request.authorized for request in server.journal.requests())
    site.run("verify").ok()


def test_dry_run_says_what_would_come_and_makes_nothing(site: Site, server: FileServer) -> None:
    """Sizes of the selected files, how fast they come, what is left out."""
    done = site.run(*arguments(server, "--dry-run", "--json")).ok()
    plan = done.document
    assert plan["to_fetch"] == plan["size"] == sum(map(len, FILES.values())) - len(b"pickle")
    assert plan["rate"] > 0
    assert not site.vault.exists()
    text = site.run(*arguments(server, "--dry-run")).ok().stdout
    assert "licence: apache-2.0" in text
    assert "size not known pytorch_model.bin" in text
    assert "Hub" not in text


def test_filters_and_quantisations_are_those_of_the_hub(site: Site) -> None:
    """One model in many quantisations: the shown pattern takes exactly its own files."""
    files = {f"tiny.{label}.gguf": label.encode() * 99 for label in ("Q4_K_M", "Q8_0")}
    with FileServer(files, style=Style.NEXUS) as server:
        plan = site.run(*arguments(server, "--dry-run", "--json")).ok().document
        assert [group["label"] for group in plan["quantizations"]] == ["Q4_K_M", "Q8_0"]
        site.run(*arguments(server, "--include", "*Q4_K_M*")).ok()
        shown = site.run("show", "acme/tiny", "--json").ok().document
        assert [file["path"] for file in shown["files"]] == ["tiny.Q4_K_M.gguf"]
        site.run(*arguments(server, "--exclude", "*Q8*")).ok()
        assert len(site.run("list", "--json").ok().document) == 1
        grown = site.run(*arguments(server)).ok()
    assert "in place of sha256:" in grown.stdout


def test_killed_pull_fetches_only_the_rest(site: Site, tmp_path: Path) -> None:
    """Attack of the power cable: SIGKILL in the middle of a file costs what was under way."""
    size = 24 * MIB
    data = os.urandom(size)
    with FileServer({"config.json": b"{}", "model.safetensors": data}) as server:
        command = arguments(server, "--connections", "2")
        slow = Fault(kind=Kind.SLOW, stage=Stage.RESOLVE, rate=6 * MIB, times=None)
        server.faults.add(slow)
        journal = site.vault / "partial" / f"sha256-{Digest.of(data).hex}.journal"

        def recorded() -> int:
            try:
                lines = journal.read_text().splitlines(keepends=True)
            except FileNotFoundError:
                return 0
            ranges = [line.split() for line in lines if line.startswith("range ")]
            return sum(int(parts[2]) - int(parts[1]) for parts in ranges if len(parts) == 4)

        assert site.kill_when(lambda: recorded() > size // 2, *command)
        kept = recorded()
        server.faults.clear()
        server.journal.clear()
        site.run(*command).ok()
        again = server.journal.sent(path="model.safetensors")
    assert size // 2 < kept < size
    assert 0 < again <= size - kept
    assert (site.vault / "blobs").is_dir()
    found = site.run("verify", "--json").ok().document
    assert found["size"] >= size


def test_wrong_bytes_end_in_quarantine(site: Site, server: FileServer) -> None:
    """Attack: the server's files are not what the list says."""
    fault = Fault(kind=Kind.CORRUPT, stage=Stage.RESOLVE, path="model.safetensors", times=None)
    server.faults.add(fault)
    done = site.run(*arguments(server, "--json"))
    assert done.status == 4
    assert "DigestMismatch" in done.stderr
    assert any((site.vault / "quarantine").iterdir())
    assert site.run("list", "--json").ok().document == []


def test_list_in_the_clear_needs_its_digest(site: Site, server: FileServer) -> None:
    """The hint names the option; another list than the pinned one is refused."""
    done = site.run("pull", server.url, "--as", "acme/tiny")
    assert done.status == 2
    assert "--sums-digest sha256:" in done.stderr
    pinned = server.digest
    server.publish({**FILES, "config.json": b"evil"})
    other = site.run("pull", server.url, "--as", "acme/tiny", "--sums-digest", pinned)
    assert other.status == 6
    assert "instead of" in other.stderr
    bare = server.digest.removeprefix("sha256:")
    site.run("pull", server.url, "--as", "acme/tiny", "--sums-digest", bare).ok()


def test_https_needs_no_digest_and_carries_a_login(tmp_path: Path) -> None:
    """A private server with a certificate of the site's own authority."""
    authority = Authority(tmp_path / "ca", "site")
    home = tmp_path / "site"
    login = "Basic " + base64.b64encode(b"ann:hush").decode()
    with FileServer(FILES, login=login, tls=authority.server_context()) as server:
        site = Site(home, HF_TOKEN="hf_hush")
        command = ["pull", server.url, "--as", "acme/tiny"]
        untrusted = site.run(*command)
        assert untrusted.status == 6
        assert "--ca-bundle" in untrusted.stderr
        command += ["--ca-bundle", str(authority.file)]
        refused = site.run(*command)
        assert refused.status == 6
        assert "~/.netrc" in refused.stderr
        (home / ".netrc").write_text("machine 127.0.0.1 login ann password hush\n")
        (home / ".netrc").chmod(0o600)
        done = site.run(*command).ok()
    assert "pulled and verified" in done.stdout
    everything = [path.read_bytes() for path in site.vault.rglob("*") if path.is_file()]
    assert not any(b"hush" in data for data in everything)


def test_settings_for_the_hub_say_nothing_of_a_web_server(site: Site, server: FileServer) -> None:
    """An engine or endpoint in ``config.toml`` is no reason to refuse."""
    site.vault.mkdir()
    (site.vault / "config.toml").write_text(
        '[hub]\nendpoint = "https://hub.example"\nengine = "xet"\nconnections = 2\n'
    )
    site.run(*arguments(server, "--dry-run")).ok()


def test_list_of_models_takes_lines_of_both_kinds(site: Site, server: FileServer) -> None:
    """The lock file beside it brings exactly that again, and a changed list is refused."""
    models = site.home / "models.txt"
    line = f"{server.url} --as acme/tiny --sums-digest {server.digest} --include '*.json'\n"
    models.write_text(line)
    done = site.run("pull", "--from-file", "models.txt", "--json").ok().document
    assert [entry["state"] for entry in done["entries"]] == ["pulled"]
    assert '"_type":"modelvault/lockfile/v3"' in (site.home / "models.txt.lock").read_text()
    server.journal.clear()
    held = site.run("pull", "--from-file", "models.txt.lock", "--json").ok().document
    assert [entry["state"] for entry in held["entries"]] == ["in_vault"]
    assert server.journal.requests() == []
    models.write_text(line.replace(f" --sums-digest {server.digest}", ""))
    bad = site.run("pull", "--from-file", "models.txt")
    assert bad.status == 2
    assert "plain http needs --sums-digest" in bad.stderr


def test_limit_on_the_rate_holds(site: Site, server: FileServer) -> None:
    """As for the Hub: the options of the line are the line's."""
    began = time.monotonic()
    site.run(*arguments(server, "--limit-rate", "1MB", "--include", "model.safetensors")).ok()
    assert time.monotonic() - began > 1.5


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--revision", "main"], "--revision and --dataset do not go with"),
        (["--dataset"], "--revision and --dataset do not go with"),
        (["--engine", "xet"], "--engine and --endpoint do not go with"),
        (["--endpoint", "https://hub.example"], "--engine and --endpoint do not go with"),
        (["--sums-digest", "sha256:12"], "is not a sha256 digest"),
    ],
)
def test_options_of_the_hub_do_not_go_with_a_list(
    site: Site, server: FileServer, more: list[str], words: str
) -> None:
    """Nothing is asked of the server."""
    done = site.run("pull", server.url, "--as", "acme/tiny", *more)
    assert done.status == 2
    assert words in done.stderr
    assert server.journal.requests() == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["pull", "https://files.example/tiny/SHA256SUMS"], "--as ORG/NAME"),
        (["pull", "https://files.example/acme/tiny"], "from the Hub: pull ORG/NAME"),
        (["pull", "https://huggingface.co/spaces/acme/tiny"], "a Space is a program"),
        (["pull", "https://files.example/tiny/", "--as", "acme/tiny"], "SHA256SUMS"),
        (["pull", "https://u:hush@files.example/S", "--as", "acme/tiny"], "~/.netrc"),
        (["pull", "acme/tiny", "--sums-digest", "0" * 64], "--sums-digest goes with the URL"),
        (["pull", "--update", "--sums-digest", "0" * 64], "--update does not go with"),
    ],
)
def test_address_that_is_not_a_list_s_is_explained(
    site: Site, command: list[str], words: str
) -> None:
    """Before anything is asked, and with no password repeated."""
    done = site.run(*command)
    assert done.status == 2
    assert words in done.stderr
    assert "hush" not in done.stderr
