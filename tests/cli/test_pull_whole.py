"""``pull`` takes the whole model, and says what it leaves."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.test_stand_ins import POINTER
from tests.support.command import Site
from tests.support.hub.hub import LoopbackHub

FILES = {
    "config.json": b"{}",
    "model.safetensors": b"w" * 5000,
    "pytorch_model.bin": b"p" * 4000,
    "tf_model.h5": b"t" * 3000,
    "speakers.pt": b"s" * 200,
    "vocoder/model.pth": b"v" * 100,
}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub with a speech model, quantisations and a dataset."""
    with LoopbackHub() as hub:
        hub.add("acme/speech", FILES)
        hub.add(
            "acme/vision-GGUF",
            {
                "vision-Q4_K_M-00001-of-00002.gguf": b"a" * 99,
                "vision-Q4_K_M-00002-of-00002.gguf": b"b" * 99,
                "vision-Q8_0.gguf": b"c" * 99,
                "vision-mmproj-f16.gguf": b"m" * 99,
                "README.md": b"---\nlicense: mit\n---\n",
            },
        )
        hub.add("datasets/acme/sounds", {"a.npz": b"n", "a.safetensors": b"s", "a.bin": b"b"})
        yield hub


@pytest.fixture
def site(tmp_path: Path, hub: LoopbackHub) -> Site:
    """Return a site whose hub is the loopback hub."""
    return Site(tmp_path / "site", HF_ENDPOINT=hub.endpoint)


def held(site: Site, reference: str) -> list[str]:
    """Return the paths of what the vault holds under a reference."""
    document = site.run("show", reference, "--json").ok().document
    return [file["path"] for file in document["files"]]


def test_needed_files_come_and_copies_are_named_in_every_mode(site: Site) -> None:
    """On the terminal, under --quiet, in ``show``, in the log; the advice brings one artefact."""
    done = site.run("pull", "acme/speech", "--quiet").ok()
    left = {"pytorch_model.bin", "tf_model.h5"}
    assert held(site, "acme/speech") == sorted(FILES.keys() - left)
    for shown in (done.stderr, site.run("show", "acme/speech").ok().stdout):
        for path in left:
            assert path in shown
        assert "safetensors hold the same weights" in shown
    (event,) = site.run("history", "acme/speech", "--json").ok().document
    assert left <= {*json.loads(event["details"]["left_out_files"])[0]["files"]}
    assert "--include '*'" in done.stderr
    whole = site.run("pull", "acme/speech", "--include", "*").ok()
    assert "in place of sha256:" in whole.stdout
    assert held(site, "acme/speech") == sorted(FILES)
    assert len(site.run("list", "--json").ok().document) == 1
    assert site.run("show", "acme/speech", "--json").ok().document["left_out"] == []


def test_list_says_what_each_of_its_lines_left_out(site: Site, tmp_path: Path) -> None:
    """On standard error with the line's name, under --quiet too, and in the document."""
    models = tmp_path / "models.txt"
    models.write_text("acme/speech\nacme/vision-GGUF:q4_k_m\n")
    done = site.run("pull", "--from-file", models, "--json").ok()
    speech, vision = done.document["entries"]
    assert {item["path"] for item in speech["left_out"]} == {"pytorch_model.bin", "tf_model.h5"}
    assert {item["path"] for item in vision["left_out"]} == {"vision-Q8_0.gguf"}
    again = Site(tmp_path / "again", HF_ENDPOINT=site._environment["HF_ENDPOINT"])
    quiet = again.run("pull", "--from-file", models, "--quiet").ok()
    assert "warning: acme/speech@main: left out: pytorch_model.bin" in quiet.stderr


def test_dataset_is_taken_whole(site: Site) -> None:
    """No file of it is anybody's copy."""
    site.run("pull", "--dataset", "acme/sounds").ok()
    assert held(site, "datasets.acme/sounds") == ["a.bin", "a.npz", "a.safetensors"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("acme/vision-GGUF:Q4_K_M",),
        ("hf.co/acme/vision-GGUF:q4_k_m",),
        ("acme/vision-GGUF", "--include", "*Q4_K_M*"),
        ("https://huggingface.co/acme/vision-GGUF/blob/main/vision-Q4_K_M-00002-of-00002.gguf",),
    ],
)
def test_chosen_quantisation_comes_with_all_that_it_needs(
    site: Site, arguments: tuple[str, ...]
) -> None:
    """Every part, and the projector: by type, by pattern, by the address of one file."""
    done = site.run("pull", *arguments).ok()
    weights = [path for path in held(site, "acme/vision-GGUF") if path.endswith(".gguf")]
    assert weights == [
        "vision-Q4_K_M-00001-of-00002.gguf",
        "vision-Q4_K_M-00002-of-00002.gguf",
        "vision-mmproj-f16.gguf",
    ]
    assert "vision-mmproj-f16.gguf comes along" in done.stderr


