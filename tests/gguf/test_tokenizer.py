"""Tokenizers in all their spellings become the same vocabulary, and the runtime agrees."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
import transformers
from gguf import TokenType
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core.protocol import Produced
from modelvault.errors import MalformedRecord, ModelVaultError, UnsupportedTokenizer
from modelvault_converters.gguf.tokenizer import spm
from tests.gguf.running import convert, edit_json, make_request, plan, run, warnings
from tests.gguf.test_golden import read_metadata
from tests.support.llamacpp import Model
from tests.support.tinymodel import MIXED_SCRIPT, VOCABULARY, Kind, make_tiny_llama, training_text


def metadata(folder: Path, output: Path) -> dict[str, Any]:
    """Return the metadata of the folder's F16."""
    return read_metadata(convert(folder, "F16", output))


def test_model_file_is_read_as_sentencepiece_reads_it(tiny: Callable[[Kind], Path]) -> None:
    """Texts, scores and kinds are those of the sentencepiece library, which is not used."""
    path = tiny("spm") / "tokenizer.model"
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    read = spm.read_vocabulary(path.read_bytes(), {}, {})
    ids = range(library.get_piece_size())
    assert list(read.tokens) == [library.id_to_piece(number) for number in ids]
    assert list(read.scores) == [library.get_score(number) for number in ids]
    kinds = {TokenType.BYTE: library.is_byte, TokenType.CONTROL: library.is_control,
             TokenType.UNKNOWN: library.is_unknown}  # fmt: skip
    for kind, is_kind in kinds.items():
        assert [item is kind for item in read.types] == [is_kind(number) for number in ids]


def test_sentencepiece_json_gives_the_ids_of_its_model(spm_model: Path, tmp_path: Path) -> None:
    """A repository with only tokenizer.json, as transformers 5 saves it, tokenizes the same."""
    library = sentencepiece.SentencePieceProcessor(model_file=str(spm_model / "tokenizer.model"))
    transformers.AutoTokenizer.from_pretrained(spm_model).save_pretrained(spm_model)
    (spm_model / "tokenizer.model").unlink()
    with Model.load(convert(spm_model, "F16", tmp_path / "out")) as model:
        for text in (MIXED_SCRIPT, " two  spaces ", "", "금고의 열쇠", *training_text()):
            assert model.tokenize(text) == [1, *library.encode(text)], text


def test_sentencepiece_json_of_older_spelling_is_read(spm_model: Path, tmp_path: Path) -> None:
    """A normalizer that prepends and replaces, as transformers 4 wrote it, means the same."""
    library = sentencepiece.SentencePieceProcessor(model_file=str(spm_model / "tokenizer.model"))
    transformers.AutoTokenizer.from_pretrained(spm_model).save_pretrained(spm_model)
    (spm_model / "tokenizer.model").unlink()
    prepend = {"type": "Prepend", "prepend": "▁"}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}

    def to_older(file: dict[str, Any]) -> None:
        file["pre_tokenizer"] = None
        file["normalizer"] = {"type": "Sequence", "normalizers": [prepend, replace]}
        file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]
        file["model"]["unk_token"] = "<unk>"

    edit_json(spm_model / "tokenizer.json", to_older)
    with Model.load(convert(spm_model, "F16", tmp_path / "out")) as model:
        assert model.tokenize(MIXED_SCRIPT) == [1, *library.encode(MIXED_SCRIPT)]


def test_tokens_added_to_a_model_file_are_found_in_text(tmp_path: Path) -> None:
    """Added tokens of other files take their rows, as text that is found wherever it stands."""
    folder = tmp_path / "added"
    make_tiny_llama(folder, kind="spm", vocabulary_rows=VOCABULARY + 3)
    extra = {"<|im_start|>": VOCABULARY, "vault_word": VOCABULARY + 1}
    (folder / "added_tokens.json").write_text(json.dumps(extra))
    path = convert(folder, "F16", tmp_path / "out")
    made = read_metadata(path)
    assert made["tokenizer.ggml.tokens"][-3:] == [*extra, f"[PAD{VOCABULARY + 2}]"]
    assert made["tokenizer.ggml.token_type"][-3:] == [
        TokenType.USER_DEFINED,
        TokenType.USER_DEFINED,
        TokenType.UNUSED,
    ]
    with Model.load(path) as model:
        ids = model.tokenize("<|im_start|>the vault_word", add_special=False)
    assert [number for number in ids if number >= VOCABULARY] == [VOCABULARY, VOCABULARY + 1]


