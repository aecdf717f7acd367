"""What the writers of checkpoints finish is read back by the format's own library."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modelvault.errors import ConverterCrashed
from modelvault_converters.awq.formats.outputs import (
    OutputCheckpoint,
    OutputTensor,
    plan_checkpoint,
)
from modelvault_converters.awq.formats.writer import CheckpointWriter

TENSORS = (
    OutputTensor(name="a", dtype="I32", shape=(2, 3)),
    OutputTensor(name="b", dtype="F8_E4M3", shape=(4,)),
)


def write(folder: Path, planned: OutputCheckpoint) -> tuple[str, ...]:
    """Write a checkpoint of zeros; return its files."""
    with ExitStack() as stack:
        writer = CheckpointWriter(folder, planned, stack)
        writer.write("a", [torch.zeros(2, 3, dtype=torch.int32)])
        writer.write("b", [torch.zeros(4, dtype=torch.float8_e4m3fn)])
        return writer.finish()


@pytest.mark.parametrize("shard", [1, 1000])
def test_checkpoint_that_is_as_planned_is_finished(tmp_path: Path, shard: int) -> None:
    """One file and several pass."""
    names = write(tmp_path, plan_checkpoint(TENSORS, shard))
    assert len(names) == (1 if shard > 1 else 3)


def test_head_that_the_library_refuses_is_a_fault(tmp_path: Path) -> None:
    """A header that is no JSON never leaves the converter."""
    (file,) = plan_checkpoint(TENSORS).files
    broken = replace(file, head=file.head.replace(b"{", b"[", 1))
    with pytest.raises(ConverterCrashed, match="cannot be read"):
        write(tmp_path, OutputCheckpoint(files=(broken,)))


def test_head_that_says_something_else_is_a_fault(tmp_path: Path) -> None:
    """A header of another shape than was announced never leaves the converter."""
    (file,) = plan_checkpoint(TENSORS).files
    other = replace(file, head=file.head.replace(b"[2,3]", b"[3,2]"))
    with pytest.raises(ConverterCrashed, match="other tensors"):
        write(tmp_path, OutputCheckpoint(files=(other,)))
