"""``convert --dry-run``: everything is told, nothing is written, nothing grows endlessly."""

from pathlib import Path

import pytest

from modelvault import fsio
from modelvault.app.conversion import plan as convert_plan
from modelvault.app.conversion.convert import convert
from modelvault.app.conversion.options import ConvertOptions, Target
from modelvault.app.conversion.plan import ConversionPlan, plan_conversion
from modelvault.app.vault import Vault
from modelvault.core.names import Reference
from modelvault.core.ports import Silence
from modelvault.errors import ConverterCrashed, NoSpace, UnsupportedSource
from tests.conversion.converter import Install

REFERENCE = Reference.parse("acme/tiny")
Q8 = Target(converter="fake", type="Q8_0")

LAYING = """
def lay(first, count, target="Q8_0"):
    say("laid", target=target, tensors=[
        dict(name=f"t{n}", type="Q8_0", shape=[2, 4], file="a.gguf", offset=64 * n, size=8)
        for n in range(first, first + count)])
"""


def plan(vault: Path, *targets: Target) -> ConversionPlan:
    """Return the plan of a conversion."""
    with Vault.open(vault) as opened:
        return plan_conversion(opened, REFERENCE, targets or (Q8,), ConvertOptions())


def test_plan_holds_every_tensor_and_writes_nothing(vault: Path, converter: Install) -> None:
    """Tensors of several events stand in order; warnings and free space are there too."""
    converter(
        LAYING + "planned(size=5000); lay(0, 500); lay(500, 700); say('warning', message='w')"
    )
    before = sorted(vault.rglob("*"))
    found = plan(vault)
    (target,) = found.targets
    assert [item.name for item in target.tensors] == [f"t{n}" for n in range(1200)]
    assert target.tensors[3].shape == (2, 4)
    assert (found.warnings, found.size, found.fits, target.stored) == (("w",), 5000, True, False)
    assert sorted(vault.rglob("*")) == before


def test_plan_says_what_the_vault_holds_already(vault: Path, converter: Install) -> None:
    """What would not be made again takes no room."""
    converter("(out / 'a.gguf').write_bytes(b'x'); planned(); produced()")
    with Vault.open(vault) as opened:
        convert(opened, REFERENCE, [Q8], ConvertOptions(), Silence())
    converter("planned()")
    found = plan(vault)
    assert (found.targets[0].stored, found.size) == (True, 0)


def test_attack_endless_plan_is_cut_off(
    vault: Path, converter: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converter, or a model that leads it on, cannot fill the vault's memory."""
    monkeypatch.setattr(convert_plan, "MOST_TENSORS", 2000)
    converter(LAYING + "planned()\nwhile True: lay(0, 400)")
    with pytest.raises(ConverterCrashed, match="more than 2000 tensors"):
        plan(vault)


def test_attack_line_beyond_the_limit_is_refused(vault: Path, converter: Install) -> None:
    """No event is read beyond its limit."""
    converter(LAYING + "planned(); lay(0, 50000)")
    with pytest.raises(ConverterCrashed, match="broke the protocol"):
        plan(vault)


def test_tensors_of_another_target_are_refused(vault: Path, converter: Install) -> None:
    """Only what was planned is laid out."""
    converter(LAYING + "planned(); lay(0, 1, target='F16')")
    with pytest.raises(ConverterCrashed, match="F16"):
        plan(vault)


def test_plan_tells_that_the_disk_is_too_small(
    vault: Path, converter: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the work, not after hours of it."""
    monkeypatch.setattr(fsio, "free_bytes", lambda _: 4999)
    converter("planned(size=5000)")
    assert not plan(vault).fits


TWO = [Target(converter="one", type="AWQ"), Target(converter="two", type="FP8")]
REFUSING = """
target = request["targets"][0]
if target == "FP8":
    say("failed", error="UnsupportedSource", message="not this one", hint="", issues=[])
    sys.exit()
planned(target)
if not request["plan_only"]:
    (out / "a.gguf").write_bytes(target.encode()); produced(target)
"""


def test_refusal_of_the_second_converter_comes_before_the_first_begins(
    vault: Path, converter: Install
) -> None:
    """Nobody waits hours for what was impossible from the start."""
    converter(REFUSING)
    with Vault.open(vault) as opened:
        with pytest.raises(UnsupportedSource, match="not this one"):
            convert(opened, REFERENCE, TWO, ConvertOptions(), Silence())
        assert len(list(opened.catalog.artifacts())) == 1


def test_several_converters_need_room_for_all_results(
    vault: Path, converter: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes are added up before the first begins."""
    monkeypatch.setattr(fsio, "free_bytes", lambda _: 150)
    converter("planned(request['targets'][0], size=100)")
    with Vault.open(vault) as opened, pytest.raises(NoSpace, match="200 bytes and 150 are free"):
        convert(opened, REFERENCE, TWO, ConvertOptions(), Silence())
