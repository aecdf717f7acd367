"""Artefacts named by digest, listed with totals, removed several at once."""

from pathlib import Path

import pytest

from tests.support.command import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site with two models that share their weights, and two revisions of one."""
    site = Site(tmp_path / "site")
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"w" * 1000)
    (model / "tokenizer.json").write_bytes(b'{"t": 1}')
    (model / "config.json").write_bytes(b"{}")
    site.run("pull", model, "--as", "acme/one").ok()
    (model / "config.json").write_bytes(b"{ }")
    site.run("pull", model, "--as", "acme/one").ok()
    site.run("pull", model, "--as", "acme/two").ok()
    return site


def ids(site: Site) -> list[str]:
    """Return the identities that the list shows, in its order."""
    lines = site.run("list").ok().stdout.splitlines()
    assert lines[0].split()[:2] == ["ID", "REFERENCE"]
    return [line.split()[0] for line in lines[1:-1]]


def test_list_shows_identities_and_totals(site: Site) -> None:
    """Each artefact can be told from its like, and the last line sums them up."""
    lines = site.run("list").ok().stdout.splitlines()
    documents = site.run("list", "--json").ok().document
    assert [row["artifact"].removeprefix("sha256:")[:12] for row in documents] == ids(site)
    assert lines[-1] == "3 artefacts of 2 models, 3.0 kB"


def test_list_is_filtered_and_sorted(site: Site) -> None:
    """By what the columns show; an unknown key is an error, nothing found is not."""
    shown = site.run("list", "--filter", "model=acme/one", "--sort=-added", "--json").ok().document
    assert [row["reference"].partition("@")[0] for row in shown] == ["acme/one", "acme/one"]
    assert shown[0]["added_at"] >= shown[1]["added_at"]
    assert site.run("list", "--filter", "format=gguf", "--json").ok().document == []
    assert "fits the filter" in site.run("list", "--filter", "format=gguf").ok().stderr
    refused = site.run("list", "--filter", "colour=red")
    assert refused.status == 2
    assert "license" in refused.stderr


def test_digest_works_wherever_a_reference_does(site: Site, tmp_path: Path) -> None:
    """Whole, or so much of it as the list shows: show, verify, export, install, history."""
    old, new, _ = ids(site)
    full = site.run("show", old, "--json").ok().document["artifact"]
    assert full.startswith(f"sha256:{old}")
    assert site.run("show", full, "--json").ok().document["artifact"] == full
    verified = site.run("verify", old, "--json").ok().document["artifacts"]
    assert [item["artifact"] for item in verified] == [full]
    bundle = tmp_path / "bundle"
    exported = site.run("export", old, "--bundle", bundle, "--dry-run", "--json").ok().document
    assert [item["artifact"] for item in exported["artifacts"]] == [full]
    folder = tmp_path / "models"
    site.run("install", old, "--to", "vllm", "--dir", folder).ok()
    site.run("uninstall", old).ok()
    told = site.run("history", old, "--json").ok().document
    assert [event["verb"] for event in told] == ["pull", "verify", "install", "uninstall"]
    assert [event["verb"] for event in site.run("history", new, "--json").ok().document] == ["pull"]


def test_start_that_fits_several_is_refused_and_lists_them(site: Site) -> None:
    """Here a manifest that two models share: both are named, and nothing is done."""
    shown = site.run("show", "acme/two", "--json").ok().document
    manifest = shown["record"]["manifest"]
    refused = site.run("remove", manifest)
    assert refused.status == 2
    assert "2 artefacts" in refused.stderr
    assert "acme/one@" in refused.stderr
    assert "acme/two@" in refused.stderr
    assert len(ids(site)) == 3


def test_remove_asks_which_of_several(site: Site) -> None:
    """A name without a revision is no order to remove the newest; digests tell them apart."""
    refused = site.run("remove", "acme/one")
    assert refused.status == 2
    old, new, _ = ids(site)
    assert old in refused.stderr
    assert new in refused.stderr
    removed = site.run("remove", old, "--json").ok().document
    assert [item["artifact"][7:19] for item in removed["artifacts"]] == [old]
    site.run("remove", "acme/one").ok()
    assert len(ids(site)) == 1


def test_remove_takes_several_or_none(site: Site, tmp_path: Path) -> None:
    """One that is unknown or installed keeps all; every reason is told at once."""
    old, new, other = ids(site)
    refused = site.run("remove", old, "acme/three", "0000000000")
    assert refused.status == 3
    assert "acme/three" in refused.stderr
    assert "0000000000" in refused.stderr
    site.run("install", "acme/two", "--to", "vllm", "--dir", tmp_path / "models").ok()
    for more in ((), ("--dry-run",)):
        assert site.run("remove", old, "acme/two", *more).status == 8
    assert ids(site) == [old, new, other]
    planned = site.run("rm", old, new, "--dry-run", "--json").ok().document
    assert (planned["dry_run"], len(planned["artifacts"])) == (True, 2)
    assert planned["freed_size"] == 2  # the older configuration; the weights are acme/two's, too
    assert ids(site) == [old, new, other]
    done = site.run("rm", old, new, "--json").ok().document
    assert {**planned, "dry_run": False} == done
    assert ids(site) == [other]
    verbs = [event["verb"] for event in site.run("history", "acme/one", "--json").ok().document]
    assert verbs == ["pull", "pull", "remove", "remove"]
    assert site.run("rebuild", "--json").ok().document["artifacts"] == [
        {"reference": row["reference"], "artifact": row["artifact"]}
        for row in site.run("ls", "--json").ok().document
    ]


def test_history_follows_a_revision_that_was_removed(site: Site) -> None:
    """By commit, its start or its digest: what is gone keeps its history."""
    old, _, _ = ids(site)
    shown = site.run("show", old, "--json").ok().document
    reference = shown["reference"]
    site.run("remove", old).ok()
    for name in (reference, reference[:-20], shown["artifact"], old):
        told = site.run("history", name, "--json").ok().document
        assert [event["verb"] for event in told] == ["pull", "remove"], name
    nothing = site.run("history", "acme/nothing").ok()
    assert (nothing.stdout, nothing.stderr) == ("", "the log tells nothing of acme/nothing\n")


def test_short_names_of_commands_work_everywhere(site: Site) -> None:
    """``ls`` and ``rm``, in groups too, and help says so."""
    assert site.run("ls").ok().stdout == site.run("list").ok().stdout
    site.run("key", "generate").ok()
    assert site.run("key", "ls").ok().stdout == site.run("key", "list").ok().stdout
    assert site.run("trust", "rm", "SHA256:abc").status == 3
    assert "(or: ls)" in site.run("--help").ok().stdout


def test_du_tells_what_each_model_takes_and_shares(site: Site) -> None:
    """Bytes on the disk are counted once; what other models hold is named apart."""
    used = site.run("du", "--json").ok().document
    assert (used["size"], used["stored_size"]) == (3032, 1013)
    assert [
        (item["model"], item["stored_size"], item["shared_size"]) for item in used["models"]
    ] == [
        ("acme/one", 1013, 1011),
        ("acme/two", 1011, 1011),
    ]
    lines = site.run("du").ok().stdout.splitlines()
    assert lines[0].split() == ["MODEL", "ARTEFACTS", "SIZE", "ON", "DISK", "SHARED"]
    assert lines[-1].startswith("3 artefacts of 2 models: 3.0 kB, 1.0 kB on disk")
    (site.vault / "partial" / "rest").write_bytes(b"x" * 5000)
    assert site.run("du", "--json").ok().document["unfinished_size"] >= 5000
