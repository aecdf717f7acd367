"""A conversion that was cut short goes on where it was, and only that one."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelvault.app.conversion.convert import Converted, convert
from modelvault.app.conversion.options import ConvertOptions, Target
from modelvault.app.conversion.work_folder import resumable_folder
from modelvault.app.housekeeping import collect_garbage, remove
from modelvault.app.vault import Vault
from modelvault.core.artifact import Artifact
from modelvault.core.names import Reference
from modelvault.core.ports import Silence
from modelvault.errors import (
    BadOption,
    CheckFailed,
    ConverterCrashed,
    Interrupted,
    NoSpace,
    NotEnoughMemory,
    StorageError,
    VaultBusy,
)
from tests.conversion.converter import Install

REFERENCE = Reference.parse("acme/tiny")
AWQ = Target(converter="awq", type="AWQ")

LAYERED = """
target = request["targets"][0]
if request["plan_only"]:
    planned(target, size=4)
    sys.exit()
layers = out / "layers"
mark = out / "resume.json"
if not mark.exists():
    layers.write_text("")
    mark.write_text("{}")
first = not layers.read_text()
planned(target, size=4)
for number in range(len(layers.read_text()), 4):
    with open(layers, "a") as file:
        file.write(str(number))
    say("advanced", target=target, done=number + 1)
    if first and number == 1 and TARGET in target:
        FAIL
(out / "a.gguf").write_text(layers.read_text() + target)
produced(target)
"""
"""Four layers."""

CRASH = "os.kill(os.getpid(), 9)"
SMALL = "say('failed', error='NotEnoughMemory', message='m', hint='', issues=[]); sys.exit()"
FULL = "say('failed', error='NoSpace', message='full', hint='', issues=[]); sys.exit()"
REFUSED = "say('failed', error='BadOption', message='no', hint='', issues=[]); sys.exit()"
CHECKED = "say('failed', error='CheckFailed', message='off', hint='', issues=[]); sys.exit()"


class Voice:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        """Keep it."""
        self.notes.append(message)

    def warn(self, message: str) -> None:
        """Keep it."""


class Counting(Silence):
    """Keeps what each task began with."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Keep it."""
        self.begun[task] = done


def program(failure: str, target: str = "") -> str:
    """Return a converter that fails so in its second layer, unless it goes on.

    Args:
        failure: Python.
        target: Which one fails; empty for any.
    """
    return LAYERED.replace("FAIL", failure).replace("TARGET", repr(target))


def run(vault: Path, *targets: Target, voice: Voice | None = None, **options: str) -> Converted:
    """Convert the model."""
    with Vault.open(vault) as opened:
        parameters = ConvertOptions(parameters=options)
        wanted = targets or (AWQ,)
        return convert(opened, REFERENCE, wanted, parameters, Silence(), voice=voice)


def folders(vault: Path) -> list[Path]:
    """Return the working folders that are there."""
    return sorted((vault / "partial").glob("convert-*"))


def content(vault: Path, variant: str = "AWQ") -> bytes:
    """Return the file of a variant."""
    with Vault.open(vault) as opened:
        found = opened.catalog.find(Reference.parse(f"acme/tiny:{variant}")).artifact
        (entry,) = [item for item in opened.manifest(found).files if item.path == "a.gguf"]
        return opened.store.read(entry.digest, limit=100)


@pytest.mark.parametrize(
    ("failure", "error"),
    [(CRASH, ConverterCrashed), (FULL, NoSpace), (SMALL, NotEnoughMemory)],
)
def test_same_command_goes_on_after_what_is_no_fault_of_the_work(
    vault: Path, converter: Install, failure: str, error: type[Exception]
) -> None:
    """The folder is kept, handed again, and gone when the work is done."""
    converter(program(failure))
    with pytest.raises(error):
        run(vault)
    assert len(folders(vault)) == 1
    voice = Voice()
    run(vault, voice=voice)
    assert voice.notes == ["continuing an interrupted conversion to AWQ"]
    assert content(vault) == b"0123AWQ"
    assert folders(vault) == []


