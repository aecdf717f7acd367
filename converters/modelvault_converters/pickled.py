"""PyTorch's weight files (``pytorch_model.bin``), read in place and without PyTorch.

Such a file is a ZIP archive: one pickle that says which tensors there are, and beside it their
bytes, stored as they are. Loading a pickle runs what it says. So it is taken apart by a process of
its own, ``tensor_pickle``, whose unpickler knows the few names that make up tensors and nothing
else, and whose memory and time are bounded. What it answers is checked here like any header, and
the bytes are then read from the file as those of safetensors are.

Source:
    https://pytorch.org/docs/stable/notes/serialization.html; torch/_utils.py
    (``_rebuild_tensor_v2``).
"""

import json
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

from modelvault.core.protocol import SourceFile
from modelvault.core.safetensors_header import BITS, MOST_DIMENSIONS, TensorEntry
from modelvault.errors import UnsupportedSource
from modelvault_converters.open_weights import OpenWeights

FILE = "pytorch_model.bin"
INDEX = "pytorch_model.bin.index.json"

_PROGRAM = Path(__file__).with_name("tensor_pickle.py")
_PATIENCE = 120
"""Seconds; the pickle of a hundred thousand tensors takes two."""
_MOST = 64 * 1024 * 1024
"""Longest answer, in bytes."""
_LARGEST = 1 << 48
_SAVE_AGAIN = (
    "save the model as safetensors where it can be trusted (transformers: "
    "model.save_pretrained(folder)), or pull a revision that has them"
)


class PickledFile(OpenWeights):
    """An open weight file of PyTorch whose tensors have been listed."""

    mend = _SAVE_AGAIN

    def _list(self, file: SourceFile) -> tuple[TensorEntry, ...]:
        answer = self._ask()
        if "unsupported" in answer:
            raise UnsupportedSource(
                f"{self.path}: {answer['unsupported']!s:.300}", hint=_SAVE_AGAIN
            )
        listed = answer.get("tensors")
        if "malformed" in answer or not isinstance(listed, list):
            raise self._malformed(str(answer.get("malformed", "its tensors cannot be listed")))
        return tuple(self._entry(item, file.size) for item in listed)

    def _ask(self) -> dict[str, Any]:
        """Return what the process says that takes the pickle apart."""
        try:
            done = subprocess.run(
                [sys.executable, "-I", str(_PROGRAM)],
                stdin=self._descriptor,
                capture_output=True,
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise self._malformed(f"its pickle is not read within {_PATIENCE} seconds") from error
        if done.returncode != 0 or len(done.stdout) > _MOST:
            raise self._malformed(f"its pickle stops the process that reads it ({done.returncode})")
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            raise self._malformed("its tensors cannot be listed") from error
        return answer

    def _entry(self, item: Any, size: int) -> TensorEntry:
        """Return one tensor of the answer, which came from a process that read foreign bytes."""
        match item:
            case [str(name), str(dtype), list(shape), int(offset)] if (
                dtype in BITS
                and len(shape) <= MOST_DIMENSIONS
                and all(isinstance(side, int) and 0 <= side < _LARGEST for side in shape)
            ):
                length = prod(shape) * BITS[dtype] // 8
                if 0 <= offset <= offset + length <= size:
                    return TensorEntry(
                        name=name, dtype=dtype, shape=tuple(shape), offset=offset, size=length
                    )
        raise self._malformed(f"{item!r:.100} is no tensor of the file")