@pytest.mark.parametrize("listed", [{"a": "0"}, {"a": -1}, {"a": 1 << 30}, {"a": True}], ids=str)
def test_false_added_token_attack_is_refused(spm_model: Path, listed: dict[str, Any]) -> None:
    """An id out of bounds would otherwise become a list of that length."""
    (spm_model / "added_tokens.json").write_text(json.dumps(listed))
    with pytest.raises(MalformedRecord, match="added_tokens"):
        plan(spm_model)


CHAT = ("<|im_start|>", "<|im_end|>")


def save_with_chat(folder: Path) -> None:
    """Save a tokenizer as transformers 5 does after two tokens were added: the model file stays."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": list(CHAT)})
    kept = (folder / "tokenizer.model").read_bytes()
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(kept)
    edit_json(
        folder / "tokenizer_config.json",
        lambda settings: settings.pop("added_tokens_decoder", None),
    )


def test_tokens_added_to_a_newer_json_stand_beside_an_older_model(tmp_path: Path) -> None:
    """Tokens in ``tokenizer.json`` alone reach the file, and one of them ends a chat."""
    folder = tmp_path / "tiny"
    make_tiny_llama(folder, kind="spm", vocabulary_rows=VOCABULARY + 3)
    save_with_chat(folder)
    edit_json(folder / "tokenizer_config.json", lambda settings: settings.update(eos_token=CHAT[1]))
    library = transformers.AutoTokenizer.from_pretrained(folder)
    numbers = [library.get_vocab()[text] for text in CHAT]
    written = read_metadata(convert(folder, "F16", tmp_path / "out"))
    assert [written["tokenizer.ggml.tokens"][number] for number in numbers] == list(CHAT)
    kinds = [written["tokenizer.ggml.token_type"][number] for number in numbers]
    assert kinds == [TokenType.CONTROL] * 2
    assert written["tokenizer.ggml.eos_token_id"] == numbers[1]


def test_two_files_that_name_one_token_differently_are_refused(tmp_path: Path) -> None:
    """Where ``added_tokens.json`` has another text for an id, neither file is believed."""
    folder = tmp_path / "tiny"
    make_tiny_llama(folder, kind="spm", vocabulary_rows=VOCABULARY + 3)
    save_with_chat(folder)
    number = transformers.AutoTokenizer.from_pretrained(folder).get_vocab()[CHAT[0]]
    (folder / "added_tokens.json").write_text(json.dumps({"<other>": number}))
    with pytest.raises(UnsupportedTokenizer, match="where another file has '<other>'"):
        plan(folder)


def test_model_that_adds_no_space_says_so(spm_model: Path, tmp_path: Path) -> None:
    """A model trained without a space before the text tokenizes so in the runtime too."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_text()),
        model_prefix=str(spm_model / "tokenizer"),
        model_type="bpe",
        vocab_size=VOCABULARY,
        character_coverage=0.99,
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    library = sentencepiece.SentencePieceProcessor(model_file=str(spm_model / "tokenizer.model"))
    path = convert(spm_model, "F16", tmp_path / "out")
    assert read_metadata(path)["tokenizer.ggml.add_space_prefix"] is False
    with Model.load(path) as model:
        assert model.tokenize(MIXED_SCRIPT) == [1, *library.encode(MIXED_SCRIPT)]


