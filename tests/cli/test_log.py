"""``--verbose`` and ``--log-file``: what they show, and what they never do."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.cli.main import run
from modelvault.cli.redaction import known_secrets, redact
from tests.support.command import Site
from tests.support.hub.faults import Fault, Kind
from tests.support.hub.hub import LoopbackHub

LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (DEBUG|INFO|WARNING|ERROR) modelvault[\w.]*: .+"
)
TOKEN = "s3cret-of-a-mirror-0123456789"


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    """Return a hub with one repository behind a token."""
    with LoopbackHub() as hub:
        files = {"config.json": b"{}", "model.safetensors": os.urandom(3_000_000)}
        hub.add("acme/private", files, private=True)
        hub.grant(TOKEN, "acme/private")
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that looks like a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    return folder


def test_log_file_tells_the_verbs_with_their_time(tmp_path: Path, folder: Path) -> None:
    """One line each: time, level, who, message; two commands append, and nothing else is said."""
    site, log = Site(tmp_path / "site"), tmp_path / "log"
    quiet = site.run("pull", folder, "--as", "acme/tiny", "--quiet", "--log-file", log).ok()
    assert quiet.stderr == ""
    site.run("--log-file", log, "verify", "--quiet").ok()
    lines = log.read_text().splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    told = "\n".join(lines)
    for words in ("modelvault pull begins", "pull is done after", "verify is done after"):
        assert words in told
    assert re.search(r"modelvault verify ends after \d+\.\d{3} s", told)
    assert log.stat().st_mode & 0o777 == 0o600


def test_failed_command_says_in_the_log_why(tmp_path: Path) -> None:
    """The error's class and message are there, with all its findings."""
    log = tmp_path / "log"
    assert Site(tmp_path / "site").run("show", "acme/none", "--log-file", log).status == 3
    assert "ERROR modelvault.cli.logs: VaultNotFound: " in log.read_text()


def test_log_that_is_not_asked_for_is_shown_nowhere(tmp_path: Path, folder: Path) -> None:
    """Warnings of the log neither: standard error has the command's own words alone."""
    site = Site(tmp_path / "site")
    site.run("pull", folder, "--as", "acme/t").ok()
    shown = site.run("show", "acme/t", "--json").ok().document["files"][0]["digest"]
    name = shown.removeprefix("sha256:")
    blob = site.vault / "blobs" / "sha256" / name[:2] / name
    blob.chmod(0o644)
    blob.write_bytes(b"[]")
    (report,) = site.run("verify", "--quiet", "--json").stderr.splitlines()
    assert json.loads(report)["error"] == "Corruption"


def test_verbose_with_json_keeps_one_object_a_line(tmp_path: Path, folder: Path) -> None:
    """Lines of the log are events among the others; the document stays alone."""
    done = Site(tmp_path / "site").run("pull", folder, "--as", "acme/t", "--json", "--verbose").ok()
    events = [json.loads(line) for line in done.stderr.splitlines()]
    log = [event for event in events if event["event"] == "log"]
    assert {"begin", "end", "log"} <= {event["event"] for event in events}
    assert {"modelvault.cli.logs", "modelvault.app.pull"} <= {event["logger"] for event in log}
    assert done.document["new"] is True


def test_verbose_shows_the_log_to_people(tmp_path: Path, folder: Path) -> None:
    """On standard error, beside progress."""
    done = Site(tmp_path / "site").run("pull", folder, "--as", "acme/t", "--verbose").ok()
    assert "INFO modelvault.app.pull: pull begins" in done.stderr
    assert "INFO" not in done.stdout


def test_token_and_signed_addresses_stay_out_of_the_log_of_a_pull_with_retries(
    tmp_path: Path, hub: LoopbackHub
) -> None:
    """Neither in the file nor on standard error, however often a part is tried again."""
    site = Site(tmp_path / "site", HF_ENDPOINT=hub.endpoint, HF_TOKEN=TOKEN)
    log = tmp_path / "log"
    hub.faults.add(Fault(kind=Kind.CUT, after=100_000, times=3))
    done = site.run("pull", "acme/private", "--json", "--verbose", "--log-file", log).ok()
    hub.faults.clear()
    retried = [line for line in done.stderr.splitlines() if json.loads(line)["event"] == "retry"]
    assert retried, "the line was good, and this test shows nothing"
    written = log.read_text()
    assert "pull is done" in written
    for text in (written, done.stderr):
        assert TOKEN not in text
        assert "Authorization" not in text
        assert not re.search(r"https?://[^\s\"]*\?[^…\s\"]", text)


