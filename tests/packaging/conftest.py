"""The wheel, built from a copy of the tree, and an environment that holds it and nothing else."""

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
NOT_SOURCE = (".*", "build", "dist", "tests", "*.egg-info", "*.so", "__pycache__")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An environment without pip, into which the wheel was installed."""

    wheel: Path
    environment: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.environment / "bin" / "python"

    @property
    def modelvault(self) -> str:
        """Its command."""
        return str(self.environment / "bin" / "modelvault")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, installed with the constraints that lie in the checkout."""
    folder = tmp_path_factory.mktemp("a place with spaces")
    tree = folder / "tree"  # a copy, so that nothing of an earlier build gets in
    shutil.copytree(CHECKOUT, tree, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(tree)], check=True)
    (wheel,) = folder.glob("modelvault_airgap-*.whl")
    found = Installed(wheel=wheel, environment=folder / "environment")
    venv.create(found.environment, with_pip=False)
    constraints = CHECKOUT / "constraints.txt"
    subprocess.run(
        [*PIP, "--python", str(found.python), "install", "-c", str(constraints), str(wheel)],
        check=True,
    )
    return found