def test_model_that_normalises_is_told(spm_model: Path) -> None:
    """SentencePiece's own normalisation is beyond the runtime, and the user hears of it."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_text()),
        model_prefix=str(spm_model / "tokenizer"),
        model_type="bpe",
        vocab_size=VOCABULARY,
        character_coverage=0.99,
        byte_fallback=True,
        minloglevel=2,
    )
    assert any("normalises text" in text for text in warnings(plan(spm_model)))


def test_merges_as_lines_and_as_pairs_are_the_same(model: Path, tmp_path: Path) -> None:
    """Both spellings of tokenizer.json give the same file."""
    pairs = convert(model, "F16", tmp_path / "pairs").read_bytes()

    def to_lines(file: dict[str, Any]) -> None:
        file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]

    edit_json(model / "tokenizer.json", to_lines)
    assert convert(model, "F16", tmp_path / "lines").read_bytes() == pairs


def test_unigram_model_is_refused(spm_model: Path) -> None:
    """A SentencePiece model of another algorithm is named, not misread as BPE."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_text()),
        model_prefix=str(spm_model / "tokenizer"),
        model_type="unigram",
        vocab_size=400,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(UnsupportedTokenizer, match="unigram"):
        plan(spm_model)


def test_another_algorithm_is_refused(model: Path) -> None:
    """A tokenizer.json of another algorithm is refused."""
    edit_json(model / "tokenizer.json", lambda file: file["model"].update(type="WordLevel"))
    with pytest.raises(UnsupportedTokenizer, match="describes no BPE"):
        plan(model)


def test_rows_without_a_token_become_unused_padding(tmp_path: Path) -> None:
    """The token list always has as many entries as the embedding has rows."""
    make_tiny_llama(tmp_path / "padded", kind="spm", vocabulary_rows=VOCABULARY + 2)
    made = metadata(tmp_path / "padded", tmp_path / "out")
    assert made["tokenizer.ggml.tokens"][-2:] == [f"[PAD{VOCABULARY}]", f"[PAD{VOCABULARY + 1}]"]
    assert made["tokenizer.ggml.token_type"][-2:] == [TokenType.UNUSED, TokenType.UNUSED]
    assert len(made["tokenizer.ggml.scores"]) == VOCABULARY + 2


def test_more_tokens_than_rows_are_refused(model: Path) -> None:
    """A tokenizer with tokens that the embedding has no rows for is of another model."""
    token = {"id": VOCABULARY, "content": "<|new|>", "special": True}
    edit_json(model / "tokenizer.json", lambda file: file["added_tokens"].append(token))
    with pytest.raises(
        UnsupportedTokenizer, match="1025 tokens, the embedding only 1024 rows"
    ) as caught:
        plan(model)
    assert "an embedding as long as the tokenizer" in caught.value.hint


def test_two_tokens_of_one_text_are_refused(model: Path) -> None:
    """The runtime would abort on them; the text is named."""
    make_tiny_llama(model, kind="spm")
    (model / "tokenizer.json").unlink(missing_ok=True)
    (model / "added_tokens.json").write_text(json.dumps({"</s>": VOCABULARY - 1}))
    with pytest.raises(UnsupportedTokenizer, match="same text: '</s>'"):
        plan(model)


@pytest.mark.parametrize("edit", ["gap", "backwards", "taken", "twice"])
def test_added_tokens_stand_where_the_library_puts_them(tmp_path: Path, edit: str) -> None:
    """An id that was edited by hand is not believed: neither training nor inference reads it."""
    make_tiny_llama(tmp_path / "model", kind="bpe", vocabulary_rows=VOCABULARY + 8)

    def change(file: dict[str, Any]) -> None:
        added = file["added_tokens"]
        token = dict(added[-1], special=False)
        known = next(text for text, number in file["model"]["vocab"].items() if number == 300)
        added += {
            "gap": [token | {"id": VOCABULARY + 2, "content": "<a>"},
                    token | {"id": VOCABULARY + 5, "content": "<b>"}],
            "backwards": [token | {"id": VOCABULARY + 1, "content": "<a>"},
                          token | {"id": VOCABULARY, "content": "<b>"}],
            "taken": [token | {"id": 300, "content": "<a>"},
                      token | {"id": VOCABULARY, "content": known}],
            "twice": [token | {"id": 0, "content": "<|eot_id|>"},
                      token | {"id": VOCABULARY, "content": "<a>"}],
        }[edit]  # fmt: skip

    edit_json(tmp_path / "model" / "tokenizer.json", change)
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    made = metadata(tmp_path / "model", tmp_path / "out")
    tokens = made["tokenizer.ggml.tokens"]
    assert library.get_vocab() == {
        text: number for number, text in enumerate(tokens) if not text.startswith("[PAD")
    }
    assert tokens[made["tokenizer.ggml.eos_token_id"]] == "<|eot_id|>"


BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}


@pytest.mark.parametrize(
    ("processor", "settings", "expected"),
    [
        ("template", {}, True),
        ("template", {"add_bos_token": False}, True),
        (BYTES, {"add_bos_token": True}, False),
        (None, {"add_bos_token": True}, True),
        (None, {}, False),
    ],
    ids=str,
)
def test_start_token_flag_is_always_written(
    model: Path, tmp_path: Path, processor: Any, settings: dict[str, bool], expected: bool
) -> None:
    """The post-processor wins over the setting; the runtime is never left to guess."""
    edit_json(model / "tokenizer_config.json", lambda value: value.update(settings))
    if processor != "template":
        edit_json(model / "tokenizer.json", lambda file: file.update(post_processor=processor))
    path = convert(model, "F16", tmp_path / "out")
    assert read_metadata(path)["tokenizer.ggml.add_bos_token"] is expected
    with Model.load(path) as runtime:
        begins = runtime.tokenize("hello")[0] == VOCABULARY - 5
    assert begins is expected


def test_ends_that_robertas_processor_adds_are_written(model: Path, tmp_path: Path) -> None:
    """Both ends of a text and what stands between two, as the library puts them."""
    processor = {
        "type": "RobertaProcessing",
        "sep": ["<|eot_id|>", VOCABULARY - 1],
        "cls": ["<|begin_of_text|>", VOCABULARY - 5],
        "trim_offsets": True,
        "add_prefix_space": False,
    }
    edit_json(model / "tokenizer.json", lambda file: file.update(post_processor=processor))
    path = convert(model, "F16", tmp_path / "out")
    made = read_metadata(path)
    assert [made[f"tokenizer.ggml.add_{name}_token"] for name in ("bos", "eos", "sep")] == [
        True
    ] * 3
    assert made["tokenizer.ggml.seperator_token_id"] == VOCABULARY - 1
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    with Model.load(path) as runtime:
        assert runtime.tokenize("hello") == tokenizer("hello").input_ids


def test_tokenizer_that_adds_no_start_token_says_so(model: Path, tmp_path: Path) -> None:
    """Without post-processor or setting nothing is added, though the name would imply it."""
    edit_json(model / "tokenizer.json", lambda file: file.update(post_processor=None))
    path = convert(model, "F16", tmp_path / "out")
    assert read_metadata(path)["tokenizer.ggml.add_bos_token"] is False
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    with Model.load(path) as runtime:
        assert runtime.tokenize("hello") == tokenizer("hello").input_ids


def test_end_token_list_gives_the_first(model: Path, tmp_path: Path) -> None:
    """Where config.json lists several end tokens and the tokenizer names none, one is taken."""
    edit_json(model / "tokenizer_config.json", lambda value: value.pop("eos_token"))
    edit_json(model / "config.json", lambda value: value.update(eos_token_id=[1021, 1020]))
    assert metadata(model, tmp_path / "out")["tokenizer.ggml.eos_token_id"] == 1021


def test_ids_of_the_part_about_text_are_found(model: Path, tmp_path: Path) -> None:
    """Models that see images keep them one level down."""
    edit_json(model / "tokenizer_config.json", lambda value: value.pop("eos_token"))
    edit_json(
        model / "config.json",
        lambda value: value.update(eos_token_id=None, text_config={"eos_token_id": 1021}),
    )
    assert metadata(model, tmp_path / "out")["tokenizer.ggml.eos_token_id"] == 1021


