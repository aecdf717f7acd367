"""Folders as a user gets them: pulled, converted and installed by the command.

Example:
    >>> Journey(folder).install("llama", "AWQ")
"""

import tomllib
from pathlib import Path
from typing import Any

from tests.support.command import Site
from tests.support.tinymodel import training_text
from tests.support.trainedmodel import FAMILIES, Family, train_model

ROOT = Path(__file__).parents[2]

VARIANTS: dict[str, tuple[Family, dict[str, Any]]] = {
    "llama-biased": ("llama", {"tied": True, "attention_bias": True, "mlp_bias": True}),
    "mistral-windowed": ("mistral", {"sliding_window": 32}),
    "qwen2_moe-dense": ("qwen2_moe", {"mlp_only_layers": [0], "norm_topk_prob": False}),
}
"""Models of other shapes than their families' usual ones, by name."""


class Journey:
    """A vault with trained models; makes what is asked for once."""

    def __init__(self, folder: Path) -> None:
        """Make the site; its converters are those of this tree."""
        self._folder = folder
        self._corpus = folder / "corpus.txt"
        self._corpus.write_text("\n".join(training_text()), encoding="utf-8")
        self._site = Site(folder / "home", PYTHONPATH=f"{_entry_points(folder)}:{ROOT}")
        self._sources: dict[str, Path] = {}
        self._installed: dict[tuple[str, ...], Path] = {}

    def source(self, name: str) -> Path:
        """Return a trained model of a family or variant, which the vault has pulled."""
        if name not in self._sources:
            folder = self._folder / "sources" / name
            _train(folder, name)
            self._site.run("pull", folder, "--as", f"test/{name}").ok()
            self._sources[name] = folder
        return self._sources[name]

    def install(self, name: str, target: str, *options: str) -> Path:
        """Return the installed folder of a family's or variant's model, converted."""
        key = (name, target, *options)
        if key not in self._installed:
            self.source(name)
            model, models = f"test/{name}", self._folder / "models"
            calibrated = ("--calibration", str(self._corpus), "--samples", "32", *options)
            given = calibrated if target in ("AWQ", "W4A16") else options
            self._site.run("convert", model, "--to", target.lower(), *given).ok()
            place = "".join(key)
            install = ("install", f"{model}:{target}", "--to", "vllm", "--dir", models)
            done = self._site.run(*install, "--as", place)
            assert str(models / place) in done.ok().stdout
            self._installed[key] = models / place
        return self._installed[key]


def _train(folder: Path, name: str) -> None:
    if name in VARIANTS:
        family, shape = VARIANTS[name]
        train_model(folder, family=family, **shape)
        return
    (family,) = (family for family in FAMILIES if family == name)
    train_model(folder, family=family, tied=family.startswith("gemma"))


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