def test_defect_leaves_its_traceback_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line in the file, whole on standard error; without a log, one line of error."""
    monkeypatch.setattr("modelvault.cli.commands.list.locate", lambda _: 1 / 0)
    log = tmp_path / "log"
    assert run(["list"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert run(["list", "--verbose", "--log-file", str(log)]) == 1
    assert "\nZeroDivisionError: " in capsys.readouterr().err
    (defect,) = [line for line in log.read_text().splitlines() if "defect" in line]
    assert "Traceback" in defect
    assert "ZeroDivisionError" in defect


@pytest.mark.parametrize("kind", ["link", "hardlink", "folder", "pipe", "nowhere", "readonly"])
def test_log_file_that_is_no_file_of_ours_is_refused(tmp_path: Path, kind: str) -> None:
    """Links and devices steer elsewhere: status 9, before anything is done."""
    other, path = tmp_path / "other", tmp_path / "log"
    other.write_text("precious\n")
    match kind:
        case "link":
            path.symlink_to(other)
        case "hardlink":
            path.hardlink_to(other)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "nowhere":
            path = tmp_path / "none" / "log"
        case "readonly":
            path = Path("/proc/version")
    site = Site(tmp_path / "site")
    refused = site.run("key", "generate", "--log-file", path, "--json")
    assert refused.status == 9, refused.stderr
    report = json.loads(refused.stderr)
    assert str(path) in report["message"]
    assert other.read_text() == "precious\n"
    assert not site.vault.exists()


def test_log_file_that_fills_up_is_told_once_and_stops_no_work(folder: Path) -> None:
    """The command goes on as it would without one, and says that the log is not whole."""
    # A limit of the process stands for a full disk: the first line fits, the others do not.
    site = Site(folder.parent / "site", prefix=("prlimit", "--fsize=20000"))
    log = folder.parent / "log"
    log.write_bytes(b"x" * 19_750)
    done = site.run("inspect", folder / "config.json", "--log-file", log, "--json")
    warning, error = [json.loads(line) for line in done.stderr.splitlines()]
    assert "log file ends here" in warning["message"]
    assert (done.status, error["error"]) == (2, "BadOption")
    assert 19_750 < log.stat().st_size <= 20_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "https://cdn.example/a/b?X-Amz-Signature=ab%2F&x=1: 403",
            "https://cdn.example/a/b?…: 403",
        ),
        ("GET https://user:word@hub.example/x", "GET https://…@hub.example/x"),
        ("postgresql://vault:pw@db/modelvault down", "postgresql://…@db/modelvault down"),
        ("Authorization: Bearer hf_abcDEF123", "Authorization: Bearer …"),
        ("token hf_abcDEF123 is bad", "token hf_… is bad"),
        ("password=hunter22, signature: abc", "password=…, signature: …"),
        (
            "/path?X-Amz-Credential=AKIA/1&X-Amz-Signature=9f",
            "/path?X-Amz-Credential=…&X-Amz-Signature=…",
        ),
        ("nothing to hide: acme/tiny@main in 3.2 s", "nothing to hide: acme/tiny@main in 3.2 s"),
        (f"the mirror echoed {TOKEN}", "the mirror echoed …"),
    ],
)
def test_secrets_are_blotted_out(text: str, expected: str) -> None:
    """Queries of addresses, passwords in them, tokens by their form or because we know them."""
    assert redact(text, known_secrets({"HF_TOKEN": TOKEN})) == expected


def test_hostile_message_is_one_visible_line(tmp_path: Path) -> None:
    """A name from elsewhere can neither forge a line of the log nor steer a terminal."""
    log = tmp_path / "log"
    name = "acme/x\n2026-01-01T00:00:00Z INFO modelvault: forged\x1b[2J"
    assert Site(tmp_path / "site").run("pull", name, "--log-file", log).status == 2
    lines = log.read_text().splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert "\x1b" not in log.read_text()
    assert not [line for line in lines if line.startswith("2026-01-01")]
