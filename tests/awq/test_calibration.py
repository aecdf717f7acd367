"""Text becomes sequences as the model's own tokenizer and template have it, or a clear error."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from modelvault.errors import BadOption, UnsupportedTokenizer
from modelvault_converters.awq.options import CALIBRATED, Options, read_options
from modelvault_converters.awq.text.calibration import read_calibration
from modelvault_converters.awq.text.records import Record, read_records
from modelvault_converters.awq.text.tokens import Encoder
from tests.awq.models import open_model
from tests.support.tinymodel import training_text
from tests.support.trainedmodel import Family

Trained = Callable[[Family], Path]

USER, ANSWER = {"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."}
SYSTEM = {"role": "system", "content": "Be brief."}
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}"
)
IN_TURN = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}"
)


def options(**given: str) -> Options:
    """Return the options of a request."""
    return read_options(given, "AWQ", CALIBRATED)


@pytest.fixture
def folder(trained: Trained, tmp_path: Path) -> Path:
    """Return a copy of the Llama that a test may change."""
    return Path(shutil.copytree(trained("llama"), tmp_path / "model"))


def set_template(folder: Path, template: str) -> None:
    """Give a model a chat template."""
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))


def encode(folder: Path, *records: Record) -> list[int]:
    """Return the tokens of records."""
    with ExitStack() as stack:
        tokens: list[int] = Encoder(open_model(folder, stack), folder).encode(records).tolist()
    return tokens


def write_lines(path: Path, *conversations: list[dict[str, str]]) -> Path:
    """Write a file of conversations, one a line."""
    lines = [json.dumps({"messages": messages}) for messages in conversations]
    path.write_text("\n".join(lines))
    return path


def test_conversation_takes_the_form_of_the_template(folder: Path, tmp_path: Path) -> None:
    """Nothing is added to what the template writes."""
    set_template(folder, IN_TURN)
    (record,) = read_records(write_lines(tmp_path / "a.jsonl", [USER, ANSWER]), "--calibration")
    text = "<user>Hello.<assistant>Good day."
    assert encode(folder, record) == encode(folder, Record(text=text))[1:]


def test_system_prompt_goes_to_the_user_where_the_template_knows_none(
    folder: Path, tmp_path: Path
) -> None:
    """As Gemma's publisher advises; a template that takes it is left to it."""
    set_template(folder, NO_SYSTEM)
    path = write_lines(tmp_path / "a.jsonl", [SYSTEM, USER, ANSWER])
    (record,) = read_records(path, "--calibration")
    text = "<user>Be brief.\n\nHello.<assistant>Good day."
    assert encode(folder, record) == encode(folder, Record(text=text))[1:]


def test_conversation_that_the_template_refuses_is_named_by_its_line(
    folder: Path, tmp_path: Path
) -> None:
    """No traceback of the template's."""
    set_template(folder, IN_TURN)
    path = write_lines(tmp_path / "a.jsonl", [USER, ANSWER], [USER, USER])
    with pytest.raises(BadOption, match=r"a\.jsonl:2: .*must alternate"):
        encode(folder, *read_records(path, "--calibration"))


def test_embedded_conversations_suit_every_template(folder: Path) -> None:
    """A template that refuses everything gets their text."""
    set_template(folder, "{{ raise_exception('no') }}")
    record = Record(messages=(USER, ANSWER))
    assert encode(folder, record)[-4:] == encode(folder, Record(text="Hello.\n\nGood day."))[-4:]