def test_projector_is_no_model_of_its_type(site: Site) -> None:
    """``F16`` names the projector alone, which is refused with the types that there are."""
    done = site.run("pull", "acme/vision-GGUF:F16")
    assert done.status == 3
    assert "there are: Q4_K_M, Q8_0" in done.stderr
    other = site.run("pull", "acme/speech:Q4_K_M")
    assert other.status == 2
    assert "modelvault convert acme/speech --to gguf:Q4_K_M" in other.stderr


def test_folder_that_is_not_whole_is_refused_with_all_that_is_wrong(
    site: Site, tmp_path: Path
) -> None:
    """Pointers, half files and absent parts are told here, not on the far side."""
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    (folder / "model-00001-of-00002.safetensors").write_bytes(POINTER)
    (folder / "extra.gguf").write_bytes(b"GGUF" * 500)
    (folder / "extra.gguf.aria2").write_bytes(b"control")
    (folder / "half.bin.incomplete").write_bytes(b"half")
    done = site.run("pull", folder, "--as", "acme/clone")
    assert done.status == 2
    for words in (
        "model-00001-of-00002.safetensors: a Git LFS pointer",
        "git lfs pull",
        "extra.gguf.aria2 stands beside it",
        "half.bin.incomplete: an unfinished download",
        "model-00002-of-00002.safetensors",
    ):
        assert words in done.stderr
    assert not site.vault.exists()
    insisted = site.run("pull", folder, "--as", "acme/clone", "--include", "*").ok()
    assert "Git LFS pointer" in insisted.stderr
    (folder / "extra.gguf.aria2").unlink()
    left = ("--exclude", "*.safetensors", "--exclude", "*.incomplete")
    site.run("pull", folder, "--as", "acme/rest", *left).ok()


def test_unfinished_download_of_the_hubs_client_is_told(site: Site, tmp_path: Path) -> None:
    """Its own bookkeeping says that files are still to come."""
    folder = tmp_path / "local"
    download = folder / ".cache" / "huggingface" / "download"
    download.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (download / "x.y.incomplete").write_bytes(b"half")
    done = site.run("pull", folder, "--as", "acme/local").ok()
    assert "1 unfinished downloads of the Hub's client" in done.stderr


def test_one_bad_name_does_not_refuse_the_rest(site: Site, hub: LoopbackHub) -> None:
    """The pattern that the refusal names is the way in."""
    hub.add("acme/odd", {"config.json": b"{}", "notes: draft.txt": b"x", "cafe\u0301.txt": b"y"})
    refused = site.run("pull", "acme/odd")
    assert refused.status == 2
    assert "--exclude 'notes? draft.txt'" in refused.stderr
    done = site.run("pull", "acme/odd", "--exclude", "notes? draft.txt").ok()
    assert held(site, "acme/odd") == ["café.txt", "config.json"]
    assert "NFC" in done.stderr


def test_pull_says_to_what_the_model_can_be_converted(site: Site, hub: LoopbackHub) -> None:
    """Before bytes are fetched, in the plan and in the document; a known reason where it cannot."""
    unknown = {"architectures": ["HyperCLOVAXForCausalLM"]}
    hub.add("acme/unknown", {**FILES, "config.json": json.dumps(unknown).encode()})
    planned = site.run("pull", "acme/unknown", "--dry-run").ok().stdout
    assert "cannot be converted to gguf: no family of the converter is HyperCLOVAX" in planned
    pulled = site.run("pull", "acme/unknown", "--json").ok().document
    answers = {item["converter"]: item for item in pulled["conversions"]}
    assert answers["gguf"]["targets"] == []
    assert "HyperCLOVAX" in answers["awq"]["reason"]
