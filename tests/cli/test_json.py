"""What ``--json`` prints: every command's real output against its published schema."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modelvault.cli.documents.document import Document, encode, to_json
from modelvault.cli.documents.outputs import OUTPUTS
from modelvault.cli.documents.schema import encode_schema, schemas
from modelvault.cli.table import every_command
from modelvault.core.artifact import Artifact
from tests.support.command import Site
from tests.support.hub.hub import LoopbackHub
from tests.support.schemas import FOLDER, check_document, check_output, command_of
from tests.support.tinymodel import make_tiny_llama

MODEL = "acme/tiny"
VARIANT = f"{MODEL}:F16"


class Afternoon:
    """Both sides of an air gap, where each command is run once at least."""

    def __init__(self, folder: Path, hub: LoopbackHub) -> None:
        """Begin with two empty vaults.

        Args:
            folder: Where everything goes.
            hub: Where models are pulled from.
        """
        self.folder = folder
        self.site = Site(folder / "site", HF_ENDPOINT=hub.endpoint)
        self.closed = Site(folder / "closed")
        self.ran: set[str] = set()

    def run(self, *arguments: str, closed: bool = False) -> Any:
        """Run a command, which is held against its schema; return its document."""
        site = self.closed if closed else self.site
        document = site.run(*arguments, "--json").ok().document
        self.ran.add(command_of(arguments))
        return document


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    """Return a hub with one small model."""
    with LoopbackHub() as hub:
        files = {"config.json": b"{}", "model.safetensors": b"\x02\0\0\0\0\0\0\0{}"}
        hub.add("acme/open", files)
        yield hub


@pytest.fixture(scope="module")
def afternoon(tmp_path_factory: pytest.TempPathFactory, hub: LoopbackHub) -> Afternoon:
    """Return the two sites after every command but the last ones was run."""
    day = Afternoon(tmp_path_factory.mktemp("json"), hub)
    model, bundle = day.folder / "model", str(day.folder / "medium")
    make_tiny_llama(model, kind="spm")
    run = day.run
    run("pull", "acme/open", "--dry-run")
    run("pull", "acme/open")
    run("pull", "--update")
    (day.folder / "list.txt").write_text("acme/open\nacme/missing\n")
    for state in ("pulled", "in_vault"):
        listed = day.site.run("pull", "--from-file", str(day.folder / "list.txt"), "--json")
        assert listed.status == 3
        assert [entry["state"] for entry in listed.document["entries"]] == [state, "failed"]
    run("pull", str(model), "--as", MODEL)
    run("convert", MODEL, "--to", "gguf:F16", "--dry-run")
    run("convert", MODEL, "--to", "gguf:F16")
    run("convert", MODEL, "--to", "gguf:F16")
    run("show", VARIANT)
    run("inspect", VARIANT)
    run("fit", VARIANT, "--gpu", "24GB")
    run("list")
    run("du")
    run("verify", "--upstream")
    run("gguf", "split", VARIANT, "--max-size", "1100kB", "--out", str(day.folder / "shards"))
    run("gguf", "split", VARIANT, "--max-size", "1100kB")
    run("gguf", "merge", f"{VARIANT}-split", "--out", str(day.folder / "again.gguf"))
    first = min((day.folder / "shards").iterdir())
    run("gguf", "merge", str(first), "--out", str(day.folder / "whole.gguf"))
    run("key", "generate")
    run("key", "export", "--out", str(day.folder / "publisher.pem"))
    fingerprint = run("key", "list")["fingerprint"]
    run("export", "--bundle", bundle, MODEL, VARIANT, "--dry-run")
    run("export", "--bundle", bundle, MODEL, VARIANT, "--expires", "2099-01-01")
    run("bundle", "show", bundle)
    run("bundle", "verify", bundle)
    run("trust", "add", bundle, "--fingerprint", fingerprint, closed=True)
    run("trust", "list", closed=True)
    run("bundle", "sign", bundle, closed=True)
    run("import", bundle, closed=True)
    models = str(day.folder / "models")
    run("install", VARIANT, "--to", "llamacpp", "--dir", models, "--dry-run", closed=True)
    run("install", VARIANT, "--to", "llamacpp", "--dir", models, closed=True)
    run("status", closed=True)
    serve = ("serve-config", VARIANT, "--for", "llamacpp", "--as")
    run(*serve, "systemd", closed=True)
    run(*serve, "nginx", "--out", str(day.folder / "nginx"), closed=True)
    run("list", closed=True)
    run("uninstall", VARIANT, closed=True)
    run("history", closed=True)
    run("remove", VARIANT, closed=True)
    run("gc", "--dry-run", closed=True)
    run("gc", closed=True)
    run("rebuild", closed=True)
    run("trust", "remove", fingerprint, closed=True)
    return day


def test_every_command_printed_what_its_schema_says(afternoon: Afternoon) -> None:
    """None was left out, and all of their documents and events passed."""
    assert afternoon.ran == every_command().keys()


def test_every_command_has_a_schema_and_the_files_are_current() -> None:
    """After a change: python -m modelvault.cli.documents.schema docs/reference/json."""
    assert OUTPUTS.keys() == every_command().keys()
    published = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert published == {name: encode_schema(schema) for name, schema in schemas().items()}
    index = (FOLDER / "README.md").read_text()
    assert [name for name in published if name not in index] == []


def test_one_artefact_has_the_same_words_everywhere(afternoon: Afternoon) -> None:
    """``reference`` and ``artifact`` of a model are equal in every command's document."""
    run = afternoon.run
    shown = run("show", MODEL)
    name = {"reference": shown["reference"], "artifact": shown["artifact"]}
    listed = next(row for row in run("list") if row["reference"] == name["reference"])
    assert {key: listed[key] for key in name} == name
    assert name in run("show", VARIANT)["parents"]
    assert name in run("bundle", "show", str(afternoon.folder / "medium"))["artifacts"]
    assert listed["added_at"] == shown["added_at"]


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(more=1),
        lambda document: document.pop("size"),
        lambda document: document.update(added_at="2026-11-27T17:41:11+00:00"),
        lambda document: document.update(artifact="abc"),
        lambda document: document["files"][0].update(size="1"),
    ],
)
def test_schema_refuses_what_is_not_promised(afternoon: Afternoon, change: Any) -> None:
    """Another key, a missing one, another form of time or digest, a size as text."""
    document = afternoon.run("show", MODEL)
    change(document)
    with pytest.raises(jsonschema.ValidationError):
        check_document("show", document)


