"""Completion as a shell asks for it: commands, options, their values, references."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import Site


def complete(words: str, home: Path, **environment: str) -> list[str]:
    """Return what bash would offer for the last of the words."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("modelvault"))],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "_MODELVAULT_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            **environment,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("modelvault im", ["import"]),
        ("modelvault --json re", ["remove", "rebuild"]),
        ("modelvault bundle ", ["verify", "show", "sign"]),
        ("modelvault bundle verify --k", ["--key"]),
        ("modelvault list --log", ["--log-file"]),
        ("modelvault install x --to ", ["llamacpp", "ollama", "vllm"]),
        ("modelvault uninstall x --from v", ["vllm"]),
        ("modelvault serve-config x --for ", ["vllm", "ollama", "llamacpp", "sglang"]),
        ("modelvault serve-config x --as k", ["kubernetes"]),
        ("modelvault serve-config x --kv-cache ", ["f16", "fp8", "q8_0"]),
        ("modelvault convert x --to gguf:Q4_K_M --to aw", ["awq"]),
        ("modelvault pull x --engine ", ["http", "xet", "hf-transfer"]),
        ("modelvault export --compress n", ["none"]),
    ],
)
def test_words_complete_to_what_there_is(tmp_path: Path, words: str, expected: list[str]) -> None:
    """Commands, groups' commands, options and values that are a fixed few."""
    assert complete(words, tmp_path) == expected


def test_references_are_those_of_the_vault_that_is_named(tmp_path: Path) -> None:
    """``--vault`` before the word decides, then MODELVAULT_HOME, then the default."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_bytes(b"{}")
    site = Site(tmp_path)
    for vault, name in (("one", "acme/one"), ("two", "acme/two"), (".modelvault", "acme/home")):
        site.run("pull", model, "--as", name, "--vault", tmp_path / vault).ok()
    assert complete("modelvault show ac", tmp_path) == ["acme/home"]
    two = str(tmp_path / "two")
    assert complete("modelvault show ac", tmp_path, MODELVAULT_HOME=two) == ["acme/two"]
    for words in ("modelvault --vault {} show ac", "modelvault show --vault {} ac"):
        assert complete(words.format(tmp_path / "one"), tmp_path, MODELVAULT_HOME=two) == [
            "acme/one"
        ]
    assert complete("modelvault --vault /none show ac", tmp_path) == []
