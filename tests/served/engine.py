"""vLLM in a process of its own, asked from here.

Example:
    >>> with Engine(python, folder) as engine:
    ...     served = engine.ask(model, prompts, dtype="float16")
"""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from modelvault.core.offline import OFFLINE

CHILD = Path(__file__).parent / "child"

GREEDY = 24
"""Tokens that the server adds to each prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server said to some prompts."""

    logprobs: tuple[torch.Tensor, ...]
    """For each prompt f32 ``[length - 1, vocabulary]``."""
    greedy: tuple[tuple[int, ...], ...]
    """For each prompt the tokens that follow it."""


class RefusedError(Exception):
    """vLLM does not load the folder; the message is its own."""


def make_environment(folder: Path) -> dict[str, str]:
    """Return the environment of a server: offline, on a CPU, files below ``folder``.

    Args:
        folder: Its home; ``traffic`` in it lists what it tried to reach.
    """
    return {
        **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        **OFFLINE,
        "HOME": str(folder),
        "PYTHONPATH": str(CHILD),
        "SERVED_TRAFFIC": str(folder / "traffic"),
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_INT4_W4A8": "0",  # else bf16 on Intel's AMX takes activations of 8 bits
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "TORCH_COMPILE_DISABLE": "1",
        "OMP_NUM_THREADS": "1",
    }


def read_traffic(folder: Path) -> str:
    """Return what a server with this home tried to reach beyond loopback."""
    traffic = folder / "traffic"
    return traffic.read_text() if traffic.exists() else ""


class Engine:
    """One process that serves folders one after another; started at the first question."""

    def __init__(self, python: str, folder: Path, *, lend_kernels: bool = False) -> None:
        """Make the engine.

        Args:
            python: That has vLLM.
            folder: Where its files may lie.
            lend_kernels: Serve experts, too, for which vLLM has no kernel on this CPU.
        """
        self._command = [python, str(CHILD / "engine.py"), *["--lend-kernels"] * lend_kernels]
        self._folder = folder
        self._log = folder / "vllm.log"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def ask(self, model: Path, prompts: Sequence[Sequence[int]], *, dtype: str) -> Served:
        """Return what a folder's model says.

        Args:
            model: Folder, as installed.
            prompts: Tokens; each at least two.
            dtype: Of activations: ``float16``, ``float32``, or ``auto`` for the folder's own.

        Raises:
            RefusedError: vLLM does not load it.
        """
        out = self._folder / "logprobs.npz"
        request = {"folder": str(model), "dtype": dtype, "tokens": GREEDY, "out": str(out)}
        answer = self._exchange({**request, "prompts": [list(prompt) for prompt in prompts]})
        assert read_traffic(self._folder) == ""
        if "refused" in answer:
            raise RefusedError(answer["refused"])
        with np.load(out) as arrays:
            logprobs = tuple(
                torch.from_numpy(arrays[f"arr_{number}"]) for number in range(len(prompts))
            )
        return Served(logprobs=logprobs, greedy=tuple(tuple(row) for row in answer["greedy"]))

    def has_amx(self) -> bool:
        """Return whether the CPU multiplies matrices in tiles, as Intel's do since 2023."""
        done = subprocess.run(
            [self._command[0], "-c", "import torch; print(torch.cpu._is_amx_tile_supported())"],
            env=make_environment(self._folder),
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip() == "True"

    def _exchange(self, request: dict[str, object]) -> dict[str, Any]:
        if self._process is None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            self._process = None
            tail = self._log.read_text(errors="replace")[-6000:]
            raise AssertionError(f"vLLM ended with status {process.wait()}:\n{tail}")
        answer: dict[str, str] = json.loads(line)
        return answer

    def _start(self) -> "subprocess.Popen[str]":
        with open(self._log, "a", encoding="utf-8") as log:
            return subprocess.Popen(
                [*without_network(), *self._command],
                env=make_environment(self._folder),
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )


def without_network() -> list[str]:
    """Return the command that runs another with loopback alone, where that is allowed."""
    script = 'ip link set lo up && exec "$@"'
    command = ["unshare", "--net", "sh", "-c", script, "sh"]
    try:
        allowed = subprocess.run([*command, "true"], check=False, capture_output=True)
    except FileNotFoundError:
        return []
    return command if allowed.returncode == 0 else []