def test_name_that_the_runtime_takes_for_phi3_is_parted(model: Path, tmp_path: Path) -> None:
    """llama.cpp looks for the tokens of Phi-3 in any model with its name, and fails without."""
    request = make_request(model, ["F16"], tmp_path / "out", model="org/llama-Phi3-merge")
    (made,) = [event for event in run(request) if isinstance(event, Produced)]
    path = tmp_path / "out" / made.files[0]
    assert read_metadata(path)["general.name"] == "Llama Phi 3 Merge"
    with Model.load(path) as runtime:
        assert runtime.tokenize("hello")


def test_template_file_wins_over_the_setting(model: Path, tmp_path: Path) -> None:
    """As in transformers, chat_template.jinja comes first."""
    (model / "chat_template.jinja").write_text("{{ 'from the file' }}")
    assert metadata(model, tmp_path / "out")["tokenizer.chat_template"] == "{{ 'from the file' }}"


def test_template_of_a_processor_file_is_found(model: Path, tmp_path: Path) -> None:
    """chat_template.json is read where nothing else holds a template."""
    edit_json(model / "tokenizer_config.json", lambda value: value.pop("chat_template"))
    assert "the model has no chat template" in warnings(plan(model))
    (model / "chat_template.json").write_text(json.dumps({"chat_template": "{{ 'json' }}"}))
    assert metadata(model, tmp_path / "out")["tokenizer.chat_template"] == "{{ 'json' }}"


def test_named_templates_are_all_kept(model: Path, tmp_path: Path) -> None:
    """A list of templates keeps its default and the others by name."""
    templates = [
        {"name": "default", "template": "{{ 1 }}"},
        {"name": "tool_use", "template": "{{ 2 }}"},
    ]
    edit_json(model / "tokenizer_config.json", lambda value: value.update(chat_template=templates))
    made = metadata(model, tmp_path / "out")
    assert made["tokenizer.chat_template"] == "{{ 1 }}"
    assert made["tokenizer.chat_template.tool_use"] == "{{ 2 }}"
    assert made["tokenizer.chat_templates"] == ["tool_use"]


def test_templates_of_the_folder_are_kept(model: Path, tmp_path: Path) -> None:
    """Files of additional_chat_templates stand beside the default, as transformers saves them."""
    (model / "chat_template.jinja").write_text("{{ 1 }}")
    (model / "additional_chat_templates").mkdir()
    for name in ("tool_use", "rag"):
        (model / "additional_chat_templates" / f"{name}.jinja").write_text(name)
    made = metadata(model, tmp_path / "out")
    assert made["tokenizer.chat_template"] == "{{ 1 }}"
    assert made["tokenizer.chat_templates"] == ["rag", "tool_use"]
    assert made["tokenizer.chat_template.rag"] == "rag"


def test_line_ends_of_a_template_are_plain(model: Path, tmp_path: Path) -> None:
    """A file from Windows gives the text that transformers and llama.cpp's converter read."""
    (model / "chat_template.jinja").write_bytes(b"{{ 1 }}\r\n{{ 2 }}\r")
    assert metadata(model, tmp_path / "out")["tokenizer.chat_template"] == "{{ 1 }}\n{{ 2 }}\n"


def test_name_of_a_template_becomes_part_of_a_key(model: Path, tmp_path: Path) -> None:
    """Other signs than letters and digits become an underscore; what holds nothing is left out."""
    templates = [
        {"name": "default", "template": "{{ 1 }}"},
        {"name": "tool-use v2.1", "template": "{{ 2 }}"},
        {"name": "none", "template": None},
        {"name": "empty", "template": ""},
    ]
    edit_json(model / "tokenizer_config.json", lambda value: value.update(chat_template=templates))
    made = metadata(model, tmp_path / "out")
    assert made["tokenizer.chat_templates"] == ["tool_use_v2_1"]
    assert made["tokenizer.chat_template.tool_use_v2_1"] == "{{ 2 }}"


