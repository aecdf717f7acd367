"""``convert`` as the vault sees it: lineage, what is made anew, and warnings about quality."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelvault.app.conversion.convert import Converted, convert
from modelvault.app.conversion.options import ConvertOptions, Target
from modelvault.app.conversion.warnings import other_languages, quality_warnings
from modelvault.app.vault import Vault
from modelvault.core.artifact import Artifact, ConversionOrigin, FolderOrigin
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName, Reference
from modelvault.core.ports import Silence
from modelvault.errors import BadOption
from tests.support.command import Site
from tests.support.imatrix import measured, write_imatrix
from tests.support.tinymodel import make_tiny_llama

MODEL = "test/tiny"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a site whose vault holds a tiny model."""
    folder = tmp_path_factory.mktemp("convert")
    make_tiny_llama(folder / "tiny")
    site = Site(folder / "home")
    site.run("pull", folder / "tiny", "--as", MODEL).ok()
    return site


@pytest.fixture
def vault(site: Site) -> Iterator[Vault]:
    """Return the site's vault, open."""
    with Vault.open(site.vault) as opened:
        yield opened


def make(vault: Vault, type_: str, **options: Any) -> Converted:
    """Convert the model to one type."""
    target = Target(converter="gguf", type=type_)
    return convert(vault, Reference.parse(MODEL), [target], ConvertOptions(**options), Silence())


def lineage(vault: Vault, variant: str) -> dict[str, str]:
    """Return the parameters in the lineage of a variant."""
    origin = vault.catalog.find(Reference.parse(f"{MODEL}:{variant}")).artifact.origin
    assert isinstance(origin, ConversionOrigin)
    return dict(origin.parameters)


def test_another_importance_matrix_makes_the_variant_anew(vault: Vault, tmp_path: Path) -> None:
    """The same matrix is no reason to convert again; another, or none, is."""
    entries = measured({"blk.0.ffn_up.weight": (1, 256)})
    one = write_imatrix(tmp_path / "one.gguf", entries, chunks=1)
    two = write_imatrix(tmp_path / "two.gguf", entries, chunks=2)
    assert make(vault, "Q4_0", imatrix=one).artifacts
    assert lineage(vault, "Q4_0")["imatrix_chunks"] == "1"
    assert make(vault, "Q4_0", imatrix=one).skipped
    assert make(vault, "Q4_0", imatrix=two).artifacts
    assert lineage(vault, "Q4_0")["imatrix_chunks"] == "2"
    assert make(vault, "Q4_0").artifacts
    assert "imatrix" not in lineage(vault, "Q4_0")


def test_matrix_does_not_make_floats_anew(vault: Vault, tmp_path: Path) -> None:
    """Types without blocks do not depend on a matrix."""
    assert make(vault, "F16").artifacts
    entries = measured({"blk.0.ffn_up.weight": (1, 256)})
    matrix = write_imatrix(tmp_path / "matrix.gguf", entries)
    assert make(vault, "F16", imatrix=matrix).skipped


def test_missing_matrix_is_refused_by_name(vault: Vault, tmp_path: Path) -> None:
    """A file that is not there is the command line's fault."""
    with pytest.raises(BadOption, match=r"--imatrix .*none\.gguf"):
        make(vault, "Q4_K_S", imatrix=tmp_path / "none.gguf")


def test_command_takes_a_matrix_and_shows_it(site: Site, tmp_path: Path) -> None:
    """``--imatrix`` reaches the converter, and ``show`` tells of it afterwards."""
    entries = measured({"blk.0.ffn_up.weight": (1, 256)})
    matrix = write_imatrix(tmp_path / "matrix.gguf", entries)
    made = site.run("convert", MODEL, "--to", "gguf:IQ4_XS", "--imatrix", matrix).ok()
    assert "importance matrix says nothing of 13 tensors" in made.stderr
    assert "Korean" in made.stderr
    assert "sha256:" in site.run("show", f"{MODEL}:IQ4_XS").ok().stdout


def described(language: str) -> Artifact:
    """Return a source whose card names these languages."""
    return Artifact(
        model=ModelName.parse(MODEL),
        revision="0" * 40,
        variant=None,
        format="safetensors",
        quantization=None,
        manifest=Digest.of(b""),
        license=None,
        card={"language": language} if language else {},
        origin=FolderOrigin(label="tiny"),
    )


def test_few_bits_are_warned_of() -> None:
    """Three bits and fewer cost everywhere; four bits and more do not in English."""
    (warning,) = quality_warnings(described("en"), ["Q3_K_L", "Q2_K", "Q4_K_M", "Q8_0"])
    assert warning.startswith("Q3_K_L, Q2_K:")
    assert quality_warnings(described(""), ["Q4_K_M", "IQ4_XS", "Q5_K_M"]) == []


def test_other_languages_are_told_to_take_more_bits() -> None:
    """Korean at four bits: the warning names the language and what to take."""
    (warning,) = quality_warnings(described("en, ko"), ["Q4_K_M", "Q5_K_M"])
    assert warning.startswith("Q4_K_M:")
    assert "Korean" in warning
    assert "Q5_K_M" in warning
    assert quality_warnings(described("ko"), ["Q5_K_M", "Q6_K", "F16"]) == []


def test_languages_are_read_off_the_card() -> None:
    """However the card lists them, English is not among the others, and none stands twice."""
    assert other_languages("en, ko, ko") == ["Korean"]
    assert other_languages('["en", "ja", "sw"]') == ["Japanese", "sw"]
    assert other_languages("en") == []


def test_check_stands_in_the_lineage_and_shows(site: Site) -> None:
    """``--check`` runs the result; ``show`` tells how it fared; a second run is spared."""
    command = ("convert", MODEL, "--to", "gguf:Q8_0", "--check")
    site.run(*command).ok()
    shown = site.run("show", f"{MODEL}:Q8_0").ok().stdout
    assert "check_kl" in shown
    assert "check_perplexity" in shown
    assert "already here" in site.run(*command).ok().stdout


def test_result_too_far_off_is_not_kept(site: Site) -> None:
    """``--max-kl``: the command fails, and the vault holds no such variant."""
    outcome = site.run("convert", MODEL, "--to", "gguf:Q2_K", "--max-kl", "0.0001")
    assert outcome.status == 7
    assert "Q2_K diverges" in outcome.stderr
    assert site.run("show", f"{MODEL}:Q2_K").status == 3
