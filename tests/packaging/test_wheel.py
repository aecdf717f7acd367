"""What is shipped works where nothing of the checkout is."""

import subprocess
from pathlib import Path

import pytest

from tests.packaging.conftest import CHECKOUT, Installed


@pytest.mark.slow
def test_wheel_installs_into_an_empty_environment_and_runs(
    installed: Installed, tmp_path: Path
) -> None:
    """Built from the tree, installed alone, it works: migrations and templates are inside."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    command = [installed.modelvault, "--vault", str(tmp_path / "vault")]
    serve = ["serve-config", "acme/tiny", "--for", "vllm", "--as", "nginx"]
    for arguments in (["pull", str(model), "--as", "acme/tiny"], serve, ["verify"], ["list"]):
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    assert "acme/tiny" in done.stdout


@pytest.mark.slow
def test_wheel_brings_the_constraints_of_its_release(installed: Installed) -> None:
    """There is one list of tested versions, and it is at hand where hints need it."""
    (shipped,) = installed.environment.glob("lib/python*/site-packages/modelvault/constraints.txt")
    assert shipped.read_text() == (CHECKOUT / "constraints.txt").read_text()