def test_empty_template_counts_as_none(model: Path) -> None:
    """An empty text is no reason to refuse a model, but to say so."""
    edit_json(model / "tokenizer_config.json", lambda value: value.update(chat_template=""))
    assert "the model has no chat template" in warnings(plan(model))


def test_turn_token_of_the_settings_is_left_to_the_family(model: Path, tmp_path: Path) -> None:
    """Code Llama names the end of its infilling so: the family writes that key, and only once."""
    edit_json(
        model / "tokenizer_config.json", lambda value: value.update(eot_token="<|end_header_id|>")
    )
    assert "tokenizer.ggml.eot_token_id" not in metadata(model, tmp_path / "out")


@pytest.mark.parametrize(
    "template",
    [7, [7], {"a": 3}, [{"name": 3, "template": "y"}], [{"template": "y"}], "\ud800"],
    ids=repr,
)
def test_template_that_is_none_is_refused(model: Path, template: Any) -> None:
    """A template that is not text is not passed on."""
    edit_json(model / "tokenizer_config.json", lambda value: value.update(chat_template=template))
    with pytest.raises(UnsupportedTokenizer, match="chat template"):
        plan(model)


def test_sampling_defaults_of_the_publisher_are_kept(model: Path, tmp_path: Path) -> None:
    """What generation_config.json recommends, runtimes find in the file."""
    edit_json(
        model / "generation_config.json",
        lambda value: value.update(temperature=0.5, top_p=0.75, top_k=40.0, min_p=None),
    )
    made = metadata(model, tmp_path / "out")
    chosen = {key: value for key, value in made.items() if "sampling" in key}
    assert chosen == {
        "general.sampling.top_k": 40,
        "general.sampling.top_p": 0.75,
        "general.sampling.temp": 0.5,
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file["model"].update(vocab=[]),
        lambda file: file["model"].update(vocab={"a": -1}),
        lambda file: file["model"].update(vocab={"a": 1 << 40}),
        lambda file: file["model"].update(vocab={"a": 0, "b": 0}),
        lambda file: file["model"].update(merges=None),
        lambda file: file["model"].update(merges=[["a"]]),
        lambda file: file["model"].update(merges=[["a", "b c"]]),
        lambda file: file["model"].update(merges=[3]),
        lambda file: file["model"].update(dropout=0.5),
        lambda file: file["model"].update(end_of_word_suffix="</w>"),
        lambda file: file.update(added_tokens={"a": 1}),
        lambda file: file.update(added_tokens=[{"id": "0", "content": "a"}]),
        lambda file: file.update(added_tokens=[{"id": 1 << 30, "content": "a"}]),
        lambda file: file.update(added_tokens=[{"id": 5, "content": "\ud800"}]),
        lambda file: file.update(model=[]),
        lambda file: file.update(pre_tokenizer=[]),
    ],
)
def test_false_tokenizer_attack_is_refused(
    model: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    """Every part of tokenizer.json is checked before it is used or its size believed."""
    edit_json(model / "tokenizer.json", change)
    with pytest.raises(ModelVaultError):
        plan(model)


def read_or_refuse(data: bytes) -> str:
    """Return what is said of a model file that cannot be read; empty for one that can."""
    try:
        spm.read_vocabulary(data, {}, {})
    except ModelVaultError as error:
        return error.message
    return ""


@given(data=st.binary(max_size=300))
def test_any_bytes_as_a_model_are_refused(data: bytes) -> None:
    """The reader of the protocol buffer fails in one documented way."""
    assert "tokenizer.model" in read_or_refuse(data)


@given(data=st.data())
def test_damaged_model_is_read_or_refused(
    data: st.DataObject, tiny: Callable[[Kind], Path]
) -> None:
    """A flipped byte or a cut in a real file never escapes as another error."""
    whole = bytearray((tiny("spm") / "tokenizer.model").read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    complaint = read_or_refuse(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    assert complaint == "" or "tokenizer.model" in complaint