def test_progress_of_a_resumed_run_begins_where_it_was(vault: Path, converter: Install) -> None:
    """Bytes of the interrupted run do not count into this one's rate."""
    converter(program(CRASH))
    with pytest.raises(ConverterCrashed):
        run(vault)
    progress = Counting()
    with Vault.open(vault) as opened:
        convert(opened, REFERENCE, [AWQ], ConvertOptions(), progress)
    assert progress.begun == {"AWQ": 3}


@pytest.mark.parametrize(("failure", "error"), [(REFUSED, BadOption), (CHECKED, CheckFailed)])
def test_refused_work_leaves_nothing(
    vault: Path, converter: Install, failure: str, error: type[Exception]
) -> None:
    """There is nothing to go on with."""
    converter(program(failure))
    with pytest.raises(error):
        run(vault)
    assert folders(vault) == []


def test_crash_without_a_mark_leaves_nothing(vault: Path, converter: Install) -> None:
    """A converter that cannot be resumed begins anew, in an empty folder."""
    converter("(out / 'half').touch(); assert len(list(out.iterdir())) == 1; " + CRASH)
    for _ in range(2):
        with pytest.raises(ConverterCrashed, match="signal 9"):
            run(vault)
        assert folders(vault) == []


def test_attack_mark_that_is_a_link_is_none(vault: Path, converter: Install) -> None:
    """Only a file of the folder itself keeps it."""
    converter("(out / 'resume.json').symlink_to('/etc/passwd'); " + CRASH)
    with pytest.raises(ConverterCrashed):
        run(vault)
    assert folders(vault) == []


def test_other_work_neither_uses_nor_removes_the_folder(
    vault: Path, converter: Install, tmp_path: Path
) -> None:
    """Options, files that options name, targets and converters each make other work."""
    converter(program(CRASH))
    with pytest.raises(ConverterCrashed):
        run(vault)
    (kept,) = folders(vault)
    calibration = tmp_path / "text"
    for text in ("one", "two"):
        calibration.write_text(text)
        options = ConvertOptions(calibration=calibration)
        with Vault.open(vault) as opened, pytest.raises(ConverterCrashed):
            convert(opened, REFERENCE, [AWQ], options, Silence())
    with pytest.raises(ConverterCrashed):
        run(vault, seed="1")
    with pytest.raises(ConverterCrashed):
        run(vault, Target(converter="w4a16", type="W4A16"))
    assert len(folders(vault)) == 5
    assert kept in folders(vault)
    with Vault.open(vault) as opened:  # more threads make the same work
        convert(opened, REFERENCE, [AWQ], ConvertOptions(threads=3), Silence())
    assert kept not in folders(vault)


def test_each_single_type_is_resumed_by_itself(vault: Path, converter: Install) -> None:
    """What was finished is not made again; the second target goes on."""
    targets = [Target.parse("awq"), Target.parse("w4a16")]
    converter(program(CRASH, "W4A16"))
    with pytest.raises(ConverterCrashed):
        run(vault, *targets)
    assert content(vault) == b"0123AWQ"
    voice = Voice()
    done = run(vault, *targets, voice=voice)
    assert [item.variant for item in done.skipped] == ["AWQ"]
    assert voice.notes == ["continuing an interrupted conversion to W4A16"]
    assert content(vault, "W4A16") == b"0123W4A16"


