"""The reference implementation of OpenSSF Model Signing, as a judge in a process of its own.

It needs ``model-signing`` and ``pyopenssl``, and may live in another environment:
``MODELVAULT_MODEL_SIGNING`` names its Python.
"""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest


@cache
def find_reference() -> str:
    """Return a Python that has the reference; the test is skipped where none has."""
    python = os.environ.get("MODELVAULT_MODEL_SIGNING", sys.executable)
    probe = subprocess.run(
        [python, "-W", "ignore", "-c", "import model_signing, OpenSSL"],
        check=False,
        capture_output=True,
    )
    if probe.returncode != 0 and os.environ.get("MODELVAULT_REQUIRE_ALL") != "1":
        pytest.skip("model-signing and pyopenssl are not installed")
    assert probe.returncode == 0, probe.stderr.decode()
    return python


def verify_model(
    folder: Path, public_key: Path, *options: str, signature: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Ask the reference about a model's folder.

    Args:
        folder: The model's.
        public_key: Who is to have signed it, PEM.
        options: Further ones of ``model_signing verify key``.
        signature: None for the ``model.sig`` in the folder.
    """
    command = [find_reference(), "-m", "model_signing", "verify", "key", str(folder)]
    command += ["--signature", str(signature or folder / "model.sig")]
    command += ["--public_key", str(public_key), *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
