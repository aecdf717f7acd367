"""What the guide for new families prints works as it stands."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modelvault_converters.gguf import families
from tests.gguf.running import convert, edit_json
from tests.gguf.test_golden import read_metadata
from tests.support.tinyfamilies import make_tiny_family

ROOT = Path(__file__).parents[2]
GUIDE, _ = (
    (ROOT / "docs/guides/add-a-family.md").read_text("utf-8").split("# Add a family to the AWQ")
)
TEMPLATE, LOOP = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
FAMILIES = ROOT / "converters/modelvault_converters/gguf/families"


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module that the guide prints, registered as it says."""
    path = tmp_path / "new.py"
    path.write_text(TEMPLATE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("new", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for architecture in module.ARCHITECTURES:
        monkeypatch.setitem(families.FAMILIES, architecture, module.describe)
    return module


def test_template_converts_a_model(template: ModuleType, tmp_path: Path) -> None:
    """The printed file makes of a model of its structure what the family itself makes of it."""
    folder = tmp_path / "tiny"
    make_tiny_family(folder, "qwen3")
    expected = convert(folder, "F16", tmp_path / "own")
    edit_json(
        folder / "config.json", lambda config: config.update(architectures=["NewForCausalLM"])
    )
    made = convert(folder, "F16", tmp_path / "new")
    assert made.read_bytes() == expected.read_bytes()


def test_template_names_the_end_of_a_turn(template: ModuleType, tmp_path: Path) -> None:
    """The token that the family names is written where the vocabulary has it."""
    folder = tmp_path / "tiny"
    make_tiny_family(folder, "qwen3")

    def change(file: dict[str, Any]) -> None:
        (token,) = (item for item in file["added_tokens"] if item["content"] == "<|eot_id|>")
        token["content"] = "<|im_end|>"

    edit_json(folder / "tokenizer.json", change)
    edit_json(
        folder / "config.json", lambda config: config.update(architectures=["NewForCausalLM"])
    )
    metadata = read_metadata(convert(folder, "F16", tmp_path / "out"))
    tokens = metadata["tokenizer.ggml.tokens"]
    assert tokens[metadata["tokenizer.ggml.eot_token_id"]] == "<|im_end|>"


def test_loop_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines to try a family with make, convert and compare a model."""
    monkeypatch.chdir(tmp_path)
    printed: list[Any] = []
    exec(LOOP, {"print": printed.append})
    assert printed[0] < 0.005
    assert sorted(path.name for path in Path("out").iterdir()) == ["tiny-F16.gguf", "tiny-F32.gguf"]


def test_table_shows_every_family() -> None:
    """Each module that describes models is an example of something, and each name is there."""
    named = set(re.findall(r"`(\w+\.py)`", GUIDE))
    modules = {
        path.name for path in FAMILIES.glob("*.py") if "ARCHITECTURES = " in path.read_text()
    }
    assert modules <= named
    shared = {path.name for path in FAMILIES.glob("*.py")} - modules
    assert {name for name in named if not name.startswith("test_")} <= modules | shared


def test_places_to_touch_are_there() -> None:
    """Every file and folder that the guide names exists."""
    for path in re.findall(r"`((?:tests|converters|docs)/[\w/.-]+)`", GUIDE):
        assert (ROOT / path).exists(), path