def test_failure_while_the_result_is_hashed_loses_nothing(
    vault: Path, converter: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until every file is hashed none has moved: the same command finishes the work."""
    converter(program("pass") + "(out / 'b.gguf').write_text('b')\n")

    def fail(path: Path, **_: object) -> None:
        raise StorageError(f"{path.name} cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr("modelvault.app.conversion.results.hash_file", fail)
        with pytest.raises(StorageError, match=r"a\.gguf"):
            run(vault)
    (folder,) = folders(vault)
    assert (folder / "a.gguf").exists()
    run(vault)
    assert content(vault) == b"0123AWQ"


def interrupt(vault: Vault, parent: Artifact, key: str, *names: str) -> None:
    """Press control-C when these files are in the working folder."""
    with resumable_folder(vault, parent, key) as folder:
        for name in names:
            (folder.path / name).touch()
        raise KeyboardInterrupt


def test_interrupt_keeps_the_folder_and_says_so(vault: Path) -> None:
    """Control-C: what is done is kept, where the converter left its mark."""
    with Vault.open(vault) as opened:
        parent = opened.catalog.find(REFERENCE).artifact
        with pytest.raises(Interrupted, match="leaves nothing"):
            interrupt(opened, parent, "1" * 16)
        with pytest.raises(Interrupted, match="is kept"):
            interrupt(opened, parent, "0" * 16, "resume.json")
    assert [path.name[-16:] for path in folders(vault)] == ["0" * 16]


def test_same_work_is_done_by_one_at_a_time(vault: Path) -> None:
    """Two runs never share a folder."""
    with Vault.open(vault) as opened:
        parent = opened.catalog.find(REFERENCE).artifact
        with (
            resumable_folder(opened, parent, "0" * 16),
            pytest.raises(VaultBusy),
            resumable_folder(opened, parent, "0" * 16),
        ):
            pass


def test_gc_keeps_what_can_go_on_unless_asked(vault: Path, converter: Install) -> None:
    """As for downloads: only ``--partials`` drops it, and a dry run names it first."""
    converter(program(CRASH))
    with pytest.raises(ConverterCrashed):
        run(vault)
    (folder,) = folders(vault)
    (folder.parent / f"{folder.name}.lock").touch()
    with Vault.open(vault) as opened:
        assert collect_garbage(opened, dry_run=False, partials=False).leftovers == ()
        assert folder.is_dir()
        found = collect_garbage(opened, dry_run=True, partials=True)
        assert folder in found.leftovers
        assert found.leftover_size == 4  # two layers and an empty mark
        collect_garbage(opened, dry_run=False, partials=True)
    assert folders(vault) == []


def test_gc_drops_a_conversion_whose_source_is_gone(vault: Path, converter: Install) -> None:
    """Nothing could go on with it."""
    converter(program(CRASH))
    with pytest.raises(ConverterCrashed):
        run(vault)
    with Vault.open(vault) as opened:
        remove(opened, REFERENCE)
        collect_garbage(opened, dry_run=False, partials=False)
    assert folders(vault) == []


@pytest.fixture
def orphaned(tmp_path: Path) -> Callable[[], int]:
    """Return a function that kills the parent of a real converter's process; gives its pid."""
    script = tmp_path / "slow.py"
    script.write_text(
        "import os, pathlib, sys, time\n"
        "from modelvault_converters import process\n"
        "def convert(request, stack):\n"
        "    pathlib.Path(request.output, 'pid').write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "    yield\n"
        "sys.exit(process.main(lambda: convert))\n"
    )
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import sys\n"
        "from modelvault.conversion import run_converter\n"
        "from modelvault.core.protocol import Request\n"
        f"request = Request(model='a/b', revision='0', license='', files=(), targets=(),\n"
        f"    output={str(tmp_path)!r})\n"
        f"list(run_converter([sys.executable, {str(script)!r}], request))\n"
    )

    def kill() -> int:
        with subprocess.Popen([sys.executable, str(parent)], cwd=Path(__file__).parents[2]) as one:
            while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
                assert one.poll() is None, "the converter never began"
                time.sleep(0.01)
            one.send_signal(signal.SIGKILL)
        return int((tmp_path / "pid").read_text())

    return kill


def test_converter_dies_with_the_vault(orphaned: Callable[[], int]) -> None:
    """Killed without warning, a vault leaves no child that writes into the next run's folder."""
    child = orphaned()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and not _is_dead(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_dead(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
