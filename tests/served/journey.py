"""Folders as a user gets them: pulled, converted and installed by the command.

Example:
    >>> Journey(folder).install("llama", "AWQ")
"""

import tomllib
from pathlib import Path

from tests.support.command import Site
from tests.support.tinymodel import training_text
from tests.support.trainedmodel import Family, train_model

ROOT = Path(__file__).parents[2]


class Journey:
    """A vault with trained models; makes what is asked for once."""

    def __init__(self, folder: Path) -> None:
        """Make the site; its converters are those of this tree."""
        self._folder = folder
        self._corpus = folder / "corpus.txt"
        self._corpus.write_text("\n".join(training_text()), encoding="utf-8")
        self._site = Site(folder / "home", PYTHONPATH=f"{_entry_points(folder)}:{ROOT}")
        self._sources: dict[Family, Path] = {}
        self._installed: dict[tuple[str, ...], Path] = {}

    def source(self, family: Family) -> Path:
        """Return a trained model of a family, which the vault has pulled."""
        if family not in self._sources:
            folder = self._folder / "sources" / family
            train_model(folder, family=family, tied=family.startswith("gemma"))
            self._site.run("pull", folder, "--as", f"test/{family}").ok()
            self._sources[family] = folder
        return self._sources[family]

    def install(self, family: Family, target: str, *options: str) -> Path:
        """Return the installed folder of a family's model, converted to a target."""
        key = (family, target, *options)
        if key not in self._installed:
            self.source(family)
            model, models = f"test/{family}", self._folder / "models"
            calibrated = ("--calibration", str(self._corpus), "--samples", "32", *options)
            given = calibrated if target in ("AWQ", "W4A16") else options
            self._site.run("convert", model, "--to", target.lower(), *given).ok()
            name = "".join(key)
            install = ("install", f"{model}:{target}", "--to", "vllm", "--dir", models)
            done = self._site.run(*install, "--as", name)
            assert str(models / name) in done.ok().stdout
            self._installed[key] = models / name
        return self._installed[key]


def _entry_points(folder: Path) -> Path:
    """Return a folder for ``PYTHONPATH`` that names this tree's converters."""
    values = tomllib.loads((ROOT / "pyproject.toml").read_text())
    entries = values["project"]["entry-points"]["modelvault.converters"]
    packages = folder / "packages"
    metadata = packages / "served_entry_points-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: served-entry-points\nVersion: 1\n"
    )
    lines = [f"{name} = {module}" for name, module in entries.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[modelvault.converters]", *lines, ""]))
    return packages
