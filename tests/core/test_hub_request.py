"""What people paste when they mean a repository of the Hub."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core.hub_request import HubRequest, is_hub_address, parse_hub_request
from modelvault.core.names import ModelName
from modelvault.errors import BadReference

MIRROR = "https://mirror.example:8443/hf"


def request(name: str, revision: str | None = None, *include: str, type: str = "") -> HubRequest:  # noqa: A002
    """Return a request."""
    return HubRequest(model=ModelName.parse(name), revision=revision, include=include, type=type)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("acme/tiny", request("acme/tiny")),
        ("acme/tiny@v1.0", request("acme/tiny", "v1.0")),
        ("acme/tiny@refs/pr/1", request("acme/tiny", "refs/pr/1")),
        ("datasets/acme/quiz@v1", request("datasets.acme/quiz", "v1")),
        ("models/acme/tiny", request("acme/tiny")),
        ("acme/X-GGUF:Q4_K_M", request("acme/X-GGUF", type="Q4_K_M")),
        ("acme/X-GGUF@v1:q8_0", request("acme/X-GGUF", "v1", type="q8_0")),
        ("hf.co/acme/X-GGUF:Q4_K_M", request("acme/X-GGUF", type="Q4_K_M")),
        ("huggingface.co/acme/tiny", request("acme/tiny")),
        ("https://huggingface.co/acme/tiny", request("acme/tiny")),
        ("https://huggingface.co/acme/tiny/", request("acme/tiny")),
        ("http://www.huggingface.co/acme/tiny#readme", request("acme/tiny")),
        ("HTTPS://HuggingFace.co/acme/tiny?library=transformers", request("acme/tiny")),
        ("https://huggingface.co/acme/tiny/tree/main", request("acme/tiny", "main")),
        (
            "https://huggingface.co/acme/tiny/tree/refs%2Fpr%2F1",
            request("acme/tiny", "refs/pr/1"),
        ),
        (
            "https://huggingface.co/acme/tiny/tree/main/text%20encoder",
            request("acme/tiny", "main", "text encoder/"),
        ),
        (
            "https://huggingface.co/acme/tiny/blob/v1/sub/a[1].gguf",
            request("acme/tiny", "v1", "sub/a[[]1].gguf"),
        ),
        (
            "https://huggingface.co/acme/tiny/resolve/main/config.json?download=true",
            request("acme/tiny", "main", "config.json"),
        ),
        ("https://huggingface.co/acme/tiny/commit/0f3c", request("acme/tiny", "0f3c")),
        ("https://huggingface.co/acme/tiny/discussions/7", request("acme/tiny")),
        ("https://huggingface.co/datasets/acme/quiz", request("datasets.acme/quiz")),
        (
            "https://huggingface.co/datasets/acme/quiz/viewer/default/train",
            request("datasets.acme/quiz"),
        ),
        (
            "https://huggingface.co/acme/X-GGUF?show_file_info=X-Q8_0.gguf",
            request("acme/X-GGUF", None, "X-Q8_0.gguf"),
        ),
        ("hf://acme/tiny", request("acme/tiny")),
        ("hf://datasets/acme/quiz@v1/a/b", request("datasets.acme/quiz", "v1", "a/b")),
        (f"{MIRROR}/acme/tiny/tree/v1", request("acme/tiny", "v1")),
    ],
)
def test_every_spelling_of_a_repository_is_understood(text: str, expected: HubRequest) -> None:
    """Names, pages, files, folders, commits, the prefixes of other tools, and a mirror's pages."""
    assert parse_hub_request(text, endpoint=MIRROR) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpt2", "openai-community/gpt2"),
        ("gpt2@main", "openai-community/gpt2"),
        ("bert-base-uncased", "google-bert/bert-base-uncased"),
        ("t5-small", "google-t5/t5-small"),
        ("https://huggingface.co/distilgpt2", "distilbert/distilgpt2"),
        ("squashed-model", "ORG/squashed-model"),
        ("my-folder", "./my-folder --as ORG/NAME"),
        ("datasets/squad", "--dataset ORG/NAME"),
        ("https://huggingface.co/spaces/acme/demo", "a Space is a program"),
        ("https://huggingface.co/collections/acme/x-1", "a collection is a list"),
        ("https://huggingface.co/acme/tiny/nonsense/x", "no page of a repository's files"),
        ("https://huggingface.co/", "is not a model name"),
        ("datasets/acme/quiz:Q4_K_M", "a dataset has no types"),
        ("acme/tiny:", "is not a type"),
        ("acme/tiny@", "is not a revision"),
        ("acme/tiny/extra", "no page of a repository's files"),
    ],
)
def test_what_names_no_repository_is_refused_with_the_way_on(text: str, words: str) -> None:
    """The hint says what to write instead."""
    with pytest.raises(BadReference) as error:
        parse_hub_request(text)
    assert words in f"{error.value.message} {error.value.hint}"
    assert error.value.hint


def test_address_of_another_server_is_none_of_the_hub() -> None:
    """A list of checksums may stand anywhere; no name in its path makes it a page of the Hub."""
    assert not is_hub_address("https://files.example/huggingface.co/acme/tiny", MIRROR)
    assert not is_hub_address("https://huggingface.co.evil.example/acme/tiny", MIRROR)
    assert not is_hub_address("https://mirror.example:8443/hfx/acme/tiny", MIRROR)
    assert not is_hub_address("acme/tiny", MIRROR)
    assert is_hub_address("hf.co/acme/tiny")


@given(st.text(max_size=80))
def test_any_text_is_a_repository_or_a_bad_reference(text: str) -> None:
    """Nothing else escapes, whatever is pasted."""
    for pasted in (text, f"https://huggingface.co/{text}", f"hf://{text}"):
        try:
            assert str(parse_hub_request(pasted).model)
        except BadReference as error:
            assert error.message  # noqa: PT017 - either outcome will do