def test_event_of_another_kind_is_refused() -> None:
    """A line on standard error is one of the known events, whole."""
    check_output(["list", "--json"], "", '{"event": "warning", "message": "x"}\n')
    for line in ('{"event": "other"}', '{"event": "warning"}', '{"event": "log", "message": "x"}'):
        with pytest.raises(jsonschema.ValidationError):
            check_output(["list", "--json"], "", line)


def test_times_have_one_form() -> None:
    """UTC, whole seconds, ``Z``, whatever zone a time was in; one without a zone is a defect."""
    zone = dt.timezone(dt.timedelta(hours=9))
    assert encode(dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=zone)) == "2026-01-01T18:04:05Z"
    with pytest.raises(ValueError, match="no time zone"):
        encode(dt.datetime(2026, 1, 2, 3, 4, 5))  # noqa: DTZ001 - that is the point


def test_values_that_json_has_no_word_for_are_refused() -> None:
    """Neither NaN nor a type that nobody has thought of slips through."""
    with pytest.raises(ValueError, match="JSON"):
        to_json({"rate": float("nan")})
    with pytest.raises(TypeError, match="no document holds a set"):
        encode({1})
    assert not issubclass(Artifact, Document)
    assert json.loads(to_json({"names": ("ä",)})) == {"names": ["ä"]}
