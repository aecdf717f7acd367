"""Whether a variant is already here, and what becomes of the one before."""

import os
from pathlib import Path
from typing import Any

import pytest

from modelvault.app.conversion.convert import Converted, convert
from modelvault.app.conversion.options import ConvertOptions, Target
from modelvault.app.conversion.results import OPTIONS
from modelvault.app.housekeeping import rebuild
from modelvault.app.vault import Vault
from modelvault.catalog.values import Event, Install
from modelvault.core.artifact import ConversionOrigin
from modelvault.core.names import Reference
from modelvault.core.ports import Silence
from modelvault.errors import BadOption, CheckFailed
from tests.conversion import converter as support
from tests.conversion.test_resuming import Voice

REFERENCE = Reference.parse("acme/tiny")
AWQ = Target.parse("awq")

MAKING = """
(out / "a.gguf").write_text(json.dumps(sorted(
    (k, pathlib.Path(v).read_text() if "/" in v else v) for k, v in request["options"].items()
    if k not in ("device", "check", "max_kl"))))
target = request["targets"][0]
planned(target)
produced(target, parameters={"kl.awq": "0.25", "perplexity.source": "8"})
"""


@pytest.fixture(autouse=True)
def _converter(converter: support.Install) -> None:
    converter(MAKING)


def make(
    vault: Path, target: Target = AWQ, voice: Voice | None = None, **options: object
) -> Converted:
    """Convert with these options."""
    with Vault.open(vault) as opened:
        chosen = ConvertOptions(**options)  # type: ignore[arg-type]
        return convert(opened, REFERENCE, [target], chosen, Silence(), voice=voice)


def variants(vault: Path) -> list[str]:
    """Return the identities of the variants in the vault."""
    with Vault.open(vault) as opened:
        return [str(item.digest) for item in opened.catalog.artifacts() if item.artifact.variant]


SHAPING = [
    {"parameters": {"samples": "64"}},
    {"parameters": {"sequence_length": "256"}},
    {"parameters": {"group_size": "64"}},
    {"parameters": {"seed": "3"}},
    {"parameters": {"pre_tokenizer": "llama-bpe"}},
]


@pytest.mark.parametrize("options", SHAPING)
def test_other_options_make_it_anew_and_the_same_do_not(
    vault: Path, options: dict[str, Any]
) -> None:
    """Every option that shapes the result counts."""
    assert make(vault).artifacts
    assert make(vault, **options).artifacts
    assert make(vault, **options).skipped
    assert make(vault).artifacts


def test_pipe_and_folder_are_no_text_and_said_to_be_none(vault: Path, tmp_path: Path) -> None:
    """A pipe is not waited for: the text is read twice, once for its digest."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(BadOption, match="not a regular file"):
            make(vault, calibration=path)


def test_calibration_counts_by_its_text(vault: Path, tmp_path: Path) -> None:
    """The same text under another name is the same; another text under the same name is not."""
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("text")
    two.write_text("text")
    assert make(vault, calibration=one).artifacts
    assert make(vault, calibration=two).skipped
    one.write_text("other text")
    assert make(vault, calibration=one).artifacts


def test_where_it_is_computed_does_not_count(vault: Path) -> None:
    """Device, threads and a check that was done change no byte."""
    assert make(vault).artifacts
    assert make(vault, device="cuda:1", threads=7, check=True).skipped


def test_one_before_gives_way_and_the_user_hears_of_it(vault: Path) -> None:
    """One reference means one artefact; no rebuild brings the old one back."""
    (old,) = make(vault).artifacts
    voice = Voice()
    done = make(vault, voice=voice, parameters={"seed": "3"})
    (new,) = done.artifacts
    assert done.replaced == (old,)
    assert voice.notes == [f"it replaces the acme/tiny:AWQ made before ({old.digest.short})"]
    assert variants(vault) == [str(new.digest)]
    with Vault.open(vault) as opened:
        rebuild(opened)
    assert variants(vault) == [str(new.digest)]


def test_one_before_stays_while_it_is_installed(vault: Path, tmp_path: Path) -> None:
    """What a runtime serves is not forgotten behind its back."""
    (old,) = make(vault).artifacts
    with Vault.open(vault) as opened:
        install = Install(
            artifact=old.digest,
            target="vllm",
            name="tiny",
            location=str(tmp_path),
            receipt=b"{}",
        )
        opened.catalog.add_install(install, event=Event(verb="install", subject="x", details={}))
    voice = Voice()
    done = make(vault, voice=voice, parameters={"seed": "3"})
    assert done.replaced == ()
    (note,) = voice.notes
    assert "stays: installed in vllm as tiny" in note
    assert len(variants(vault)) == 2


def test_result_too_far_off_is_refused_without_work(vault: Path) -> None:
    """It was measured when it was made; a second run would measure the same."""
    make(vault)
    with pytest.raises(CheckFailed, match=r"0\.25 nats a token .* more than --max-kl 0\.1"):
        make(vault, max_kl=0.1)
    assert make(vault, max_kl=0.3).skipped


def test_record_of_an_earlier_release_is_the_same_without_options(vault: Path) -> None:
    """It says what came of its options, not what they were."""
    (made,) = make(vault).artifacts
    with Vault.open(vault) as opened:
        origin = made.origin
        assert isinstance(origin, ConversionOrigin)
        del origin.parameters[OPTIONS]  # type: ignore[attr-defined]
        manifest = opened.manifest(made)
        opened.keep(made, manifest)
        event = Event(verb="convert", subject="x", details={})
        opened.catalog.add_artifact(made, manifest, event=event)
    assert make(vault).skipped == (made,)
    assert make(vault, parameters={"seed": "3"}).artifacts


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", "cuda:0;", ""])
def test_device_that_is_none_is_bad_input(device: str) -> None:
    """Before a converter starts."""
    with pytest.raises(BadOption, match="--device"):
        ConvertOptions(device=device)


def test_device_reaches_the_converter(vault: Path, converter: support.Install) -> None:
    """As the option of that name."""
    converter(MAKING + "say('warning', message=request['options']['device'])")
    assert make(vault, device="cuda:1").warnings == ("cuda:1",)


TWO = """
target = request["targets"][0]
planned(target)
if request["plan_only"]:
    sys.exit()
