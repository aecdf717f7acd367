"""Embedders made from Qwen: no output, names without a prefix, the last token's state."""

import json
import shutil
from pathlib import Path

import pytest
import transformers

from modelvault.errors import BadOption
from tests.gguf.running import convert, edit_json
from tests.support.embeddings import embed, pooling, reference
from tests.support.llamacpp import Model
from tests.support.tinybert import write_pooling
from tests.support.tinyfamilies import make_tiny_family
from tests.support.tinymodel import MIXED_SCRIPT

LAST = 3
TEXTS = (
    "금고의 열쇠는 두 사람이 나누어 가지고 있습니다.",
    "The old lighthouse keeper counted the ships before the storm came in.",
    MIXED_SCRIPT,
)


@pytest.fixture(scope="module", params=["qwen2", "qwen3"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny embedder, read-only by agreement."""
    folder = tmp_path_factory.mktemp("embedder") / "tiny"
    make_tiny_family(folder, request.param, tie_word_embeddings=False)
    model = transformers.AutoModel.from_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    model.save_pretrained(folder)
    write_pooling(folder, "lasttoken")
    _end_texts(folder)
    return folder


def _end_texts(folder: Path) -> None:
    """Let the tokenizer add the end of a text, as Qwen3-Embedding's does."""
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    end = values["added_tokens"][-1]
    text = end["content"]
    values["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": text, "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": text, "type_id": 0}},
                 {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {text: {"id": text, "ids": [end["id"]], "tokens": [text]}},
    }  # fmt: skip
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(("target", "least"), [("F32", 0.99999), ("Q8_0", 0.99)])
def test_embedder_gives_the_embeddings_of_transformers(
    made: Path, tmp_path: Path, target: str, least: float
) -> None:
    """The last token is the one that the tokenizer adds; its state is the embedding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(made)
    with Model.load(convert(made, target, tmp_path)) as model:
        assert pooling(model) == LAST
        for text in TEXTS:
            assert model.tokenize(text) == tokenizer(text).input_ids
        assert (reference(made, TEXTS) * embed(model, TEXTS)).sum(axis=1).min() > least


def test_published_configuration_names_the_model_that_generates(made: Path, tmp_path: Path) -> None:
    """Qwen3-Embedding says ``ForCausalLM``, but its tensors have no prefix and no output."""
    folder = Path(shutil.copytree(made, tmp_path / "model"))
    expected = convert(made, "F16", tmp_path / "made").read_bytes()
    edit_json(
        folder / "config.json",
        lambda config: config.update(
            architectures=[config["architectures"][0].replace("Model", "ForCausalLM")]
        ),
    )
    found = convert(folder, "F16", tmp_path / "found").read_bytes()
    assert len(found) == len(expected)
    assert found[-1_000:] == expected[-1_000:]


def test_embedder_is_not_checked_for_the_text_it_predicts(made: Path, tmp_path: Path) -> None:
    """Without an output there is nothing to compare."""
    with pytest.raises(BadOption, match="embeds or ranks texts"):
        convert(made, "Q8_0", tmp_path, check="yes")
