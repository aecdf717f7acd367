"""Converters are strangers: whatever the child does, the vault stays sound."""

import json
import sys
from pathlib import Path

import pytest

from modelvault.app.conversion.convert import convert
from modelvault.app.conversion.options import ConvertOptions, Target
from modelvault.app.conversion.plan import plan_conversion
from modelvault.app.vault import Vault
from modelvault.conversion import find_converter, run_converter
from modelvault.core.artifact import ConversionOrigin
from modelvault.core.names import Reference
from modelvault.core.ports import Silence
from modelvault.core.protocol import Request, Warned, encode_event, parse_event
from modelvault.errors import (
    BadOption,
    ConverterCrashed,
    ConverterMissing,
    ModelVaultError,
    UnsupportedArchitecture,
)
from tests.conversion.converter import PRELUDE, Install

REFERENCE = Reference.parse("acme/tiny")
TARGETS = [Target(converter="fake", type="Q8_0")]

GOOD = """
(out / "a.gguf").write_bytes(b"GGUF" + request["targets"][0].encode())
say("planned", target="Q8_0", size=8, tensors=1, parameters=8)
say("advanced", target="Q8_0", done=8)
say("warning", message="quality suffers")
produced()
"""


def test_result_is_recorded_with_its_lineage(vault: Path, converter: Install) -> None:
    """Parent, tools and parameters stand in the record; the licence travels along."""
    converter(GOOD)
    with Vault.open(vault) as opened:
        done = convert(opened, REFERENCE, TARGETS, ConvertOptions(), Silence())
        (artifact,) = done.artifacts
        parent = opened.catalog.find(REFERENCE).artifact
        origin = artifact.origin
        assert isinstance(origin, ConversionOrigin)
        assert (origin.parent, origin.tools["fake"]) == (parent.digest, "1")
        assert [entry.path for entry in opened.manifest(artifact).files] == ["LICENSE", "a.gguf"]
        assert done.warnings == ("quality suffers",)
        again = convert(opened, REFERENCE, TARGETS, ConvertOptions(), Silence())
        assert (again.artifacts, again.skipped) == ((), (artifact,))
        assert list(opened.store.paths.partials.glob("convert-*")) == []


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("os.kill(os.getpid(), 11)", "signal 11"),
        ("sys.exit(3)", "status 3"),
        ("raise MemoryError", "status 1"),
        ("print('hello')", "broke the protocol"),
        ("say('surprise')", "broke the protocol"),
        ("say('produced', target='Q8_0')", "broke the protocol"),
        ("print('[' * 100000)", "broke the protocol"),
        ("planned(size='much')", "broke the protocol"),
        ("produced(files=[1])", "broke the protocol"),
        ("produced(parameters={'a': 1})", "broke the protocol"),
        (
            "(out / 'a').touch(); produced(files=['a'], parameters={n: 'x' for n in range(300)})",
            "fits no record",
        ),
        ("produced(files=['missing.gguf'])", "unusable file"),
        ("os.mkfifo(out / 'p'); produced(files=['p'])", "unusable file"),
        ("produced(files=['../../../etc/passwd'])", "unusable file"),
        ("produced(files=['/etc/passwd'])", "unusable file"),
        ("(out / 'l').symlink_to('/etc/passwd'); produced(files=['l'])", "unusable file"),
        ("(out / 'a').write_bytes(b'x'); produced(files=['a', 'A'])", "unusable file"),
        ("(out / 'LICENSE').write_bytes(b'x'); produced(files=['LICENSE'])", "unusable file"),
    ],
)
def test_crashing_or_lying_converter_changes_nothing(
    vault: Path, converter: Install, program: str, message: str
) -> None:
    """The error says what the child did; nothing is catalogued, nothing lies about."""
    converter(program)
    with Vault.open(vault) as opened:
        with pytest.raises(ConverterCrashed, match=message):
            convert(opened, REFERENCE, TARGETS, ConvertOptions(), Silence())
        assert len(list(opened.catalog.artifacts())) == 1
        assert list(opened.store.paths.partials.glob("convert-*")) == []
    assert Path("/etc/passwd").exists()