if target != "FP8":
    message = f"{target} diverges"
    say("failed", error="CheckFailed", message=message, hint="allow more", issues=[message])
    sys.exit()
(out / "a.gguf").write_text(target)
produced(target)
"""


def test_failed_check_of_one_target_hinders_no_other(
    vault: Path, converter: support.Install
) -> None:
    """All others are made; the error names every target that failed."""
    converter(TWO)
    voice = Voice()
    targets = [Target.parse(name) for name in ("awq", "fp8", "w4a16")]
    with Vault.open(vault) as opened:
        with pytest.raises(CheckFailed, match="AWQ diverges; W4A16 diverges") as caught:
            convert(opened, REFERENCE, targets, ConvertOptions(), Silence(), voice=voice)
        labels = {item.artifact.label for item in opened.catalog.artifacts()}
    assert caught.value.issues == ("AWQ diverges", "W4A16 diverges")
    assert labels == {"acme/tiny", "acme/tiny:FP8"}
    assert voice.notes == ["finished and kept: acme/tiny:FP8"]


def test_short_and_long_spelling_are_one_target() -> None:
    """``awq:fp8`` is what ``fp8`` is."""
    assert Target.parse("awq:FP8") == Target.parse("fp8")
    assert Target.parse("W4A16") == Target(converter="w4a16", type="W4A16")


def test_option_goes_to_the_converter_that_has_a_use_for_it(
    vault: Path, converter: support.Install, tmp_path: Path
) -> None:
    """Of one command: what shapes one target neither reaches nor shapes another."""
    calibration = tmp_path / "text"
    calibration.write_text("text")
    options = ConvertOptions(
        parameters={"pre_tokenizer": "llama-bpe", "seed": "3"}, calibration=calibration
    )
    targets = [Target.parse(name) for name in ("gguf:Q8_0", "awq", "fp8")]
    converter(MAKING + "say('warning', message=f'{target}: {sorted(request[\"options\"])}')")
    with Vault.open(vault) as opened:
        done = convert(opened, REFERENCE, targets, options, Silence())
    assert done.warnings == (
        "Q8_0: ['pre_tokenizer']",
        "AWQ: ['calibration', 'seed']",
        "FP8: []",
    )
    assert make(vault, Target.parse("fp8")).skipped
    with Vault.open(vault) as opened:
        assert len(convert(opened, REFERENCE, targets, options, Silence()).skipped) == 3


def test_option_that_no_target_has_a_use_for_is_not_lost(
    vault: Path, converter: support.Install
) -> None:
    """It reaches the converter, which refuses it by name."""
    converter(MAKING + "say('warning', message=str(sorted(request['options'])))")
    done = make(vault, Target.parse("gguf:Q8_0"), device="cpu", parameters={"seed": "3"})
    assert done.warnings == ("['device', 'seed']",)
