"""What is shipped works where nothing of the checkout is."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
NOT_SOURCE = (".*", "build", "dist", "tests", "*.egg-info", "*.so", "__pycache__")


@pytest.mark.slow
def test_wheel_installs_into_an_empty_environment_and_runs(tmp_path: Path) -> None:
    """Built from the tree, installed alone, it pulls a folder: migrations are inside."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    tree = tmp_path / "tree"  # a copy, so that nothing of an earlier build gets in
    shutil.copytree(CHECKOUT, tree, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(tree)], check=True
    )
    (wheel,) = tmp_path.glob("modelvault_airgap-*.whl")
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    subprocess.run(
        [*pip, "--python", str(python), "install", "--constraint", "constraints.txt", str(wheel)],
        check=True,
        cwd=CHECKOUT,
    )
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    command = [str(environment / "bin" / "modelvault"), "--vault", str(tmp_path / "vault")]
    for arguments in (["pull", str(model), "--as", "acme/tiny"], ["verify"], ["list"]):
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    assert "acme/tiny" in done.stdout