def test_refusal_keeps_its_class_hint_and_issues(vault: Path, converter: Install) -> None:
    """What the converter refuses is raised as the error it names."""
    converter(
        "say('failed', error='UnsupportedArchitecture', message='no', hint='try', issues=['a'])"
    )
    with Vault.open(vault) as opened, pytest.raises(UnsupportedArchitecture) as caught:
        convert(opened, REFERENCE, TARGETS, ConvertOptions(), Silence())
    assert (caught.value.hint, caught.value.issues) == ("try", ("a",))


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "Iterable", "__name__", "NoSuchError"])
def test_attack_error_class_of_another_kind_is_a_crash(
    vault: Path, converter: Install, name: str
) -> None:
    """Only classes of the error tree can be named."""
    converter(f"say('failed', error={name!r}, message='x')")
    with Vault.open(vault) as opened, pytest.raises(ConverterCrashed):
        convert(opened, REFERENCE, TARGETS, ConvertOptions(), Silence())


def test_finished_target_survives_a_later_failure(vault: Path, converter: Install) -> None:
    """Results are recorded one by one."""
    converter(GOOD + "\nsys.exit(1)")
    targets = [*TARGETS, Target(converter="fake", type="F16")]
    with Vault.open(vault) as opened:
        with pytest.raises(ConverterCrashed):
            convert(opened, REFERENCE, targets, ConvertOptions(), Silence())
        labels = {item.artifact.label for item in opened.catalog.artifacts()}
    assert labels == {"acme/tiny", "acme/tiny:Q8_0"}


def test_plan_writes_nothing(vault: Path, converter: Install) -> None:
    """A dry run returns sizes and leaves the vault alone."""
    converter("say('planned', target='Q8_0', size=8, tensors=1, parameters=8)")
    with Vault.open(vault) as opened:
        plan = plan_conversion(opened, REFERENCE, TARGETS, ConvertOptions())
        (target,) = plan.targets
        assert (target.planned.size, target.planned.parameters, plan.fits) == (8, 8, True)
        assert len(list(opened.catalog.artifacts())) == 1


def test_child_is_killed_when_nobody_listens(tmp_path: Path) -> None:
    """An abandoned iteration does not leave a process behind."""
    script = tmp_path / "endless.py"
    mark = tmp_path / "pid"
    script.write_text(
        PRELUDE + f"pathlib.Path({str(mark)!r}).write_text(str(os.getpid()))\n"
        "while True: say('warning', message='x')"
    )
    request = Request(
        model="a/b", revision="0", license="", files=(), targets=(), output=str(tmp_path)
    )
    events = run_converter([sys.executable, str(script)], request)
    assert next(iter(events)) == Warned(message="x")
    events.close()  # type: ignore[attr-defined]
    assert not Path(f"/proc/{mark.read_text()}").exists()


def test_unknown_converter_lists_the_installed_ones() -> None:
    """The message names what there is."""
    with pytest.raises(ConverterMissing, match="gguf"):
        find_converter("onnx")


@pytest.mark.parametrize("text", ["gguf", "gguf:", ":Q8_0", "a b:c", "gguf:Q8_0:x", ""])
def test_malformed_target_is_bad_input(text: str) -> None:
    """--to is CONVERTER:TYPE."""
    with pytest.raises(BadOption):
        Target.parse(text)


def test_event_survives_a_round_trip() -> None:
    """What the child writes is what the vault reads."""
    event = Warned(message="über")
    assert parse_event(encode_event(event)) == event
    with pytest.raises(ModelVaultError):
        parse_event(json.dumps({"event": "warning", "message": "x", "more": 1}).encode())