def test_attack_template_that_reaches_out_is_refused(folder: Path, tmp_path: Path) -> None:
    """Templates run in a sandbox; what it forbids is an error of the conversation's line."""
    set_template(folder, "{{ messages.__class__.__mro__[1].__subclasses__() }}")
    path = write_lines(tmp_path / "a.jsonl", [USER, ANSWER])
    with pytest.raises(BadOption, match=r"a\.jsonl:1"):
        encode(folder, *read_records(path, "--calibration"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.txt", b"PK\x03\x04\x00\x00text", "binary"),
        ("a.jsonl", b'{"text": "' + b"a" * (5 << 20) + b'"}', r"a\.jsonl:1: a line of more"),
        ("a.jsonl", b'{"messages": []}', r"a\.jsonl:1: 'messages' is no list"),
        ("a.jsonl", b'{"chat": [{"role": "user"}]}', r"a\.jsonl:1: 'chat' holds a message without"),
        ("a.jsonl", b'{"messages": [{"role": "user", "content": [{"image": 1}]}]}', "without"),
        ("a.jsonl", b'{"text": "one \\ud83d"}', r"a\.jsonl:1 holds half a character"),
        ("a.JSON", b'[{"text": "one"}]', r"a\.JSON:1: neither"),
    ],
)
def test_file_that_is_no_text_is_refused(
    name: str, data: bytes, message: str, tmp_path: Path
) -> None:
    """Before the model's tokenizer sees any of it."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadOption, match=message):
        read_records(tmp_path / name, "--calibration")


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL", "a.ndjson", "a.json"])
def test_lines_of_json_are_known_by_any_of_their_names(name: str, tmp_path: Path) -> None:
    """Taken for plain text, brackets and field names would be calibrated with."""
    (tmp_path / name).write_text('{"text": "one"}\n{"text": "two"}\n')
    records = read_records(tmp_path / name, "--calibration")
    assert [record.text for record in records] == ["one", "two"]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_mark_before_the_text_is_no_part_of_it(name: str, tmp_path: Path) -> None:
    """Windows writes one in front of UTF-8."""
    text = '{"text": "one"}' if name == "a.jsonl" else "one"
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    (record,) = read_records(tmp_path / name, "--calibration")
    assert record.text == "one"


def test_conversation_may_be_called_chat_and_have_parts(tmp_path: Path) -> None:
    """As data sets and servers spell it."""
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo."}]
    turns = [{"role": "user", "content": parts}, ANSWER]
    (tmp_path / "a.jsonl").write_text(json.dumps({"chat": turns}))
    (record,) = read_records(tmp_path / "a.jsonl", "--calibration")
    assert record.messages == (USER, ANSWER)


@pytest.mark.parametrize("length", ["2", "16"])
def test_short_sequences_are_taken_where_they_are_asked_for(length: str, folder: Path) -> None:
    """They are no sign of too short a text."""
    with ExitStack() as stack:
        model = open_model(folder, stack)
        found = read_calibration(model, options(sequence_length=length), 512, folder)
    assert {len(sequence) for sequence in (*found.samples, *found.held_out)} == {int(length)}


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    """Its size is looked at first."""
    with open(tmp_path / "a.txt", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadOption, match="larger than 64 MiB"):
        read_records(tmp_path / "a.txt", "--calibration")


def test_separators_inside_json_strings_end_no_line(tmp_path: Path) -> None:
    """A line ends at a line feed only: U+2028 and U+0085 are text."""
    line = json.dumps({"text": "one\u2028two\u0085three"}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_text(f"{line}\r\n{line}\n", encoding="utf-8", newline="")
    assert len(read_records(tmp_path / "a.jsonl", "--calibration")) == 2


def test_long_text_is_encoded_in_parts(folder: Path) -> None:
    """Nothing is lost or doubled where it is cut, and only the first part begins a text."""
    from tokenizers import Tokenizer

    text = "\n".join(training_text()) * 8
    assert len(text) > 2 * (1 << 16)
    whole = encode(folder, Record(text=text))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.decode(whole, skip_special_tokens=True) == text
    start = encode(folder, Record(text=""))
    assert whole[: len(start)] == start
    assert all(whole.count(token) == 1 for token in start)


def test_check_text_is_measured_and_changes_no_sample(folder: Path, tmp_path: Path) -> None:
    """What is calibrated with is the same, so that the weights are."""
    (tmp_path / "held.txt").write_text("A harbour pilot does not steer the ship. " * 20)
    with ExitStack() as stack:
        model = open_model(folder, stack)
        plain = read_calibration(model, options(), 64, folder)
        other = read_calibration(model, options(check_text=str(tmp_path / "held.txt")), 64, folder)
    assert all(torch.equal(a, b) for a, b in zip(plain.samples, other.samples, strict=True))
    assert not torch.equal(plain.held_out[0], other.held_out[0])
    assert plain.held_out_digest == ""
    assert other.held_out_digest.startswith("sha256:")


def test_held_out_text_is_not_calibrated_with(folder: Path) -> None:
    """No sequence is in both parts."""
    with ExitStack() as stack:
        found = read_calibration(open_model(folder, stack), options(), 64, folder)
    samples = {tuple(sequence.tolist()) for sequence in found.samples}
    assert samples.isdisjoint(tuple(sequence.tolist()) for sequence in found.held_out)


def test_sentencepiece_model_alone_is_enough(folder: Path, tmp_path: Path) -> None:
    """Older Llamas and Mistrals have no tokenizer.json; tokens are those of SentencePiece."""
    import sentencepiece

    (tmp_path / "text").write_text("\n".join(training_text()), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=900,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    (folder / "tokenizer.json").unlink()
    shutil.copy(tmp_path / "tokenizer.model", folder)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "add_bos_token": True})
    )
    text = "Nobody carries a letter across the border. 금고의 열쇠."
    processor = sentencepiece.SentencePieceProcessor(str(tmp_path / "tokenizer.model"))
    assert encode(folder, Record(text=text)) == [1, *processor.encode(text)]


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'{"model": 7}'])
def test_damaged_tokenizer_is_refused(data: bytes, folder: Path) -> None:
    """Whatever the library makes of it; nothing of it stays in the folder."""
    (folder / "tokenizer.json").write_bytes(data)
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(UnsupportedTokenizer):
        encode(folder, Record(text="text"))
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "given",
    [
        {"samples": "0"},
        {"samples": "-1"},
        {"samples": "many"},
        {"samples": "9" * 30},
        {"sequence_length": "0"},
        {"group_size": "48"},
        {"seed": "1.5"},
        {"calibration": "/nonexistent"},
        {"check_text": "/nonexistent"},
        {"max_kl": "nan"},
        {"max_kl": "-1"},
        {"max_kl": "little"},
        {"sequence_length": "1"},
        {"device": "tpu"},
        {"device": "cuda:99"},
        {"imatrix": "/tmp/x"},
    ],
)
def test_bad_option_is_refused_by_name(given: dict[str, str]) -> None:
    """The message says which, before anything is read."""
    (name,) = given
    with pytest.raises(BadOption) as caught:
        options(**given)
    spoken = name if name == "imatrix" else f"--{name.replace('_', '-')}"
    assert spoken in caught.value.message
